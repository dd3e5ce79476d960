package clientapi

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// relates makes the content of an event that relates to another.
func relates(relType, eventID string, more obj) obj {
	relation := obj{"rel_type": relType, "event_id": eventID}
	for key, value := range more {
		relation[key] = value
	}
	return obj{"body": relType, "msgtype": "m.text", "m.relates_to": relation}
}

// edit makes the content of a replacement.
func edit(eventID, text string) obj {
	content := relates("m.replace", eventID, nil)
	content["m.new_content"] = obj{"body": text, "msgtype": "m.text"}
	content["body"] = "* " + text
	return content
}

// relations are the bundled ones of an event of an answer.
func relations(event any) obj {
	GinkgoHelper()
	unsigned := event.(obj)["unsigned"].(obj)
	found, _ := unsigned["m.relations"].(obj)
	return found
}

func eventIDs(events any) []string {
	var all []string
	for _, e := range events.([]any) {
		all = append(all, e.(obj)["event_id"].(string))
	}
	return all
}

var _ = Describe("relations of events", func() {
	var (
		w          *world
		alice, bob *person
		room, root string
		sent       int
	)
	send := func(p *person, typ string, content obj) string {
		GinkgoHelper()
		sent++
		return fine(p.put(fmt.Sprintf("/rooms/%s/send/%s/t%d", esc(room), typ, sent), content)).text("event_id")
	}
	redact := func(p *person, eventID string) {
		GinkgoHelper()
		sent++
		fine(p.put(fmt.Sprintf("/rooms/%s/redact/%s/t%d", esc(room), esc(eventID), sent), obj{}))
	}
	path := func(rest string) string { return "/_matrix/client/v1/rooms/" + esc(room) + rest }
	bundled := func(p *person) obj {
		GinkgoHelper()
		return relations(fine(p.get("/rooms/" + esc(room) + "/event/" + esc(root))).body)
	}
	BeforeEach(func() {
		w, sent = newWorld(nil), 0
		alice, bob = w.register("alice"), w.register("bob")
		room = alice.room(obj{"preset": "public_chat"})
		fine(bob.post("/join/"+esc(room), obj{}))
		root = send(alice, "m.room.message", obj{"body": "root", "msgtype": "m.text"})
	})

	It("bundles the newest valid edit, of the same sender and type", func() {
		Expect(bundled(alice)).To(BeNil())
		send(bob, "m.room.message", edit(root, "not bob's"))
		Expect(bundled(alice)).To(BeNil())
		first := send(alice, "m.room.message", edit(root, "one"))
		time.Sleep(2 * time.Millisecond) // the newest is the one of the latest time
		second := send(alice, "m.room.message", edit(root, "two"))
		send(alice, "m.sticker", edit(root, "another type"))
		send(alice, "m.room.message", relates("m.replace", root, nil)) // without m.new_content
		Expect(bundled(bob)["m.replace"]).To(HaveKeyWithValue("event_id", second))
		redact(alice, second)
		Expect(bundled(bob)["m.replace"]).To(HaveKeyWithValue("event_id", first))
		Expect(relations(fine(alice.get("/rooms/"+esc(room)+"/event/"+esc(first))).body)).To(BeNil(), "an edit isn't edited")
		redact(alice, root)
		Expect(bundled(bob)).To(BeNil(), "of a redacted event no edits are told")
	})

	It("sums up a thread for each user, without those they ignore", func() {
		one := send(bob, "m.room.message", relates("m.thread", root, nil))
		two := send(alice, "m.room.message", relates("m.thread", root, nil))
		send(alice, "m.room.message", edit(two, "edited"))
		thread := bundled(alice)["m.thread"].(obj)
		Expect(thread).To(HaveKeyWithValue("count", 2.0))
		Expect(thread).To(HaveKeyWithValue("current_user_participated", true))
		Expect(thread["latest_event"]).To(HaveKeyWithValue("event_id", two))
		Expect(relations(thread["latest_event"])).To(HaveKey("m.replace"))

		carol := w.register("carol")
		fine(carol.post("/join/"+esc(room), obj{}))
		Expect(bundled(carol)["m.thread"]).To(HaveKeyWithValue("current_user_participated", false))
		fine(carol.put("/user/"+esc(carol.id)+"/account_data/m.ignored_user_list", obj{"ignored_users": obj{alice.id: obj{}}}))
		thread = bundled(carol)["m.thread"].(obj)
		Expect(thread).To(HaveKeyWithValue("count", 1.0))
		Expect(thread["latest_event"]).To(HaveKeyWithValue("event_id", one))

		redact(alice, two)
		thread = bundled(alice)["m.thread"].(obj)
		Expect(thread).To(HaveKeyWithValue("count", 1.0), "what is redacted is not in the thread")
		Expect(thread["latest_event"]).To(HaveKeyWithValue("event_id", one))
		redact(bob, one)
		Expect(bundled(alice)).To(BeNil())
		Expect(fine(alice.get(path("/threads"))).body["chunk"]).To(BeEmpty())
	})

	It("bundles references, and annotations never", func() {
		one := send(bob, "m.room.message", relates("m.reference", root, nil))
		send(bob, "m.reaction", relates("m.annotation", root, obj{"key": "👍"}))
		Expect(bundled(alice)).To(Equal(obj{"m.reference": obj{"chunk": []any{obj{"event_id": one}}}}))
	})

	It("bundles in /sync, /messages and /context", func() {
		send(bob, "m.room.message", relates("m.thread", root, nil))
		find := func(events any) obj {
			for _, e := range events.([]any) {
				if e.(obj)["event_id"] == root {
					return relations(e)
				}
			}
			return nil
		}
		rooms := fine(alice.get("/sync?timeout=0")).body["rooms"].(obj)["join"].(obj)
		Expect(find(rooms[room].(obj)["timeline"].(obj)["events"])).To(HaveKey("m.thread"))
		Expect(find(fine(alice.get("/rooms/" + esc(room) + "/messages?dir=b&limit=50")).body["chunk"])).To(HaveKey("m.thread"))
		Expect(relations(fine(alice.get("/rooms/" + esc(room) + "/context/" + esc(root))).body["event"])).To(HaveKey("m.thread"))
	})

	It("chooses events by what relates to them", func() {
		send(bob, "m.room.message", relates("m.thread", root, nil))
		other := send(alice, "m.room.message", obj{"body": "other", "msgtype": "m.text"})
		send(alice, "m.reaction", relates("m.annotation", other, obj{"key": "x"}))
		messages := func(filter string) []string {
			GinkgoHelper()
			return eventIDs(fine(alice.get("/rooms/" + esc(room) + "/messages?dir=b&limit=50&filter=" + esc(filter))).body["chunk"])
		}
		Expect(messages(`{"related_by_rel_types":["m.thread"]}`)).To(Equal([]string{root}))
		Expect(messages(`{"related_by_senders":["` + alice.id + `"]}`)).To(Equal([]string{other}))
		Expect(messages(`{"related_by_senders":["` + alice.id + `"],"related_by_rel_types":["m.thread"]}`)).To(BeEmpty())
		rooms := fine(alice.get("/sync?timeout=0&filter=" + esc(`{"room":{"timeline":{"related_by_rel_types":["m.thread"]}}}`))).body["rooms"].(obj)["join"].(obj)
		Expect(eventIDs(rooms[room].(obj)["timeline"].(obj)["events"])).To(Equal([]string{root}))
		refused(alice.post("/user/"+esc(alice.id)+"/filter", obj{"room": obj{"timeline": obj{"related_by_senders": []string{"x"}}}}), 400, "M_BAD_JSON")
	})

	It("pages through relations both ways, by type, and recursively", func() {
		var children []string
		for range 5 {
			children = append(children, send(bob, "m.room.message", relates("m.thread", root, nil)))
		}
		reaction := send(alice, "m.reaction", relates("m.annotation", root, obj{"key": "👍"}))
		deep := send(alice, "m.reaction", relates("m.annotation", children[0], obj{"key": "👍"}))
		of := "/relations/" + esc(root)

		newest := []string{reaction, children[4], children[3], children[2]}
		Expect(eventIDs(fine(alice.get("/_matrix/client/unstable/rooms/" + esc(room) + of + "?limit=4")).body["chunk"])).To(Equal(newest), "as bots call it")
		first := fine(alice.get(path(of + "?limit=4")))
		Expect(eventIDs(first.body["chunk"])).To(Equal(newest))
		rest := fine(alice.get(path(of + "?limit=4&from=" + first.text("next_batch"))))
		Expect(eventIDs(rest.body["chunk"])).To(Equal([]string{children[1], children[0]}))
		Expect(rest.body).NotTo(HaveKey("next_batch"))

		forth := fine(alice.get(path(of + "/m.thread?dir=f&limit=3")))
		Expect(eventIDs(forth.body["chunk"])).To(Equal(children[:3]))
		Expect(eventIDs(fine(alice.get(path(of + "/m.thread?dir=f&limit=3&from=" + forth.text("next_batch")))).body["chunk"])).To(Equal(children[3:]))

		Expect(eventIDs(fine(alice.get(path(of + "/m.annotation/m.reaction"))).body["chunk"])).To(Equal([]string{reaction}))
		Expect(fine(alice.get(path(of + "/m.annotation/m.room.message"))).body["chunk"]).To(BeEmpty())
		all := fine(alice.get(path(of + "?recurse=true&limit=50")))
		Expect(eventIDs(all.body["chunk"])).To(ContainElement(deep))
		Expect(all.body).To(HaveKeyWithValue("recursion_depth", 3.0))
		Expect(eventIDs(fine(alice.get(path(of + "/m.annotation?recurse=true&limit=50"))).body["chunk"])).To(Equal([]string{deep, reaction}),
			"whatever leads to them")

		for target, where := range map[string]string{"$nothing": room, reaction: alice.room(obj{})} {
			refused(alice.put("/rooms/"+esc(where)+"/send/m.reaction/"+esc(target), obj{
				"m.relates_to": obj{"rel_type": "m.annotation", "event_id": target, "key": "x"},
			}), 400, "M_UNKNOWN")
		}
		redact(bob, children[4])
		Expect(eventIDs(fine(alice.get(path(of + "/m.thread?limit=50"))).body["chunk"])).NotTo(ContainElement(children[4]))
		refused(w.register("eve").get(path(of)), 404, "M_NOT_FOUND")
		refused(alice.get(path("/relations/$nothing")), 404, "M_NOT_FOUND")
		for _, bad := range []string{"?dir=x", "?limit=0", "?limit=x", "?from=x", "?recurse=maybe"} {
			refused(alice.get(path(of+bad)), 400, "M_INVALID_PARAM")
		}
	})

	It("lists the threads of a room, those written to last first", func() {
		other := send(bob, "m.room.message", obj{"body": "another", "msgtype": "m.text"})
		third := send(bob, "m.room.message", obj{"body": "third", "msgtype": "m.text"})
		send(bob, "m.room.message", relates("m.thread", root, nil))
		send(bob, "m.room.message", relates("m.thread", third, nil))
		send(bob, "m.room.message", relates("m.thread", other, nil))
		send(alice, "m.room.message", relates("m.thread", third, nil))
		list := func(query string) answered { GinkgoHelper(); return fine(alice.get(path("/threads" + query))) }
		Expect(eventIDs(list("").body["chunk"])).To(Equal([]string{third, other, root}))
		Expect(eventIDs(list("?include=participated").body["chunk"])).To(Equal([]string{third, root}))
		first := list("?limit=2")
		Expect(eventIDs(first.body["chunk"])).To(Equal([]string{third, other}))
		second := list("?limit=2&from=" + first.text("next_batch"))
		Expect(eventIDs(second.body["chunk"])).To(Equal([]string{root}))
		Expect(second.body).NotTo(HaveKey("next_batch"))
		Expect(relations(second.body["chunk"].([]any)[0])).To(HaveKey("m.thread"))
		fine(alice.put("/user/"+esc(alice.id)+"/account_data/m.ignored_user_list", obj{"ignored_users": obj{bob.id: obj{}}}))
		ignoring := list("").body["chunk"].([]any)
		Expect(eventIDs(ignoring)).To(Equal([]string{third}))
		Expect(ignoring[0]).To(HaveKeyWithValue("content", BeEmpty()), "the root of a user who is ignored is shown redacted")
		refused(w.register("eve").get("/_matrix/client/v1/rooms/!nowhere:hanse.test/threads"), 403, "M_FORBIDDEN")
		refused(alice.get(path("/threads?include=some")), 400, "M_INVALID_PARAM")
	})

	It("refuses the same annotation twice, and threads in threads", func() {
		thumb := relates("m.annotation", root, obj{"key": "👍"})
		first := fine(bob.put("/rooms/"+esc(room)+"/send/m.reaction/same", thumb)).text("event_id")
		Expect(fine(bob.put("/rooms/"+esc(room)+"/send/m.reaction/same", thumb)).text("event_id")).To(Equal(first), "a repeated request")
		refused(bob.put("/rooms/"+esc(room)+"/send/m.reaction/other", thumb), 400, "M_DUPLICATE_ANNOTATION")
		send(alice, "m.reaction", thumb)
		send(bob, "m.reaction", relates("m.annotation", root, obj{"key": "👎"}))
		redact(bob, first)
		send(bob, "m.reaction", thumb)
		child := send(bob, "m.room.message", relates("m.thread", root, nil))
		refused(bob.put("/rooms/"+esc(room)+"/send/m.room.message/nested", relates("m.thread", child, nil)), 400, "M_UNKNOWN")
	})

	It("tells nobody of what they may not see", func() {
		fine(alice.put("/rooms/"+esc(room)+"/state/m.room.history_visibility", obj{"history_visibility": "joined"}))
		fine(bob.post("/rooms/"+esc(room)+"/leave", obj{}))
		send(alice, "m.room.message", relates("m.thread", root, nil))
		send(alice, "m.room.message", edit(root, "secret"))
		Expect(bundled(bob)).To(BeNil())
		Expect(fine(bob.get(path("/relations/" + esc(root)))).body["chunk"]).To(BeEmpty())
	})
})
