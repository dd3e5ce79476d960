package store_test

import (
	"encoding/json"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/node/store"
)

var _ = onEach("Membership", func(db *fixture) {
	It("follows the current state, for everybody", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V12))
		Expect(a.receive(a.foreign(member(bob, "join", bob)))[0].Status).To(Equal(room.Accepted))
		must(a.propose(store.CommitOptions{}, member(dora, "invite", alice)))
		Expect(must(db.JoinedServers(ctx, a.id()))).To(Equal(map[id.ServerName]int{self: 1, "there.example": 1}))
		Expect(must(db.LocalJoined(ctx, a.id()))).To(Equal([]id.UserID{alice}))
		Expect(must(db.SharedRooms(ctx, alice, bob))).To(Equal([]id.RoomID{a.id()}))
		Expect(must(db.SharedRooms(ctx, dora, bob))).To(BeEmpty())
		Expect(must(db.JoinedRooms(ctx, bob))).To(Equal([]id.RoomID{a.id()}))
		Expect(must(db.RoomsWithUs(ctx, []id.UserID{alice, bob, "@nobody:there.example"}))).To(Equal(map[id.UserID][]id.RoomID{alice: {a.id()}, bob: {a.id()}}))

		m, found, err := db.Membership(ctx, a.id(), dora)
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeTrue())
		Expect(m.Membership).To(Equal("invite"))
		Expect(m.Sender).To(Equal(alice))
		Expect(m.OutOfRoom).To(BeFalse())
		_, found, err = db.Membership(ctx, a.id(), "@nobody:here.example")
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())

		Expect(must(db.Members(ctx, a.id(), store.MemberFilter{}))).To(HaveLen(3))
		Expect(must(db.Members(ctx, a.id(), store.MemberFilter{Membership: "join", Local: true}))).To(HaveLen(1))
		Expect(must(db.Members(ctx, a.id(), store.MemberFilter{NotMembership: "invite"}))).To(HaveLen(2))
		Expect(must(db.Members(ctx, a.id(), store.MemberFilter{Limit: 1}))).To(HaveLen(1))

		Expect(a.receive(a.foreign(member(bob, "leave", bob)))[0].Status).To(Equal(room.Accepted))
		Expect(must(db.JoinedServers(ctx, a.id()))).To(Equal(map[id.ServerName]int{self: 1}))
	})

	It("of ours is read without all the other members of a large room", func(ctx SpecContext) {
		Expect(db.plan(ctx, strings.ReplaceAll(store.LocalJoined, "$1", "1"))).To(ContainElement(ContainSubstring("members_local")))
	})

	It("is what the machine read of it, and is read where it didn't", func(ctx SpecContext) {
		c, events := joinOf("!large:there.example", 3)
		changes := c.Changes
		c.Changes = nil
		must(db.Commit(ctx, c, store.CommitOptions{}))
		read, by := events[0], id.UserID("@moderator:there.example") // otherwise than the event says, to be told from it
		must(db.Commit(ctx, room.Commit{
			RoomID: c.RoomID, Rules: c.Rules, Depth: 1, Resident: true, Forward: c.Forward, Current: c.Current, Changes: changes,
			Members: map[id.EventID]room.Member{read.ID(): {Membership: "ban", Sender: by}},
		}, store.CommitOptions{}))
		for i, e := range events {
			user, _ := e.StateKey()
			m, found, err := db.Membership(ctx, c.RoomID, id.UserID(user))
			Expect(err).NotTo(HaveOccurred())
			Expect(found).To(BeTrue())
			Expect(m.EventID).To(Equal(e.ID()))
			if i == 0 {
				Expect([]string{m.Membership, string(m.Sender)}).To(Equal([]string{"ban", string(by)}))
			} else {
				Expect([]string{m.Membership, string(m.Sender)}).To(Equal([]string{"join", user}))
			}
		}
	})

	It("of local users is known as it was at any position", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V10))
		var at []store.Position
		for _, membership := range []string{"join", "leave", "join"} {
			must(a.propose(store.CommitOptions{}, member(dora, membership, dora)))
			at = append(at, db.Position())
		}
		was := func(p store.Position) string {
			all := must(db.MembershipsAt(ctx, dora, p))
			if len(all) == 0 {
				return ""
			}
			Expect(all).To(HaveLen(1))
			return all[0].Membership
		}
		Expect([]string{was(at[0] - 5), was(at[0]), was(at[1]), was(at[2])}).To(Equal([]string{"", "join", "leave", "join"}))
		changes := must(db.MembershipChanges(ctx, dora, at[0], at[2]))
		Expect(changes).To(HaveLen(2))
		Expect(changes[0].Membership).To(Equal("leave"))
	})

	It("can be forgotten once left, and comes back", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V10))
		must(a.propose(store.CommitOptions{}, member(dora, "join", dora)))
		_, err := db.Forget(ctx, dora, a.id())
		Expect(err).To(MatchError(store.ErrNotFound))
		must(a.propose(store.CommitOptions{}, member(dora, "leave", dora)))
		must(db.Forget(ctx, dora, a.id()))
		Expect(must(db.Memberships(ctx, dora))[0].Forgotten).To(BeTrue())
		must(a.propose(store.CommitOptions{}, member(dora, "join", dora)))
		Expect(must(db.Memberships(ctx, dora))[0].Forgotten).To(BeFalse())
	})

	It("outside the rooms we take part in ends by what ends it, not by what ended an earlier one", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V10)) // lends its events
		rules := rulesOf(roomversion.V10)
		event := func(membership string) *event.Event {
			draft := must(a.draft(member(dora, membership, alice)))
			draft.RoomID = "!elsewhere:there.example"
			return must(draft.Sign(rules, bob.Server(), testKey()))
		}
		invite, ban := event("invite"), event("ban")
		must(db.SaveOutOfRoom(ctx, store.OutOfRoom{RoomID: invite.RoomID(), Rules: rules, Event: invite, User: dora}))
		must(db.SaveOutOfRoom(ctx, store.OutOfRoom{RoomID: invite.RoomID(), Rules: rules, Event: ban, User: dora, Ends: "$earlier"}))
		Expect(must(db.Memberships(ctx, dora))[0].Membership).To(Equal("invite"))
		must(db.SaveOutOfRoom(ctx, store.OutOfRoom{RoomID: invite.RoomID(), Rules: rules, Event: ban, User: dora, Ends: invite.ID()}))
		Expect(must(db.Memberships(ctx, dora))[0].Membership).To(Equal("ban"))
	})

	It("outside the rooms we take part in has stripped state", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V10)) // lends its events
		rules := rulesOf(roomversion.V10)
		draft := must(a.draft(member(dora, "invite", alice)))
		draft.RoomID = "!elsewhere:there.example"
		invite := must(draft.Sign(rules, bob.Server(), testKey()))
		stripped := []json.RawMessage{[]byte(`{"type":"m.room.name"}`)}
		feed := db.Follow(8)
		defer feed.Close()
		at := must(db.SaveOutOfRoom(ctx, store.OutOfRoom{RoomID: draft.RoomID, Rules: rules, Event: invite, User: dora, Stripped: stripped}))
		notices, _, _ := feed.Take()
		Expect(notices).To(Equal([]store.Notice{{Position: at, Kind: store.KindMembership, Room: draft.RoomID, Users: []id.UserID{dora}}}))
		db.restart()
		all := must(db.Memberships(ctx, dora))
		Expect(all).To(HaveLen(1))
		Expect(all[0]).To(Equal(store.Membership{
			RoomID: draft.RoomID, User: dora, Membership: "invite", EventID: invite.ID(), Sender: alice, Position: at, Since: at,
			OutOfRoom: true, Stripped: stripped,
		}))
		info, found, err := db.Room(ctx, draft.RoomID)
		Expect(err).NotTo(HaveOccurred())
		Expect([]bool{found, info.Created, info.Resident}).To(Equal([]bool{true, false, false}))
		_, found, err = db.LoadRoom(ctx, draft.RoomID)
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())

		must(db.RemoveOutOfRoom(ctx, draft.RoomID, dora))
		Expect(must(db.Memberships(ctx, dora))[0].Membership).To(Equal("leave"))
		_, err = db.RemoveOutOfRoom(ctx, draft.RoomID, dora)
		Expect(err).To(MatchError(store.ErrNotFound))
		_, err = db.SaveOutOfRoom(ctx, store.OutOfRoom{RoomID: a.id(), Rules: rules, Event: invite, User: dora})
		Expect(err).To(HaveOccurred(), "in a room we are in, the machine decides")
	})
})
