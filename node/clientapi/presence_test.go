package clientapi

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/node/clientsync"
	"hanse/node/ephemeral"
	"hanse/node/stream"
)

// withPresence is a world in which users see who is there.
func withPresence() (*world, *ephemeral.Ephemeral) {
	GinkgoHelper()
	w := newWorld(nil)
	momentary, err := ephemeral.New(ephemeral.Config{Self: self, Store: w.store, Presence: ephemeral.PresenceBoth})
	Expect(err).NotTo(HaveOccurred())
	config := w.config
	config.Ephemeral = momentary
	config.Sync = clientsync.New(w.store, stream.New(w.store, momentary, nil), config.Rooms, momentary)
	w.config = config
	w.api, err = New(config)
	Expect(err).NotTo(HaveOccurred())
	w.server.Config.Handler = w.api
	return w, momentary
}

var _ = Describe("presence", func() {
	status := func(p *person) string { return "/presence/" + esc(p.id) + "/status" }

	It("is set, seen by who shares a room, and told in /sync", func() {
		w, momentary := withPresence()
		alice, bob, carol := w.register("alice"), w.register("bob"), w.register("carol")
		room := alice.room(obj{"preset": "public_chat"})
		fine(bob.post("/join/"+esc(room), nil))
		since := fine(bob.get("/sync?set_presence=offline")).text("next_batch")
		told := func() map[string]obj {
			momentary.Flush(context.Background())
			a := fine(bob.get("/sync?set_presence=offline&since=" + since))
			since = a.text("next_batch")
			all := map[string]obj{}
			for _, e := range a.body["presence"].(obj)["events"].([]any) {
				Expect(e.(obj)["type"]).To(Equal("m.presence"))
				all[e.(obj)["sender"].(string)] = e.(obj)["content"].(obj)
			}
			return all
		}
		fine(alice.put(status(alice), obj{"presence": "unavailable", "status_msg": "at lunch"}))
		fine(carol.put(status(carol), obj{"presence": "online"}))
		got := told()
		Expect(got).To(HaveLen(1))
		Expect(got[alice.id]).To(And(HaveKeyWithValue("presence", "unavailable"), HaveKeyWithValue("status_msg", "at lunch")))
		Expect(told()).To(BeEmpty())
		Expect(fine(bob.get(status(alice))).body).To(HaveKeyWithValue("presence", "unavailable"))
		refused(bob.get(status(carol)), 403, "M_FORBIDDEN")
		Expect(fine(carol.get(status(carol))).body).To(And(HaveKeyWithValue("presence", "online"), HaveKeyWithValue("currently_active", true), HaveKey("last_active_ago")))
		fine(alice.post("/rooms/"+esc(room)+"/send/m.room.message", obj{"msgtype": "m.text", "body": "back"}))
		Expect(told()[alice.id]).To(HaveKeyWithValue("presence", "online"))
		fine(carol.post("/join/"+esc(room), nil))
		Expect(told()).To(HaveKey(carol.id), "who has come")
		Expect(fine(carol.get("/sync?set_presence=offline")).body["presence"].(obj)["events"]).To(HaveLen(2), "who is there already")
		none := fine(carol.get("/sync?set_presence=offline&filter=" + esc(`{"presence":{"types":[]}}`)))
		Expect(none.body["presence"].(obj)["events"]).To(BeEmpty())
	})

	It("is that of the device which is most there", func() {
		w, _ := withPresence()
		alice := w.register("alice")
		login := fine(w.nobody().post("/login", obj{"type": "m.login.password", "user": "alice", "password": "secret of alice"}))
		phone := &person{w: w, id: alice.id, token: login.text("access_token")}
		state := func() any { return fine(alice.get(status(alice))).body["presence"] }
		Expect(state()).To(Equal("offline"))
		fine(phone.get("/sync"))
		Expect(state()).To(Equal("online"))
		fine(phone.get("/sync?set_presence=unavailable"))
		Expect(state()).To(Equal("unavailable"), "by its only device, at once")
		fine(alice.get("/sync?set_presence=online"))
		fine(phone.get("/sync?set_presence=unavailable"))
		Expect(state()).To(Equal("online"))
		fine(alice.put(status(alice), obj{"presence": "offline"}))
		Expect(state()).To(Equal("unavailable"))
		fine(phone.put(status(phone), obj{"presence": "online"}))
		Expect(state()).To(Equal("online"))
		fine(phone.post("/logout", obj{}))
		Expect(state()).To(Equal("offline"), "who is logged out counts no more")
	})

	It("refuses what is none", func() {
		w, _ := withPresence()
		alice, bob := w.register("alice"), w.register("bob")
		refused(alice.put(status(bob), obj{"presence": "online"}), 403, "M_FORBIDDEN")
		refused(alice.put(status(alice), obj{"presence": "dancing"}), 400, "M_BAD_JSON")
		refused(alice.put(status(alice), obj{}), 400, "M_MISSING_PARAM")
		refused(alice.put(status(alice), obj{"presence": "online", "status_msg": string(make([]byte, 2000))}), 400, "M_INVALID_PARAM")
		refused(alice.get("/sync?set_presence=dancing"), 400, "M_INVALID_PARAM")
	})

	It("that is off costs nobody anything", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		fine(alice.put(status(alice), obj{"presence": "online"}))
		Expect(fine(alice.get(status(alice))).body).To(Equal(obj{"presence": "offline"}))
		Expect(fine(alice.get("/sync?set_presence=online")).body["presence"].(obj)["events"]).To(BeEmpty())
	})
})
