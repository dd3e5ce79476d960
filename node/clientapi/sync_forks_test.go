package clientapi

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ed25519"

	"hanse/federation/authrules"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/signedjson"
	"hanse/testnet/wholestate"
)

// far is a server whose users come into rooms here.
const far = id.ServerName("far.test")

// farBob is one of them.
var farBob = id.UserID("@bob:" + string(far))

// profile is an event by which one of far's users is in a room under a name.
func (w *world) profile(roomID string, user id.UserID, name string, after []id.EventID, at time.Time) *event.Event {
	GinkgoHelper()
	return w.signed(roomID, event.Draft{Type: "m.room.member", Sender: user, StateKey: (*string)(&user), PrevEvents: after, OriginServerTS: at.UnixMilli()},
		obj{"membership": "join", "displayname": name})
}

// signed makes an event of a draft of one of far's users.
func (w *world) signed(roomID string, draft event.Draft, content obj) *event.Event {
	GinkgoHelper()
	ctx := context.Background()
	info, _, err := w.store.Room(ctx, id.RoomID(roomID))
	Expect(err).NotTo(HaveOccurred())
	draft.RoomID, draft.Depth, draft.AuthEvents = info.RoomID, info.Depth+1, []id.EventID{}
	draft.Content, err = json.Marshal(content)
	Expect(err).NotTo(HaveOccurred())
	state, err := w.store.CurrentState(ctx, info.RoomID)
	Expect(err).NotTo(HaveOccurred())
	for _, key := range authrules.Selection(info.Rules, draft.Type, draft.StateKey, draft.Sender, draft.Content) {
		if eventID, ok := wholestate.Get(state, key.Type, key.StateKey); ok {
			draft.AuthEvents = append(draft.AuthEvents, eventID)
		}
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	e, err := draft.Sign(info.Rules, far, signedjson.Key{ID: "ed25519:far", Private: private}) // nobody looks at it again
	Expect(err).NotTo(HaveOccurred())
	return e
}

// gets has the node take an event of far's.
func (w *world) gets(e *event.Event) string {
	GinkgoHelper()
	verdicts, err := w.config.Rooms.Submit(context.Background(), far, e.RoomID(), []*event.Event{e})
	Expect(err).NotTo(HaveOccurred())
	Expect(verdicts).To(ConsistOf(HaveField("Status", room.Accepted)))
	return string(e.ID())
}

// farBobJoins brings farBob into a room.
func (w *world) farBobJoins(roomID string, at time.Time) *event.Event {
	GinkgoHelper()
	info, _, err := w.store.Room(context.Background(), id.RoomID(roomID))
	Expect(err).NotTo(HaveOccurred())
	joined := w.profile(roomID, farBob, "Bob", info.Forward, at)
	w.gets(joined)
	return joined
}

var _ = Describe("/sync of a room that forked", func() {
	It("shows a name that lost against another one, and what was said before it", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		roomID := fine(alice.post("/createRoom", obj{"preset": "public_chat", "room_version": "10"})).text("room_id")
		now := time.Now()
		joined := w.farBobJoins(roomID, now.Add(-time.Hour))
		since := fine(alice.get("/sync")).text("next_batch")

		fork := []id.EventID{joined.ID()}
		newer, older := w.profile(roomID, farBob, "Robert", fork, now), w.profile(roomID, farBob, "Bobby", fork, now.Add(-time.Minute))
		want := []string{w.gets(newer)}
		want = append(want, fine(alice.put("/rooms/"+esc(roomID)+"/send/m.room.message/1", obj{"msgtype": "m.text", "body": "hello"})).text("event_id"))
		want = append(want, w.gets(older))
		Expect(fine(alice.get("/rooms/" + esc(roomID) + "/state/m.room.member/" + esc(string(farBob)))).text("displayname")).To(Equal("Robert"))

		timeline := fine(alice.get("/sync?timeout=0&since=" + since)).body["rooms"].(obj)["join"].(obj)[roomID].(obj)["timeline"].(obj)
		var got []string
		for _, e := range timeline["events"].([]any) {
			got = append(got, e.(obj)["event_id"].(string))
		}
		Expect(got).To(Equal(want))
	})

	It("tells that something was said where nothing but what lost comes after it", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		roomID := fine(alice.post("/createRoom", obj{"preset": "public_chat", "room_version": "10"})).text("room_id")
		now := time.Now()
		joined := w.farBobJoins(roomID, now.Add(-time.Hour))
		said := w.signed(roomID, event.Draft{Type: "m.room.message", Sender: farBob, PrevEvents: []id.EventID{joined.ID()}}, obj{"msgtype": "m.text", "body": "bye"})
		left := w.signed(roomID, event.Draft{
			Type: "m.room.member", Sender: farBob, StateKey: (*string)(&farBob), PrevEvents: []id.EventID{said.ID()}, OriginServerTS: now.Add(-time.Minute).UnixMilli(),
		}, obj{"membership": "leave"})
		w.gets(w.profile(roomID, farBob, "Robert", []id.EventID{joined.ID()}, now))
		since := fine(alice.get("/sync")).text("next_batch")
		verdicts, err := w.config.Rooms.Submit(context.Background(), far, id.RoomID(roomID), []*event.Event{said, left})
		Expect(err).NotTo(HaveOccurred())
		Expect(verdicts).To(HaveEach(HaveField("Status", room.Accepted)))
		Expect(fine(alice.get("/rooms/" + esc(roomID) + "/state/m.room.member/" + esc(string(farBob)))).text("displayname")).To(Equal("Robert"))

		rooms := fine(alice.get("/sync?timeout=0&since=" + since)).body["rooms"].(obj)
		Expect(rooms).To(HaveKeyWithValue("join", HaveKey(roomID)))
		told := rooms["join"].(obj)[roomID].(obj)
		Expect(told).To(HaveKeyWithValue("unread_notifications", HaveKeyWithValue("notification_count", 1.0)))
		Expect(told).To(HaveKeyWithValue("timeline", And(HaveKeyWithValue("events", BeEmpty()), HaveKeyWithValue("limited", true))))
		before := told["timeline"].(obj)["prev_batch"].(string)
		Expect(fine(alice.get("/rooms/" + esc(roomID) + "/messages?dir=b&from=" + before + "&to=" + since)).body["chunk"]).To(
			ConsistOf(HaveKeyWithValue("event_id", string(said.ID())), HaveKeyWithValue("event_id", string(left.ID()))))
	})

	It("counts and notifies of what is shown alone, and of all that is", func() {
		w := newWorld(nil)
		carol, alice := w.register("carol"), w.register("alice")
		roomID := fine(carol.post("/createRoom", obj{"preset": "public_chat", "room_version": "10", "initial_state": []any{
			obj{"type": "m.room.history_visibility", "content": obj{"history_visibility": "joined"}},
		}})).text("room_id")
		joined := w.farBobJoins(roomID, time.Now())
		fine(alice.post("/join/"+esc(roomID), obj{}))
		since := fine(alice.get("/sync")).text("next_batch")
		said := fine(carol.put("/rooms/"+esc(roomID)+"/send/m.room.message/1", obj{"msgtype": "m.text", "body": "hello"})).text("event_id")
		w.gets(w.signed(roomID, event.Draft{Type: "m.room.message", Sender: farBob, PrevEvents: []id.EventID{joined.ID()}}, obj{"msgtype": "m.text", "body": "among us"}))

		for _, path := range []string{"/sync", "/sync?timeout=0&since=" + since} {
			Expect(fine(alice.get(path)).body["rooms"].(obj)["join"]).To(HaveKeyWithValue(roomID, And(
				HaveKeyWithValue("unread_notifications", HaveKeyWithValue("notification_count", 1.0)),
				HaveKeyWithValue("timeline", HaveKeyWithValue("events", And(
					ContainElement(HaveKeyWithValue("event_id", said)), Not(ContainElement(HaveKeyWithValue("sender", string(farBob)))))),
				))), path)
		}
		Expect(fine(alice.get("/notifications")).body["notifications"]).To(ConsistOf(HaveKeyWithValue("event", HaveKeyWithValue("event_id", said))))
	})
})
