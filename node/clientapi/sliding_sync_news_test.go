package clientapi

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// What a client was told once must not stay with it when it is no longer true, however little of the room it asks for.
var _ = Describe("a sliding sync tells", func() {
	var (
		w          *world
		alice, bob *person
	)
	BeforeEach(func() {
		w = newWorld(nil)
		alice, bob = w.register("alice"), w.register("bob")
	})
	together := func() string {
		GinkgoHelper()
		room := alice.room(obj{"preset": "public_chat"})
		fine(bob.post("/join/"+esc(room), obj{}))
		return room
	}

	It("what was said while no timeline was wanted, once one is", func() {
		room := together()
		alice.say(room, "one")
		at := bob.slide("", lists(window(9, 5)))
		alice.say(room, "two")
		at = bob.slide(at.pos(), lists(window(9, 0)))
		alice.say(room, "three")
		at = bob.slide(at.pos(), lists(window(9, 5)))
		Expect(at.slidingRoom(room)).To(HaveKeyWithValue("expanded_timeline", true))
		Expect(texts(at.slidingRoom(room))).To(Equal([]string{"one", "two", "three"}))
	})

	It("the other names of those who name a room", func() {
		room := together()
		at := alice.slide("", lists(window(9, 1)))
		Expect(at.slidingRoom(room)["heroes"]).To(Equal([]any{obj{"user_id": bob.id, "displayname": "bob"}}))
		fine(bob.put("/profile/"+esc(bob.id)+"/displayname", obj{"displayname": "Robert"}))
		at = alice.slide(at.pos(), lists(window(9, 1)))
		Expect(at.slidingRoom(room)["heroes"]).To(Equal([]any{obj{"user_id": bob.id, "displayname": "Robert"}}))
		Expect(at.slidingRoom(room)).NotTo(HaveKey("joined_count"), "they are as many as before")
	})

	It("that a room has no name and no picture any more", func() {
		room := alice.room(obj{"name": "Hall"})
		fine(alice.put("/rooms/"+esc(room)+"/state/m.room.avatar/", obj{"url": "mxc://hanse.test/a"}))
		at := alice.slide("", lists(window(9, 0)))
		fine(alice.put("/rooms/"+esc(room)+"/state/m.room.name/", obj{}))
		at = alice.slide(at.pos(), lists(window(9, 0)))
		Expect(at.slidingRoom(room)).To(And(HaveKeyWithValue("name", BeNil()), Not(HaveKey("avatar"))))
		fine(alice.put("/rooms/"+esc(room)+"/state/m.room.avatar/", obj{}))
		at = alice.slide(at.pos(), lists(window(9, 0)))
		Expect(at.slidingRoom(room)).To(And(HaveKeyWithValue("avatar", BeNil()), Not(HaveKey("name"))))
		Expect(alice.slide("", lists(window(9, 0))).slidingRoom(room)).NotTo(Or(HaveKey("name"), HaveKey("avatar")))
	})

	It("that a room is a direct chat, or isn't any more", func() {
		room := together()
		at := alice.slide("", lists(window(9, 0)))
		Expect(at.slidingRoom(room)).NotTo(HaveKey("is_dm"))
		fine(alice.put("/user/"+esc(alice.id)+"/account_data/m.direct", obj{bob.id: []string{room}}))
		at = alice.slide(at.pos(), lists(window(9, 0)))
		Expect(at.slidingRoom(room)).To(HaveKeyWithValue("is_dm", true))
		fine(alice.put("/user/"+esc(alice.id)+"/account_data/m.direct", obj{}))
		at = alice.slide(at.pos(), lists(window(9, 0)))
		Expect(at.slidingRoom(room)).To(HaveKeyWithValue("is_dm", false))
		at = alice.slide(at.pos(), lists(window(9, 0)))
		Expect(at.body["rooms"]).To(BeEmpty())
	})

	It("that less is unread because something was taken back", func() {
		room := together()
		said := alice.say(room, "oops")
		at := bob.slide("", lists(window(9, 0)))
		Expect(at.slidingRoom(room)).To(HaveKeyWithValue("notification_count", 1.0))
		fine(alice.put("/rooms/"+esc(room)+"/redact/"+esc(said)+"/1", obj{}))
		at = bob.slide(at.pos(), lists(window(9, 0)))
		Expect(at.slidingRoom(room)).To(HaveKeyWithValue("notification_count", 0.0))
	})

	It("that nobody types any more where it said that somebody does", func() {
		room, other := together(), together()
		request := func(last int) obj {
			request := lists(window(last, 1))
			request["extensions"] = obj{"typing": obj{"enabled": true}}
			return request
		}
		fine(alice.put("/rooms/"+esc(room)+"/typing/"+esc(alice.id), obj{"typing": true, "timeout": 60_000}))
		at := bob.slide("", request(1))
		Expect(at.extension("typing")["rooms"]).To(HaveKey(room))
		alice.say(other, "on top")
		at = bob.slide(at.pos(), request(0))
		fine(alice.put("/rooms/"+esc(room)+"/typing/"+esc(alice.id), obj{"typing": false}))
		at = bob.slide(at.pos(), request(0))
		Expect(at.extension("typing")["rooms"]).To(BeEmpty(), "it is out of sight")
		at = bob.slide(at.pos(), request(1))
		Expect(at.extension("typing")["rooms"]).To(Equal(obj{room: obj{"type": "m.typing", "content": obj{"user_ids": []any{}}}}))
		Expect(bob.slide(at.pos(), request(1)).extension("typing")["rooms"]).To(BeEmpty())
	})

	It("who is invited of what the invite told, not of what has changed since", func() {
		room := alice.room(obj{"name": "Hall"})
		fine(alice.post("/rooms/"+esc(room)+"/invite", obj{"user_id": bob.id}))
		fine(alice.put("/rooms/"+esc(room)+"/state/m.room.name/", obj{"name": "Dungeon"}))
		invite := fine(bob.get("/sync")).body["rooms"].(obj)["invite"].(obj)[room]
		for _, told := range []any{invite, bob.slide("", lists(window(9, 0))).slidingRoom(room)} {
			Expect(fmt.Sprint(told)).To(And(ContainSubstring("Hall"), Not(ContainSubstring("Dungeon"))))
		}
		for name, found := range map[string][]string{"hall": {room}, "dungeon": {}} {
			list := window(9, 0)
			list["filters"] = obj{"room_name_like": name}
			Expect(bob.slide("", lists(list)).listed("all")).To(Equal(found), name)
		}
	})

	It("of invites by those whom the user ignores no more, and of none by those whom they do", func() {
		room := alice.room(obj{})
		fine(alice.post("/rooms/"+esc(room)+"/invite", obj{"user_id": bob.id}))
		ignored := func(users obj) {
			fine(bob.put("/user/"+esc(bob.id)+"/account_data/m.ignored_user_list", obj{"ignored_users": users}))
		}
		at := bob.slide("", lists(window(9, 0)))
		Expect(at.listed("all")).To(Equal([]string{room}))
		ignored(obj{alice.id: obj{}})
		at = bob.slide(at.pos(), lists(window(9, 0)))
		Expect(at.listed("all")).To(BeEmpty())
		at = bob.slide("", lists(window(9, 0)))
		Expect(at.listed("all")).To(BeEmpty())
		ignored(obj{})
		at = bob.slide(at.pos(), lists(window(9, 0)))
		Expect(at.listed("all")).To(Equal([]string{room}))
		Expect(at.slidingRoom(room)).To(HaveKeyWithValue("membership", "invite"))
	})

	It("of an invite that was refused or taken back, also where a list wants rooms of a kind", func() {
		list := window(9, 1)
		list["filters"] = obj{"not_room_types": []any{"m.space"}}
		at := bob.slide("", lists(list))
		for _, end := range []func(room string){
			func(room string) { fine(bob.post("/rooms/"+esc(room)+"/leave", obj{})) },
			func(room string) { fine(alice.post("/rooms/"+esc(room)+"/kick", obj{"user_id": bob.id})) },
			func(room string) { fine(alice.post("/rooms/"+esc(room)+"/ban", obj{"user_id": bob.id})) },
		} {
			room := alice.room(obj{})
			fine(alice.post("/rooms/"+esc(room)+"/invite", obj{"user_id": bob.id}))
			at = bob.slide(at.pos(), lists(list))
			Expect(at.slidingRoom(room)).To(HaveKeyWithValue("membership", "invite"))
			end(room)
			at = bob.slide(at.pos(), lists(list))
			Expect(at.slidingRoom(room)).To(HaveKeyWithValue("membership", Or(Equal("leave"), Equal("ban"))))
		}
	})

	It("of rooms by the names that they have, not by those that were taken back", func() {
		room := alice.room(obj{})
		name := fine(alice.put("/rooms/"+esc(room)+"/state/m.room.name/", obj{"name": "Secret"})).text("event_id")
		list := window(9, 0)
		list["filters"] = obj{"room_name_like": "secret"}
		Expect(alice.slide("", lists(list)).listed("all")).To(Equal([]string{room}))
		fine(alice.put("/rooms/"+esc(room)+"/redact/"+esc(name)+"/1", obj{}))
		Expect(alice.slide("", lists(list)).listed("all")).To(BeEmpty())
	})

	It("a connection that was replaced by a new one nothing, at once", func() {
		room := together()
		at := bob.slide("", lists(window(9, 1)))
		ended := make(chan answered, 1)
		go func() {
			defer GinkgoRecover()
			ended <- bob.slideFor(at.pos(), lists(window(9, 1)), time.Minute)
		}()
		Eventually(func() int { return len(w.api.lanes.waiting.slots) }).Should(Equal(1))
		anew := bob.slide("", lists(window(9, 1)))
		var old answered
		Eventually(ended).Should(Receive(&old))
		if old.status == 200 { // else it had come no further than to its lane
			Expect(old.body["rooms"]).To(BeEmpty())
		}
		alice.say(room, "hello")
		Expect(texts(bob.slide(anew.pos(), lists(window(9, 1))).slidingRoom(room))).To(Equal([]string{"hello"}))
	})

	It("and /sync too, nothing to a device that was logged out while it waited", func() {
		together()
		for what, begin := range map[string]func(p *person) (wait func() answered){
			"sliding": func(p *person) func() answered {
				pos := p.slide("", lists(window(9, 1))).pos()
				return func() answered { return p.slideFor(pos, lists(window(9, 1)), time.Minute) }
			},
			"classic": func(p *person) func() answered {
				since := fine(p.get("/sync")).text("next_batch")
				return func() answered { return p.get("/sync?timeout=60000&since=" + since) }
			},
		} {
			By(what)
			login := fine(w.nobody().post("/login", obj{
				"type": "m.login.password", "identifier": obj{"type": "m.id.user", "user": "bob"}, "password": "secret of bob",
			}))
			phone := &person{w: w, id: bob.id, token: login.text("access_token"), device: login.text("device_id")}
			wait, ended := begin(phone), make(chan answered, 1)
			go func() {
				defer GinkgoRecover()
				ended <- wait()
			}()
			Eventually(func() int { return len(w.api.lanes.waiting.slots) }).Should(Equal(1))
			fine(phone.post("/logout", obj{}))
			var last answered
			Eventually(ended).Should(Receive(&last))
			refused(last, 401, "M_UNKNOWN_TOKEN")
		}
	})
})
