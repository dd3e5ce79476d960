package clientapi

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// gateway is a push gateway.
type gateway struct {
	url    string
	pushed chan obj
	answer atomic.Value // what it answers, a string; "" is a failure
}

func newGateway() *gateway {
	g := &gateway{pushed: make(chan obj, 100)}
	g.answer.Store(`{"rejected":[]}`)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := g.answer.Load().(string)
		raw, _ := io.ReadAll(r.Body)
		var body struct {
			Notification obj `json:"notification"`
		}
		if answer == "" || json.Unmarshal(raw, &body) != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		g.pushed <- body.Notification
		_, _ = io.WriteString(w, answer)
	}))
	DeferCleanup(server.Close)
	g.url = server.URL + "/_matrix/push/v1/notify"
	return g
}

func (g *gateway) next() obj {
	GinkgoHelper()
	var n obj
	Eventually(g.pushed).Should(Receive(&n))
	return n
}

func pusher(url string, change obj) obj {
	p := obj{
		"app_id": "org.example.app", "pushkey": "key", "kind": "http", "app_display_name": "App", "device_display_name": "Phone",
		"lang": "en", "profile_tag": "tag", "data": obj{"url": url, "custom": obj{"a": 1.0}},
	}
	for key, value := range change {
		p[key] = value
	}
	return p
}

var _ = Describe("pushers", func() {
	It("are set, changed, listed and deleted", func() {
		alice := newWorld(nil).register("alice")
		url := "https://push.example.org/_matrix/push/v1/notify"
		Expect(fine(alice.get("/pushers")).body).To(Equal(obj{"pushers": []any{}}))
		fine(alice.post("/pushers/set", pusher(url, nil)))
		want := pusher(url, nil)
		Expect(fine(alice.get("/pushers")).body).To(Equal(obj{"pushers": []any{want}}))
		fine(alice.post("/pushers/set", pusher(url, obj{"lang": "de"})))
		Expect(fine(alice.get("/pushers")).body["pushers"].([]any)[0].(obj)["lang"]).To(Equal("de"))
		fine(alice.post("/pushers/set", obj{"app_id": "org.example.app", "pushkey": "key", "kind": nil}))
		fine(alice.post("/pushers/set", obj{"app_id": "org.example.app", "pushkey": "key", "kind": nil}))
		Expect(fine(alice.get("/pushers")).body).To(Equal(obj{"pushers": []any{}}))
	})

	It("that are malformed are refused", func() {
		alice := newWorld(nil).register("alice")
		url := "https://push.example.org/_matrix/push/v1/notify"
		for _, name := range []string{"app_id", "pushkey", "kind", "app_display_name", "device_display_name", "lang", "data"} {
			p := pusher(url, nil)
			delete(p, name)
			refused(alice.post("/pushers/set", p), 400, "M_MISSING_PARAM")
		}
		for _, change := range []obj{
			{"kind": "email"}, {"app_id": strings.Repeat("x", 65)}, {"app_id": ""}, {"pushkey": strings.Repeat("x", 513)}, {"pushkey": ""},
			{"data": nil}, {"data": obj{}}, {"data": obj{"url": "nonsense"}}, {"data": obj{"url": "https://push.example.org/else"}},
			{"data": obj{"url": "ftp://push.example.org/_matrix/push/v1/notify"}},
			{"data": obj{"url": "https://user:secret@push.example.org/_matrix/push/v1/notify"}},
			{"data": obj{"url": url, "x": strings.Repeat("x", 20_000)}}, {"lang": strings.Repeat("x", 2000)},
		} {
			refused(alice.post("/pushers/set", pusher(url, change)), 400, "M_INVALID_PARAM")
		}
		refused(alice.post("/pushers/set", pusher(url, obj{"kind": 7})), 400, "M_BAD_JSON")
		refused(alice.post("/pushers/set", obj{"app_id": "x", "kind": nil}), 400, "M_MISSING_PARAM")
	})

	It("belong to one user, unless they are to be one more", func() {
		w := newWorld(nil)
		alice, bob, carol := w.register("alice"), w.register("bob"), w.register("carol")
		url := "https://push.example.org/_matrix/push/v1/notify"
		number := func(p *person) int { return len(fine(p.get("/pushers")).body["pushers"].([]any)) }
		fine(alice.post("/pushers/set", pusher(url, nil)))
		fine(bob.post("/pushers/set", pusher(url, obj{"append": true})))
		Expect(number(alice)).To(Equal(1))
		fine(carol.post("/pushers/set", pusher(url, nil)))
		Expect([]int{number(alice), number(bob), number(carol)}).To(Equal([]int{0, 0, 1}))
		fine(carol.post("/logout", nil))
		again := fine(w.nobody().post("/login", obj{"type": "m.login.password", "password": "secret of carol",
			"identifier": obj{"type": "m.id.user", "user": "carol"}}))
		Expect(number(&person{w: w, id: carol.id, token: again.text("access_token")})).To(BeZero(), "it goes with its device")
	})

	It("tell the gateway of what notifies, and of counts", func() {
		w := newWorld(nil)
		g := newGateway()
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{"preset": "public_chat", "name": "Tea"})
		fine(bob.post("/join/"+esc(room), nil))
		fine(bob.post("/pushers/set", pusher(g.url, nil)))
		send := func(content obj) string {
			return fine(alice.post("/rooms/"+esc(room)+"/send/m.room.message", content)).text("event_id")
		}
		send(obj{"msgtype": "m.notice", "body": "nothing"})
		first := send(obj{"msgtype": "m.text", "body": "hi"})
		n := g.next()
		Expect(n["devices"].([]any)[0].(obj)["pushkey_ts"]).To(BeNumerically("~", time.Now().Unix(), 60))
		delete(n["devices"].([]any)[0].(obj), "pushkey_ts")
		Expect(n).To(Equal(obj{
			"event_id": first, "room_id": room, "type": "m.room.message", "sender": alice.id, "sender_display_name": "alice", "room_name": "Tea",
			"prio": "high", "content": obj{"msgtype": "m.text", "body": "hi"}, "counts": obj{"unread": 1.0},
			"devices": []any{obj{"app_id": "org.example.app", "pushkey": "key", "data": obj{"custom": obj{"a": 1.0}}, "tweaks": obj{"sound": "default"}}},
		}))

		fine(bob.post("/rooms/"+esc(room)+"/receipt/m.read/"+esc(first), obj{}))
		n = g.next()
		Expect(n).NotTo(HaveKey("event_id"))
		Expect(n["counts"]).To(Equal(obj{}))

		fine(bob.post("/pushers/set", pusher(g.url, obj{"data": obj{"url": g.url, "format": "event_id_only"}})))
		second := send(obj{"msgtype": "m.text", "body": "hi", "m.mentions": obj{"user_ids": []any{bob.id}}})
		n = g.next()
		delete(n["devices"].([]any)[0].(obj), "pushkey_ts")
		Expect(n).To(Equal(obj{
			"event_id": second, "room_id": room, "prio": "high", "counts": obj{"unread": 1.0},
			"devices": []any{obj{"app_id": "org.example.app", "pushkey": "key", "data": obj{"format": "event_id_only"}}},
		}))

		other := alice.room(obj{"invite": []any{bob.id}})
		n = g.next()
		Expect(n["room_id"]).To(Equal(other))
	})

	It("try again what failed, and go when they are rejected", func() {
		w := newWorld(nil)
		g := newGateway()
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{"preset": "public_chat"})
		fine(bob.post("/join/"+esc(room), nil))
		fine(bob.post("/pushers/set", pusher(g.url, nil)))
		g.answer.Store("")
		event := fine(alice.post("/rooms/"+esc(room)+"/send/m.room.message", obj{"msgtype": "m.text", "body": "hi"})).text("event_id")
		Consistently(g.pushed, "200ms").ShouldNot(Receive())
		g.answer.Store(`{"rejected":["key"]}`)
		Expect(g.next()["event_id"]).To(Equal(event))
		Eventually(func() any { return fine(bob.get("/pushers")).body["pushers"] }).Should(BeEmpty())
	})
})
