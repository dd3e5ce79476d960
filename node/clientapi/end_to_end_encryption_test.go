package clientapi

import (
	"fmt"
	"maps"
	"reflect"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/node/users"
)

// toDevice are the messages to the device in an answer of /sync.
func (a answered) toDevice() []any {
	messages, _ := a.body["to_device"].(obj)
	events, _ := messages["events"].([]any)
	return events
}

var _ = Describe("end-to-end encryption", func() {
	// spec:client-server-api#post_matrixclientv3login
	It("lets no device have the name of a cross-signing key", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		const key = "nqOvzeuGWT/sRx3h7+MHoInYj3Uk2LD/unI9kDYcHwk"
		fine(alice.post("/keys/device_signing/upload", obj{"master_key": obj{
			"user_id": alice.id, "usage": []string{"master"}, "keys": obj{"ed25519:" + key: key},
		}}))
		login := func(device string) answered {
			body := passwordOf("alice")
			body["device_id"] = device
			return w.nobody().post("/login", body)
		}
		refused(login(key), 403, "M_FORBIDDEN")
		fine(login(key + "2"))
	})

	It("hands messages to a device out in order, a hundred at a time, until they are acknowledged", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		since := fine(bob.get("/sync")).text("next_batch")
		for i := range 120 {
			for range 2 { // clients repeat what they are not sure of
				fine(alice.put(fmt.Sprintf("/sendToDevice/m.test/%d", i), obj{"messages": obj{bob.id: obj{"*": obj{"n": i}}}}))
			}
		}
		next := 0
		read := func(since string) string {
			GinkgoHelper()
			answer := fine(bob.get("/sync?since=" + since))
			for _, m := range answer.toDevice() {
				Expect(m.(obj)["content"].(obj)).To(HaveKeyWithValue("n", BeNumerically("==", next)))
				Expect(m.(obj)).To(HaveKeyWithValue("sender", alice.id))
				next++
			}
			return answer.text("next_batch")
		}
		read(since)
		Expect(next).To(Equal(100))
		next = 0 // not acknowledged: the same again
		since = read(since)
		Expect(next).To(Equal(100))
		since = read(since)
		Expect(next).To(Equal(120))
		read(since)
		Expect(next).To(Equal(120))
		initial := fine(bob.get("/sync")) // nothing acknowledged comes again
		Expect(initial.body).NotTo(HaveKey("to_device"))
	})

	It("tells who shares a room of new keys, and who joins and leaves", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := fine(alice.post("/createRoom", obj{"preset": "public_chat"})).text("room_id")
		since := fine(alice.get("/sync")).text("next_batch")
		lists := func() (changed, left any) {
			GinkgoHelper()
			answer := fine(alice.get("/sync?timeout=0&since=" + since))
			since = answer.text("next_batch")
			d := answer.body["device_lists"].(obj)
			return d["changed"], d["left"]
		}
		bobSince := fine(bob.get("/sync")).text("next_batch")
		fine(bob.post("/join/"+esc(room), nil))
		changed, _ := lists()
		Expect(changed).To(ConsistOf(bob.id))
		came := fine(bob.get("/sync?timeout=0&since=" + bobSince)).body["device_lists"].(obj)
		Expect(came["changed"]).To(ConsistOf(alice.id, bob.id), "all who are in the room now, oneself among them")
		fine(bob.post("/keys/upload", obj{"fallback_keys": obj{"signed_curve25519:a": obj{"key": "k"}}}))
		changed, left := lists()
		Expect(changed).To(BeEmpty())
		Expect(left).To(BeEmpty())
		device := fine(bob.get("/account/whoami")).text("device_id")
		fine(bob.post("/keys/upload", obj{"device_keys": obj{"user_id": bob.id, "device_id": device, "algorithms": []any{}, "keys": obj{}, "signatures": obj{}}}))
		changed, _ = lists()
		Expect(changed).To(ConsistOf(bob.id))
		keys := fine(alice.post("/keys/query", obj{"device_keys": obj{bob.id: []any{}}})).body["device_keys"].(obj)
		Expect(keys[bob.id]).To(HaveKeyWithValue(device, HaveKeyWithValue("unsigned", BeEmpty())))
		fine(bob.post("/rooms/"+esc(room)+"/leave", nil))
		changed, left = lists()
		Expect(left).To(ConsistOf(bob.id))
		Expect(changed).To(BeEmpty())
		fine(bob.post("/logout", nil))
		keys = fine(alice.post("/keys/query", obj{"device_keys": obj{bob.id: []any{}}})).body["device_keys"].(obj)
		Expect(keys).To(Equal(obj{bob.id: obj{}}), "there is an answer for bob, but nothing in it")
	})

	It("tells of devices that have no keys, too", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := fine(alice.post("/createRoom", obj{"preset": "public_chat"})).text("room_id")
		fine(bob.post("/join/"+esc(room), nil))
		since := fine(alice.get("/sync")).text("next_batch")
		told := func() any {
			GinkgoHelper()
			answer := fine(alice.get("/sync?timeout=0&since=" + since))
			since = answer.text("next_batch")
			return answer.body["device_lists"].(obj)["changed"]
		}
		Expect(told()).To(BeEmpty())
		login := fine(w.nobody().post("/login", obj{
			"type": "m.login.password", "password": "secret of bob", "identifier": obj{"type": "m.id.user", "user": "bob"},
		}))
		second := &person{w: w, id: bob.id, token: login.text("access_token"), device: login.text("device_id")}
		Expect(told()).To(ConsistOf(bob.id), "a new one")
		fine(second.put("/devices/"+second.device, obj{"display_name": "phone"}))
		Expect(told()).To(ConsistOf(bob.id), "its name")
		fine(second.post("/logout", nil))
		Expect(told()).To(ConsistOf(bob.id), "its end")
	})

	It("is there for clients that know it from before it was in the specification", func() {
		alice := newWorld(nil).register("alice")
		fine(alice.post("/_matrix/client/unstable/keys/query", obj{"device_keys": obj{}}))
		refused(alice.get("/_matrix/client/unstable/room_keys/version"), 404, "M_NOT_FOUND")
	})

	It("keeps backups of keys", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		refused(alice.get("/room_keys/version"), 404, "M_NOT_FOUND")
		version := fine(alice.post("/room_keys/version", obj{"algorithm": "a", "auth_data": obj{}})).text("version")
		refused(alice.post("/room_keys/version", obj{"algorithm": "a", "auth_data": nil}), 400, "M_MISSING_PARAM")
		fine(alice.put("/room_keys/version/"+version, obj{"algorithm": "a", "auth_data": "whatever clients keep there"}))
		Expect(fine(alice.get("/room_keys/version")).body).To(HaveKeyWithValue("auth_data", "whatever clients keep there"))
		session := obj{"first_message_index": 1, "forwarded_count": 0, "is_verified": false, "session_data": obj{}}
		fine(alice.put("/room_keys/keys/"+esc("!r:x")+"/s?version="+version, session), "count", "etag")
		Expect(fine(alice.get("/room_keys/keys?version=" + version)).body["rooms"].(obj)).To(HaveKey("!r:x"))
		for _, part := range []obj{{"first_message_index": "1"}, {"is_verified": nil}, {"session_data": nil}} {
			incomplete := maps.Clone(session)
			maps.Copy(incomplete, part)
			refused(alice.put("/room_keys/keys/"+esc("!r:x")+"/s?version="+version, incomplete), 400, "M_BAD_JSON")
		}
		refused(alice.put("/room_keys/keys/"+esc("!r:x")+"/s?version=9", session), 404, "M_NOT_FOUND")
		newer := fine(alice.post("/room_keys/version", obj{"algorithm": "a", "auth_data": obj{}})).text("version")
		wrong := alice.put("/room_keys/keys/"+esc("!r:x")+"/s?version="+version, session)
		refused(wrong, 403, "M_WRONG_ROOM_KEYS_VERSION")
		Expect(wrong.text("current_version")).To(Equal(newer))
	})

	It("lets nobody fill another's devices", func(ctx SpecContext) {
		w := newWorld(func(c *Config) { c.RateLimits = RateLimits{Registrations: Limit{PerSecond: 100, Burst: 100}} })
		alice, bob, carol := w.register("alice"), w.register("bob"), w.register("carol")
		for i := range 39 {
			_, err := w.users.Login(ctx, id.UserID(bob.id), users.LoginDevice{ID: fmt.Sprint(i)})
			Expect(err).NotTo(HaveOccurred())
		}
		txn := 0
		send := func(from, to *person) answered {
			GinkgoHelper()
			txn++
			return from.put(fmt.Sprint("/sendToDevice/m.x/", txn), obj{"messages": obj{to.id: obj{"*": obj{"x": strings.Repeat("x", 60_000)}}}})
		}
		for range 6 { // 40 devices get 2.4 MB
			fine(send(alice, bob))
		}
		refused(send(alice, bob), 429, "M_LIMIT_EXCEEDED")
		txn -= 2
		fine(send(alice, bob)) // the last that was sent, again
		fine(send(alice, carol))
		fine(send(carol, bob))
	})

	It("counts nothing of messages that aren't sent, and keeps nothing of whom they are for", func() {
		w := newWorld(func(c *Config) { c.RateLimits = RateLimits{Registrations: Limit{PerSecond: 100, Burst: 100}} })
		alice, bob := w.register("alice"), w.register("bob")
		txn := 0
		send := func(to, device string, content any) answered {
			txn++
			return alice.put(fmt.Sprint("/sendToDevice/m.x/", txn), obj{"messages": obj{to: obj{device: content}}})
		}
		for range 10 {
			refused(send(bob.id, "D", strings.Repeat("x", 1_900_000)), 400, "M_BAD_JSON")
		}
		fine(send(bob.id, "D", obj{}))
		before := len(w.api.toDevices.buckets)
		refused(send(strings.Repeat("x", 1<<20), "*", obj{}), 400, "M_INVALID_PARAM")
		Expect(len(w.api.toDevices.buckets)).To(Equal(before)) // all of them would be printed
	})

	It("gives back a large backup without having all of it in memory", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		version := fine(alice.post("/room_keys/version", obj{"algorithm": "a", "auth_data": obj{}})).text("version")
		sessions := func(n int) obj {
			all := obj{}
			for i := range n {
				all[fmt.Sprint("s", i)] = obj{"first_message_index": float64(i), "forwarded_count": 0.0, "is_verified": false, "session_data": obj{"ciphertext": strings.Repeat("x", 1000)}}
			}
			return obj{"sessions": all}
		}
		rooms := obj{"!a:x": sessions(1), "!b:x": sessions(150), "!c:\"x": sessions(2)}
		fine(alice.get("/room_keys/keys?version="+version), "rooms")
		fine(alice.put("/room_keys/keys?version="+version, obj{"rooms": rooms}))
		whole := fine(alice.get("/room_keys/keys?version=" + version))
		Expect(reflect.DeepEqual(whole.body, obj{"rooms": rooms})).To(BeTrue())
		Expect(whole.header.Get("Content-Length")).To(BeEmpty(), "it was written before all of it was there")
		Expect(fine(alice.get("/room_keys/keys/" + esc("!b:x") + "?version=" + version)).body["sessions"]).To(HaveLen(150))
		Expect(fine(alice.get("/room_keys/keys/" + esc("!z:x") + "?version=" + version)).body).To(Equal(sessions(0)))
		refused(alice.get("/room_keys/keys/"+esc("!z:x")+"/s?version="+version), 404, "M_NOT_FOUND")
	})
})
