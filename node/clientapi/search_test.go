package clientapi

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("search", func() {
	var (
		w          *world
		alice, bob *person
		room       string
		sent       int
	)
	say := func(p *person, room, text string) string {
		GinkgoHelper()
		sent++
		return fine(p.put(fmt.Sprintf("/rooms/%s/send/m.room.message/s%d", esc(room), sent), obj{"msgtype": "m.text", "body": text})).text("event_id")
	}
	// find searches and returns the category's answer.
	find := func(p *person, query string, criteria obj) obj {
		GinkgoHelper()
		a := fine(p.post("/search"+query, obj{"search_categories": obj{"room_events": criteria}}))
		return a.body["search_categories"].(obj)["room_events"].(obj)
	}
	results := func(answer obj) []string {
		GinkgoHelper()
		found := []string{}
		for _, r := range answer["results"].([]any) {
			found = append(found, r.(obj)["result"].(obj)["event_id"].(string))
		}
		return found
	}
	BeforeEach(func() {
		w, sent = newWorld(nil), 0
		alice, bob = w.register("alice"), w.register("bob")
		room = alice.room(obj{"preset": "public_chat", "name": "The Zoo", "topic": "about zebras"})
		fine(bob.post("/join/"+esc(room), obj{}))
	})

	It("finds what was just said, by all the words, whatever their case", func() {
		one := say(alice, room, "The quick brown Fox.")
		two := say(bob, room, "a fox, and another fox")
		say(bob, room, "foxes are something else")
		answer := find(alice, "", obj{"search_term": "FOX", "order_by": "recent"})
		Expect(results(answer)).To(Equal([]string{two, one}))
		Expect(answer).To(HaveKeyWithValue("highlights", []any{"fox"}))
		Expect(answer).To(HaveKeyWithValue("count", 2.0))
		Expect(results(find(alice, "", obj{"search_term": "fox brown"}))).To(Equal([]string{one}))
		Expect(results(find(alice, "", obj{"search_term": "fox"}))).To(Equal([]string{two, one}), "by rank")
		three := say(bob, room, "Another quick fox!")
		four := say(alice, room, "one clever fox")
		Expect(results(find(alice, "", obj{"search_term": "fox"}))).To(Equal([]string{two, three, four, one}), "as relevant: the oldest first")
		Expect(results(find(alice, "", obj{"search_term": "?!"}))).To(BeEmpty())
		Expect(results(find(alice, "", obj{"search_term": "kitten"}))).To(BeEmpty())
		say(alice, room, "東京タワー")
		Expect(results(find(alice, "", obj{"search_term": "東京"}))).To(HaveLen(1))
	})

	It("looks under the keys, senders and rooms that are asked for", func() {
		say(alice, room, "zebras, says alice")
		bobs := say(bob, room, "zebras, says bob")
		other := alice.room(obj{"topic": "zebras elsewhere"})
		elsewhere := say(alice, other, "zebras are elsewhere")
		Expect(results(find(alice, "", obj{"search_term": "zebras"}))).To(HaveLen(5))
		Expect(results(find(alice, "", obj{"search_term": "zebras", "keys": []string{"content.topic"}}))).To(HaveLen(2))
		Expect(results(find(alice, "", obj{"search_term": "zoo", "keys": []string{"content.name"}}))).To(HaveLen(1))
		Expect(results(find(alice, "", obj{"search_term": "zebras", "filter": obj{"senders": []string{bob.id}}}))).To(Equal([]string{bobs}))
		Expect(results(find(alice, "", obj{
			"search_term": "zebras", "keys": []string{"content.body"}, "filter": obj{"rooms": []string{other}},
		}))).To(Equal([]string{elsewhere}))
	})

	It("finds only what the user may see, and not what was redacted", func() {
		before := say(alice, room, "a secret")
		gone := say(alice, room, "a secret that is taken back")
		fine(alice.put("/rooms/"+esc(room)+"/redact/"+esc(gone)+"/r", obj{}))
		fine(bob.post("/rooms/"+esc(room)+"/leave", obj{}))
		after := say(alice, room, "a secret for those who stayed")
		Expect(results(find(alice, "", obj{"search_term": "secret", "order_by": "recent"}))).To(Equal([]string{after, before}))
		Expect(results(find(bob, "", obj{"search_term": "secret"}))).To(Equal([]string{before}))
		Expect(results(find(w.register("eve"), "", obj{"search_term": "secret"}))).To(BeEmpty())
		fine(bob.post("/rooms/"+esc(room)+"/forget", obj{}))
		Expect(results(find(bob, "", obj{"search_term": "secret"}))).To(BeEmpty())
		fine(alice.put("/rooms/"+esc(room)+"/state/m.room.encryption", obj{"algorithm": "m.megolm.v1.aes-sha2"}))
		Expect(results(find(alice, "", obj{"search_term": "secret"}))).To(BeEmpty(), "encrypted rooms are left out")
	})

	It("pages, and groups", func() {
		var said []string
		for i := range 5 {
			said = append(said, say(alice, room, fmt.Sprintf("number %d", i)))
		}
		other := bob.room(obj{})
		fine(bob.post("/rooms/"+esc(other)+"/invite", obj{"user_id": alice.id}))
		fine(alice.post("/join/"+esc(other), obj{}))
		last := say(bob, other, "number 5")
		criteria := obj{
			"search_term": "number", "order_by": "recent", "filter": obj{"limit": 2},
			"groupings": obj{"group_by": []obj{{"key": "room_id"}, {"key": "sender"}}},
		}
		first := find(alice, "", criteria)
		Expect(results(first)).To(Equal([]string{last, said[4]}))
		groups := first["groups"].(obj)["room_id"].(obj)
		Expect(groups[room]).To(HaveKeyWithValue("results", []any{said[4]}))
		Expect(groups[other]).To(HaveKeyWithValue("order", 1.0))
		Expect(first["groups"].(obj)["sender"]).To(HaveKey(bob.id))
		say(alice, room, "number 6, too late for these pages")
		second := find(alice, "?next_batch="+first["next_batch"].(string), criteria)
		Expect(results(second)).To(Equal([]string{said[3], said[2]}))
		third := find(alice, "?next_batch="+second["next_batch"].(string), criteria)
		Expect(results(third)).To(Equal([]string{said[1], said[0]}))
		fourth := find(alice, "?next_batch="+third["next_batch"].(string), criteria)
		Expect(fourth).To(And(HaveKeyWithValue("count", 6.0), HaveKeyWithValue("results", BeEmpty()), Not(HaveKey("next_batch"))))
		grouped := find(alice, "?next_batch="+groups[room].(obj)["next_batch"].(string), criteria)
		Expect(results(grouped)).To(Equal([]string{said[3], said[2]}), "only of that room")
	})

	It("tells what stands around, and the state", func() {
		say(bob, room, "before")
		hit := say(alice, room, "the needle")
		say(bob, room, "after")
		answer := find(alice, "", obj{"search_term": "needle", "include_state": true, "event_context": obj{
			"before_limit": 1, "after_limit": 1, "include_profile": true,
		}})
		Expect(results(answer)).To(Equal([]string{hit}))
		around := answer["results"].([]any)[0].(obj)["context"].(obj)
		Expect(around["events_before"].([]any)[0].(obj)["content"]).To(HaveKeyWithValue("body", "before"))
		Expect(around["events_after"].([]any)[0].(obj)["content"]).To(HaveKeyWithValue("body", "after"))
		Expect(around["profile_info"]).To(HaveKeyWithValue(bob.id, HaveKeyWithValue("displayname", "bob")))
		Expect(around).To(HaveKey("start"))
		Expect(answer["state"]).To(HaveKey(room))
	})

	It("refuses what it doesn't understand", func() {
		bad := func(body obj) answered { return alice.post("/search", body) }
		refused(bad(obj{}), 400, "M_MISSING_PARAM")
		refused(bad(obj{"search_categories": obj{"room_events": obj{}}}), 400, "M_MISSING_PARAM")
		for _, criteria := range []obj{
			{"search_term": "x", "keys": []string{"content.secret"}}, {"search_term": "x", "order_by": "chance"},
			{"search_term": "x", "groupings": obj{"group_by": []obj{{"key": "type"}}}}, {"search_term": "x", "filter": obj{"limit": -1}},
		} {
			refused(bad(obj{"search_categories": obj{"room_events": criteria}}), 400, "M_INVALID_PARAM")
		}
		refused(alice.post("/search?next_batch=%21", obj{"search_categories": obj{"room_events": obj{"search_term": "x"}}}), 400, "M_INVALID_PARAM")
		refused(w.nobody().post("/search", obj{}), 401, "M_MISSING_TOKEN")
	})
})
