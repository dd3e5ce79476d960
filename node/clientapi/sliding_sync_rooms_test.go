package clientapi

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func subscribe(room string, timeline int, required ...[]string) obj {
	return obj{"room_subscriptions": obj{room: obj{"timeline_limit": timeline, "required_state": required}}}
}

var _ = Describe("rooms of a sliding sync", func() {
	var (
		w          *world
		alice, bob *person
	)
	BeforeEach(func() {
		w = newWorld(nil)
		alice, bob = w.register("alice"), w.register("bob")
	})

	It("are in the order of what happened, in windows", func() {
		var rooms []string
		for i := range 4 {
			rooms = append(rooms, alice.room(obj{"name": fmt.Sprint("room ", i)}))
		}
		request := lists(window(1, 1))
		first := alice.slide("", request)
		Expect(first.listed("all")).To(Equal([]string{rooms[3], rooms[2]}))
		Expect(first.body["lists"].(obj)["all"]).To(HaveKeyWithValue("count", 4.0))
		Expect(first.body["rooms"]).To(HaveLen(2))
		alice.say(rooms[0], "hello")
		second := alice.slide(first.pos(), request)
		Expect(second.listed("all")).To(Equal([]string{rooms[0], rooms[3]}))
		Expect(second.slidingRoom(rooms[0])).To(And(HaveKeyWithValue("initial", true), HaveKeyWithValue("num_live", 1.0)))
		Expect(second.body["rooms"]).To(HaveLen(1))

		By("what happens out of sight is told when the room is back")
		alice.say(rooms[2], "one")
		alice.say(rooms[3], "two")
		alice.say(rooms[0], "three")
		third := alice.slide(second.pos(), request)
		Expect(third.listed("all")).To(Equal([]string{rooms[0], rooms[3]}))
		Expect(third.body["rooms"]).NotTo(HaveKey(rooms[2]))
		back := alice.slide(third.pos(), lists(window(2, 1)))
		Expect(texts(back.slidingRoom(rooms[2]))).To(Equal([]string{"one"}))
		Expect(back.slidingRoom(rooms[2])).NotTo(HaveKey("initial"))
		all := alice.slide(back.pos(), lists(obj{"timeline_limit": 0, "required_state": [][]string{}}))
		Expect(all.listed("all")).To(HaveLen(4), "no window: all rooms")
		Expect(all.slidingRoom(rooms[1])).NotTo(Or(HaveKey("timeline"), HaveKey("limited"), HaveKey("prev_batch")))
	})

	It("are sorted by clients by what people do", func() {
		room := alice.room(obj{})
		request := lists(window(10, 1))
		first := alice.slide("", request)
		stamp := first.slidingRoom(room)["bump_stamp"].(float64)
		fine(alice.put("/rooms/"+esc(room)+"/state/m.room.topic/", obj{"topic": "no activity"}))
		second := alice.slide(first.pos(), request)
		Expect(second.slidingRoom(room)).NotTo(HaveKey("bump_stamp"))
		alice.say(room, "activity")
		Expect(alice.slide(second.pos(), request).slidingRoom(room)["bump_stamp"]).To(BeNumerically(">", stamp))
	})

	It("are subscribed to by those who may", func() {
		room := alice.room(obj{"name": "mine"})
		Expect(bob.slide("", subscribe(room, 10)).body["rooms"]).To(BeEmpty())
		mine := alice.slide("", subscribe(room, 10, []string{"m.room.name", ""})).slidingRoom(room)
		Expect(kinds(mine)).To(Equal([]string{"m.room.name"}))
		fine(alice.post("/rooms/"+esc(room)+"/invite", obj{"user_id": bob.id}))
		Expect(bob.slide("", subscribe(room, 10)).slidingRoom(room)).To(And(HaveKey("invite_state"), Not(HaveKey("timeline"))))
	})

	It("give what lists and subscriptions want together", func() {
		room := alice.room(obj{"name": "n", "topic": "t"})
		alice.say(room, "one")
		alice.say(room, "two")
		request := subscribe(room, 2, []string{"m.room.topic", ""})
		request["lists"] = obj{"names": window(9, 1, []string{"m.room.name", ""}), "none": window(9, 0)}
		both := alice.slide("", request).slidingRoom(room)
		Expect(kinds(both)).To(Equal([]string{"m.room.name", "m.room.topic"}))
		Expect(texts(both)).To(Equal([]string{"one", "two"}))
	})

	It("tell at once what is wanted beyond before", func() {
		room := alice.room(obj{"name": "n", "topic": "t"})
		for _, text := range []string{"one", "two", "three"} {
			alice.say(room, text)
		}
		name, topic := []string{"m.room.name", ""}, []string{"m.room.topic", ""}
		first := alice.slide("", lists(window(9, 1, name)))
		Expect(texts(first.slidingRoom(room))).To(Equal([]string{"three"}))
		more := alice.slide(first.pos(), lists(window(9, 1, name, topic)))
		Expect(kinds(more.slidingRoom(room))).To(Equal([]string{"m.room.topic"}), "what it has isn't told again")
		Expect(more.slidingRoom(room)).NotTo(Or(HaveKey("timeline"), HaveKey("initial"), HaveKey("expanded_timeline")))
		less := alice.slide(more.pos(), lists(window(9, 1, name)))
		Expect(less.body["rooms"]).To(BeEmpty())
		again := alice.slide(less.pos(), lists(window(9, 1, name, topic)))
		Expect(again.body["rooms"]).To(BeEmpty(), "the topic is as it was")
		less = alice.slide(again.pos(), lists(window(9, 1, name)))
		fine(alice.put("/rooms/"+esc(room)+"/state/m.room.topic/", obj{"topic": "another"}))
		less = alice.slide(less.pos(), lists(window(9, 1, name)))
		Expect(less.slidingRoom(room)).NotTo(HaveKey("required_state"))
		again = alice.slide(less.pos(), lists(window(9, 1, name, topic)))
		Expect(kinds(again.slidingRoom(room))).To(Equal([]string{"m.room.topic"}), "it has changed meanwhile")

		longer := alice.slide(again.pos(), lists(window(9, 3, name, topic)))
		Expect(longer.slidingRoom(room)).To(And(HaveKeyWithValue("unstable_expanded_timeline", true), HaveKeyWithValue("expanded_timeline", true),
			HaveKeyWithValue("num_live", 0.0), Not(HaveKey("initial"))))
		Expect(texts(longer.slidingRoom(room))).To(Equal([]string{"two", "three"}), "and the topic")
		shorter := alice.slide(longer.pos(), lists(window(9, 1, name, topic)))
		Expect(alice.slide(shorter.pos(), lists(window(9, 3, name, topic))).body["rooms"]).To(BeEmpty(), "it has these")
	})

	It("give state by wildcards, and members as they are needed", func() {
		room := alice.room(obj{"preset": "public_chat", "name": "n"})
		fine(bob.post("/join/"+esc(room), obj{}))
		carol := w.register("carol")
		fine(carol.post("/join/"+esc(room), obj{}))
		for _, key := range []string{"a", "b", alice.id} {
			fine(alice.put("/rooms/"+esc(room)+"/state/org.example.thing/"+esc(key), obj{"v": key}))
		}
		alice.say(room, "hello")
		members := []string{"m.room.member " + alice.id, "m.room.member " + bob.id, "m.room.member " + carol.id}
		for what, c := range map[string]struct {
			required [][]string
			want     []string
		}{
			"of a type":        {[][]string{{"org.example.thing", "*"}}, []string{"org.example.thing " + alice.id, "org.example.thing a", "org.example.thing b"}},
			"of a key":         {[][]string{{"*", "a"}}, []string{"org.example.thing a"}},
			"one's own":        {[][]string{{"org.example.thing", "$ME"}, {"m.room.member", "$ME"}}, []string{members[0], "org.example.thing " + alice.id}},
			"lazy":             {[][]string{{"m.room.member", "$LAZY"}}, members[:1]},
			"all members":      {[][]string{{"m.room.member", "*"}}, members},
			"lazy is members'": {[][]string{{"org.example.thing", "$LAZY"}}, []string{}},
			"none":             {nil, []string{}},
			"twice":            {[][]string{{"m.room.name", ""}, {"m.room.name", ""}, {"m.room.name", "x"}}, []string{"m.room.name"}},
		} {
			By(what)
			Expect(kinds(alice.slide("", subscribe(room, 1, c.required...)).slidingRoom(room))).To(Equal(c.want))
		}
		whole := kinds(alice.slide("", subscribe(room, 1, []string{"*", "*"})).slidingRoom(room))
		Expect(whole).To(ContainElements(append(members, "m.room.create", "m.room.name", "org.example.thing a")))
		narrowed := kinds(alice.slide("", subscribe(room, 1, []string{"*", "*"}, []string{"m.room.member", "$LAZY"})).slidingRoom(room))
		Expect(narrowed).To(HaveLen(len(whole) - 2))
		Expect(narrowed).NotTo(ContainElements(members[1:]))

		By("members are told once, and when they change")
		request := subscribe(room, 1, []string{"m.room.member", "$LAZY"})
		at := alice.slide("", request)
		bob.say(room, "I am bob")
		at = alice.slide(at.pos(), request)
		Expect(kinds(at.slidingRoom(room))).To(Equal(members[1:2]))
		bob.say(room, "still bob")
		at = alice.slide(at.pos(), request)
		Expect(kinds(at.slidingRoom(room))).To(BeEmpty())
		fine(carol.put("/profile/"+esc(carol.id)+"/displayname", obj{"displayname": "Carol"}))
		at = alice.slide(at.pos(), request)
		Expect(kinds(at.slidingRoom(room))).To(Equal(members[2:]))
		fine(bob.put("/profile/"+esc(bob.id)+"/displayname", obj{"displayname": "Bob"}))
		alice.say(room, "one")
		alice.say(room, "two")
		at = alice.slide(at.pos(), request)
		Expect(at.slidingRoom(room)).To(HaveKeyWithValue("limited", true))
		Expect(kinds(at.slidingRoom(room))).To(BeEmpty(), "a gap: bob's new name comes when he says something")
		bob.say(room, "I am Bob")
		Expect(kinds(alice.slide(at.pos(), request).slidingRoom(room))).To(Equal(members[1:2]))
	})

	It("without a name have heroes", func() {
		fine(bob.put("/profile/"+esc(bob.id)+"/displayname", obj{"displayname": "Bob"}))
		room := alice.room(obj{"preset": "public_chat"})
		fine(bob.post("/join/"+esc(room), obj{}))
		fine(alice.put("/user/"+esc(alice.id)+"/account_data/m.direct", obj{bob.id: []string{room}}))
		nameless := alice.slide("", lists(window(9, 0))).slidingRoom(room)
		Expect(nameless).To(And(Not(HaveKey("name")), HaveKeyWithValue("is_dm", true)))
		Expect(nameless["heroes"]).To(Equal([]any{obj{"user_id": bob.id, "displayname": "Bob"}}))
		list := window(9, 0)
		list["include_heroes"] = false
		Expect(alice.slide("", lists(list)).slidingRoom(room)).NotTo(HaveKey("heroes"))
		fine(alice.put("/rooms/"+esc(room)+"/state/m.room.name/", obj{"name": "Ours"}))
		fine(alice.put("/rooms/"+esc(room)+"/state/m.room.avatar/", obj{"url": "mxc://hanse.test/a"}))
		Expect(alice.slide("", lists(window(9, 0))).slidingRoom(room)).
			To(And(HaveKeyWithValue("name", "Ours"), HaveKeyWithValue("avatar", "mxc://hanse.test/a"), Not(HaveKey("heroes"))))
	})

	It("are told of to who is invited, joins, leaves and is removed", func() {
		room := alice.room(obj{"name": "Hall", "topic": "secret"})
		request := lists(window(9, 5, []string{"m.room.name", ""}, []string{"m.room.topic", ""}, []string{"m.room.member", "$ME"}))
		at := bob.slide("", request)
		Expect(at.body["rooms"]).To(BeEmpty())
		fine(alice.post("/rooms/"+esc(room)+"/invite", obj{"user_id": bob.id}))
		at = bob.slide(at.pos(), request)
		invite := at.slidingRoom(room)
		Expect(invite).To(And(HaveKeyWithValue("initial", true), HaveKeyWithValue("membership", "invite"), HaveKey("bump_stamp"),
			Not(HaveKey("timeline")), Not(HaveKey("required_state")), Not(HaveKey("name"))))
		Expect(fmt.Sprint(invite["invite_state"])).To(And(ContainSubstring("Hall"), ContainSubstring(bob.id)))
		at = bob.slide(at.pos(), request)
		Expect(at.body["rooms"]).To(BeEmpty())

		fine(bob.post("/rooms/"+esc(room)+"/leave", obj{}))
		at = bob.slide(at.pos(), request)
		refusal := at.slidingRoom(room)
		Expect(refusal).To(HaveKeyWithValue("membership", "leave"))
		Expect(kinds(refusal)).To(Equal([]string{"m.room.member " + bob.id}), "who was never in gets no state")
		Expect(refusal["timeline"]).To(HaveLen(1))
		at = bob.slide(at.pos(), request)
		Expect(at.body["rooms"]).To(BeEmpty())
		Expect(at.listed("all")).To(BeEmpty())

		fine(alice.post("/rooms/"+esc(room)+"/invite", obj{"user_id": bob.id}))
		at = bob.slide(at.pos(), request)
		Expect(at.slidingRoom(room)).To(HaveKeyWithValue("membership", "invite"))
		fine(bob.post("/join/"+esc(room), obj{}))
		at = bob.slide(at.pos(), request)
		joined := at.slidingRoom(room)
		Expect(joined).To(And(HaveKeyWithValue("initial", true), HaveKeyWithValue("membership", "join"), HaveKeyWithValue("name", "Hall")))
		Expect(kinds(joined)).To(Equal([]string{"m.room.member " + bob.id, "m.room.name", "m.room.topic"}))

		alice.say(room, "before")
		fine(alice.post("/rooms/"+esc(room)+"/kick", obj{"user_id": bob.id, "reason": "out"}))
		alice.say(room, "after")
		at = bob.slide(at.pos(), request)
		kicked := at.slidingRoom(room)
		Expect(kicked).To(And(HaveKeyWithValue("membership", "leave"), Not(HaveKey("initial")), Not(HaveKey("joined_count"))))
		Expect(texts(kicked)).To(Equal([]string{"before"}))
		Expect(kicked["timeline"].([]any)).To(HaveLen(2))
		Expect(kinds(kicked)).To(Equal([]string{"m.room.member " + bob.id}))
		at = bob.slide(at.pos(), request)
		Expect(at.body["rooms"]).To(BeEmpty())
		Expect(at.listed("all")).To(Equal([]string{room}), "who was removed may not know it")
		another := obj{"conn_id": "another", "lists": request["lists"]}
		Expect(bob.slide("", another).slidingRoom(room)).To(And(HaveKeyWithValue("initial", true), HaveKeyWithValue("membership", "leave")))
		fine(alice.post("/rooms/"+esc(room)+"/ban", obj{"user_id": bob.id}))
		at = bob.slide(at.pos(), request)
		Expect(at.slidingRoom(room)).To(HaveKeyWithValue("membership", "ban"))
		fine(bob.post("/rooms/"+esc(room)+"/forget", obj{}))
		at = bob.slide(at.pos(), request)
		Expect(at.listed("all")).To(BeEmpty())
	})

	It("that were left are told of once, whenever they are looked at", func() {
		room, other := alice.room(obj{"preset": "public_chat"}), alice.room(obj{"preset": "public_chat"})
		fine(bob.post("/join/"+esc(room), obj{}))
		fine(bob.post("/join/"+esc(other), obj{}))
		at := bob.slide("", lists(window(9, 1)))
		fine(bob.post("/rooms/"+esc(room)+"/leave", obj{}))
		fine(bob.post("/rooms/"+esc(room)+"/forget", obj{}))
		at = bob.slide(at.pos(), obj{"lists": obj{"all": obj{"ranges": [][]int{{5, 9}}, "timeline_limit": 1, "required_state": [][]string{}}}})
		Expect(at.body["rooms"]).To(BeEmpty())
		at = bob.slide(at.pos(), lists(window(9, 1)))
		Expect(at.slidingRoom(room)).To(HaveKeyWithValue("membership", "leave"))
		at = bob.slide(at.pos(), lists(window(9, 1)))
		Expect(at.listed("all")).To(Equal([]string{other}))
		Expect(bob.slide("", lists(window(9, 1))).listed("all")).To(Equal([]string{other}))
	})

	It("are asked for in a bounded number of ways", func() {
		room := alice.room(obj{})
		asking := func(first, keys int) obj {
			var required [][]string
			for i := range keys {
				required = append(required, []string{"m.room.member", fmt.Sprintf("@%0240d:hanse.test", first+i)})
			}
			return subscribe(room, 1, required...)
		}
		refused(alice.slide("", asking(0, 500)), 400, "M_INVALID_PARAM")
		at := alice.slide("", asking(0, 400))
		for i := range 10 {
			next := alice.slide(at.pos(), asking(1000*i, 400))
			if next.status != 200 {
				refused(next, 400, "M_UNKNOWN_POS")
				Expect(i).To(BeNumerically(">", 2))
				fine(alice.slide("", asking(0, 400)))
				return
			}
			at = next
		}
		Fail("all of it is remembered")
	})

	It("are knocked at", func() {
		room := alice.room(obj{"preset": "public_chat", "name": "Door", "initial_state": []obj{{"type": "m.room.join_rules", "content": obj{"join_rule": "knock"}}}})
		fine(bob.post("/knock/"+esc(room), obj{}))
		knock := bob.slide("", lists(window(9, 1))).slidingRoom(room)
		Expect(knock).To(HaveKeyWithValue("membership", "knock"))
		Expect(fmt.Sprint(knock["invite_state"])).To(ContainSubstring("Door"))
	})

	It("hide what is not to be seen", func() {
		carol := w.register("carol")
		room := alice.room(obj{"preset": "public_chat"})
		fine(carol.post("/join/"+esc(room), obj{}))
		fine(alice.put("/rooms/"+esc(room)+"/state/m.room.history_visibility/", obj{"history_visibility": "joined"}))
		alice.say(room, "secret")
		fine(bob.post("/join/"+esc(room), obj{}))
		carol.say(room, "noise")
		alice.say(room, "hello")
		fine(bob.put("/user/"+esc(bob.id)+"/account_data/m.ignored_user_list", obj{"ignored_users": obj{carol.id: obj{}}}))
		Expect(texts(bob.slide("", lists(window(9, 50))).slidingRoom(room))).To(Equal([]string{"hello"}))
		at := bob.slide("", lists(window(9, 50)))
		private := carol.room(obj{})
		fine(carol.post("/rooms/"+esc(private)+"/invite", obj{"user_id": bob.id}))
		at = bob.slide(at.pos(), lists(window(9, 50)))
		Expect(at.listed("all")).To(Equal([]string{room}))
		Expect(bob.slide("", subscribe(private, 1)).body["rooms"]).To(BeEmpty())
	})

	It("are not told of by filters to who was never in them", func() {
		room := alice.room(obj{"name": "Hidden"})
		fine(alice.post("/rooms/"+esc(room)+"/ban", obj{"user_id": bob.id}))
		named := func(name string) []string {
			list := window(9, 0)
			list["filters"] = obj{"room_name_like": name}
			return bob.slide("", lists(list)).listed("all")
		}
		Expect(bob.slide("", lists(window(9, 0))).listed("all")).To(Equal([]string{room}))
		Expect(named("hidden")).To(BeEmpty())

		By("who was in them knows what they were when they left")
		other := alice.room(obj{"preset": "public_chat", "name": "Before"})
		fine(bob.post("/join/"+esc(other), obj{}))
		fine(alice.post("/rooms/"+esc(other)+"/kick", obj{"user_id": bob.id}))
		fine(alice.put("/rooms/"+esc(other)+"/state/m.room.name/", obj{"name": "After"}))
		Expect(named("before")).To(Equal([]string{other}))
		Expect(named("after")).To(BeEmpty())
	})

	It("are filtered", func() {
		plain := alice.room(obj{"name": "Plain"})
		secret := alice.room(obj{"name": "Secret", "initial_state": []obj{{"type": "m.room.encryption", "content": obj{"algorithm": "m.megolm.v1.aes-sha2"}}}})
		space := alice.room(obj{"name": "Space", "creation_content": obj{"type": "m.space"}})
		direct := alice.room(obj{"preset": "trusted_private_chat"})
		invited := bob.room(obj{"name": "Bob's plain room"})
		fine(bob.post("/rooms/"+esc(invited)+"/invite", obj{"user_id": alice.id}))
		fine(alice.put("/rooms/"+esc(space)+"/state/m.space.child/"+esc(secret), obj{"via": []string{"hanse.test"}}))
		fine(alice.put("/rooms/"+esc(space)+"/state/m.space.child/"+esc(plain), obj{}))
		fine(alice.put("/user/"+esc(alice.id)+"/account_data/m.direct", obj{bob.id: []string{direct}, "@broken:x": "no list"}))
		fine(alice.put("/user/"+esc(alice.id)+"/rooms/"+esc(plain)+"/tags/m.favourite", obj{}))
		fine(alice.put("/user/"+esc(alice.id)+"/rooms/"+esc(secret)+"/tags/u.work", obj{}))
		for what, c := range map[string]struct {
			filters obj
			want    []string
		}{
			"all":             {obj{}, []string{plain, secret, space, direct, invited}},
			"direct":          {obj{"is_dm": true}, []string{direct}},
			"not direct":      {obj{"is_dm": false}, []string{plain, secret, space, invited}},
			"encrypted":       {obj{"is_encrypted": true}, []string{secret}},
			"not encrypted":   {obj{"is_encrypted": false}, []string{plain, space, direct, invited}},
			"invites":         {obj{"is_invite": true}, []string{invited}},
			"no invites":      {obj{"is_invited": false}, []string{plain, secret, space, direct}},
			"spaces":          {obj{"room_types": []any{"m.space"}}, []string{space}},
			"no type":         {obj{"room_types": []any{nil}}, []string{plain, secret, direct, invited}},
			"no spaces":       {obj{"not_room_types": []any{"m.space"}}, []string{plain, secret, direct, invited}},
			"neither":         {obj{"room_types": []any{"m.space"}, "not_room_types": []any{"m.space"}}, []string{}},
			"named":           {obj{"room_name_like": "PLAIN"}, []string{plain, invited}},
			"a tag":           {obj{"tags": []string{"m.favourite", "m.lowpriority"}}, []string{plain}},
			"not a tag":       {obj{"not_tags": []string{"m.favourite"}}, []string{secret, space, direct, invited}},
			"in a space":      {obj{"spaces": []string{space}}, []string{secret}},
			"in no space":     {obj{"spaces": []string{"!unknown:hanse.test", invited}}, []string{}},
			"several":         {obj{"is_dm": false, "is_encrypted": false, "room_types": []any{nil}}, []string{plain, invited}},
			"an empty choice": {obj{"tags": []string{}}, []string{}},
		} {
			By(what)
			list := window(9, 0)
			list["filters"] = c.filters
			Expect(alice.slide("", lists(list)).listed("all")).To(ConsistOf(c.want))
		}

		By("as they are now")
		list := window(9, 0)
		list["filters"] = obj{"is_encrypted": true, "room_name_like": "pl"}
		at := alice.slide("", lists(list))
		Expect(at.listed("all")).To(BeEmpty())
		fine(alice.put("/rooms/"+esc(plain)+"/state/m.room.encryption/", obj{"algorithm": "m.megolm.v1.aes-sha2"}))
		at = alice.slide(at.pos(), lists(list))
		Expect(at.listed("all")).To(Equal([]string{plain}))
		fine(alice.put("/rooms/"+esc(plain)+"/state/m.room.name/", obj{"name": "Open"}))
		at = alice.slide(at.pos(), lists(list))
		Expect(at.listed("all")).To(BeEmpty())
		list["filters"] = obj{"tags": []string{"new"}}
		fine(alice.put("/user/"+esc(alice.id)+"/rooms/"+esc(direct)+"/tags/new", obj{}))
		Expect(alice.slide(at.pos(), lists(list)).listed("all")).To(Equal([]string{direct}))
	})

	It("count what is unread, on all devices alike", func() {
		room := alice.room(obj{"preset": "public_chat"})
		fine(bob.post("/join/"+esc(room), obj{}))
		last := fine(alice.put("/rooms/"+esc(room)+"/send/m.room.message/1", obj{"msgtype": "m.text", "body": "hello bob", "m.mentions": obj{"user_ids": []string{bob.id}}})).text("event_id")
		at := bob.slide("", lists(window(9, 1)))
		Expect(at.slidingRoom(room)).To(And(HaveKeyWithValue("notification_count", 1.0), HaveKeyWithValue("highlight_count", 1.0)))
		fine(bob.post("/rooms/"+esc(room)+"/receipt/m.read/"+esc(last), obj{}))
		at = bob.slide(at.pos(), lists(window(9, 1)))
		Expect(at.slidingRoom(room)).To(And(HaveKeyWithValue("notification_count", 0.0), Not(HaveKey("timeline"))))
		fine(alice.post("/rooms/"+esc(room)+"/receipt/m.read/"+esc(last), obj{}))
		Expect(bob.slide(at.pos(), lists(window(9, 1))).body["rooms"]).To(BeEmpty())
	})
})
