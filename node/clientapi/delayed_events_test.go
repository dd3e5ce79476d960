package clientapi

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

const delayedPath = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events"

var _ = Describe("delayed events", func() {
	It("are scheduled, moved, sent and cancelled by whoever knows their ID", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{"preset": "public_chat"})
		in := "/rooms/" + esc(room)
		Expect(fine(alice.get("/_matrix/client/versions")).body["unstable_features"]).To(HaveKeyWithValue("org.matrix.msc4140", true))
		later := func(path, body string) string {
			GinkgoHelper()
			a := fine(alice.put(in+path+"?org.matrix.msc4140.delay=3600000", body), "delay_id")
			Expect(a.body).NotTo(HaveKey("event_id"))
			return a.text("delay_id")
		}
		leave := later("/state/org.matrix.msc3401.call.member/_key", `{"left":true}`)
		message := later("/send/m.room.message/1", `{"body":"later"}`)
		Expect(later("/send/m.room.message/1", `{"body":"later"}`)).To(Equal(message))
		Expect(later("/send/m.room.message/1", "")).To(Equal(message), "what was answered is answered so again, whatever the body")
		refused(alice.put(in+"/send/m.room.message/2?org.matrix.msc4140.delay=3600000", ""), 400, "M_NOT_JSON")
		list := fine(alice.get(delayedPath)).body["delayed_events"]
		Expect(list).To(ConsistOf(
			And(HaveKeyWithValue("delay_id", leave), HaveKeyWithValue("state_key", "_key"), HaveKeyWithValue("delay", 3600000.0),
				HaveKeyWithValue("room_id", room), HaveKeyWithValue("content", obj{"left": true}), HaveKeyWithValue("running_since", BeNumerically(">", 1))),
			And(HaveKeyWithValue("delay_id", message), HaveKeyWithValue("type", "m.room.message"), Not(HaveKey("state_key"))),
		))
		Expect(fine(bob.get(delayedPath)).body["delayed_events"]).To(BeEmpty())
		refused(w.nobody().get(delayedPath), 401, "M_MISSING_TOKEN")

		fine(alice.post(delayedPath+"/"+leave, obj{"action": "restart"}))
		fine(w.nobody().post(delayedPath+"/"+leave+"/restart", obj{}))
		refused(alice.post(delayedPath+"/"+leave, obj{}), 400, "M_MISSING_PARAM")
		refused(alice.post(delayedPath+"/"+leave, obj{"action": "praise"}), 400, "M_INVALID_PARAM")
		refused(w.nobody().post(delayedPath+"/"+leave+"/praise", obj{}), 404, "M_UNRECOGNIZED")
		refused(alice.post(delayedPath+"/nonsense", obj{"action": "send"}), 404, "M_NOT_FOUND")
		fine(w.nobody().post(delayedPath+"/"+leave+"/send", nil))
		Expect(alice.state(room, "org.matrix.msc3401.call.member", "_key")).To(Equal(obj{"left": true}))
		refused(alice.post(delayedPath+"/"+leave, obj{"action": "send"}), 404, "M_NOT_FOUND")
		fine(alice.post(delayedPath+"/"+message, obj{"action": "cancel"}))
		Expect(fine(alice.get(delayedPath)).body["delayed_events"]).To(BeEmpty())
		Expect(fine(alice.get(in + "/messages?dir=b")).raw).NotTo(ContainSubstring("later"))
	})

	It("are cancelled by whoever else sets the state meanwhile", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{"preset": "public_chat", "power_level_content_override": obj{"events": obj{"org.example": 0}}})
		fine(bob.post("/join/"+esc(room), obj{}))
		in := "/rooms/" + esc(room) + "/state/org.example/"
		fine(bob.put(in+"other", obj{"by": "bob before"}))
		own := fine(alice.put(in+"own?org.matrix.msc4140.delay=3600000", obj{"by": "alice, late"})).text("delay_id")
		other := fine(alice.put(in+"other?org.matrix.msc4140.delay=3600000", obj{"by": "alice, late"})).text("delay_id")
		fine(alice.put(in+"own", obj{"by": "alice"}))
		fine(alice.put(in+"other", obj{"by": "alice"}))
		Expect(fine(alice.get(delayedPath)).body["delayed_events"]).To(HaveLen(2))
		fine(bob.put(in+"other", obj{"by": "bob"}))
		Expect(fine(alice.get(delayedPath)).body["delayed_events"]).To(ConsistOf(HaveKeyWithValue("delay_id", own)))
		refused(alice.post(delayedPath+"/"+other+"/send", obj{}), 404, "M_NOT_FOUND")
		Expect(alice.state(room, "org.example", "other")).To(Equal(obj{"by": "bob"}))
		fine(alice.put(in+"other", obj{"by": "alice"}))
		refused(alice.post(delayedPath+"/"+other+"/send", obj{}), 404, "M_NOT_FOUND")
		fine(alice.post(delayedPath+"/"+own+"/send", obj{}))
		Expect(alice.state(room, "org.example", "own")).To(Equal(obj{"by": "alice, late"}))
	})

	It("have room for others when somebody else has set their state", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{"preset": "public_chat", "power_level_content_override": obj{"events": obj{"org.example": 0}}})
		fine(bob.post("/join/"+esc(room), obj{}))
		in := "/rooms/" + esc(room) + "/state/org.example/"
		later := func(key string) answered {
			return alice.put(in+key+"?org.matrix.msc4140.delay=3600000", obj{"by": "alice"})
		}
		for i := range 100 {
			fine(later(fmt.Sprint(i)))
		}
		refused(later("one more"), 429, "M_LIMIT_EXCEEDED")
		fine(bob.put(in+"7", obj{"by": "bob"}))
		fine(later("one more"))
		refused(later("two more"), 429, "M_LIMIT_EXCEEDED")
	})

	It("are sent by themselves, if they may be", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{"preset": "public_chat"})
		path := "/rooms/" + esc(room) + "/send/m.room.message/1?org.matrix.msc4140.delay="
		refused(bob.put(path+"1", obj{}), 403, "M_FORBIDDEN")
		for _, wrong := range []string{"0", "-1", "soon", "1.5"} {
			refused(alice.put(path+wrong, obj{}), 400, "M_INVALID_PARAM")
		}
		long := alice.put(path+"86400001", obj{})
		refused(long, 400, "M_UNKNOWN")
		Expect(long.body).To(HaveKeyWithValue("org.matrix.msc4140.errcode", "M_MAX_DELAY_EXCEEDED"))
		Expect(long.body).To(HaveKeyWithValue("org.matrix.msc4140.max_delay", 86400000.0))
		fine(alice.put(path+"1", obj{"body": "by itself"}), "delay_id")
		Eventually(func() string { return fine(alice.get("/rooms/" + esc(room) + "/messages?dir=b")).raw }).Should(ContainSubstring("by itself"))
		Eventually(func() any { return fine(alice.get(delayedPath)).body["delayed_events"] }).Should(BeEmpty())

		kept := fine(alice.put("/rooms/"+esc(room)+"/send/m.room.message/2?org.matrix.msc4140.delay=3600000", obj{})).text("delay_id")
		fine(w.administrator("root").put(suspendPath+alice.id, obj{"suspended": true}))
		refused(alice.put(path+"1", obj{}), 403, "M_USER_SUSPENDED")
		refused(alice.post(delayedPath+"/"+kept, obj{"action": "send"}), 403, "M_USER_SUSPENDED")
	})
})
