package clientapi

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/id"
)

var _ = Describe("profiles", func() {
	It("are changed by their owner and reach the rooms", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{"preset": "public_chat"})
		fine(bob.post("/join/"+esc(room), obj{"reason": "curious"}))
		fine(bob.put("/profile/"+esc(bob.id)+"/displayname", obj{"displayname": "Robert <3"}))
		fine(bob.put("/profile/"+esc(bob.id)+"/avatar_url", obj{"avatar_url": "mxc://hanse.test/x"}))
		member := alice.state(room, "m.room.member", bob.id)
		Expect(member).To(Equal(obj{"membership": "join", "displayname": "Robert <3", "avatar_url": "mxc://hanse.test/x"}))
		Expect(fine(w.nobody().get("/profile/" + esc(bob.id))).body).To(Equal(obj{"displayname": "Robert <3", "avatar_url": "mxc://hanse.test/x"}))
		Expect(fine(alice.get("/profile/" + esc(bob.id) + "/displayname")).body).To(Equal(obj{"displayname": "Robert <3"}))
		fine(bob.del("/profile/"+esc(bob.id)+"/avatar_url", nil))
		Expect(alice.state(room, "m.room.member", bob.id)).NotTo(HaveKey("avatar_url"))
		fine(bob.put("/profile/"+esc(bob.id)+"/displayname", obj{"displayname": ""}))
		Expect(alice.state(room, "m.room.member", bob.id)).NotTo(HaveKey("displayname"))
		Expect(fine(alice.get("/profile/" + esc(bob.id))).body).To(BeEmpty())
		refused(alice.get("/profile/"+esc(bob.id)+"/displayname"), 404, "M_NOT_FOUND")
		refused(alice.get("/profile/"+esc(bob.id)+"/avatar_url"), 404, "M_NOT_FOUND")
	})

	It("hold other fields, within bounds", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		base := "/profile/" + esc(alice.id) + "/"
		fine(alice.put(base+"m.tz", obj{"m.tz": "Europe/London"}))
		fine(alice.put(base+"org.example.thing", obj{"org.example.thing": obj{"a": []any{1, nil}}}))
		Expect(fine(bob.get(base + "org.example.thing")).body).To(HaveKeyWithValue("org.example.thing", HaveKey("a")))
		refused(bob.put(base+"displayname", obj{"displayname": "x"}), 403, "M_FORBIDDEN")
		refused(bob.del(base+"m.tz", nil), 403, "M_FORBIDDEN")
		refused(alice.put(base+"Nonsense", obj{"Nonsense": 1}), 400, "M_INVALID_PARAM")
		refused(alice.put(base+"org."+strings.Repeat("x", 300), obj{}), 400, "M_KEY_TOO_LARGE")
		refused(alice.put(base+"displayname", obj{"avatar_url": "x"}), 400, "M_MISSING_PARAM")
		refused(alice.put(base+"displayname", obj{"displayname": 7}), 400, "M_BAD_JSON")
		refused(alice.put(base+"displayname", obj{"displayname": strings.Repeat("x", 5000)}), 400, "M_INVALID_PARAM")
		refused(alice.put(base+"org.example.big", obj{"org.example.big": strings.Repeat("x", 1<<16)}), 400, "M_PROFILE_TOO_LARGE")
		refused(alice.get(base+"org.example.none"), 404, "M_NOT_FOUND")
		refused(alice.get("/profile/"+esc("@nobody:hanse.test")), 404, "M_NOT_FOUND")
		refused(alice.get("/profile/nonsense"), 400, "M_INVALID_PARAM")
	})

	It("of others are asked of their server", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		w.peers.profiles["@zoe:far.test"] = federation.ProfileResponse{"displayname": json.RawMessage(`"Zoe"`)}
		Expect(fine(alice.get("/profile/@zoe:far.test")).body).To(Equal(obj{"displayname": "Zoe"}))
		Expect(fine(alice.get("/profile/@zoe:far.test/displayname")).body).To(Equal(obj{"displayname": "Zoe"}))
		refused(alice.get("/profile/@yan:far.test"), 404, "M_NOT_FOUND")
	})

	It("are found in the user directory", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		fine(bob.put("/profile/"+esc(bob.id)+"/displayname", obj{"displayname": "Robert"}))
		search := func(body obj) answered { return fine(alice.post("/user_directory/search", body), "results", "limited") }
		for _, term := range []string{"bob", "@BOB", "Rob", "bob:hanse", "@bob:hanse.test", "bo rob"} {
			Expect(search(obj{"search_term": term}).body["results"]).To(Equal([]any{obj{"user_id": bob.id, "display_name": "Robert"}}), term)
		}
		for _, term := range []string{"zzz", "bob:other", "!", "bob zzz", "alice"} {
			Expect(search(obj{"search_term": term}).body["results"]).To(BeEmpty(), term)
		}
		fine(bob.put("/profile/"+esc(bob.id)+"/displayname", obj{"displayname": "Bobbin"}))
		Expect(search(obj{"search_term": "robert"}).body["results"]).To(BeEmpty(), "a name that is no more")
		w.register("bobby")
		Expect(search(obj{"search_term": "bob", "limit": 1}).body).To(HaveKeyWithValue("limited", true))
		alice.room(obj{"preset": "public_chat"})
		Expect(search(obj{"search_term": "alice"}).body["results"]).To(ConsistOf(HaveKeyWithValue("user_id", alice.id)), "everybody can see who is in a public room")
		fine(alice.post("/_matrix/client/unstable/user_directory/search", obj{"search_term": "x"}), "results")
		refused(alice.post("/user_directory/search", obj{}), 400, "M_MISSING_PARAM")
		refused(alice.post("/user_directory/search", obj{"search_term": "x", "limit": -1}), 400, "M_INVALID_PARAM")
	})

	It("of other servers are found while this one is in a public room with them", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{"preset": "public_chat", "room_version": "10"})
		info, _, err := w.store.Room(context.Background(), id.RoomID(room))
		Expect(err).NotTo(HaveOccurred())
		zoe := id.UserID("@zoe:" + string(far))
		w.gets(w.profile(room, zoe, "Quetzal", info.Forward, time.Now()))
		found := func() any {
			return fine(bob.post("/user_directory/search", obj{"search_term": "quetz"})).body["results"]
		}
		Eventually(found).Should(ConsistOf(HaveKeyWithValue("user_id", string(zoe))))
		fine(alice.post("/rooms/"+esc(room)+"/leave", obj{}))
		Expect(found()).To(BeEmpty(), "whether they are still there nobody here knows")
	})
})

var _ = Describe("account data", func() {
	It("is the user's own, global and of a room", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{})
		global := "/user/" + esc(alice.id) + "/account_data/org.example"
		local := "/user/" + esc(alice.id) + "/rooms/" + esc(room) + "/account_data/org.example"
		refused(alice.get(global), 404, "M_NOT_FOUND")
		fine(alice.put(global, obj{"a": 1}))
		fine(alice.put(local, obj{"b": 2}))
		Expect(fine(alice.get(global)).body).To(Equal(obj{"a": 1.0}))
		Expect(fine(alice.get(local)).body).To(Equal(obj{"b": 2.0}))
		refused(bob.get(global), 403, "M_FORBIDDEN")
		refused(bob.put(local, obj{}), 403, "M_FORBIDDEN")
		refused(alice.put(global, "[]"), 400, "M_BAD_JSON")
		refused(alice.put(global, "x"), 400, "M_NOT_JSON")
		refused(alice.put(global, obj{"x": strings.Repeat("x", 1<<20)}), 413, "M_TOO_LARGE")
		refused(alice.put("/user/"+esc(alice.id)+"/account_data/m.push_rules", obj{}), 405, "M_BAD_JSON")
		refused(alice.put("/user/"+esc(alice.id)+"/rooms/"+esc(room)+"/account_data/m.push_rules", obj{}), 405, "M_BAD_JSON")
		refused(alice.put("/user/"+esc(alice.id)+"/rooms/"+esc(room)+"/account_data/m.fully_read", obj{}), 405, "M_BAD_JSON")
		refused(alice.put("/user/"+esc(alice.id)+"/rooms/nonsense/account_data/x", obj{}), 400, "M_INVALID_PARAM")
		fine(alice.get("/user/"+esc(alice.id)+"/account_data/m.push_rules"), "global")
	})

	It("holds tags", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		room := alice.room(obj{})
		tags := "/user/" + esc(alice.id) + "/rooms/" + esc(room) + "/tags"
		Expect(fine(alice.get(tags)).body).To(Equal(obj{"tags": obj{}}))
		fine(alice.put(tags+"/m.favourite", obj{"order": 0.25}))
		fine(alice.put(tags+"/u.work", obj{}))
		Expect(fine(alice.get(tags)).body["tags"]).To(Equal(obj{"m.favourite": obj{"order": 0.25}, "u.work": obj{}}))
		fine(alice.del(tags+"/u.work", nil))
		fine(alice.del(tags+"/never.was", nil))
		Expect(fine(alice.get(tags)).body["tags"]).To(HaveLen(1))
		refused(alice.put(tags+"/x", obj{"order": "first"}), 400, "M_BAD_JSON")
		refused(alice.put(tags+"/"+strings.Repeat("x", 300), obj{}), 400, "M_INVALID_PARAM")
	})

	It("holds filters", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		base := "/user/" + esc(alice.id) + "/filter"
		filter := obj{"room": obj{"timeline": obj{"limit": 7.0, "types": []any{"m.room.message"}}}}
		first := fine(alice.post(base, filter)).text("filter_id")
		Expect(first).NotTo(BeEmpty())
		Expect(fine(alice.post(base, filter)).text("filter_id")).To(Equal(first))
		Expect(fine(alice.get(base + "/" + esc(first))).body).To(Equal(filter))
		refused(alice.get(base+"/nonsense"), 404, "M_NOT_FOUND")
		refused(alice.post(base, obj{"room": obj{"timeline": obj{"limit": "x"}}}), 400, "M_BAD_JSON")
		refused(alice.post(base, obj{"event_format": "poem"}), 400, "M_BAD_JSON")
		refused(alice.post(base, "[]"), 400, "M_BAD_JSON")
		refused(alice.post("/user/"+esc("@bob:hanse.test")+"/filter", filter), 403, "M_FORBIDDEN")
		for _, nonsense := range []obj{
			{"room": obj{"rooms": []string{"tea"}}}, {"room": obj{"state": obj{"not_rooms": []string{"#tea:hanse.test"}}}},
			{"presence": obj{"senders": []string{"bob"}}}, {"room": obj{"timeline": obj{"not_senders": []string{""}}}},
		} {
			refused(alice.post(base, nonsense), 400, "M_BAD_JSON")
			text, err := json.Marshal(nonsense)
			Expect(err).NotTo(HaveOccurred())
			refused(alice.get("/sync?filter="+esc(string(text))), 400, "M_INVALID_PARAM")
		}
	})
})
