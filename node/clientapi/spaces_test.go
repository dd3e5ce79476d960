package clientapi

import (
	"strconv"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/id"
)

var _ = Describe("spaces and previews", func() {
	It("shows the rooms of a space, and a room before it is joined", func() {
		w := newWorld(nil)
		alice, bob, nobody := w.register("alice"), w.register("bob"), w.nobody()
		open := alice.room(obj{"preset": "public_chat", "name": "open", "room_alias_name": "open"})
		closed := alice.room(obj{"preset": "private_chat", "name": "closed"})
		space := alice.room(obj{"preset": "public_chat", "creation_content": obj{"type": "m.space"}})
		for i, room := range []string{open, closed, "!far:far.test"} {
			fine(alice.put("/rooms/"+esc(space)+"/state/m.space.child/"+esc(room), obj{"via": []string{"far.test"}, "order": strconv.Itoa(i)}))
		}
		far := federation.HierarchyResponse{}
		far.Room.RoomID, far.Room.JoinRule, far.Room.Name = "!far:far.test", "knock", "far"
		w.peers.spaces = map[id.RoomID]federation.HierarchyResponse{"!far:far.test": far}

		const v1 = "/_matrix/client/v1"
		names := func(p *person) []string {
			GinkgoHelper()
			var all []string
			for _, room := range fine(p.get(v1 + "/rooms/" + esc(space) + "/hierarchy")).body["rooms"].([]any) {
				name, _ := room.(obj)["name"].(string)
				Expect(room).To(HaveKeyWithValue("children_state", BeAssignableToTypeOf([]any{})))
				all = append(all, name)
			}
			return all
		}
		Expect(names(alice)).To(Equal([]string{"", "open", "closed", "far"}))
		Expect(names(bob)).To(Equal([]string{"", "open", "far"}))
		refused(bob.get(v1+"/rooms/"+esc(closed)+"/hierarchy"), 403, "M_FORBIDDEN")
		for _, bad := range []string{"limit=0", "limit=x", "max_depth=-1", "suggested_only=perhaps", "from=x"} {
			refused(alice.get(v1+"/rooms/"+esc(space)+"/hierarchy?"+bad), 400, "M_INVALID_PARAM")
		}

		summary := func(p *person, room string) answered {
			return p.get(v1 + "/room_summary/" + esc(room) + "?via=far.test")
		}
		Expect(fine(summary(bob, open)).body).To(SatisfyAll(HaveKeyWithValue("membership", "leave"), HaveKeyWithValue("room_version", "12"),
			HaveKeyWithValue("num_joined_members", 1.0), HaveKeyWithValue("join_rule", "public")))
		Expect(fine(summary(alice, "#open:hanse.test")).body).To(HaveKeyWithValue("membership", "join"))
		Expect(fine(summary(nobody, open)).body).NotTo(HaveKey("membership"))
		Expect(fine(summary(nobody, "!far:far.test")).body).To(HaveKeyWithValue("name", "far"))
		for _, older := range []string{"summary/" + esc(open), "rooms/" + esc(open) + "/summary"} {
			Expect(fine(nobody.get("/_matrix/client/unstable/im.nheko.summary/" + older)).body).To(Equal(fine(summary(nobody, open)).body))
		}
		refused(summary(nobody, closed), 404, "M_NOT_FOUND")
		refused(summary(bob, closed), 404, "M_NOT_FOUND")
		refused(summary(bob, "!nowhere:far.test"), 404, "M_NOT_FOUND")
		refused(summary(bob, "nonsense"), 400, "M_INVALID_PARAM")
	})
})
