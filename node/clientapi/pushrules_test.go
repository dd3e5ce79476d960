package clientapi

import (
	"encoding/json"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("push rules", func() {
	ruleIDs := func(list any) (ids []string) {
		for _, rule := range list.([]any) {
			ids = append(ids, rule.(obj)["rule_id"].(string))
		}
		return ids
	}

	It("are added, moved, changed, switched off and deleted, and told in /sync", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		first := fine(alice.get("/sync"))
		Expect(rulesOf(first)["override"]).To(HaveLen(10))
		const base = "/pushrules/global/"
		fine(alice.put(base+"content/cake", obj{"pattern": "cake*lie", "actions": []any{"notify"}}))
		fine(alice.put(base+"content/pie?before=cake", obj{"pattern": "pie", "actions": []any{"notify", obj{"set_tweak": "highlight"}}}))
		fine(alice.put(base+"content/bread?after=cake", obj{"pattern": "bread", "actions": []any{"dont_notify"}}))
		fine(alice.put(base+"override/mine", obj{"actions": []any{}, "conditions": []any{obj{"kind": "room_member_count", "is": "2"}}}))
		Expect(ruleIDs(fine(alice.get(base + "")).body["content"])).To(Equal([]string{"pie", "cake", "bread"}))
		Expect(ruleIDs(fine(alice.get("/pushrules/")).body["global"].(obj)["override"])[:2]).To(Equal([]string{".m.rule.master", "mine"}))
		next := fine(alice.get("/sync?since=" + first.text("next_batch")))
		Expect(ruleIDs(rulesOf(next)["content"])).To(Equal([]string{"pie", "cake", "bread"}))
		Expect(rulesOf(next)).To(Equal(fine(alice.get("/pushrules")).body["global"]))
		Expect(fine(alice.get(base + "content/bread")).body).To(Equal(obj{
			"rule_id": "bread", "default": false, "enabled": true, "pattern": "bread", "actions": []any{"dont_notify"},
		}))

		fine(alice.put(base+"content/cake/enabled", obj{"enabled": false}))
		Expect(fine(alice.get(base + "content/cake/enabled")).body).To(Equal(obj{"enabled": false}))
		fine(alice.put(base+"underride/.m.rule.message/actions", obj{"actions": []any{"notify", obj{"set_tweak": "sound", "value": "x"}}}))
		Expect(fine(alice.get(base + "underride/.m.rule.message/actions")).body["actions"]).To(HaveLen(2))
		fine(alice.put(base+"override/.m.rule.master/enabled", obj{"enabled": true}))
		fine(alice.del(base+"content/cake", nil))
		refused(alice.get(base+"content/cake"), 404, "M_NOT_FOUND")
		refused(alice.del(base+"content/cake", nil), 404, "M_NOT_FOUND")
		Expect(fine(alice.get("/user/" + esc(alice.id) + "/account_data/m.push_rules")).body).To(HaveKey("global"))

		fine(alice.put(base+"room/"+esc("#tea:example.org"), obj{"actions": []any{}})) // matches nothing
		Expect(fine(alice.get(base + "room/" + esc("#tea:example.org"))).body).To(HaveKeyWithValue("enabled", true))

		bob := w.register("bob")
		Expect(fine(bob.get(base + "")).body["content"]).To(BeEmpty())
	})

	It("that are malformed are refused", func() {
		alice := newWorld(nil).register("alice")
		const base = "/pushrules/global/"
		notify := []any{"notify"}
		for path, code := range map[string]string{
			"nonsense/x": "M_INVALID_PARAM", "override/.x": "M_INVALID_PARAM",
			"override/" + strings.Repeat("x", 300): "M_INVALID_PARAM", "override/a%2Fb": "M_INVALID_PARAM", "content/x": "M_MISSING_PARAM",
			"override/x?before=none": "M_UNKNOWN", "override/x?after=.m.rule.master": "M_UNKNOWN",
		} {
			refused(alice.put(base+path, obj{"actions": notify}), 400, code)
		}
		refused(alice.put(base+"override/x", obj{}), 400, "M_MISSING_PARAM")
		refused(alice.put(base+"override/x", obj{"actions": "notify"}), 400, "M_BAD_JSON")
		refused(alice.put(base+"override/x", obj{"actions": []any{"explode"}}), 400, "M_INVALID_PARAM")
		refused(alice.put(base+"override/x", obj{"actions": notify, "conditions": []any{obj{"kind": "event_match"}}}), 400, "M_INVALID_PARAM")
		refused(alice.put(base+"content/x", obj{"actions": notify, "pattern": strings.Repeat("x", 20_000)}), 413, "M_TOO_LARGE")
		refused(alice.put(base+"override/x/enabled", obj{"enabled": true}), 404, "M_NOT_FOUND")
		refused(alice.put(base+"override/.m.rule.master/enabled", obj{}), 400, "M_MISSING_PARAM")
		refused(alice.put(base+"override/.m.rule.master/actions", obj{}), 400, "M_MISSING_PARAM")
		refused(alice.del(base+"override/.m.rule.master", nil), 400, "M_INVALID_PARAM")
	})
})

// rulesOf are the push rules of a /sync answer.
func rulesOf(a answered) obj {
	GinkgoHelper()
	for _, data := range a.body["account_data"].(obj)["events"].([]any) {
		if data.(obj)["type"] == "m.push_rules" {
			return data.(obj)["content"].(obj)["global"].(obj)
		}
	}
	Fail("no push rules in " + a.raw)
	return nil
}

var _ = Describe("what is unread", func() {
	say := func(p *person, room string, content obj) string {
		GinkgoHelper()
		return fine(p.post("/rooms/"+esc(room)+"/send/m.room.message", content)).text("event_id")
	}
	counts := func(p *person, room, filter string) obj {
		GinkgoHelper()
		a := fine(p.get("/sync?filter=" + esc(filter)))
		joined := a.body["rooms"].(obj)["join"].(obj)[room].(obj)
		c := obj{"whole": joined["unread_notifications"]}
		if threads, ok := joined["unread_thread_notifications"]; ok {
			c["threads"] = threads
		}
		return c
	}
	n := func(notifications, highlights float64) obj {
		return obj{"notification_count": notifications, "highlight_count": highlights}
	}

	It("is counted by room and by thread, and goes with receipts", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{"preset": "public_chat"})
		fine(bob.post("/join/"+esc(room), nil))
		root := say(alice, room, obj{"msgtype": "m.text", "body": "one"})
		say(alice, room, obj{"msgtype": "m.notice", "body": "two"})
		mention := say(alice, room, obj{"msgtype": "m.text", "body": "three", "m.mentions": obj{"user_ids": []any{bob.id}}})
		thread := obj{"rel_type": "m.thread", "event_id": root}
		reply := say(alice, room, obj{"msgtype": "m.text", "body": "four", "m.relates_to": thread})
		say(alice, room, obj{"msgtype": "m.text", "body": "five", "m.relates_to": thread})
		const apart = `{"room":{"timeline":{"unread_thread_notifications":true}}}`
		Expect(counts(bob, room, "{}")).To(Equal(obj{"whole": n(4, 1)}))
		Expect(counts(bob, room, apart)).To(Equal(obj{"whole": n(2, 1), "threads": obj{root: n(2, 0)}}))
		Expect(counts(alice, room, apart)).To(Equal(obj{"whole": n(0, 0)}))

		receipt := "/rooms/" + esc(room) + "/receipt/"
		refused(bob.post(receipt+"m.read/"+esc(reply), obj{"thread_id": "main"}), 400, "M_INVALID_PARAM")
		refused(bob.post(receipt+"m.read/"+esc(mention), obj{"thread_id": root}), 400, "M_INVALID_PARAM")
		fine(bob.post(receipt+"m.read.private/"+esc(reply), obj{"thread_id": root}))
		Expect(counts(bob, room, apart)).To(Equal(obj{"whole": n(2, 1), "threads": obj{root: n(1, 0)}}))
		fine(bob.post(receipt+"m.read/"+esc(root), obj{"thread_id": root})) // the root may be read in the thread, too
		fine(bob.post(receipt+"m.read/"+esc(mention), obj{"thread_id": "main"}))
		Expect(counts(bob, room, apart)).To(Equal(obj{"whole": n(0, 0), "threads": obj{root: n(1, 0)}}))
		Expect(counts(bob, room, "{}")).To(Equal(obj{"whole": n(1, 0)}))
		last := say(alice, room, obj{"msgtype": "m.text", "body": "six"})
		fine(bob.post("/rooms/"+esc(room)+"/read_markers", obj{"m.read.private": last}))
		Expect(counts(bob, room, apart)).To(Equal(obj{"whole": n(0, 0)}))
	})

	It("follows the rules: a muted room, a word", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{"preset": "public_chat"})
		fine(bob.post("/join/"+esc(room), nil))
		say(alice, room, obj{"msgtype": "m.text", "body": "cake is there"})
		Expect(counts(bob, room, "{}")).To(Equal(obj{"whole": n(1, 0)}))
		fine(bob.put("/pushrules/global/room/"+esc(room), obj{"actions": []any{}}))
		Expect(counts(bob, room, "{}")).To(Equal(obj{"whole": n(0, 0)}))
		fine(bob.put("/pushrules/global/content/cake", obj{"pattern": "cake", "actions": []any{"notify", obj{"set_tweak": "highlight"}}}))
		Expect(counts(bob, room, "{}")).To(Equal(obj{"whole": n(1, 1)}))
		fine(bob.put("/user/"+esc(bob.id)+"/account_data/m.ignored_user_list", obj{"ignored_users": obj{alice.id: obj{}}}))
		Expect(counts(bob, room, "{}")).To(Equal(obj{"whole": n(0, 0)}))
	})

	It("is listed, page by page", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		var rooms, said []string
		for range 2 {
			room := alice.room(obj{"preset": "public_chat"})
			say(alice, room, obj{"msgtype": "m.text", "body": "before bob came"})
			fine(bob.post("/join/"+esc(room), nil))
			rooms = append(rooms, room)
		}
		for i := range 7 {
			content := obj{"msgtype": "m.text", "body": "hi"}
			if i%3 == 0 {
				content["m.mentions"] = obj{"user_ids": []any{bob.id}}
			}
			if i < 2 { // later it would show that he has read what came before
				say(bob, rooms[i%2], obj{"msgtype": "m.text", "body": "own"})
			}
			said = append(said, say(alice, rooms[i%2], content))
			say(alice, rooms[i%2], obj{"msgtype": "m.notice", "body": "nothing"})
		}
		fine(bob.post("/rooms/"+esc(rooms[0])+"/receipt/m.read/"+esc(said[4]), obj{}))
		list := func(query string) (ids []string, read []bool) {
			from := ""
			for pages := 0; pages < 20; pages++ {
				a := fine(bob.get("/notifications?limit=3" + query + from))
				for _, one := range a.body["notifications"].([]any) {
					n := one.(obj)
					ids = append(ids, n["event"].(obj)["event_id"].(string))
					read = append(read, n["read"].(bool))
					Expect(n["room_id"]).To(BeElementOf(rooms[0], rooms[1]))
					Expect(n["actions"]).NotTo(BeEmpty())
					Expect(n["ts"]).To(BeNumerically(">", 0))
				}
				next, more := a.body["next_token"]
				if !more {
					return ids, read
				}
				from = "&from=" + next.(string)
			}
			Fail("pages without end")
			return nil, nil
		}
		ids, read := list("")
		Expect(ids).To(Equal([]string{said[6], said[5], said[4], said[3], said[2], said[1], said[0]}))
		Expect(read).To(Equal([]bool{false, false, true, false, true, false, true}))
		ids, _ = list("&only=highlight")
		Expect(ids).To(Equal([]string{said[6], said[3], said[0]}))
		refused(bob.get("/notifications?from=nonsense"), 400, "M_INVALID_PARAM")
		Expect(fine(w.register("carol").get("/notifications")).body).To(Equal(obj{"notifications": []any{}}))
		raw, err := json.Marshal(ids)
		Expect(err).NotTo(HaveOccurred())
		Expect(string(raw)).NotTo(ContainSubstring("unsigned"))
	})
})
