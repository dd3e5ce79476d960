package clientapi

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// slide asks for a sliding sync; pos "" begins.
func (p *person) slide(pos string, body obj) answered {
	GinkgoHelper()
	return p.slideFor(pos, body, 0)
}

func (p *person) slideFor(pos string, body obj, timeout time.Duration) answered {
	GinkgoHelper()
	path := fmt.Sprintf("/_matrix/client/unstable/org.matrix.simplified_msc3575/sync?timeout=%d", timeout.Milliseconds())
	if pos != "" {
		path += "&pos=" + esc(pos)
	}
	return p.post(path, body)
}

func (a answered) pos() string {
	GinkgoHelper()
	return fine(a, "pos", "rooms", "extensions").text("pos")
}

func (a answered) slidingRoom(room string) obj {
	GinkgoHelper()
	rooms := fine(a, "pos", "rooms").body["rooms"].(obj)
	Expect(rooms).To(HaveKey(room), a.raw)
	return rooms[room].(obj)
}

func (a answered) extension(name string) obj {
	GinkgoHelper()
	extensions := fine(a, "extensions").body["extensions"].(obj)
	Expect(extensions).To(HaveKey(name), a.raw)
	return extensions[name].(obj)
}

// listed are the rooms of a list's first window.
func (a answered) listed(name string) []string {
	GinkgoHelper()
	rooms := []string{}
	for _, room := range fine(a, "lists").body["lists"].(obj)[name].(obj)["ops"].([]any)[0].(obj)["room_ids"].([]any) {
		rooms = append(rooms, room.(string))
	}
	return rooms
}

// window is a list on the first rooms.
func window(last, timeline int, required ...[]string) obj {
	if required == nil {
		required = [][]string{}
	}
	return obj{"ranges": [][]int{{0, last}}, "timeline_limit": timeline, "required_state": required}
}

func lists(list obj) obj { return obj{"lists": obj{"all": list}} }

func (p *person) say(room, text string) string {
	GinkgoHelper()
	return fine(p.put("/rooms/"+esc(room)+"/send/m.room.message/"+esc(text), obj{"msgtype": "m.text", "body": text})).text("event_id")
}

// texts are the texts of a timeline.
func texts(room obj) []string {
	texts := []string{}
	timeline, _ := room["timeline"].([]any)
	for _, e := range timeline {
		if text, ok := e.(obj)["content"].(obj)["body"].(string); ok {
			texts = append(texts, text)
		}
	}
	return texts
}

// kinds are the types and keys of state.
func kinds(room obj) []string {
	all := []string{}
	state, _ := room["required_state"].([]any)
	for _, e := range state {
		all = append(all, strings.TrimSuffix(e.(obj)["type"].(string)+" "+e.(obj)["state_key"].(string), " "))
	}
	slices.Sort(all)
	return all
}

var _ = Describe("simplified sliding sync", func() {
	var (
		w          *world
		alice, bob *person
	)
	BeforeEach(func() {
		w = newWorld(nil)
		alice, bob = w.register("alice"), w.register("bob")
	})

	It("is advertised", func() {
		Expect(fine(w.nobody().get("/_matrix/client/versions")).body["unstable_features"]).
			To(HaveKeyWithValue("org.matrix.simplified_msc3575", true))
	})

	It("needs a token, and a body of its form", func() {
		refused(w.nobody().slide("", obj{}), 401, "M_MISSING_TOKEN")
		for what, body := range map[string]any{
			"a list that is none": obj{"lists": []string{}}, "a range from behind": obj{"lists": obj{"a": obj{"ranges": [][]int{{3, 1}}}}},
			"half a range":        obj{"lists": obj{"a": obj{"ranges": [][]int{{3}}}}},
			"a negative timeline": obj{"lists": obj{"a": obj{"timeline_limit": -1}}}, "a huge timeline": obj{"lists": obj{"a": obj{"timeline_limit": 1001}}},
			"state without keys": obj{"lists": obj{"a": obj{"required_state": [][]string{{"m.room.name"}}}}},
			"no room":            obj{"room_subscriptions": obj{"hello": obj{}}}, "a number for a name": obj{"conn_id": 7},
			"a since that is none": obj{"extensions": obj{"to_device": obj{"enabled": true, "since": "yesterday"}}},
		} {
			By(what)
			answer := alice.post("/_matrix/client/unstable/org.matrix.simplified_msc3575/sync", body)
			refused(answer, 400, "M_INVALID_PARAM")
		}
		refused(alice.post("/_matrix/client/unstable/org.matrix.simplified_msc3575/sync", "[]"), 400, "M_BAD_JSON")
		refused(alice.post("/_matrix/client/unstable/org.matrix.simplified_msc3575/sync?timeout=x", obj{}), 400, "M_INVALID_PARAM")
		refused(alice.post("/_matrix/client/unstable/org.matrix.simplified_msc3575/sync?set_presence=x", obj{}), 400, "M_INVALID_PARAM")
	})

	It("tells a room whole first, and then what is new", func() {
		room := alice.room(obj{"name": "Hall", "preset": "public_chat", "topic": "all"})
		fine(bob.post("/join/"+esc(room), obj{}))
		alice.say(room, "one")
		alice.say(room, "two")
		request := lists(window(10, 2, []string{"m.room.name", ""}, []string{"m.room.member", "$LAZY"}, []string{"m.room.member", "$ME"}))

		first := bob.slide("", request)
		hall := first.slidingRoom(room)
		Expect(hall).To(And(HaveKeyWithValue("initial", true), HaveKeyWithValue("name", "Hall"), HaveKeyWithValue("membership", "join"),
			HaveKeyWithValue("joined_count", 2.0), HaveKeyWithValue("invited_count", 0.0), HaveKeyWithValue("limited", true),
			HaveKeyWithValue("num_live", 0.0), HaveKey("prev_batch"), HaveKey("bump_stamp"), HaveKeyWithValue("notification_count", 2.0)))
		Expect(texts(hall)).To(Equal([]string{"one", "two"}))
		Expect(kinds(hall)).To(Equal([]string{"m.room.member " + alice.id, "m.room.member " + bob.id, "m.room.name"}))
		Expect(hall["timeline"].([]any)[0]).NotTo(HaveKey("room_id"))
		Expect(first.body["lists"]).To(Equal(obj{"all": obj{"count": 1.0, "ops": []any{obj{"op": "SYNC", "range": []any{0.0, 10.0}, "room_ids": []any{room}}}}}))

		same := bob.slide(first.pos(), request)
		Expect(same.body["rooms"]).To(BeEmpty(), same.raw)
		Expect(same.body["lists"]).To(Equal(first.body["lists"]))

		alice.say(room, "three")
		fine(alice.put("/rooms/"+esc(room)+"/state/m.room.topic/", obj{"topic": "not wanted"}))
		next := bob.slide(same.pos(), request)
		hall = next.slidingRoom(room)
		Expect(hall).NotTo(Or(HaveKey("initial"), HaveKey("name"), HaveKey("joined_count"), HaveKey("required_state")), next.raw)
		Expect(texts(hall)).To(Equal([]string{"three"}))
		Expect(hall).To(And(HaveKeyWithValue("num_live", 2.0), HaveKeyWithValue("limited", false), HaveKeyWithValue("notification_count", 3.0)))

		fine(alice.put("/rooms/"+esc(room)+"/state/m.room.name/", obj{"name": "Great Hall"}))
		for _, text := range []string{"four", "five", "six"} {
			alice.say(room, text)
		}
		hall = bob.slide(next.pos(), request).slidingRoom(room)
		Expect(hall).To(And(HaveKeyWithValue("name", "Great Hall"), HaveKeyWithValue("limited", true), HaveKeyWithValue("num_live", 2.0)))
		Expect(kinds(hall)).To(Equal([]string{"m.room.name"}))
		older := fine(bob.get("/rooms/" + esc(room) + "/messages?dir=b&from=" + hall["prev_batch"].(string)))
		Expect(older.body["chunk"].([]any)[0].(obj)["content"]).To(HaveKeyWithValue("body", "four"))
	})

	It("answers a pos again as if its answer was lost, and no older one", func() {
		room := alice.room(obj{})
		request := lists(window(10, 5))
		first := alice.slide("", request)
		alice.say(room, "one")
		lost := alice.slide(first.pos(), request)
		Expect(texts(lost.slidingRoom(room))).To(Equal([]string{"one"}))
		alice.say(room, "two")
		again := alice.slide(first.pos(), request)
		Expect(texts(again.slidingRoom(room))).To(Equal([]string{"one", "two"}))
		refused(alice.slide(lost.pos(), request), 400, "M_UNKNOWN_POS")
		last := alice.slide(again.pos(), request)
		Expect(last.body["rooms"]).To(BeEmpty())
		refused(alice.slide(first.pos(), request), 400, "M_UNKNOWN_POS")
		for _, pos := range []string{"x", "s1", "s-1_2", "_", again.pos() + "0"} {
			refused(alice.slide(pos, request), 400, "M_UNKNOWN_POS")
		}
		request["conn_id"] = "another"
		refused(alice.slide(last.pos(), request), 400, "M_UNKNOWN_POS")
		Expect(alice.slide("", request).slidingRoom(room)).To(HaveKeyWithValue("initial", true))
		delete(request, "conn_id")
		Expect(alice.slide(last.pos(), request).body["rooms"]).To(BeEmpty(), "the connections are apart")
		refused(bob.slide(last.pos(), request), 400, "M_UNKNOWN_POS")
	})

	It("forgets a device's connections that it has too many of", func() {
		request := lists(window(10, 1))
		request["conn_id"] = "first"
		first := alice.slide("", request).pos()
		for i := range 10 {
			request["conn_id"] = fmt.Sprint(i)
			alice.slide("", request).pos()
		}
		request["conn_id"] = "first"
		refused(alice.slide(first, request), 400, "M_UNKNOWN_POS")
	})

	It("needs no memory for a connection without rooms", func() {
		body := obj{"conn_id": "encryption", "extensions": obj{"e2ee": obj{"enabled": true}, "to_device": obj{"enabled": true}}}
		first := alice.slide("", body)
		Expect(first.extension("e2ee")).NotTo(HaveKey("device_lists"))
		second := alice.slide(first.pos(), body)
		Expect(second.extension("e2ee")).To(HaveKey("device_lists"))
		Expect(alice.slide(first.pos(), body).extension("e2ee")).To(HaveKey("device_lists"), "whenever")
	})

	It("waits for something new, in what it shows", func() {
		room := alice.room(obj{"preset": "public_chat"})
		fine(bob.post("/join/"+esc(room), obj{}))
		request := lists(window(10, 5))
		pos := bob.slide("", request).pos()
		quiet := bob.slideFor(pos, request, 50*time.Millisecond)
		Expect(quiet.body["rooms"]).To(BeEmpty())
		var waiting sync.WaitGroup
		var woken, begun answered
		waiting.Go(func() {
			defer GinkgoRecover()
			woken = bob.slideFor(quiet.pos(), request, time.Minute)
		})
		alice.say(room, "hello")
		waiting.Wait()
		Expect(texts(woken.slidingRoom(room))).To(Equal([]string{"hello"}))

		By("a request ends the one before it on its connection, whose answer says nothing")
		ended := make(chan struct{})
		go func() {
			defer GinkgoRecover()
			defer close(ended)
			begun = bob.slideFor(woken.pos(), request, time.Minute)
		}()
		more := obj{"lists": obj{"all": window(10, 5), "more": window(3, 1)}}
		var latest answered
		for waits := true; waits; {
			latest = bob.slide(woken.pos(), more)
			select {
			case <-ended:
				waits = false
			case <-time.After(10 * time.Millisecond): // it may not have come yet
			}
		}
		Expect(begun.pos()).To(Equal(woken.pos()))
		Expect(begun.body["rooms"]).To(BeEmpty())
		Expect(latest.listed("more")).To(Equal([]string{room}))
		alice.say(room, "again")
		Expect(texts(bob.slide(latest.pos(), more).slidingRoom(room))).To(Equal([]string{"again"}))
	})
})
