package rooms_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/node/rooms"
)

// hold has the server keep its answers about states back, until the function it returns is called. asked counts the questions.
func (h *host) hold() (release func(), asked *atomic.Int64) {
	gate := make(chan struct{})
	asked = new(atomic.Int64)
	h.tamper(func(path string, answer []byte) []byte {
		if strings.Contains(path, "/state_ids/") || strings.Contains(path, "/state/") {
			asked.Add(1)
			<-gate
		}
		return answer
	})
	release = sync.OnceFunc(func() { close(gate) })
	DeferCleanup(release)
	return release, asked
}

func (h *host) isPartial(roomID id.RoomID) bool {
	GinkgoHelper()
	info, _, err := h.store.Room(context.Background(), roomID)
	Expect(err).NotTo(HaveOccurred())
	return info.Partial
}

// completes waits until the server has the whole state of the room.
func (h *host) completes(roomID id.RoomID) {
	GinkgoHelper()
	Eventually(func() bool { return h.isPartial(roomID) }).WithPolling(5 * time.Millisecond).Should(BeFalse())
}

// forge is a message by a user of the server that names as its auth events what the host's state says, but for the member event given.
func (h *host) forge(of *host, roomID id.RoomID, user id.UserID, member id.EventID, text string) *event.Event {
	GinkgoHelper()
	info, _, err := of.store.Room(context.Background(), roomID)
	Expect(err).NotTo(HaveOccurred())
	draft := event.Draft{
		RoomID: roomID, Type: "m.room.message", Sender: user, Content: json.RawMessage(fmt.Sprintf(`{"body":%q,"msgtype":"m.text"}`, text)),
		PrevEvents: info.Forward, Depth: info.Depth + 1, OriginServerTS: time.Now().UnixMilli(), AuthEvents: []id.EventID{member},
	}
	for _, typ := range []string{"m.room.create", "m.room.power_levels"} {
		if e := of.current(roomID, typ, ""); typ != "m.room.create" || !info.Rules.RoomIDIsCreateEvent {
			draft.AuthEvents = append(draft.AuthEvents, e.ID())
		}
	}
	e, err := draft.Sign(info.Rules, h.name, h.key.Current)
	Expect(err).NotTo(HaveOccurred())
	return e
}

// bodies are the messages that a user sees, newest first.
func (h *host) bodies(user id.UserID, roomID id.RoomID) []string {
	GinkgoHelper()
	page, err := h.rooms.Messages(context.Background(), rooms.MessagesRequest{User: user, Room: roomID, Backwards: true, Limit: 20})
	Expect(err).NotTo(HaveOccurred())
	var list []string
	for _, row := range page.Events {
		var content struct{ Body string }
		Expect(json.Unmarshal(row.Event.Content(), &content)).To(Succeed())
		if content.Body != "" {
			list = append(list, content.Body)
		}
	}
	return list
}

var _ = Describe("a room joined without its members", func() {
	var (
		w                  *world
		one, two, three    *host
		alice, bob, mallet id.UserID
		roomID             id.RoomID
		release            func() // of one's states
		releaseThree       func()
		asked              *atomic.Int64
		sendJoins          atomic.Int64
		ctx                = context.Background()
	)
	make := func(version roomversion.Version) {
		w = newWorld()
		one, three = w.start("one.test"), w.start("three.test")
		two = w.start("two.test", limited(rooms.Limits{StateChunk: 7})) // the members come in several parts
		alice, bob, mallet = one.user("alice"), two.user("bob"), three.user("mallet")
		var invited []id.UserID
		for i := range 60 { // more than are fetched one by one
			invited = append(invited, one.user(fmt.Sprint("member", i)))
		}
		roomID = one.create(rooms.CreateRequest{Version: version, Name: "A room", Invite: invited})
		three.join(mallet, roomID, one.name)
		three.completes(roomID)
		three.sees(one.say(alice, roomID, "before"))
		releaseThree, _ = three.hold()
		release, asked = one.hold()
		answer := *one.tampering.Load()
		sendJoins.Store(0)
		one.tamper(func(path string, body []byte) []byte {
			if strings.Contains(path, "/send_join/") {
				sendJoins.Add(1)
			}
			return answer(path, body)
		})
	}
	enter := func() {
		GinkgoHelper()
		two.join(bob, roomID, one.name)
		Expect(two.isPartial(roomID)).To(BeTrue())
	}

	DescribeTable("is used at once, and ends as any other", func(version roomversion.Version) {
		make(version)
		enter()
		Expect(two.current(roomID, "m.room.name", "")).NotTo(BeNil())
		Expect(two.current(roomID, "m.room.member", string(alice))).To(BeNil(), "of the members there is only the one who joined")
		Expect(two.current(roomID, "m.room.member", string(bob))).NotTo(BeNil())
		// Both servers that were there get what is said here, and what they say arrives.
		said := two.say(bob, roomID, "hello")
		one.sees(said)
		three.sees(said)
		two.sees(one.say(alice, roomID, "welcome"), three.say(mallet, roomID, "me too"))
		Expect(two.bodies(bob, roomID)).To(ContainElements("hello", "welcome", "me too"))
		Expect(two.current(roomID, "m.room.member", string(alice))).NotTo(BeNil(), "who has spoken is known")
		before := two.store.Position()
		release()
		two.completes(roomID)
		agree(roomID, one, two, three)
		Expect(two.bodies(bob, roomID)).To(ContainElements("hello", "welcome", "me too"))
		for _, at := range []rooms.Point{{}, {Stream: before}} {
			members, err := membersOf(two.rooms, rooms.MembersRequest{User: bob, Room: roomID, At: at})
			Expect(err).NotTo(HaveOccurred())
			Expect(members).To(HaveLen(63))
		}
	}, Entry("1", roomversion.V1), Entry("6", roomversion.V6), Entry("10", roomversion.V10), Entry("12", roomversion.V12))

	It("is not given on to others, but what happened in it is", func() {
		make("10")
		enter()
		said := two.say(bob, roomID, "hello")
		three.sees(said)
		_, err := three.client.MakeJoin(ctx, two.name, roomID, three.user("other"), []roomversion.Version{"10"})
		Expect(err).To(MatchError(ContainSubstring("M_NOT_FOUND")))
		_, err = three.client.MakeLeave(ctx, two.name, roomID, mallet)
		Expect(err).To(MatchError(ContainSubstring("M_NOT_FOUND")))
		_, err = three.client.StateIDs(ctx, two.name, roomID, said)
		Expect(err).To(MatchError(ContainSubstring("UNABLE_DUE_TO_PARTIAL_STATE")))
		one.sees(said)
		theirs, err := three.client.EventAuth(ctx, one.name, roomID, said)
		Expect(err).NotTo(HaveOccurred())
		chain, err := three.client.EventAuth(ctx, two.name, roomID, said)
		Expect(err).NotTo(HaveOccurred(), "who is sent an event may lack what it stands on")
		Expect(chain).To(ConsistOf(theirs))
		four := w.start("four.test")
		_, err = four.client.StateIDs(ctx, two.name, roomID, said)
		Expect(err).To(MatchError(ContainSubstring("M_FORBIDDEN")), "which is all that servers outside are told")
		_, err = three.client.Event(ctx, two.name, said)
		Expect(err).NotTo(HaveOccurred())
		raws, err := three.client.Backfill(ctx, two.name, roomID, 10, []id.EventID{said})
		Expect(err).NotTo(HaveOccurred())
		Expect(raws).NotTo(BeEmpty())
		release()
		two.completes(roomID)
		_, err = three.client.StateIDs(ctx, two.name, roomID, said)
		Expect(err).NotTo(HaveOccurred())
	})

	It("doesn't tell who of its members may come into another room before it knows them", func() {
		make("10")
		enter()
		other := two.create(rooms.CreateRequest{Version: "10", InitialState: []rooms.StateEvent{{
			Type: "m.room.join_rules", Content: json.RawMessage(fmt.Sprintf(`{"join_rule":"restricted","allow":[{"type":"m.room_membership","room_id":%q}]}`, roomID)),
		}}})
		_, err := one.client.MakeJoin(ctx, two.name, other, alice, []roomversion.Version{"10"})
		Expect(err).To(MatchError(ContainSubstring("M_UNABLE_TO_AUTHORISE_JOIN")), "another server may know")
		release()
		two.completes(roomID)
		_, err = one.client.MakeJoin(ctx, two.name, other, alice, []roomversion.Version{"10"})
		Expect(err).NotTo(HaveOccurred())
		_, err = one.client.MakeJoin(ctx, two.name, other, one.user("stranger"), []roomversion.Version{"10"})
		Expect(err).To(MatchError(ContainSubstring("M_FORBIDDEN")))
	})

	It("hides what a banned user has said once the ban is known", func() {
		make("10")
		old := one.current(roomID, "m.room.member", string(mallet)).ID()
		Expect(one.rooms.Ban(ctx, rooms.MembershipRequest{Room: roomID, Sender: alice, Target: mallet})).To(Succeed())
		enter()
		forged := three.forge(two, roomID, mallet, old, "I'm back")
		verdicts, err := two.rooms.Submit(ctx, three.name, roomID, []*event.Event{forged})
		Expect(err).NotTo(HaveOccurred())
		Expect(verdicts[0].Status).To(Or(Equal(room.Accepted), Equal(room.Waiting)))
		two.sees(forged.ID())
		Expect(two.bodies(bob, roomID)).To(ContainElement("I'm back"))
		after := two.say(bob, roomID, "who is that?")
		release()
		two.completes(roomID)
		Expect(two.has(forged.ID())).To(BeFalse())
		Expect(two.has(after)).To(BeTrue())
		Expect(two.bodies(bob, roomID)).To(And(Not(ContainElement("I'm back")), ContainElement("who is that?")))
		Expect(two.membership(roomID, mallet)).To(Equal("ban"))
		two.restart() // and so it stays
		Expect(two.bodies(bob, roomID)).NotTo(ContainElement("I'm back"))
		Expect(two.has(two.say(bob, roomID, "gone"))).To(BeTrue())
	})

	It("gets its members over a restart", func() {
		make("12")
		enter()
		said := two.say(bob, roomID, "hello")
		Eventually(asked.Load).Should(BeNumerically(">", 0))
		one.sees(said)
		three.sees(said) // they have two's keys
		two.restart()
		Expect(two.isPartial(roomID)).To(BeTrue())
		two.sees(said, one.say(alice, roomID, "still there?"))
		release()
		two.completes(roomID)
		agree(roomID, one, two, three)
	})

	It("gets its members from another server when the one it was joined through breaks off", func() {
		make("11")
		states := *one.tampering.Load()
		one.tamper(func(path string, body []byte) []byte {
			if strings.Contains(path, "/state/") {
				panic(http.ErrAbortHandler)
			}
			return states(path, body)
		})
		enter()
		release()
		releaseThree()
		two.completes(roomID)
		Expect(two.membership(roomID, alice)).To(Equal("join"))
		agree(roomID, one, two, three)
	})

	It("can be left, and joined anew", func() {
		make("10")
		enter()
		said := two.say(bob, roomID, "hello")
		one.sees(said)
		two.sees(one.say(alice, roomID, "welcome"))
		Expect(two.rooms.Leave(ctx, bob, roomID, "too large")).To(Succeed())
		Eventually(func() string { return one.membership(roomID, bob) }).Should(Equal("leave"))
		release()
		two.join(bob, roomID, one.name)
		two.completes(roomID)
		agree(roomID, one, two, three)
		// What was said in the first stay has lost its place there and is history like all else below the new join.
		Eventually(func() []string { return two.bodies(bob, roomID) }).Should(ContainElements("hello", "welcome", "before"))
		for range 2 {
			now, _, err := two.store.StateAfter(ctx, said)
			Expect(err).NotTo(HaveOccurred())
			then, _, err := one.store.StateAfter(ctx, said)
			Expect(err).NotTo(HaveOccurred())
			Expect(now.Equal(then)).To(BeTrue())
			two.restart()
		}
	})

	It("asks for what came while too much had happened in it to take more", func() {
		make("10")
		enter()
		Expect(two.rooms.Overfill(ctx, roomID)).To(Succeed())
		missed := one.say(alice, roomID, "does anybody hear me?")
		row, _, err := one.store.Event(ctx, missed)
		Expect(err).NotTo(HaveOccurred())
		verdicts, err := two.rooms.Submit(ctx, one.name, roomID, []*event.Event{row.Event})
		Expect(err).NotTo(HaveOccurred())
		Expect(verdicts[0].Status).To(Equal(room.Dropped))
		Eventually(func() ([]id.ServerName, error) { return one.store.Destinations(ctx) }).ShouldNot(ContainElement(two.name), "nobody sends it again")
		release()
		two.completes(roomID)
		two.sees(missed)
	})

	It("is joined once, by however many users", func() {
		make("10")
		var all sync.WaitGroup
		for i := range 5 {
			all.Go(func() {
				defer GinkgoRecover()
				two.join(two.user(fmt.Sprint("user", i)), roomID, one.name)
			})
		}
		all.Wait()
		Expect(two.isPartial(roomID)).To(BeTrue())
		Expect(sendJoins.Load()).To(Equal(int64(1)))
		for i := range 5 {
			Eventually(func() string { return one.membership(roomID, two.user(fmt.Sprint("user", i))) }).Should(Equal("join"))
		}
		release()
		two.completes(roomID)
		agree(roomID, one, two, three)
	})

	It("lets nobody in who is banned, though it doesn't know the ban", func() {
		make("10")
		carol := two.user("carol")
		Expect(one.rooms.Ban(ctx, rooms.MembershipRequest{Room: roomID, Sender: alice, Target: carol})).To(Succeed())
		enter()
		Expect(code(two.rooms.Join(ctx, rooms.JoinRequest{User: carol, Room: roomID}))).To(Equal(federation.CodeForbidden))
	})

	It("has its access control list, and takes invites of others for our users", func() {
		make("10")
		one.set(alice, roomID, "m.room.server_acl", "", `{"allow":["*"],"deny":["three.test"]}`)
		enter()
		lets, err := two.rooms.Allowed(ctx, roomID, three.name)
		Expect(err).NotTo(HaveOccurred())
		Expect(lets).To(BeFalse())
		carol := two.user("carol")
		Expect(one.rooms.Invite(ctx, rooms.MembershipRequest{Room: roomID, Sender: alice, Target: carol})).To(Succeed())
		Eventually(func() string { return two.membership(roomID, carol) }).Should(Equal("invite"))
		Expect(two.isPartial(roomID)).To(BeTrue())
		release()
		two.completes(roomID)
		Expect(two.membership(roomID, carol)).To(Equal("invite"))
		two.join(carol, roomID)
		Eventually(func() string { return one.membership(roomID, carol) }).Should(Equal("join"))
	})

	It("waits for its members where they are needed", func() {
		make("10")
		one.set(alice, roomID, "m.room.power_levels", "", fmt.Sprintf(`{"users":{%q:100,%q:100}}`, alice, bob))
		enter()
		var all sync.WaitGroup
		all.Go(func() {
			defer GinkgoRecover()
			members, err := joinedMembers(two.rooms, bob, roomID)
			Expect(err).NotTo(HaveOccurred())
			Expect(len(members)).To(BeNumerically(">=", 2))
		})
		all.Go(func() {
			defer GinkgoRecover()
			Expect(two.rooms.Kick(ctx, rooms.MembershipRequest{Room: roomID, Sender: bob, Target: mallet})).To(Succeed())
		})
		all.Go(func() {
			defer GinkgoRecover()
			e, err := two.rooms.StateEvent(ctx, bob, roomID, "m.room.member", string(one.user("member7")))
			Expect(err).NotTo(HaveOccurred())
			Expect(e.Membership()).To(Equal("invite"))
		})
		Eventually(asked.Load).Should(BeNumerically(">", 0))
		release()
		all.Wait()
		Eventually(func() string { return one.membership(roomID, mallet) }).Should(Equal("leave"))
	})

	It("asks the next server when one gives another state than the one it gave with the join", func() {
		make("10")
		stateless := *one.tampering.Load()
		one.tamper(func(path string, body []byte) []byte {
			if strings.Contains(path, "/state_ids/") {
				return []byte(`{"pdu_ids":[],"auth_chain_ids":[]}`)
			}
			return stateless(path, body)
		})
		enter()
		releaseThree()
		two.completes(roomID)
		agree(roomID, one, two, three)
	})
})

var _ = Describe("a server that doesn't answer", func() {
	It("delays a join by a few seconds, and no more", func() {
		w := newWorld()
		one, two, three := w.start("one.test"), w.start("two.test"), w.start("three.test")
		roomID := one.create(rooms.CreateRequest{})
		three.join(three.user("carol"), roomID, one.name)
		hang := make(chan struct{})
		DeferCleanup(sync.OnceFunc(func() { close(hang) }))
		one.tamper(func(path string, answer []byte) []byte {
			if strings.Contains(path, "/make_join/") {
				<-hang
			}
			return answer
		})
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // one would be waited for for minutes
		defer cancel()
		Expect(two.rooms.Join(ctx, rooms.JoinRequest{User: two.user("bob"), Room: roomID, Via: []id.ServerName{one.name, three.name}})).To(Succeed())
	})
})
