package clientapi

import (
	"fmt"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// bodies are the texts of the messages in a part of an answer.
func bodies(a answered, part string) []string {
	GinkgoHelper()
	Expect(a.body).To(HaveKey(part), a.raw)
	texts := []string{}
	for _, e := range a.body[part].([]any) {
		if text, ok := e.(obj)["content"].(obj)["body"].(string); ok {
			texts = append(texts, text)
		}
	}
	return texts
}

var _ = Describe("a filter of /messages", func() {
	It("goes by what events relate to, as MSC3874 has it", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		path := "/rooms/" + esc(alice.room(obj{}))
		Expect(fine(alice.get("/_matrix/client/versions")).body["unstable_features"]).To(HaveKeyWithValue("org.matrix.msc3874", true))
		root := fine(alice.put(path+"/send/m.room.message/1", obj{"body": "root"})).text("event_id")
		for _, relType := range []string{"m.thread", "m.reference"} {
			fine(alice.put(path+"/send/m.room.message/"+relType, obj{"body": relType, "m.relates_to": obj{"rel_type": relType, "event_id": root}}))
		}
		found := func(filter string) []string {
			return bodies(fine(alice.get(path+"/messages?dir=f&filter="+esc(filter))), "chunk")
		}
		Expect(found(`{"org.matrix.msc3874.rel_types":["m.thread"]}`)).To(Equal([]string{"m.thread"}))
		Expect(found(`{"org.matrix.msc3874.rel_types":["m.reference","m.thread"]}`)).To(Equal([]string{"m.thread", "m.reference"}))
		Expect(found(`{"org.matrix.msc3874.rel_types":[]}`)).To(BeEmpty())
		Expect(found(`{"org.matrix.msc3874.not_rel_types":["m.thread"]}`)).To(Equal([]string{"root", "m.reference"}))
		Expect(found(`{"org.matrix.msc3874.not_rel_types":["m.thread","m.reference"]}`)).To(Equal([]string{"root"}))
		Expect(found(`{"org.matrix.msc3874.rel_types":["m.thread"],"org.matrix.msc3874.not_rel_types":["m.thread"]}`)).To(BeEmpty())
	})
})

var _ = Describe("a token of /messages or /context", func() {
	It("is a place between two events, for both directions", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		path := "/rooms/" + esc(alice.room(obj{}))
		var events []string
		for i := range 10 {
			events = append(events, fine(alice.put(fmt.Sprintf("%s/send/m.room.message/%d", path, i), obj{"body": fmt.Sprint(i)})).text("event_id"))
		}
		page := func(dir, from string) answered {
			return fine(alice.get(path + "/messages?limit=2&dir=" + dir + "&from=" + esc(from)))
		}
		first := fine(alice.get(path + "/messages?limit=3&dir=b"))
		Expect(bodies(first, "chunk")).To(Equal([]string{"9", "8", "7"}))
		second := page("b", first.text("end"))
		Expect(bodies(second, "chunk")).To(Equal([]string{"6", "5"}))
		Expect(bodies(page("f", second.text("start")), "chunk")).To(Equal([]string{"7", "8"}), "back to where the page began")
		up := page("f", second.text("end"))
		Expect(bodies(up, "chunk")).To(Equal([]string{"5", "6"}))
		Expect(bodies(page("f", up.text("end")), "chunk")).To(Equal([]string{"7", "8"}))
		Expect(bodies(page("b", up.text("end")), "chunk")).To(Equal([]string{"6", "5"}))

		around := fine(alice.get(path + "/context/" + esc(events[5]) + "?limit=2"))
		Expect(bodies(around, "events_before")).To(Equal([]string{"4"}))
		Expect(bodies(around, "events_after")).To(Equal([]string{"6"}))
		Expect(bodies(page("b", around.text("start")), "chunk")).To(Equal([]string{"3", "2"}))
		Expect(bodies(page("f", around.text("start")), "chunk")).To(Equal([]string{"4", "5"}))
		Expect(bodies(page("f", around.text("end")), "chunk")).To(Equal([]string{"7", "8"}))
		Expect(bodies(page("b", around.text("end")), "chunk")).To(Equal([]string{"6", "5"}))
		alone := fine(alice.get(path + "/context/" + esc(events[5]) + "?limit=0"))
		Expect(bodies(page("f", alone.text("end")), "chunk")).To(Equal([]string{"6", "7"}))
		Expect(bodies(page("b", alone.text("start")), "chunk")).To(Equal([]string{"4", "3"}))
		refused(alice.get(path+"/context/"+esc("$none")), 404, "M_NOT_FOUND")
		refused(w.register("bob").get(path+"/context/"+esc(events[5])), 403, "M_FORBIDDEN")
	})

	It("comes early where the events are large, so that a page is no hundred megabytes, and misses none of them", func() {
		const messages, large = 200, 60_000
		w := newWorld(nil)
		alice := w.register("alice")
		room := alice.room(obj{})
		path := "/rooms/" + esc(room)
		var want []string
		for i := range messages {
			text := fmt.Sprint(i, " all", strings.Repeat(" ", large))
			want = append(want, text)
			fine(alice.put(fmt.Sprintf("%s/send/m.room.message/%d", path, i), obj{"body": text}))
		}
		all := func(dir, filter string) (texts []string, pages int) {
			for from := ""; ; pages++ {
				page := fine(alice.get(path + "/messages?limit=1000&dir=" + dir + from + filter))
				Expect(len(page.raw)).To(BeNumerically("<", 3<<20))
				texts = append(texts, bodies(page, "chunk")...)
				if page.body["end"] == nil {
					return texts, pages
				}
				from = "&from=" + esc(page.text("end"))
			}
		}
		forwards, pages := all("f", "")
		Expect(forwards).To(Equal(want))
		Expect(pages).To(BeNumerically("<=", messages*large/(2<<20)+1))
		backwards, _ := all("b", "")
		slices.Reverse(backwards)
		Expect(backwards).To(Equal(want))
		none, _ := all("b", "&filter="+esc(`{"types":["none"]}`))
		Expect(none).To(BeEmpty())

		found := fine(alice.post("/search", obj{"search_categories": obj{"room_events": obj{
			"search_term": "all", "filter": obj{"limit": 50}, "event_context": obj{"before_limit": 20, "after_limit": 20},
		}}}))
		Expect(len(found.raw)).To(BeNumerically("<", 50*(large+2000)+8<<20))
		Expect(found.body["search_categories"].(obj)["room_events"].(obj)["results"]).To(HaveLen(50))

		first := fine(alice.get("/sync?filter=" + esc(`{"room":{"timeline":{"limit":500}}}`)))
		Expect(len(first.raw)).To(BeNumerically("<", 2<<20))
		timeline := answered{body: first.body["rooms"].(obj)["join"].(obj)[room].(obj)["timeline"].(obj)}
		Expect(timeline.body["limited"]).To(BeTrue())
		newest := bodies(timeline, "events")
		Expect(newest).To(HaveLen(1 << 20 / (large + 700)))
		Expect(newest).To(Equal(want[messages-len(newest):]))
		before := fine(alice.get(path + "/messages?limit=1&dir=b&from=" + esc(timeline.text("prev_batch"))))
		Expect(bodies(before, "chunk")).To(Equal(want[messages-len(newest)-1 : messages-len(newest)]))
	})

	It("is there as long as events follow or were given, so that an empty page is the last", func() {
		alice := newWorld(nil).register("alice")
		room := alice.room(obj{})
		path := "/rooms/" + esc(room) + "/messages?dir=b"
		all := fine(alice.get(path + "&limit=100"))
		first := all.body["chunk"].([]any)[len(all.body["chunk"].([]any))-1].(obj)
		Expect(first).To(HaveKeyWithValue("type", "m.room.create"))
		last := fine(alice.get(path + "&from=" + esc(all.text("end"))))
		Expect(last.body["chunk"]).To(BeEmpty())
		Expect(last.body).NotTo(HaveKey("end"))
		forwards := "/rooms/" + esc(room) + "/messages?dir=f&limit=100&from="
		back := fine(alice.get(forwards + esc(all.text("end"))))
		Expect(back.body["chunk"]).To(HaveLen(len(all.body["chunk"].([]any))), "from the beginning all events follow")
		Expect(fine(alice.get(forwards + esc(back.text("end")))).body).To(And(HaveKeyWithValue("chunk", BeEmpty()), Not(HaveKey("end"))))
		fine(alice.put("/rooms/"+esc(room)+"/send/m.room.message/later", obj{"body": "later"}))
		Expect(bodies(fine(alice.get(forwards+esc(back.text("end")))), "chunk")).To(Equal([]string{"later"}), "there is more now")
		members := fine(alice.get(path + "&filter=" + esc(`{"types":["m.room.member"]}`)))
		Expect(members.body["chunk"]).To(HaveLen(1))
		rest := fine(alice.get(path + "&filter=" + esc(`{"types":["m.room.member"]}`) + "&from=" + esc(members.text("end"))))
		Expect(rest.body["chunk"]).To(BeEmpty())
		Expect(rest.body).NotTo(HaveKey("end"))
	})

	It("is a time at which there were members: before a client's first timeline, the time of that", func() {
		w := newWorld(nil)
		alice, bob, carol := w.register("alice"), w.register("bob"), w.register("carol")
		room := alice.room(obj{"preset": "public_chat"})
		path := "/rooms/" + esc(room)
		timeline := func(p *person, query string) obj {
			GinkgoHelper()
			return fine(p.get("/sync" + query)).body["rooms"].(obj)["join"].(obj)[room].(obj)["timeline"].(obj)
		}
		members := func(p *person, at any) []string {
			GinkgoHelper()
			ids := []string{}
			for _, e := range fine(p.get(path + "/members?membership=join&at=" + esc(at.(string)))).body["chunk"].([]any) {
				ids = append(ids, e.(obj)["state_key"].(string))
			}
			return ids
		}
		whole := timeline(alice, "")
		Expect(whole).To(HaveKeyWithValue("limited", false))
		fine(bob.post("/join/"+esc(room), obj{}))
		limited := timeline(alice, "?filter="+esc(`{"room":{"timeline":{"limit":1}}}`))
		since := fine(alice.get("/sync")).text("next_batch")
		fine(carol.post("/join/"+esc(room), obj{}))
		Expect(members(alice, whole["prev_batch"])).To(ConsistOf(alice.id))
		Expect(limited).To(HaveKeyWithValue("limited", true))
		Expect(members(alice, limited["prev_batch"])).To(ConsistOf(alice.id, bob.id))
		later := timeline(alice, "?since="+esc(since)+"&filter="+esc(`{"room":{"timeline":{"limit":1}}}`))
		Expect(members(alice, later["prev_batch"])).To(ConsistOf(alice.id, bob.id), "before carol's join")
		Expect(fine(alice.get(path + "/messages?dir=b&from=" + esc(whole["prev_batch"].(string)))).body).To(HaveKeyWithValue("chunk", BeEmpty()))
		// Who has left is told of nothing later.
		fine(bob.post(path+"/leave", obj{}))
		later = timeline(carol, "?filter="+esc(`{"room":{"timeline":{"limit":100}}}`))
		Expect(members(bob, later["prev_batch"])).To(ConsistOf(alice.id, carol.id))
		fine(carol.post(path+"/leave", obj{}))
		latest := timeline(alice, "?filter="+esc(`{"room":{"timeline":{"limit":100}}}`))
		Expect(members(alice, latest["prev_batch"])).To(ConsistOf(alice.id))
		Expect(members(bob, latest["prev_batch"])).To(ConsistOf(alice.id, carol.id), "when bob left")
	})
})
