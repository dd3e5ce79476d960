package clientapi

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("a room that replaces another", func() {
	tags := func(p *person, room string) any {
		GinkgoHelper()
		return fine(p.get("/user/" + esc(p.id) + "/rooms/" + esc(room) + "/tags")).body["tags"]
	}
	direct := func(p *person) obj {
		GinkgoHelper()
		return fine(p.get("/user/" + esc(p.id) + "/account_data/m.direct")).body
	}
	mark := func(p *person, room, with string) {
		GinkgoHelper()
		fine(p.put("/user/"+esc(p.id)+"/rooms/"+esc(room)+"/tags/u.work", obj{"order": 0.5}))
		fine(p.put("/user/"+esc(p.id)+"/account_data/m.direct", obj{with: []string{"!x:far.test", room}, "odd": 7}))
	}

	It("takes over what its members had made of the old one, once they join", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		old := alice.room(obj{"preset": "public_chat"})
		fine(bob.post("/join/"+esc(old), obj{}))
		mark(alice, old, bob.id)
		mark(bob, old, alice.id)
		fresh := fine(alice.post("/rooms/"+esc(old)+"/upgrade", obj{"new_version": "12"})).text("replacement_room")
		Expect(tags(alice, fresh)).To(Equal(obj{"u.work": obj{"order": 0.5}}))
		Expect(direct(alice)).To(Equal(obj{bob.id: []any{"!x:far.test", old, fresh}, "odd": 7.0}))
		Expect(tags(bob, fresh)).To(BeEmpty())
		for range 2 {
			fine(bob.post("/join/"+esc(fresh), obj{}))
			Expect(tags(bob, fresh)).To(Equal(obj{"u.work": obj{"order": 0.5}}))
			Expect(direct(bob)).To(Equal(obj{alice.id: []any{"!x:far.test", old, fresh}, "odd": 7.0}))
		}
	})

	It("takes over the push rules for it", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		rules := func(p *person, kind string) []any {
			GinkgoHelper()
			var own []any
			for _, rule := range fine(p.get("/pushrules/global/")).body[kind].([]any) {
				if !rule.(obj)["default"].(bool) {
					own = append(own, rule)
				}
			}
			return own
		}
		about := func(room string) []any {
			return []any{obj{"kind": "event_match", "key": "room_id", "pattern": room}, obj{"kind": "room_member_count", "is": "2"}}
		}
		silent := []any{"dont_notify"}
		rule := func(ruleID string, conditions any) obj {
			made := obj{"rule_id": ruleID, "default": false, "enabled": true, "actions": silent}
			if conditions != nil {
				made["conditions"] = conditions
			}
			return made
		}
		old := alice.room(obj{"preset": "public_chat", "room_version": "10"})
		fine(bob.post("/join/"+esc(old), obj{}))
		for _, p := range []*person{alice, bob} {
			fine(p.put("/pushrules/global/room/"+esc(old), obj{"actions": silent}))
			fine(p.put("/pushrules/global/override/"+esc(old), obj{"actions": silent, "conditions": about(old)}))
			fine(p.put("/pushrules/global/underride/mine", obj{"actions": silent, "conditions": about(old)}))
			fine(p.put("/pushrules/global/underride/other", obj{"actions": silent, "conditions": about("!x:far.test")}))
		}
		// Step by step, as clients do it that don't ask for an upgrade.
		fresh := alice.room(obj{"preset": "public_chat", "room_version": "11", "creation_content": obj{"predecessor": obj{"room_id": old}}})
		Expect(rules(alice, "room")).To(HaveLen(1))
		fine(alice.put("/rooms/"+esc(old)+"/state/m.room.tombstone", obj{"body": "gone", "replacement_room": fresh}))
		since := fine(bob.get("/sync")).text("next_batch")
		fine(bob.post("/join/"+esc(fresh), obj{}))
		for _, p := range []*person{alice, bob} {
			Expect(rules(p, "room")).To(Equal([]any{rule(fresh, nil), rule(old, nil)}))
			Expect(rules(p, "override")).To(Equal([]any{rule(fresh, about(fresh)), rule(old, about(old))}))
			Expect(rules(p, "underride")).To(Equal([]any{
				rule("other", about("!x:far.test")), rule("mine."+fresh, about(fresh)), rule("mine", about(old)),
			}))
		}
		Expect(fine(bob.get("/sync?since=" + since)).body["account_data"]).To(HaveKeyWithValue("events", ContainElement(HaveKeyWithValue("type", "m.push_rules"))))
	})

	It("takes over nothing if the old one doesn't say so", func() {
		w := newWorld(nil)
		alice, mallory := w.register("alice"), w.register("mallory")
		old := alice.room(obj{})
		mark(alice, old, mallory.id)
		pretender := mallory.room(obj{"preset": "public_chat", "creation_content": obj{"predecessor": obj{"room_id": old}}})
		fine(alice.post("/join/"+esc(pretender), obj{}))
		Expect(tags(alice, pretender)).To(BeEmpty())
		Expect(direct(alice)).To(HaveKeyWithValue(mallory.id, []any{"!x:far.test", old}))
	})
})
