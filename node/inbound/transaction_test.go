package inbound_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/node/rooms"
	"hanse/testnet/wholestate"
)

var _ = Describe("a transaction", func() {
	var (
		s      *server
		bob    *peer
		roomID id.RoomID
		ctx    = context.Background()
	)
	BeforeEach(func() {
		bob = newPeer("peer.test")
		s = start(bob)
		roomID = s.create("10")
		bob.join(s, roomID)
	})
	status := func(eventID id.EventID) string {
		GinkgoHelper()
		row, ok, err := s.store.Event(ctx, eventID)
		Expect(err).NotTo(HaveOccurred())
		if !ok {
			return "unknown"
		}
		return row.Status.String()
	}

	DescribeTable("brings events in", func(version roomversion.Version) {
		roomID := s.create(version)
		bob.join(s, roomID)
		e := bob.sign(s, bob.message(s, roomID, "hello"))
		Expect(bob.send(s, "1", e.JSON())).To(Equal(federation.PDUResults{e.ID(): {}}))
		Expect(status(e.ID())).To(Equal("accepted"))
	}, Entry("1", roomversion.V1), Entry("3", roomversion.V3), Entry("6", roomversion.V6), Entry("12", roomversion.V12))

	It("takes events of several rooms, and goes on behind bad ones", func() {
		other := s.create("12")
		bob.join(s, other)
		first := bob.sign(s, bob.message(s, roomID, "first"))
		second := bob.sign(s, bob.message(s, other, "second"))
		results := bob.send(s, "1",
			json.RawMessage(`"no object"`), json.RawMessage(`{}`), json.RawMessage(`{"room_id":7}`),
			json.RawMessage(`{"room_id":"!who:else.test","event_id":"$x:else.test"}`),
			json.RawMessage(fmt.Sprintf(`{"room_id":%q}`, roomID)),
			with(first, "depth", -1), with(first, "content", strings.Repeat("x", 70_000)),
			first.JSON(), second.JSON())
		Expect(results).To(HaveKeyWithValue(first.ID(), federation.PDUResult{}))
		Expect(results).To(HaveKeyWithValue(second.ID(), federation.PDUResult{}))
		Expect(results).To(HaveKeyWithValue(id.EventID("$x:else.test"), federation.PDUResult{Error: "this server is not in its room"}))
		Expect(results).To(HaveLen(3))
		Expect(status(second.ID())).To(Equal("accepted"))
	})

	It("drops what is not signed by its sender's server", func() {
		e := bob.sign(s, bob.message(s, roomID, "forged"))
		mallory := newPeer("mallory.test")
		mallory.user = bob.user
		forged := mallory.sign(s, bob.message(s, roomID, "forged by mallory"))
		stripped := with(e, "signatures", map[string]any{})
		results := bob.send(s, "1", stripped, forged.JSON())
		Expect(results).To(HaveLen(2))
		for eventID, result := range results {
			Expect(result.Error).To(ContainSubstring("signatures"))
			Expect(status(eventID)).To(Equal("unknown"))
		}
	})

	It("redacts what has a wrong hash", func() {
		e := bob.sign(s, bob.message(s, roomID, "the truth"))
		bent := with(e, "content", map[string]any{"msgtype": "m.text", "body": "a lie"})
		Expect(bob.send(s, "1", bent)).To(Equal(federation.PDUResults{e.ID(): {}}))
		row, ok, err := s.store.Event(ctx, e.ID())
		Expect(err).NotTo(HaveOccurred())
		Expect(ok).To(BeTrue())
		Expect(string(row.Event.Content())).To(Equal("{}"))
	})

	It("keeps rejected events from users without an error to the sender", func() {
		d := bob.message(s, roomID, "x")
		d.Type, d.StateKey = "m.room.name", new(string)
		e := bob.sign(s, d)
		Expect(bob.send(s, "1", e.JSON())).To(Equal(federation.PDUResults{e.ID(): {}}))
		row, _, err := s.store.Event(ctx, e.ID())
		Expect(err).NotTo(HaveOccurred())
		Expect(row.Status).To(Equal(room.Rejected))
		_, err = s.rooms.Event(ctx, alice, roomID, e.ID())
		Expect(err).To(HaveOccurred())
	})

	It("has its events taken once, also at the same time, and is answered as before when it comes again", func() {
		e := bob.sign(s, bob.message(s, roomID, "once"))
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				defer GinkgoRecover()
				Expect(bob.send(s, "1", e.JSON())).To(HaveLen(1))
			})
		}
		all.Wait()
		Expect(bob.send(s, "1")).To(HaveKey(e.ID()), "whatever comes the second time")
		first, _, err := s.store.Event(ctx, e.ID())
		Expect(err).NotTo(HaveOccurred())
		s.inbound.Forget()
		Expect(bob.send(s, "1", e.JSON())).To(Equal(federation.PDUResults{e.ID(): {}}), "as after a start")
		again, _, err := s.store.Event(ctx, e.ID())
		Expect(err).NotTo(HaveOccurred())
		Expect(again.Position).To(Equal(first.Position))
		Expect(newPeer("other.test").send(s, "1")).To(BeEmpty(), "another origin's transaction")
		Expect(bob.send(s, "2", e.JSON())).To(Equal(federation.PDUResults{e.ID(): {}}), "a duplicate is fine")
	})

	It("ignores what a denied server sends", func() {
		key := ""
		_, err := s.rooms.Send(ctx, rooms.SendRequest{Room: roomID, Sender: alice, Type: "m.room.server_acl", StateKey: &key,
			Content: json.RawMessage(`{"allow":["*"],"deny":["peer.*"]}`)})
		Expect(err).NotTo(HaveOccurred())
		e := bob.sign(s, bob.message(s, roomID, "let me in"))
		refused := bob.send(s, "1", e.JSON())
		Expect(refused[e.ID()].Error).To(ContainSubstring("ACL"))
		Expect(refused[e.ID()].Code).To(Equal("M_FORBIDDEN"))
		Expect(bob.send(s, "1", e.JSON())).To(Equal(refused), "when it comes again")
		Expect(status(e.ID())).To(Equal("unknown"))
		_, err = s.rooms.MakeJoin(ctx, bob.name, federation.MakeRequest{RoomID: roomID, UserID: bob.user, Versions: []roomversion.Version{"10"}})
		Expect(err).To(MatchError(ContainSubstring("ACL")))
	})

	It("waits with what stands on unknown events, and drops it when nobody can help", func() {
		d := bob.message(s, roomID, "from nowhere")
		d.PrevEvents = []id.EventID{"$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}
		e := bob.sign(s, d)
		Expect(bob.send(s, "1", e.JSON())).To(Equal(federation.PDUResults{e.ID(): {}}))
		Consistently(func() string { return status(e.ID()) }, "100ms").Should(Equal("unknown"))
		after := bob.sign(s, bob.message(s, roomID, "all well"))
		Expect(bob.send(s, "2", after.JSON())).To(Equal(federation.PDUResults{after.ID(): {}}))
		Expect(status(after.ID())).To(Equal("accepted"))
	})

	It("has its EDUs handled once: when it comes again it is answered from the store, whatever it brings", func() {
		e := bob.sign(s, bob.message(s, roomID, "with an EDU"))
		txn := federation.Transaction{PDUs: []json.RawMessage{e.JSON()}, EDUs: []federation.EDU{{Type: "m.typing", Content: json.RawMessage(`{"n":1}`)}}}
		for range 2 {
			results, err := s.inbound.Transaction(ctx, bob.name, "1", txn)
			Expect(err).NotTo(HaveOccurred())
			Expect(results).To(Equal(federation.PDUResults{e.ID(): {}}))
			txn.PDUs = nil
			s.inbound.Forget() // as after a start
		}
		Expect(s.edus.edus).To(HaveLen(1))
	})

	It("hands EDUs to who is registered for them", func() {
		s.edus.err = errors.New("trouble")
		results, err := s.inbound.Transaction(ctx, bob.name, "1", federation.Transaction{EDUs: []federation.EDU{
			{Type: "m.presence", Content: json.RawMessage(`{}`)},
			{Type: "m.typing", Content: json.RawMessage(`{"n":1}`)},
			{Type: "x.unknown", Content: json.RawMessage(`{}`)},
			{Type: "m.typing", Content: json.RawMessage(`{"n":2}`)},
		}})
		Expect(err).NotTo(HaveOccurred())
		Expect(results).To(BeEmpty())
		Expect(s.edus.edus).To(HaveLen(2))
		Expect(string(s.edus.edus[1].Content)).To(ContainSubstring("2"))
	})
})

var _ = Describe("membership endpoints", func() {
	var (
		s      *server
		bob    *peer
		roomID id.RoomID
		ctx    = context.Background()
	)
	BeforeEach(func() {
		bob = newPeer("peer.test")
		s = start(bob)
		roomID = s.create("10")
	})
	code := func(err error) string {
		wire, _ := errors.AsType[*federation.Error](err)
		if wire == nil {
			return fmt.Sprint(err)
		}
		return wire.Code
	}

	It("make_join refuses what it can't answer", func() {
		ask := func(origin id.ServerName, req federation.MakeRequest) string {
			_, err := s.rooms.MakeJoin(ctx, origin, req)
			return code(err)
		}
		ten := []roomversion.Version{"10"}
		Expect(ask(bob.name, federation.MakeRequest{RoomID: "!no:self.test", UserID: bob.user, Versions: ten})).To(Equal("M_NOT_FOUND"))
		Expect(ask(bob.name, federation.MakeRequest{RoomID: roomID, UserID: bob.user})).To(Equal("M_INCOMPATIBLE_ROOM_VERSION"))
		Expect(ask("other.test", federation.MakeRequest{RoomID: roomID, UserID: bob.user, Versions: ten})).To(Equal("M_FORBIDDEN"))
		_, err := s.rooms.MakeLeave(ctx, bob.name, federation.MakeRequest{RoomID: roomID, UserID: bob.user})
		Expect(code(err)).To(Equal("M_FORBIDDEN"))
		_, err = s.rooms.MakeKnock(ctx, bob.name, federation.MakeRequest{RoomID: roomID, UserID: bob.user, Versions: ten})
		Expect(code(err)).To(Equal("M_FORBIDDEN"))
	})

	It("send_join takes only a join, signed by its sender, under its own ID", func() {
		d := bob.message(s, roomID, "x")
		join := bob.sign(s, bob.message(s, roomID, "x"))
		send := func(origin id.ServerName, eventID id.EventID, raw json.RawMessage) string {
			_, err := s.rooms.SendJoin(ctx, origin, federation.SendRequest{RoomID: roomID, EventID: eventID, Event: raw})
			return code(err)
		}
		Expect(send(bob.name, join.ID(), join.JSON())).To(Equal("M_INVALID_PARAM"), "a message")
		key := string(bob.user)
		d.Type, d.StateKey, d.Content = "m.room.member", &key, json.RawMessage(`{"membership":"join"}`)
		d.AuthEvents = append(d.AuthEvents, func() id.EventID {
			state, err := s.store.CurrentState(ctx, roomID)
			Expect(err).NotTo(HaveOccurred())
			rules, _ := wholestate.Get(state, "m.room.join_rules", "")
			return rules
		}())
		good := bob.sign(s, d)
		Expect(send(bob.name, "$other", good.JSON())).To(Equal("M_INVALID_PARAM"))
		Expect(send("other.test", good.ID(), good.JSON())).To(Equal("M_INVALID_PARAM"))
		Expect(send(bob.name, good.ID(), with(good, "signatures", map[string]any{}))).To(Equal("M_INVALID_PARAM"))
		Expect(send(bob.name, good.ID(), with(good, "content", map[string]any{"membership": "join", "x": "y"}))).To(Equal("M_INVALID_PARAM"))
		other := "@other:peer.test"
		d.StateKey = &other
		wrong := bob.sign(s, d)
		Expect(send(bob.name, wrong.ID(), wrong.JSON())).To(Equal("M_INVALID_PARAM"))
		Expect(send(bob.name, good.ID(), good.JSON())).To(Equal("<nil>"))
		Expect(send(bob.name, good.ID(), good.JSON())).To(Equal("<nil>"), "sent again")
	})

	It("invite signs only an invite of a user of ours", func() {
		key := string(alice)
		d := bob.message(s, roomID, "x")
		d.RoomID, d.Type, d.StateKey, d.Content = "!theirs:peer.test", "m.room.member", &key, json.RawMessage(`{"membership":"invite"}`)
		rules, _ := roomversion.Lookup("10")
		e, err := d.Sign(rules, bob.name, bob.key)
		Expect(err).NotTo(HaveOccurred())
		ask := func(req federation.InviteRequest) string {
			_, err := s.rooms.ReceiveInvite(ctx, bob.name, req)
			return code(err)
		}
		req := federation.InviteRequest{RoomID: d.RoomID, EventID: e.ID(), RoomVersion: "10", Event: e.JSON(),
			InviteRoomState: []json.RawMessage{json.RawMessage(`{"type":"m.room.name","state_key":"","sender":"@bob:peer.test","content":{"name":"x"},"unsigned":{"evil":1}}`), json.RawMessage(`{"type":7}`)}}
		bad := req
		bad.RoomVersion = "99"
		Expect(ask(bad)).To(Equal("M_INCOMPATIBLE_ROOM_VERSION"))
		bad = req
		bad.EventID = "$x"
		Expect(ask(bad)).To(Equal("M_INVALID_PARAM"))
		bad = req
		bad.Event = with(e, "signatures", map[string]any{})
		Expect(ask(bad)).To(Equal("M_INVALID_PARAM"))
		bad.Event = with(e, "content", map[string]any{"membership": "invite", "n": 1.5})
		Expect(ask(bad)).To(Equal("M_BAD_JSON"))
		Expect(ask(req)).To(Equal("<nil>"))
		m, ok, err := s.store.Membership(ctx, d.RoomID, alice)
		Expect(err).NotTo(HaveOccurred())
		Expect(ok).To(BeTrue())
		Expect(m.Membership).To(Equal("invite"))
		Expect(m.Stripped).To(HaveLen(1))
		Expect(string(m.Stripped[0])).NotTo(ContainSubstring("evil"))
	})

	It("an invite to a room of version 12 must prove the room", func() {
		rules, _ := roomversion.Lookup("12")
		d := bob.message(s, roomID, "x")
		create := d
		create.RoomID, create.Type, create.StateKey, create.Content = "", "m.room.create", new(string), json.RawMessage(`{"room_version":"12"}`)
		create.PrevEvents, create.AuthEvents, create.Depth = nil, nil, 1
		c, err := create.Sign(rules, bob.name, bob.key)
		Expect(err).NotTo(HaveOccurred())
		key := string(alice)
		d.RoomID, d.Type, d.StateKey, d.Content = c.RoomID(), "m.room.member", &key, json.RawMessage(`{"membership":"invite"}`)
		e, err := d.Sign(rules, bob.name, bob.key)
		Expect(err).NotTo(HaveOccurred())
		ask := func(state ...json.RawMessage) string {
			_, err := s.rooms.ReceiveInvite(ctx, bob.name, federation.InviteRequest{RoomID: c.RoomID(), EventID: e.ID(), RoomVersion: "12", Event: e.JSON(), InviteRoomState: state})
			return code(err)
		}
		Expect(ask()).To(Equal("M_MISSING_PARAM"))
		Expect(ask(json.RawMessage(`{"type":"m.room.create","state_key":"","sender":"@bob:peer.test","content":{}}`))).To(Equal("M_INVALID_PARAM"))
		Expect(ask(c.JSON())).To(Equal("<nil>"))
	})
})

var _ = Describe("profiles", func() {
	It("gives one field or all, of our users only", func() {
		s := start()
		h := s.inbound.Handlers().Profiles
		all, err := h.Profile(context.Background(), "peer.test", federation.ProfileRequest{UserID: alice})
		Expect(err).NotTo(HaveOccurred())
		Expect(all).To(HaveLen(2))
		one, err := h.Profile(context.Background(), "peer.test", federation.ProfileRequest{UserID: alice, Field: "displayname"})
		Expect(err).NotTo(HaveOccurred())
		Expect(one).To(Equal(federation.ProfileResponse{"displayname": json.RawMessage(`"Alice"`)}))
		_, err = h.Profile(context.Background(), "peer.test", federation.ProfileRequest{UserID: alice, Field: "org.example.unset"})
		Expect(err).To(MatchError(ContainSubstring("M_NOT_FOUND")))
		none, err := h.Profile(context.Background(), "peer.test", federation.ProfileRequest{UserID: alice, Field: "avatar_url"})
		Expect(err).NotTo(HaveOccurred(), "an error says that there is no such user")
		Expect(json.Marshal(none)).To(BeEquivalentTo(`{}`))
		_, err = h.Profile(context.Background(), "peer.test", federation.ProfileRequest{UserID: "@x:peer.test"})
		Expect(err).To(HaveOccurred())
	})
})
