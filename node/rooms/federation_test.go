package rooms_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/node/rooms"
)

func errNobody() error { return federation.NotFound("there is no such user") }

// code is the Matrix error code of an error.
func code(err error) string {
	if wire, ok := errors.AsType[*federation.Error](err); ok {
		return wire.Code
	}
	return ""
}

var _ = Describe("two servers", func() {
	var (
		w          *world
		one, two   *host
		alice, bob id.UserID
		ctx        = context.Background()
	)
	BeforeEach(func() {
		w = newWorld()
		one, two = w.start("one.test"), w.start("two.test")
		alice, bob = one.user("alice"), two.user("bob")
	})

	DescribeTable("join, talk both ways, leave", func(version roomversion.Version) {
		roomID := one.create(rooms.CreateRequest{Version: version, Name: "A room"})
		two.join(bob, roomID, one.name)
		agree(roomID, one, two)
		one.sees(two.say(bob, roomID, "hello"))
		two.sees(one.say(alice, roomID, "and you"))
		agree(roomID, one, two)

		Expect(two.rooms.Leave(ctx, bob, roomID, "bye")).To(Succeed())
		Eventually(func() string { return one.membership(roomID, bob) }).Should(Equal("leave"))
		Expect(two.rooms.Leave(ctx, bob, roomID, "")).To(Succeed(), "who has left already")
		Expect(two.rooms.Forget(ctx, bob, roomID)).To(Succeed())
	}, everyVersion())

	DescribeTable("invite, accept, talk", func(version roomversion.Version) {
		roomID := one.create(rooms.CreateRequest{Version: version, Preset: "private_chat"})
		Expect(code(two.rooms.Join(ctx, rooms.JoinRequest{User: bob, Room: roomID, Via: []id.ServerName{one.name}}))).To(Equal("M_FORBIDDEN"))

		Expect(one.rooms.Invite(ctx, rooms.MembershipRequest{Room: roomID, Sender: alice, Target: bob})).To(Succeed())
		m, ok, err := two.store.Membership(ctx, roomID, bob)
		Expect(err).NotTo(HaveOccurred())
		Expect(ok).To(BeTrue())
		Expect(m.Membership).To(Equal("invite"))
		var inviter bool
		for _, raw := range m.Stripped {
			var members map[string]json.RawMessage
			Expect(json.Unmarshal(raw, &members)).To(Succeed())
			Expect(members).To(HaveLen(4), "%s", raw)
			inviter = inviter || string(members["type"]) == `"m.room.member"` && string(members["state_key"]) == `"`+string(alice)+`"`
		}
		Expect(inviter).To(BeTrue(), "who invites is named by what comes along: %s", m.Stripped)
		two.join(bob, roomID) // the inviting server is known
		agree(roomID, one, two)
		one.sees(two.say(bob, roomID, "thanks"))
		two.sees(one.say(alice, roomID, "welcome"))
	}, everyVersion())

	It("invites users of other servers when the room is made", func() {
		roomID := one.create(rooms.CreateRequest{Preset: "trusted_private_chat", Invite: []id.UserID{bob, bob}, Direct: true})
		Expect(two.membership(roomID, bob)).To(Equal("invite"))
		Expect(string(one.current(roomID, "m.room.create", "").Content())).To(ContainSubstring(string(bob)), "additional creator")
		Expect(string(one.current(roomID, "m.room.member", string(bob)).Content())).To(ContainSubstring(`"is_direct":true`))
	})

	It("answers who says something before others are sent it", func() {
		roomID := one.create(rooms.CreateRequest{Preset: "public_chat"})
		two.join(bob, roomID, one.name)
		wakes := make(chan struct{})
		release := sync.OnceFunc(func() { close(wakes) })
		DeferCleanup(release)
		wait := func() { <-wakes }
		one.waking.Store(&wait)
		answered := make(chan id.EventID, 1)
		go func() {
			defer GinkgoRecover()
			answered <- one.say(alice, roomID, "hello")
		}()
		var said id.EventID
		Eventually(answered).Should(Receive(&said))
		release()
		two.sees(said)
	})

	It("passes on why an invite was refused", func() {
		roomID := one.create(rooms.CreateRequest{})
		err := one.rooms.Invite(ctx, rooms.MembershipRequest{Room: roomID, Sender: alice, Target: two.user("nobody")})
		Expect(code(err)).To(Equal("M_NOT_FOUND"))
		Expect(one.current(roomID, "m.room.member", string(two.user("nobody")))).To(BeNil())
	})

	It("has no user with invites without end, whoever makes them", func() {
		two.limits.Invited, two.limits.InvitedBy = 3, 2
		two.restart()
		three := w.start("three.test")
		invites := func(h *host, target id.UserID) string {
			roomID := h.create(rooms.CreateRequest{})
			err := h.rooms.Invite(ctx, rooms.MembershipRequest{Room: roomID, Sender: h.user("alice"), Target: target})
			if err != nil {
				return code(err)
			}
			Expect(two.membership(roomID, target)).To(Equal("invite"))
			return ""
		}
		Expect(invites(one, bob)).To(BeEmpty())
		Expect(invites(one, bob)).To(BeEmpty())
		Expect(invites(one, bob)).To(Equal("M_LIMIT_EXCEEDED"), "more of one server")
		Expect(invites(three, bob)).To(BeEmpty())
		Expect(invites(three, bob)).To(Equal("M_LIMIT_EXCEEDED"), "more of all servers")
		Expect(invites(w.start("four.test"), bob)).To(BeEmpty(), "the first of a server")
		Expect(invites(one, two.user("carol"))).To(BeEmpty(), "another user")
	})

	It("invites nobody of another server to a room that isn't federated", func() {
		roomID := one.create(rooms.CreateRequest{CreationContent: json.RawMessage(`{"m.federate":false}`)})
		err := one.rooms.Invite(ctx, rooms.MembershipRequest{Room: roomID, Sender: alice, Target: bob})
		Expect(code(err)).To(Equal("M_FORBIDDEN"))
		Expect(one.current(roomID, "m.room.member", string(bob))).To(BeNil())
		Expect(two.membership(roomID, bob)).To(BeEmpty())
	})

	It("says that an invited user's server can't be reached", func() {
		roomID := one.create(rooms.CreateRequest{})
		w.cut(two)
		err := one.rooms.Invite(ctx, rooms.MembershipRequest{Room: roomID, Sender: alice, Target: bob})
		Expect(err).To(MatchError(ContainSubstring("can't be reached")))
	})

	It("rejects an invite at the inviting server", func() {
		roomID := one.create(rooms.CreateRequest{Preset: "private_chat", Invite: []id.UserID{bob}})
		Expect(two.rooms.Leave(ctx, bob, roomID, "no, thanks")).To(Succeed())
		Expect(two.membership(roomID, bob)).To(Equal("leave"))
		Expect(one.membership(roomID, bob)).To(Equal("leave"))
	})

	It("rejects an invite alone when the inviting server is gone", func() {
		roomID := one.create(rooms.CreateRequest{Preset: "private_chat", Invite: []id.UserID{bob}})
		w.cut(one)
		Expect(two.rooms.Leave(ctx, bob, roomID, "it is late")).To(Succeed())
		m, _, err := two.store.Membership(ctx, roomID, bob)
		Expect(err).NotTo(HaveOccurred())
		Expect(m.Membership).To(Equal("leave"))
		row, known, err := two.store.Event(ctx, m.EventID)
		Expect(err).NotTo(HaveOccurred())
		Expect(known).To(BeTrue(), "clients are shown the end of it")
		Expect(string(row.Event.Content())).To(ContainSubstring("it is late"))
		Expect(row.Event.Sender()).To(Equal(bob))
	})

	It("gives what was said before its last user left", func() {
		mute := w.start("mute.test", silent) // as one that has so much to send that the newest event of each room goes out first
		carol := mute.user("carol")
		roomID := mute.create(rooms.CreateRequest{Creator: carol, Preset: "public_chat"})
		two.join(bob, roomID, mute.name)
		one.join(alice, roomID, mute.name)
		said := []id.EventID{mute.say(carol, roomID, "one"), mute.say(carol, roomID, "two")}
		Expect(mute.rooms.Ban(ctx, rooms.MembershipRequest{Room: roomID, Sender: carol, Target: alice})).To(Succeed())
		Expect(mute.rooms.Leave(ctx, carol, roomID, "")).To(Succeed())
		left := mute.current(roomID, "m.room.member", string(carol))
		_, err := two.rooms.Submit(ctx, mute.name, roomID, []*event.Event{left})
		Expect(err).NotTo(HaveOccurred())
		two.sees(append(said, left.ID())...)
		Expect(two.membership(roomID, carol)).To(Equal("leave"))

		_, err = mute.rooms.PDU(ctx, one.name, said[0])
		Expect(code(err)).To(Equal("M_NOT_FOUND"), "a server whose users were banned before")
		_, err = mute.rooms.ServerState(ctx, one.name, federation.StateRequest{RoomID: roomID, EventID: left.ID()})
		Expect(code(err)).To(Equal("M_FORBIDDEN"))
		_, err = mute.rooms.MakeJoin(ctx, two.name, federation.MakeRequest{RoomID: roomID, UserID: two.user("dave")})
		Expect(code(err)).To(Equal("M_NOT_FOUND"), "what it knows of the room is old")
	})

	It("learns that an invite was taken back", func() {
		roomID := one.create(rooms.CreateRequest{Preset: "private_chat", Invite: []id.UserID{bob}})
		Expect(one.rooms.Kick(ctx, rooms.MembershipRequest{Room: roomID, Sender: alice, Target: bob})).To(Succeed())
		Eventually(func() string { return two.membership(roomID, bob) }).Should(Equal("leave"))
	})

	It("keeps an invite when it learns late that the one before was taken back", func() {
		slow := w.start("slow.test", silent)
		carol := slow.user("carol")
		roomID := slow.create(rooms.CreateRequest{Creator: carol, Preset: "private_chat", Invite: []id.UserID{bob}})
		request := rooms.MembershipRequest{Room: roomID, Sender: carol, Target: bob}
		kick := func() *event.Event {
			GinkgoHelper()
			Expect(slow.rooms.Kick(ctx, request)).To(Succeed())
			return slow.current(roomID, "m.room.member", string(bob))
		}
		first := kick()
		Expect(slow.rooms.Invite(ctx, request)).To(Succeed())
		Expect(code(two.rooms.Rescind(ctx, slow.name, first))).To(Equal("M_NOT_FOUND"))
		Expect(two.membership(roomID, bob)).To(Equal("invite"))
		Expect(two.rooms.Rescind(ctx, slow.name, kick())).To(Succeed())
		Expect(two.membership(roomID, bob)).To(Equal("leave"))
	})

	It("knocks, is invited, joins; a knock can be taken back", func() {
		roomID := one.create(rooms.CreateRequest{
			Preset:       "private_chat",
			InitialState: []rooms.StateEvent{{Type: "m.room.join_rules", Content: json.RawMessage(`{"join_rule":"knock"}`)}},
		})
		knock := rooms.KnockRequest{User: bob, Room: roomID, Via: []id.ServerName{one.name}, Reason: "please"}
		Expect(two.rooms.Knock(ctx, knock)).To(Succeed())
		Expect(one.membership(roomID, bob)).To(Equal("knock"))
		m, _, err := two.store.Membership(ctx, roomID, bob)
		Expect(err).NotTo(HaveOccurred())
		Expect(m.Membership).To(Equal("knock"))
		Expect(m.Stripped).NotTo(BeEmpty())

		Expect(two.rooms.Leave(ctx, bob, roomID, "")).To(Succeed())
		Expect(one.membership(roomID, bob)).To(Equal("leave"))

		Expect(two.rooms.Knock(ctx, knock)).To(Succeed())
		Expect(one.rooms.Invite(ctx, rooms.MembershipRequest{Room: roomID, Sender: alice, Target: bob})).To(Succeed())
		two.join(bob, roomID)
		agree(roomID, one, two)
	})

	It("kicks, bans and unbans across servers", func() {
		roomID := one.create(rooms.CreateRequest{})
		two.join(bob, roomID, one.name)
		ban := rooms.MembershipRequest{Room: roomID, Sender: alice, Target: bob, Reason: "spam"}
		Expect(code(one.rooms.Unban(ctx, ban))).To(Equal("M_FORBIDDEN"), "not banned")
		Expect(one.rooms.Ban(ctx, ban)).To(Succeed())
		Eventually(func() string { return two.membership(roomID, bob) }).Should(Equal("ban"))
		Expect(code(two.rooms.Join(ctx, rooms.JoinRequest{User: bob, Room: roomID, Via: []id.ServerName{one.name}}))).To(Equal("M_FORBIDDEN"))
		Expect(one.rooms.Unban(ctx, ban)).To(Succeed())
		two.join(bob, roomID, one.name)
		agree(roomID, one, two)
		Expect(code(one.rooms.Kick(ctx, rooms.MembershipRequest{Room: roomID, Sender: alice, Target: "@who:two.test"}))).To(Equal("M_FORBIDDEN"))
		Expect(one.rooms.Kick(ctx, ban)).To(Succeed())
		Eventually(func() string { return two.membership(roomID, bob) }).Should(Equal("leave"))
	})

	It("joins once for several users at the same time, and goes on when the asker gives up", func() {
		roomID := one.create(rooms.CreateRequest{})
		short, cancel := context.WithCancel(ctx)
		w.onRoad = func(from, _ id.ServerName) {
			if from == two.name {
				cancel()
			}
		}
		Expect(two.rooms.Join(short, rooms.JoinRequest{User: bob, Room: roomID, Via: []id.ServerName{one.name}})).To(MatchError(context.Canceled))
		carol := two.user("carol")
		two.join(carol, roomID, one.name)
		Eventually(func() string { return two.membership(roomID, bob) }).Should(Equal("join"))
		Expect(two.membership(roomID, carol)).To(Equal("join"))
		agree(roomID, one, two)
	})

	It("goes on after both were stopped", func() {
		roomID := one.create(rooms.CreateRequest{})
		two.join(bob, roomID, one.name)
		before := two.say(bob, roomID, "before")
		one.sees(before)
		one.restart()
		two.restart()
		one.sees(two.say(bob, roomID, "after"))
		two.sees(one.say(alice, roomID, "yes"))
		agree(roomID, one, two)
	})

	It("delivers what was said during an outage", func() {
		roomID := one.create(rooms.CreateRequest{})
		two.join(bob, roomID, one.name)
		w.cut(two)
		var said []id.EventID
		for range 5 {
			said = append(said, one.say(alice, roomID, "are you there?"))
		}
		w.heal(two)
		one.sees(two.say(bob, roomID, "now I am"))
		two.sees(said...)
		agree(roomID, one, two)
	})

	It("joins again a room it had left", func() {
		roomID := one.create(rooms.CreateRequest{})
		two.join(bob, roomID, one.name)
		Expect(two.rooms.Leave(ctx, bob, roomID, "")).To(Succeed())
		Eventually(func() string { return one.membership(roomID, bob) }).Should(Equal("leave"))
		one.say(alice, roomID, "they are gone")
		two.join(bob, roomID) // who was in the room is still known
		agree(roomID, one, two)
		one.sees(two.say(bob, roomID, "back"))
	})

	It("can be invited again to a room it has left, and reject or accept that", func() {
		roomID := one.create(rooms.CreateRequest{Preset: "private_chat", Invite: []id.UserID{bob}})
		two.join(bob, roomID)
		again := func() {
			GinkgoHelper()
			Eventually(func() string { return one.membership(roomID, bob) }).Should(Equal("leave"))
			Expect(one.rooms.Invite(ctx, rooms.MembershipRequest{Room: roomID, Sender: alice, Target: bob})).To(Succeed())
			Expect(two.membership(roomID, bob)).To(Equal("invite"))
		}
		Expect(two.rooms.Leave(ctx, bob, roomID, "")).To(Succeed())
		again()
		Expect(two.rooms.Leave(ctx, bob, roomID, "")).To(Succeed())
		again()
		two.join(bob, roomID)
		agree(roomID, one, two)
	})

	It("gets the invite of a second user through the room", func() {
		roomID := one.create(rooms.CreateRequest{Preset: "private_chat", Invite: []id.UserID{bob}})
		two.join(bob, roomID)
		carol := two.user("carol")
		Expect(one.rooms.Invite(ctx, rooms.MembershipRequest{Room: roomID, Sender: alice, Target: carol})).To(Succeed())
		Eventually(func() string { return two.membership(roomID, carol) }).Should(Equal("invite"))
		two.join(carol, roomID)
		agree(roomID, one, two)
	})

	DescribeTable("comes to the same state after a partition in which both changed it", func(version roomversion.Version) {
		roomID := one.create(rooms.CreateRequest{Version: version, PowerLevelOverride: json.RawMessage(`{"state_default":0,"ban":0,"kick":0,"events":{}}`)})
		two.join(bob, roomID, one.name)
		agree(roomID, one, two)
		w.cut(two)
		one.set(alice, roomID, "m.room.topic", "", `{"topic":"one"}`)
		two.set(bob, roomID, "m.room.topic", "", `{"topic":"two"}`)
		one.set(alice, roomID, "m.room.name", "", `{"name":"one"}`)
		two.join(two.user("dan"), roomID)
		two.say(two.user("dan"), roomID, "nobody hears me")
		w.heal(two)
		one.sees(two.say(bob, roomID, "hello"))
		two.sees(one.say(alice, roomID, "hello"))
		agree(roomID, one, two)
		Expect(one.membership(roomID, two.user("dan"))).To(Equal("join"))
	}, Entry("1", roomversion.V1), Entry("6", roomversion.V6), Entry("11", roomversion.V11), Entry("12", roomversion.V12))

	It("joins through the servers that are named, and no other", func() {
		three := w.start("three.test")
		roomID := one.create(rooms.CreateRequest{Version: "10"}) // its ID names one.test
		through := func(via ...id.ServerName) string {
			return code(two.rooms.Join(ctx, rooms.JoinRequest{User: bob, Room: roomID, Via: via}))
		}
		Expect(through(three.name)).To(Equal("M_NOT_FOUND"))
		Expect(through()).To(BeEmpty(), "the room's ID helps where nothing is named")
		Expect(two.rooms.Leave(ctx, bob, roomID, "")).To(Succeed())
		Expect(through(three.name)).To(Equal("M_NOT_FOUND"), "though it is known who was there")
		Expect(through()).To(BeEmpty())
	})

	It("says which room can't be found, and where nobody is known to be", func() {
		err := two.rooms.Join(ctx, rooms.JoinRequest{User: bob, Room: "!nowhere:one.test"})
		Expect(code(err)).To(Equal("M_NOT_FOUND"))
		err = two.rooms.Join(ctx, rooms.JoinRequest{User: bob, Room: id.RoomID("!" + string(make43()))})
		Expect(err).To(MatchError(ContainSubstring("no server is known")))
	})

	It("keeps a server out that the ACL denies", func() {
		roomID := one.create(rooms.CreateRequest{})
		two.join(bob, roomID, one.name)
		// Two doesn't hear of it in time, and goes on talking.
		w.cut(one)
		one.set(alice, roomID, "m.room.server_acl", "", `{"allow":["*"],"deny":["two.*"]}`)
		evil := two.say(bob, roomID, "hello?")
		w.heal(one)
		Eventually(func() int {
			batch, err := two.store.Next(ctx, one.name, 10, 0)
			Expect(err).NotTo(HaveOccurred())
			return len(batch.PDUs)
		}).Should(BeZero())
		Expect(one.has(evil)).To(BeFalse())
		Expect(code(two.rooms.Join(ctx, rooms.JoinRequest{User: two.user("carol"), Room: roomID}))).To(Or(BeEmpty(), Equal("M_FORBIDDEN")))
		_, err := two.client.MissingEvents(ctx, one.name, federation.MissingEventsRequest{RoomID: roomID, LatestEvents: []id.EventID{evil}, Limit: 1})
		Expect(err).To(MatchError(ContainSubstring("M_FORBIDDEN")))
	})
})

func make43() []byte {
	b := make([]byte, 43)
	for i := range b {
		b[i] = 'a'
	}
	return b
}
