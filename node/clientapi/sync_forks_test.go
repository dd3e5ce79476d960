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
)

// far is a server whose users come into rooms here.
const far = id.ServerName("far.test")

// profile is an event by which one of far's users is in a room under a name.
func (w *world) profile(roomID string, user id.UserID, name string, after []id.EventID, at time.Time) *event.Event {
	GinkgoHelper()
	ctx := context.Background()
	info, _, err := w.store.Room(ctx, id.RoomID(roomID))
	Expect(err).NotTo(HaveOccurred())
	content, err := json.Marshal(obj{"membership": "join", "displayname": name})
	Expect(err).NotTo(HaveOccurred())
	stateKey := string(user)
	draft := event.Draft{
		RoomID: info.RoomID, Type: "m.room.member", Sender: user, StateKey: &stateKey, Content: content,
		PrevEvents: after, Depth: info.Depth + 1, OriginServerTS: at.UnixMilli(), AuthEvents: []id.EventID{},
	}
	state, err := w.store.CurrentState(ctx, info.RoomID)
	Expect(err).NotTo(HaveOccurred())
	for _, key := range authrules.Selection(info.Rules, draft.Type, draft.StateKey, draft.Sender, draft.Content) {
		if eventID, ok := state.Get(key.Type, key.StateKey); ok {
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

var _ = Describe("/sync of a room that forked", func() {
	It("shows a name that lost against another one, and what was said before it", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		roomID := fine(alice.post("/createRoom", obj{"preset": "public_chat", "room_version": "10"})).text("room_id")
		bob := id.UserID("@bob:" + string(far))
		info, _, err := w.store.Room(context.Background(), id.RoomID(roomID))
		Expect(err).NotTo(HaveOccurred())
		now := time.Now()
		joined := w.profile(roomID, bob, "Bob", info.Forward, now.Add(-time.Hour))
		w.gets(joined)
		since := fine(alice.get("/sync")).text("next_batch")

		fork := []id.EventID{joined.ID()}
		newer, older := w.profile(roomID, bob, "Robert", fork, now), w.profile(roomID, bob, "Bobby", fork, now.Add(-time.Minute))
		want := []string{w.gets(newer)}
		want = append(want, fine(alice.put("/rooms/"+esc(roomID)+"/send/m.room.message/1", obj{"msgtype": "m.text", "body": "hello"})).text("event_id"))
		want = append(want, w.gets(older))
		Expect(fine(alice.get("/rooms/" + esc(roomID) + "/state/m.room.member/" + esc(string(bob)))).text("displayname")).To(Equal("Robert"))

		timeline := fine(alice.get("/sync?timeout=0&since=" + since)).body["rooms"].(obj)["join"].(obj)[roomID].(obj)["timeline"].(obj)
		var got []string
		for _, e := range timeline["events"].([]any) {
			got = append(got, e.(obj)["event_id"].(string))
		}
		Expect(got).To(Equal(want))
	})
})
