package clientapi

import (
	"context"
	"encoding/json"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/node/appservice"
)

var _ = Describe("What application services are told", func() {
	It("has an invite to another server's room with what is known of that", func(ctx context.Context) {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{"name": "tea"})
		e, err := w.config.Rooms.StateEvent(ctx, id.UserID(alice.id), id.RoomID(room), "m.room.member", alice.id)
		Expect(err).NotTo(HaveOccurred())
		name, err := w.config.Rooms.StateEvent(ctx, id.UserID(alice.id), id.RoomID(room), "m.room.name", "")
		Expect(err).NotTo(HaveOccurred())
		outside := appservice.LiveEvent{OutOfRoom: true, Stripped: []json.RawMessage{[]byte(`{"type":"m.room.name"}`)}}
		outside.Event, outside.RoomID = e, id.RoomID(room)
		inside := appservice.LiveEvent{}
		inside.Event, inside.RoomID, inside.Position = name, id.RoomID(room), w.store.Position()

		all, err := TransactionForms{Sync: w.config.Sync}.Events(ctx, id.UserID(bob.id), func(id.UserID) bool { return false }, []appservice.LiveEvent{outside, inside})
		Expect(err).NotTo(HaveOccurred())
		Expect(all).To(HaveLen(2))
		var first, second obj
		Expect(json.Unmarshal(all[0], &first)).To(Succeed())
		Expect(json.Unmarshal(all[1], &second)).To(Succeed())
		Expect(first).To(And(HaveKeyWithValue("room_id", room), HaveKeyWithValue("type", "m.room.member"), HaveKeyWithValue("state_key", alice.id), HaveKeyWithValue("user_id", alice.id),
			HaveKeyWithValue("unsigned", And(HaveKey("age"), HaveKeyWithValue("join_room_state", ConsistOf(HaveKeyWithValue("type", "m.room.name")))))))
		Expect(second).To(And(HaveKeyWithValue("room_id", room), HaveKeyWithValue("content", HaveKeyWithValue("name", "tea")), HaveKeyWithValue("user_id", alice.id)))
	})
})
