package clientapi

import (
	"fmt"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("extensions of a sliding sync", func() {
	var (
		w          *world
		alice, bob *person
		room       string
	)
	BeforeEach(func() {
		w = newWorld(nil)
		alice, bob = w.register("alice"), w.register("bob")
		room = alice.room(obj{"preset": "public_chat"})
		fine(bob.post("/join/"+esc(room), obj{}))
	})
	with := func(extension string, options obj) obj {
		request := lists(window(9, 1))
		options["enabled"] = true
		request["extensions"] = obj{extension: options}
		return request
	}

	It("are there if they are asked for", func() {
		Expect(alice.slide("", lists(window(9, 1))).body["extensions"]).To(BeEmpty())
		request := lists(window(9, 1))
		request["extensions"] = obj{"e2ee": obj{"enabled": false}, "org.example.unknown": obj{"enabled": true}, "receipts": obj{}}
		Expect(alice.slide("", request).body["extensions"]).To(BeEmpty())
	})

	It("hand out messages to the device until it says that it has them", func() {
		send := func(n int) {
			fine(alice.put(fmt.Sprintf("/sendToDevice/org.example.note/%d", n), obj{"messages": obj{bob.id: obj{bob.device: obj{"n": n}}}}))
		}
		for n := range 3 {
			send(n)
		}
		first := bob.slide("", with("to_device", obj{"limit": 2})).extension("to_device")
		Expect(first["events"]).To(HaveLen(2))
		Expect(first["events"].([]any)[0]).To(And(HaveKeyWithValue("type", "org.example.note"), HaveKeyWithValue("sender", alice.id),
			HaveKeyWithValue("content", obj{"n": 0.0})))
		again := bob.slide("", with("to_device", obj{})).extension("to_device")
		Expect(again["events"]).To(HaveLen(3), "nothing was acknowledged")
		rest := bob.slide("", with("to_device", obj{"since": first["next_batch"]})).extension("to_device")
		Expect(rest["events"]).To(HaveLen(1))
		rest = bob.slide("", with("to_device", obj{"since": rest["next_batch"]})).extension("to_device")
		Expect(rest["events"]).To(BeEmpty())
		Expect(bob.slide("", with("to_device", obj{})).extension("to_device")["events"]).To(BeEmpty())
		Expect(bob.slide("", with("to_device", obj{"since": "999999999"})).extension("to_device")).To(HaveKeyWithValue("next_batch", "999999999"))
		Expect(fine(bob.get("/sync")).body).NotTo(HaveKey("to_device"))

		By("and wake who waits")
		request := obj{"extensions": obj{"to_device": obj{"enabled": true, "since": rest["next_batch"]}}}
		pos := bob.slide("", request).pos()
		var waiting sync.WaitGroup
		var woken answered
		waiting.Go(func() {
			defer GinkgoRecover()
			woken = bob.slideFor(pos, request, time.Minute)
		})
		send(7)
		waiting.Wait()
		Expect(woken.extension("to_device")["events"]).To(HaveLen(1))
	})

	It("tell of devices and keys", func() {
		request := with("e2ee", obj{})
		at := bob.slide("", request)
		Expect(at.extension("e2ee")).To(Equal(obj{"device_one_time_keys_count": obj{"signed_curve25519": 0.0}, "device_unused_fallback_key_types": []any{}}))
		fine(alice.post("/keys/upload", obj{"device_keys": obj{
			"user_id": alice.id, "device_id": alice.device, "algorithms": []string{"m.megolm.v1.aes-sha2"},
			"keys": obj{"ed25519:" + alice.device: "abc"}, "signatures": obj{alice.id: obj{"ed25519:" + alice.device: "abc"}},
		}}))
		at = bob.slide(at.pos(), request)
		Expect(at.extension("e2ee")["device_lists"]).To(Equal(obj{"changed": []any{alice.id}, "left": []any{}}))
		fine(alice.post("/rooms/"+esc(room)+"/leave", obj{}))
		at = bob.slide(at.pos(), request)
		Expect(at.extension("e2ee")["device_lists"]).To(Equal(obj{"changed": []any{}, "left": []any{alice.id}}))
		at = bob.slide(at.pos(), request)
		Expect(at.extension("e2ee")["device_lists"]).To(Equal(obj{"changed": []any{}, "left": []any{}}))
	})

	It("tell of account data, of rooms when these are looked at", func() {
		other := alice.room(obj{})
		alice.say(other, "on top")
		set := func(path, value string) {
			fine(alice.put("/user/"+esc(alice.id)+path, obj{"v": value}))
		}
		set("/account_data/org.example.global", "1")
		set("/rooms/"+esc(room)+"/account_data/org.example.note", "1")
		set("/rooms/"+esc(other)+"/account_data/org.example.note", "1")
		request := obj{"lists": obj{"all": window(0, 1)}, "extensions": obj{"account_data": obj{"enabled": true}}}
		at := alice.slide("", request)
		data := at.extension("account_data")
		Expect(fmt.Sprint(data["global"])).To(And(ContainSubstring("org.example.global"), ContainSubstring("m.push_rules")))
		Expect(data["rooms"]).To(Equal(obj{other: []any{obj{"type": "org.example.note", "content": obj{"v": "1"}}}}))
		at = alice.slide(at.pos(), request)
		Expect(at.extension("account_data")).To(Equal(obj{"global": []any{}, "rooms": obj{}}))
		set("/account_data/org.example.global", "2")
		set("/rooms/"+esc(room)+"/account_data/org.example.note", "2")
		set("/rooms/"+esc(other)+"/account_data/org.example.note", "2")
		at = alice.slide(at.pos(), request)
		Expect(at.extension("account_data")).To(Equal(obj{
			"global": []any{obj{"type": "org.example.global", "content": obj{"v": "2"}}},
			"rooms":  obj{other: []any{obj{"type": "org.example.note", "content": obj{"v": "2"}}}},
		}))
		request["lists"] = obj{"all": window(1, 1)}
		at = alice.slide(at.pos(), request)
		Expect(at.extension("account_data")["rooms"]).To(Equal(obj{room: []any{obj{"type": "org.example.note", "content": obj{"v": "2"}}}}))

		By("what was out of sight is told afterwards")
		request["lists"] = obj{"all": window(0, 1)}
		at = alice.slide(at.pos(), request)
		set("/rooms/"+esc(room)+"/account_data/org.example.note", "3")
		at = alice.slide(at.pos(), request)
		Expect(at.extension("account_data")["rooms"]).To(BeEmpty())
		request["lists"] = obj{"all": window(1, 1)}
		at = alice.slide(at.pos(), request)
		Expect(at.extension("account_data")["rooms"]).To(Equal(obj{room: []any{obj{"type": "org.example.note", "content": obj{"v": "3"}}}}))
	})

	It("tell of receipts", func() {
		carol := w.register("carol")
		fine(carol.post("/join/"+esc(room), obj{}))
		old, last := alice.say(room, "one"), alice.say(room, "two")
		read := func(p *person, typ, event string) {
			fine(p.post("/rooms/"+esc(room)+"/receipt/"+typ+"/"+esc(event), obj{}))
		}
		read(alice, "m.read", last)
		read(bob, "m.read", old)
		read(bob, "m.read.private", old)
		read(carol, "m.read", old)
		read(carol, "m.read.private", last)
		request := with("receipts", obj{})
		at := bob.slide("", request)
		first := at.extension("receipts")["rooms"].(obj)[room].(obj)
		Expect(first).To(HaveKeyWithValue("type", "m.receipt"))
		Expect(first["content"].(obj)[last].(obj)["m.read"]).To(And(HaveKey(alice.id), HaveLen(1)), "who has read what is shown")
		Expect(first["content"].(obj)[last]).NotTo(HaveKey("m.read.private"))
		Expect(first["content"].(obj)[old].(obj)).To(And(HaveKey("m.read"), HaveKey("m.read.private")), "one's own")
		Expect(first["content"].(obj)[old].(obj)["m.read"]).To(And(HaveKey(bob.id), HaveLen(1)))
		at = bob.slide(at.pos(), request)
		Expect(at.extension("receipts")["rooms"]).To(BeEmpty())
		read(carol, "m.read", last)
		at = bob.slide(at.pos(), request)
		Expect(at.extension("receipts")["rooms"].(obj)[room].(obj)["content"]).To(HaveKey(last))
		Expect(at.body["rooms"]).To(BeEmpty())
		fine(bob.post("/rooms/"+esc(room)+"/receipt/m.read/"+esc(last), obj{"thread_id": "main"}))
		fine(bob.post("/rooms/"+esc(room)+"/receipt/m.read/"+esc(last), obj{}))
		own := bob.slide("", request).extension("receipts")["rooms"].(obj)[room].(obj)["content"].(obj)[last].(obj)["m.read"].(obj)[bob.id]
		Expect(own).NotTo(HaveKey("thread_id"), "of several at one event there is room for one: the one of all threads")
		nowhere := with("receipts", obj{"lists": []string{}, "rooms": []string{}})
		Expect(bob.slide("", nowhere).extension("receipts")["rooms"]).To(BeEmpty())
		named := with("receipts", obj{"lists": []string{"another"}, "rooms": []string{room}})
		Expect(bob.slide("", named).extension("receipts")["rooms"]).To(HaveKey(room))
		of := with("receipts", obj{"lists": []string{"all"}, "rooms": []string{}})
		Expect(bob.slide("", of).extension("receipts")["rooms"]).To(HaveKey(room))
	})

	It("tell who types", func() {
		request := with("typing", obj{})
		at := bob.slide("", request)
		Expect(at.extension("typing")["rooms"]).To(BeEmpty())
		fine(alice.put("/rooms/"+esc(room)+"/typing/"+esc(alice.id), obj{"typing": true, "timeout": 60_000}))
		at = bob.slide(at.pos(), request)
		Expect(at.extension("typing")["rooms"]).To(Equal(obj{room: obj{"type": "m.typing", "content": obj{"user_ids": []any{alice.id}}}}))
		Expect(bob.slide("", with("typing", obj{})).extension("typing")["rooms"]).To(HaveKey(room))
		at = bob.slide("", request)
		fine(alice.put("/rooms/"+esc(room)+"/typing/"+esc(alice.id), obj{"typing": false}))
		at = bob.slide(at.pos(), request)
		Expect(at.extension("typing")["rooms"]).To(Equal(obj{room: obj{"type": "m.typing", "content": obj{"user_ids": []any{}}}}))
		Expect(bob.slide(at.pos(), request).extension("typing")["rooms"]).To(BeEmpty())
	})
})
