package rooms_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/node/rooms"
	"hanse/node/store/sqlite"
	"hanse/testnet/wholestate"
)

// loseState restarts the server, and takes all nodes of states from its database but the root of a room's current state, so that the room
// can be loaded and little else of its state be read, but what is kept: what was read before is forgotten. give puts them back.
func (h *host) loseState(roomID id.RoomID, kept ...roomstate.Key) (give func()) {
	GinkgoHelper()
	root := h.state(roomID).Hash()
	h.restart()
	for _, key := range append(kept, roomstate.Key{Type: "m.room.policy"}, roomstate.Key{Type: "m.room.server_acl"}) { // which are looked at before the room's turn
		wholestate.Get(h.state(roomID), key.Type, key.StateKey)
	}
	write, read, err := sqlite.OpenUnsynced(filepath.Join(h.dir, "hanse.db")).Connect(context.Background())
	Expect(err).NotTo(HaveOccurred())
	Expect(read.Close()).To(Succeed())
	DeferCleanup(write.Close)
	execute(write, "CREATE TABLE lost_nodes AS SELECT hash, node FROM state_nodes")
	execute(write, "DELETE FROM state_nodes WHERE hash != $1", root[:])
	return func() {
		GinkgoHelper()
		execute(write, "INSERT INTO state_nodes (hash, node) SELECT hash, node FROM lost_nodes WHERE hash NOT IN (SELECT hash FROM state_nodes)")
	}
}

func execute(db *sql.DB, statement string, args ...any) {
	GinkgoHelper()
	_, err := db.ExecContext(context.Background(), statement, args...)
	Expect(err).NotTo(HaveOccurred())
}

var _ = Describe("A state that can't be read", func() {
	var (
		one, two, three   *host
		alice, bob, carol id.UserID
		roomID            id.RoomID
		give              func()
		ctx               = context.Background()
	)
	BeforeEach(func() {
		w := newWorld()
		one, two, three = w.start("one.test"), w.start("two.test"), w.start("three.test")
		alice, bob, carol = one.user("alice"), two.user("bob"), three.user("carol")
		var state []rooms.StateEvent
		for i := range 60 { // so that it takes several nodes
			state = append(state, rooms.StateEvent{Type: fmt.Sprint("test.", i), Content: []byte(`{}`)})
		}
		roomID = one.create(rooms.CreateRequest{InitialState: state})
		two.join(bob, roomID, "one.test")
		agree(roomID, one, two)
	})

	// fails checks an error of one: a fault of this server, not a refusal of who asked.
	fails := func(err error) {
		GinkgoHelper()
		Expect(err).To(HaveOccurred())
		if told, ok := errors.AsType[*federation.Error](err); ok {
			Expect(told.Status).To(BeNumerically(">=", http.StatusInternalServerError), "%v", err)
		}
	}

	It("refuses nobody and loses nothing: what needs it fails, and works once it can be read", func() {
		give = one.loseState(roomID)
		before, _, err := one.store.Room(ctx, roomID)
		Expect(err).NotTo(HaveOccurred())

		By("a message of a user here")
		_, err = one.rooms.Send(ctx, message(alice, roomID, "lost?"))
		fails(err)
		By("a message of another server, given by hand and by its sender")
		said := two.say(bob, roomID, "and this?")
		row, _, err := two.store.Event(ctx, said)
		Expect(err).NotTo(HaveOccurred())
		verdicts, err := one.rooms.Submit(ctx, "two.test", roomID, []*event.Event{row.Event})
		fails(err)
		Expect(verdicts).To(BeEmpty())
		By("a join through this server")
		Expect(three.rooms.Join(ctx, rooms.JoinRequest{User: carol, Room: roomID, Via: []id.ServerName{"one.test"}})).NotTo(Succeed())
		By("the members and the state for a user, and for a server")
		fails(one.rooms.EachJoined(ctx, alice, roomID, func(*event.Event) error { return nil }))
		_, err = one.rooms.State(ctx, alice, roomID)
		fails(err)
		_, err = one.rooms.ServerStateIDs(ctx, "two.test", federation.StateRequest{RoomID: roomID, EventID: before.Forward[0]})
		fails(err)

		after, _, err := one.store.Room(ctx, roomID)
		Expect(err).NotTo(HaveOccurred())
		Expect(after).To(Equal(before), "nothing is half done")
		Expect(one.store.RoomsWithStaged(ctx)).To(BeEmpty())
		_, found, err := one.store.Event(ctx, said)
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())

		give()
		last := one.say(alice, roomID, "here again") // which has the other server try again
		two.sees(last)
		one.sees(said)
		three.join(carol, roomID, "one.test")
		agree(roomID, one, two, three)
	})

	DescribeTable("doesn't keep out who was let in before and comes again once it can be read", func(omitMembers bool, kept ...string) {
		made, err := three.client.MakeJoin(ctx, "one.test", roomID, carol, []roomversion.Version{"10", "11", "12"})
		Expect(err).NotTo(HaveOccurred())
		rules, _ := roomversion.Lookup(made.RoomVersion)
		draft, err := event.ParseDraft(rules, made.Event)
		Expect(err).NotTo(HaveOccurred())
		joined, err := draft.Sign(rules, three.name, three.key.Current)
		Expect(err).NotTo(HaveOccurred())
		var keys []roomstate.Key
		for _, typ := range kept {
			keys = append(keys, roomstate.Key{Type: typ})
		}
		if len(kept) > 0 {
			keys = append(keys, roomstate.Key{Type: "m.room.member", StateKey: string(carol)}, roomstate.Key{Type: "m.room.member", StateKey: string(alice)})
		}
		before := one.state(roomID)
		want := len(maps.Collect(wholestate.All(before)))
		give = one.loseState(roomID, keys...)
		for range 2 {
			_, err = three.client.SendJoin(ctx, "one.test", roomID, joined.ID(), joined.JSON(), omitMembers)
			fails(err)
		}
		Expect(one.has(joined.ID())).To(Equal(len(kept) > 0), "it is taken in where its rules can be read, and only the answer fails")
		give()
		answer, err := three.client.SendJoin(ctx, "one.test", roomID, joined.ID(), joined.JSON(), omitMembers)
		Expect(err).NotTo(HaveOccurred())
		if !omitMembers {
			Expect(answer.State).To(HaveLen(want))
		}
		Expect(one.membership(roomID, carol)).To(Equal("join"))
		three.join(carol, roomID, "one.test")
		agree(roomID, one, two, three)
	},
		Entry("with nothing readable", false),
		Entry("with nothing readable, without members", true),
		Entry("with what says who may come", false, "m.room.create", "m.room.power_levels", "m.room.join_rules"),
		Entry("with what says who may come, without members", true, "m.room.create", "m.room.power_levels", "m.room.join_rules"),
	)
})
