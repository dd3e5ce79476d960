package appservice_test

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = onEach("An application service", func(w *world) {
	It("is told what happens in its rooms, in order", func() {
		w.bridge.start()
		w.start()
		alice, ghost := w.register("alice"), w.ghost("_irc_ghost")
		other := alice.room()
		alice.say(other, "none of its business")
		room := alice.room(ghost)
		alice.say(room, "not heard yet")
		ghost.join(room)
		var want []string
		for i := range 5 {
			want = append(want, fmt.Sprint("heard ", i))
			alice.say(room, want[i])
		}
		ghost.say(room, "from beyond")
		ghost.fine("POST", "/rooms/"+url.PathEscape(room)+"/leave", obj{})
		alice.say(room, "not heard any more")
		Eventually(w.bridge.said).Should(HaveLen(6))
		// Something of its own shows that nothing else comes.
		second := alice.room(ghost)
		Eventually(func() int { return len(w.bridge.events()) }).Should(Equal(6 + 4))
		Expect(w.bridge.said()).To(Equal(append(want, "from beyond")))

		events := w.bridge.events()
		Expect(events[0]).To(HaveKeyWithValue("state_key", ghost.id))
		Expect(events[0]["content"]).To(HaveKeyWithValue("membership", "invite"))
		shown := map[any]bool{}
		for _, one := range events[0]["unsigned"].(obj)["invite_room_state"].([]any) {
			shown[one.(obj)["type"].(string)+" "+one.(obj)["state_key"].(string)] = true
		}
		Expect(shown).To(And(HaveKey("m.room.create "), HaveKey("m.room.join_rules "), HaveKey("m.room.member "+alice.id), HaveKey("m.room.member "+ghost.id),
			Not(HaveKey("m.room.power_levels "))))
		Expect(events[1]["content"]).To(HaveKeyWithValue("membership", "join"))
		Expect(events[1]["unsigned"]).To(HaveKeyWithValue("prev_content", HaveKeyWithValue("membership", "invite")))
		Expect(events[8]["content"]).To(HaveKeyWithValue("membership", "leave"))
		Expect(events[9]).To(HaveKeyWithValue("room_id", second))
		for _, e := range events[:9] {
			Expect(e).To(SatisfyAll(HaveKeyWithValue("room_id", room), HaveKey("event_id"), HaveKey("origin_server_ts"), HaveKey("sender")))
		}
	})

	It("misses nothing while it is away, and the node is killed meanwhile", func() {
		w.bridge.start()
		w.start()
		alice, ghost := w.register("alice"), w.ghost("_irc_ghost")
		room := alice.room(ghost)
		ghost.join(room)
		alice.say(room, "before")
		Eventually(w.bridge.said).Should(Equal([]string{"before"}))

		w.bridge.stop()
		want := []string{"before"}
		say := func(n int) {
			GinkgoHelper()
			for range n {
				want = append(want, fmt.Sprint("message ", len(want)))
				alice.say(room, want[len(want)-1])
			}
		}
		say(40)
		w.kill()
		w.start()
		say(80)
		ghost.fine("POST", "/rooms/"+url.PathEscape(room)+"/leave", obj{})
		alice.say(room, "after the ghost left")
		w.kill()

		// It is back, and takes things: at first it says that it can't, then its answers are lost.
		var refused atomic.Int32
		w.bridge.set(func(b *bridge) {
			b.refuse = func(path string) int {
				if !strings.HasPrefix(path, "/transactions/") {
					return 0
				}
				switch n := refused.Add(1); {
				case n == 1:
					return 500
				case n <= 3 || n == 5:
					return -1
				}
				return 0
			}
		})
		w.bridge.start()
		w.start()
		ping := func() {
			w.ofBridge("").do("POST", "/_matrix/client/v1/appservice/test%20bridge/ping", obj{})
		}
		Eventually(func() []string { ping(); return w.bridge.said() }).Should(HaveLen(len(want)))
		Expect(w.bridge.said()).To(Equal(want))
		// What was sent again was the same.
		bodies := map[string]string{}
		for _, t := range w.bridge.all() {
			if body, before := bodies[t.id]; before {
				Expect(string(t.body)).To(Equal(body))
			}
			bodies[t.id] = string(t.body)
		}
		// Nor is anything sent once more after another restart.
		w.stop()
		taken := len(w.bridge.all())
		w.start()
		room = alice.room(ghost)
		Eventually(func() int { return len(w.bridge.all()) }).Should(Equal(taken + 1))
		Expect(w.bridge.said()).To(Equal(want))
	})

	It("that misbehaves is told later, and keeps nobody else", func() {
		w.bridge.start()
		w.start()
		alice, ghost := w.register("alice"), w.ghost("_irc_ghost")
		room := alice.room(ghost)
		ghost.join(room)
		alice.say(room, "fine")
		Eventually(w.bridge.said).Should(Equal([]string{"fine"}))
		// It leads elsewhere, and its answers have no end.
		var tries atomic.Int32
		hostile := &http.Server{Handler: http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/_matrix/app/v1/users/") {
				http.Redirect(out, r, "http://"+w.config.Client.Listen[0]+"/_matrix/client/versions", http.StatusFound)
				return
			}
			if strings.Contains(r.URL.Path, "/transactions/") {
				tries.Add(1)
			}
			out.WriteHeader(http.StatusInternalServerError)
			for {
				if _, err := out.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		})}
		w.bridge.stop()
		listener, err := net.Listen("tcp", w.bridge.address)
		Expect(err).NotTo(HaveOccurred())
		go hostile.Serve(listener)                   //nolint:errcheck // it ends by Close
		DeferCleanup(func() { _ = hostile.Close() }) // it may be closed
		alice.say(room, "while it is hostile")       // as fast as ever
		alice.refused(404, "M_NOT_FOUND", "GET", "/profile/@_irc_elsewhere:hanse.test", nil)
		Eventually(func() int32 { w.ping(); return tries.Load() }).Should(BeNumerically(">=", 2))
		w.kill()
		Expect(hostile.Close()).To(Succeed())
		// Its registration has changed meanwhile: it is told what it has missed, where it is now.
		w.bridge.address = freeAddress()
		w.config.ApplicationServices = []string{w.bridge.registration(w.config.DataDir)}
		w.bridge.start()
		w.start()
		alice.say(room, "back")
		Eventually(func() []string { w.ping(); return w.bridge.said() }).Should(Equal([]string{"fine", "while it is hostile", "back"}))
		// One that was taken out is forgotten, with what waited.
		w.bridge.stop()
		alice.say(room, "never told")
		w.stop()
		services := w.config.ApplicationServices
		w.config.ApplicationServices = nil
		w.start()
		alice.say(room, "nor this")
		w.stop()
		w.config.ApplicationServices = services
		w.bridge.start()
		w.start()
		alice.say(room, "new")
		Eventually(func() []string { w.ping(); return w.bridge.said() }).Should(Equal([]string{"fine", "while it is hostile", "back", "new"}))
	})

	It("is told in the way of before the specification, if it knows no other", func() {
		w.bridge.legacy, w.bridge.tokenInQuery = true, true
		w.bridge.start()
		w.start()
		alice, ghost := w.register("alice"), w.ghost("_irc_ghost")
		room := alice.room(ghost)
		ghost.join(room)
		alice.say(room, "hello")
		Eventually(w.bridge.said).Should(Equal([]string{"hello"}))
		w.bridge.set(func(b *bridge) { b.legacy = false })
		alice.say(room, "hello again")
		Eventually(w.bridge.said).Should(Equal([]string{"hello", "hello again"}))
	})
})

var _ = onEach("Ephemeral data", func(w *world) {
	It("goes to those who want it, of what they may know", func() {
		w.bridge.extra = "receive_ephemeral: true\nde.sorunome.msc2409.push_ephemeral: true\n"
		w.config.ApplicationServices = []string{w.bridge.registration(w.config.DataDir)}
		w.bridge.start()
		w.start()
		alice, ghost := w.register("alice"), w.ghost("_irc_ghost")
		room, other := alice.room(ghost), alice.room()
		ghost.join(room)
		message, elsewhere := ghost.say(room, "read me"), alice.say(other, "nobody's business")
		read := func(room, typ, event string) {
			GinkgoHelper()
			alice.fine("POST", "/rooms/"+url.PathEscape(room)+"/receipt/"+typ+"/"+url.PathEscape(event), obj{})
		}
		read(other, "m.read", elsewhere)
		read(room, "m.read.private", message)
		read(room, "m.read", message)
		for _, key := range []string{"ephemeral", "de.sorunome.msc2409.ephemeral"} {
			Eventually(func() []map[string]any { return w.bridge.ephemeral(key, "m.receipt") }).ShouldNot(BeEmpty())
		}
		for _, e := range w.bridge.ephemeral("ephemeral", "m.receipt") {
			Expect(e).To(HaveKeyWithValue("room_id", room))
			Expect(e["content"]).To(HaveKeyWithValue(message, SatisfyAll(HaveKey("m.read"), Not(HaveKey("m.read.private")))))
		}
		typing := "/rooms/" + url.PathEscape(room) + "/typing/" + url.PathEscape(alice.id)
		alice.fine("PUT", typing, obj{"typing": true, "timeout": 30000})
		Eventually(func() []map[string]any { return w.bridge.ephemeral("ephemeral", "m.typing") }).Should(ContainElement(SatisfyAll(
			HaveKeyWithValue("room_id", room), HaveKeyWithValue("content", HaveKeyWithValue("user_ids", ConsistOf(alice.id))))))
		alice.fine("PUT", "/presence/"+url.PathEscape(alice.id)+"/status", obj{"presence": "unavailable", "status_msg": "lunch"})
		Eventually(func() []map[string]any { return w.bridge.ephemeral("ephemeral", "m.presence") }).Should(ContainElement(SatisfyAll(
			HaveKeyWithValue("sender", alice.id), HaveKeyWithValue("content", HaveKeyWithValue("status_msg", "lunch")))))
		// Receipts wait for it, but its events go first.
		w.bridge.stop()
		next := ghost.say(room, "while it is away")
		read(room, "m.read", next)
		w.bridge.start()
		Eventually(func() []map[string]any {
			w.ofBridge("").do("POST", "/_matrix/client/v1/appservice/test%20bridge/ping", obj{})
			return w.bridge.ephemeral("ephemeral", "m.receipt")
		}).Should(ContainElement(HaveKeyWithValue("content", HaveKey(next))))
		Expect(w.bridge.said()).To(ContainElement("while it is away"))
	})
})
