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
