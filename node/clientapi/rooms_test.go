package clientapi

import (
	"context"
	"fmt"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

var _ = Describe("createRoom", func() {
	It("makes rooms of every version", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		for _, rules := range roomversion.All() {
			room := alice.room(obj{"room_version": rules.Version, "name": "n", "topic": "t"})
			Expect(alice.state(room, "m.room.name", "")).To(HaveKeyWithValue("name", "n"))
		}
		refused(alice.post("/createRoom", obj{"room_version": "99"}), 400, "M_UNSUPPORTED_ROOM_VERSION")
	})

	It("does what the options say", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{
			"visibility": "public", "room_alias_name": "tea", "name": "Tea", "invite": []string{bob.id}, "is_direct": true,
			"creation_content":             obj{"m.federate": false},
			"power_level_content_override": obj{"ban": 60},
			"initial_state":                []obj{{"type": "m.room.history_visibility", "state_key": "", "content": obj{"history_visibility": "joined"}}},
		})
		Expect(alice.state(room, "m.room.create", "")).To(HaveKeyWithValue("m.federate", false))
		Expect(alice.state(room, "m.room.power_levels", "")).To(HaveKeyWithValue("ban", 60.0))
		Expect(alice.state(room, "m.room.history_visibility", "")).To(HaveKeyWithValue("history_visibility", "joined"))
		Expect(alice.state(room, "m.room.canonical_alias", "")).To(HaveKeyWithValue("alias", "#tea:hanse.test"))
		Expect(alice.state(room, "m.room.member", bob.id)).To(And(HaveKeyWithValue("membership", "invite"), HaveKeyWithValue("is_direct", true)))
		Expect(fine(bob.get("/directory/list/room/" + esc(room))).body).To(HaveKeyWithValue("visibility", "public"))
		Expect(fine(w.nobody().get("/directory/room/"+esc("#tea:hanse.test")), "room_id", "servers").body).To(HaveKeyWithValue("room_id", room))
		refused(alice.post("/createRoom", obj{"room_alias_name": "tea"}), 400, "M_ROOM_IN_USE")
		Expect(fine(alice.post("/createRoom", obj{"room_alias_name": "cake"})).text("room_alias")).To(Equal("#cake:hanse.test"))
	})

	DescribeTable("refuses", func(code string, body obj) {
		w := newWorld(nil)
		a := w.register("alice").post("/createRoom", body)
		Expect(a.status).To(Or(Equal(400), Equal(403)), a.raw)
		Expect(a.text("errcode")).To(Equal(code))
	},
		Entry("an unknown preset", "M_INVALID_PARAM", obj{"preset": "nonsense"}),
		Entry("an unknown visibility", "M_INVALID_PARAM", obj{"visibility": "nonsense"}),
		Entry("a guest who is no user", "M_INVALID_PARAM", obj{"invite": []string{"bob"}}),
		Entry("an alias that is none", "M_INVALID_PARAM", obj{"room_alias_name": "a:b"}),
		Entry("an alias with a blank", "M_INVALID_PARAM", obj{"room_alias_name": "a b"}),
		Entry("third-party invites", "M_FORBIDDEN", obj{"invite_3pid": []obj{{"medium": "email", "address": "a@b"}}}),
		Entry("power levels as texts", "M_BAD_JSON", obj{"power_level_content_override": obj{"ban": "50"}}),
		Entry("power levels that are no object", "M_BAD_JSON", obj{"power_level_content_override": []int{}}),
		Entry("a creation content that is no object", "M_BAD_JSON", obj{"creation_content": "x"}),
		Entry("state that the creator may not send", "M_INVALID_ROOM_STATE", obj{"room_version": "10", "power_level_content_override": obj{"users": obj{}, "state_default": 100}, "name": "n"}),
	)
})

var _ = Describe("membership", func() {
	It("goes its ways", func() {
		w := newWorld(nil)
		alice, bob, carol := w.register("alice"), w.register("bob"), w.register("carol")
		room := alice.room(obj{"preset": "private_chat"})
		path := "/rooms/" + esc(room)
		refused(bob.post(path+"/join", obj{}), 403, "M_FORBIDDEN")
		fine(alice.post(path+"/invite", obj{"user_id": bob.id, "reason": "come"}))
		Expect(fine(bob.post("/join/"+esc(room), nil)).body).To(HaveKeyWithValue("room_id", room))
		Expect(fine(bob.get("/joined_rooms")).body).To(HaveKeyWithValue("joined_rooms", []any{room}))
		refused(bob.post(path+"/ban", obj{"user_id": alice.id}), 403, "M_FORBIDDEN")
		fine(alice.post(path+"/ban", obj{"user_id": bob.id, "reason": "rude"}))
		Expect(alice.state(room, "m.room.member", bob.id)).To(And(HaveKeyWithValue("membership", "ban"), HaveKeyWithValue("reason", "rude")))
		refused(bob.post(path+"/join", obj{}), 403, "M_FORBIDDEN")
		fine(alice.post(path+"/unban", obj{"user_id": bob.id}))
		fine(alice.post(path+"/invite", obj{"user_id": bob.id}))
		fine(bob.post(path+"/leave", obj{"reason": "no"}))
		fine(bob.post(path+"/forget", obj{}))
		fine(alice.post(path+"/invite", obj{"user_id": carol.id}))
		fine(carol.post(path+"/join", obj{}))
		fine(alice.post(path+"/kick", obj{"user_id": carol.id}))
		Expect(fine(carol.get("/joined_rooms")).body["joined_rooms"]).To(BeEmpty())

		refused(alice.post(path+"/invite", obj{}), 400, "M_MISSING_PARAM")
		refused(alice.post(path+"/invite", obj{"user_id": "bob"}), 400, "M_INVALID_PARAM")
		refused(alice.post(path+"/invite", obj{"user_id": "@nobody:hanse.test"}), 404, "M_NOT_FOUND")
		refused(alice.post(path+"/invite", obj{"medium": "email", "address": "a@b", "id_server": "x"}), 403, "M_FORBIDDEN")
		refused(alice.post("/rooms/nonsense/invite", obj{"user_id": bob.id}), 400, "M_INVALID_PARAM")
		refused(alice.post(path+"/kick", obj{"user_id": bob.id, "reason": strings.Repeat("x", 5000)}), 400, "M_INVALID_PARAM")
		refused(alice.post("/join/nonsense", obj{}), 400, "M_INVALID_PARAM")
		refused(alice.post("/join/"+esc("#nowhere:hanse.test"), obj{}), 404, "M_NOT_FOUND")
		refused(alice.post("/join/"+esc("#x:far.test"), obj{}), 502, "M_UNKNOWN")
		refused(alice.post("/join/"+esc(room), obj{"reason": 7}), 400, "M_BAD_JSON")
	})

	It("has what else the client says of its join, but not what isn't its to say", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{"preset": "public_chat"})
		fine(bob.post("/join/"+esc(room), obj{"org.example.mood": "<glad>", "reason": "tea", "membership": "ban", "third_party_signed": nil}))
		Expect(alice.state(room, "m.room.member", bob.id)).To(Equal(obj{
			"membership": "join", "displayname": "bob", "org.example.mood": "<glad>", "reason": "tea",
		}))
		refused(bob.post("/join/"+esc(room), obj{"org.example.mood": strings.Repeat("x", 70_000)}), 413, "M_TOO_LARGE")
		fine(bob.put("/profile/"+esc(bob.id)+"/avatar_url", obj{"avatar_url": "mxc://example.org/bob"}))
		Expect(fine(alice.get("/rooms/" + esc(room) + "/joined_members")).body["joined"]).To(Equal(obj{
			alice.id: obj{"display_name": "alice", "avatar_url": ""},
			bob.id:   obj{"display_name": "bob", "avatar_url": "mxc://example.org/bob"},
		}))
	})

	It("is asked for by a knock", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{"initial_state": []obj{{"type": "m.room.join_rules", "content": obj{"join_rule": "knock"}}}})
		Expect(fine(bob.post("/knock/"+esc(room), obj{"reason": "please"})).body).To(HaveKeyWithValue("room_id", room))
		Expect(alice.state(room, "m.room.member", bob.id)).To(HaveKeyWithValue("membership", "knock"))
		fine(alice.post("/rooms/"+esc(room)+"/invite", obj{"user_id": bob.id}))
		fine(bob.post("/join/"+esc(room), obj{}))
	})

	It("by an alias", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{"preset": "public_chat", "room_alias_name": "tea"})
		Expect(fine(bob.post("/join/"+esc("#tea:hanse.test"), obj{})).body).To(HaveKeyWithValue("room_id", room))
		// Where another server says that its alias leads to a room we are in, it is joined at once.
		w.peers.aliases["#ours:far.test"] = federation.DirectoryResponse{RoomID: id.RoomID(room)}
		carol := w.register("carol")
		Expect(fine(carol.post("/join/"+esc("#ours:far.test")+"?server_name=far.test&via=far.test", obj{})).body).To(HaveKeyWithValue("room_id", room))
	})
})

var _ = Describe("sending", func() {
	It("is idempotent by device and transaction ID", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		room := alice.room(obj{})
		send := func(p *person, txn string) string {
			return fine(p.put("/rooms/"+esc(room)+"/send/m.room.message/"+txn, obj{"msgtype": "m.text", "body": "hi"})).text("event_id")
		}
		first := send(alice, "t1")
		Expect(send(alice, "t1")).To(Equal(first))
		Expect(fine(alice.put("/rooms/"+esc(room)+"/send/m.room.message/t1", "")).text("event_id")).To(Equal(first), "whatever the body")
		refused(alice.put("/rooms/"+esc(room)+"/send/m.room.message/t0", ""), 400, "M_NOT_JSON")
		Expect(send(alice, "t2")).NotTo(Equal(first))
		login := fine(w.nobody().post("/login", obj{"type": "m.login.password", "user": "alice", "password": "secret of alice"}))
		other := &person{w: w, id: alice.id, token: login.text("access_token")}
		Expect(send(other, "t1")).NotTo(Equal(first), "another device's transaction IDs are its own")

		// All at once: one event.
		ids := make([]string, 8)
		var all sync.WaitGroup
		for i := range ids {
			all.Go(func() { defer GinkgoRecover(); ids[i] = send(alice, "t3") })
		}
		all.Wait()
		for _, id := range ids {
			Expect(id).To(Equal(ids[0]))
		}
	})

	It("refuses what is no event", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{})
		path := "/rooms/" + esc(room) + "/send/m.room.message/"
		refused(bob.put(path+"1", obj{"body": "x"}), 403, "M_FORBIDDEN")
		refused(alice.put(path+"1", "[]"), 400, "M_BAD_JSON")
		refused(alice.put(path+strings.Repeat("x", 300), obj{}), 400, "M_INVALID_PARAM")
		refused(alice.put(path+"2", obj{"body": strings.Repeat("x", 70_000)}), 413, "M_TOO_LARGE")
		refused(alice.put(path+"3", obj{"n": 1.5}), 400, "M_BAD_JSON")
		refused(alice.put(path+"4", `{"a":1,"a":2}`), 400, "M_BAD_JSON")
		fine(alice.put(path+"5", ` { "b" : 1, "a" : [ ] } `))
		refused(alice.put("/rooms/"+esc("!none:hanse.test")+"/send/m.room.message/1", obj{}), 403, "M_FORBIDDEN")
		refused(alice.put("/rooms/"+esc(room)+"/send/"+strings.Repeat("t", 300)+"/1", obj{}), 400, "M_INVALID_PARAM")
		refused(alice.put("/rooms/"+esc(room)+"/send/%ff/1", obj{}), 400, "M_INVALID_PARAM")
		refused(alice.put("/rooms/"+esc(room)+"/state/x/"+strings.Repeat("k", 300), obj{}), 400, "M_INVALID_PARAM")
	})

	It("redacts", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		for _, version := range []string{"10", "12"} {
			room := alice.room(obj{"preset": "public_chat", "room_version": version})
			fine(bob.post("/join/"+esc(room), obj{}))
			path := "/rooms/" + esc(room)
			event := fine(alice.put(path+"/send/m.room.message/1"+version, obj{"body": "oops"})).text("event_id")
			refused(bob.put(path+"/redact/"+esc(event)+"/1", obj{}), 403, "M_FORBIDDEN")
			first := fine(alice.put(path+"/redact/"+esc(event)+"/r"+version, obj{"reason": "typo"})).text("event_id")
			Expect(fine(alice.put(path+"/redact/"+esc(event)+"/r"+version, obj{"reason": "typo"})).text("event_id")).To(Equal(first))
			row, err := w.config.Rooms.Event(context.Background(), id.UserID(alice.id), id.RoomID(room), id.EventID(event))
			Expect(err).NotTo(HaveOccurred())
			Expect(row.Event.Content()).To(MatchJSON(`{}`))
			told := fine(bob.get(path + "/event/" + esc(event))).body["unsigned"]
			Expect(told).To(And(HaveKeyWithValue("redacted_by", first), HaveKeyWithValue("redacted_because", HaveKeyWithValue("event_id", first))))
			refused(alice.put(path+"/redact/nonsense/2", obj{}), 400, "M_INVALID_PARAM")
			refused(alice.put(path+"/send/m.room.redaction/3", obj{}), 400, "M_BAD_JSON")
			elsewhere := "/rooms/" + esc(alice.room(obj{"room_version": version}))
			refused(alice.put(elsewhere+"/redact/"+esc(event)+"/4", obj{}), 400, "M_INVALID_PARAM")
		}
	})

	It("sets state", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{"room_alias_name": "tea", "room_version": "8"})
		path := "/rooms/" + esc(room) + "/state/"
		first := fine(alice.put(path+"m.room.topic", obj{"topic": "1"})).text("event_id")
		Expect(fine(alice.put(path+"m.room.topic", `{ "topic":"1" }`)).text("event_id")).To(Equal(first), "set to what it is")
		fine(alice.put(path+"m.room.topic/", obj{"topic": "2"}), "event_id")
		Expect(alice.state(room, "m.room.topic", "")).To(HaveKeyWithValue("topic", "2"))
		fine(alice.put(path+"org.example/"+esc("a/b c"), obj{"x": 1}))
		Expect(alice.state(room, "org.example", "a/b c")).To(HaveKeyWithValue("x", 1.0))
		refused(bob.put(path+"m.room.topic", obj{"topic": "3"}), 403, "M_FORBIDDEN")
		refused(alice.put(path+"m.room.power_levels", obj{"users": obj{alice.id: "100"}}), 400, "M_BAD_JSON")
		refused(alice.put(path+"m.room.power_levels", obj{"users": obj{"nobody": 100}}), 400, "M_BAD_JSON")
		refused(alice.put(path+"m.room.create", obj{}), 400, "M_BAD_JSON")
		creators := alice.room(obj{"room_version": "12"})
		refused(alice.put("/rooms/"+esc(creators)+"/state/m.room.power_levels", obj{"users": obj{alice.id: 100}}), 400, "M_BAD_JSON")
		refused(alice.put("/rooms/"+esc(creators)+"/state/m.room.tombstone", obj{"replacement_room": creators}), 400, "M_INVALID_PARAM")

		fine(alice.put(path+"m.room.canonical_alias", obj{"alias": "#tea:hanse.test", "alt_aliases": []string{"#tea:hanse.test"}}))
		refused(alice.put(path+"m.room.canonical_alias", obj{"alias": "nonsense"}), 400, "M_INVALID_PARAM")
		refused(alice.put(path+"m.room.canonical_alias", obj{"alias": "#none:hanse.test"}), 400, "M_BAD_ALIAS")
		refused(alice.put(path+"m.room.canonical_alias", obj{"alt_aliases": []string{"#x:far.test"}}), 400, "M_BAD_ALIAS")
		refused(alice.put(path+"m.room.canonical_alias", obj{"alt_aliases": "x"}), 400, "M_BAD_JSON")

		fine(alice.put(path+"m.room.member/"+esc(bob.id), `{ "reason": "come", "membership": "invite" }`), "event_id")
		Expect(alice.state(room, "m.room.member", bob.id)).To(HaveKeyWithValue("membership", "invite"))
		fine(alice.put(path+"m.room.member/"+esc(alice.id), obj{"membership": "join", "displayname": "A. here"}))
		Expect(alice.state(room, "m.room.member", alice.id)).To(HaveKeyWithValue("displayname", "A. here"))
	})

	It("gives a state event with what is told beside it anywhere", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{"preset": "private_chat", "invite": []string{bob.id}, "is_direct": true})
		fine(bob.post("/join/"+esc(room), nil))
		path := "/rooms/" + esc(room)
		join := fine(bob.get(path + "/state/m.room.member/" + esc(bob.id) + "?format=event")).body
		Expect(join["unsigned"]).To(And(
			HaveKeyWithValue("prev_content", And(HaveKeyWithValue("membership", "invite"), HaveKeyWithValue("is_direct", true))),
			HaveKeyWithValue("replaces_state", Not(BeEmpty()))))
		Expect(fine(bob.get(path + "/event/" + esc(join["event_id"].(string)))).body["unsigned"]).To(HaveKeyWithValue("replaces_state", join["unsigned"].(obj)["replaces_state"]))
		named := fine(alice.put(path+"/state/m.room.name", obj{"name": "x"})).text("event_id")
		redaction := fine(alice.put(path+"/redact/"+esc(named)+"/1", obj{})).text("event_id")
		Expect(fine(bob.get(path + "/state/m.room.name?format=event")).body["unsigned"]).To(HaveKeyWithValue("redacted_because", HaveKeyWithValue("event_id", redaction)))
	})
})

var _ = Describe("upgrades", func() {
	It("move the aliases of this server alone", func() {
		api := &API{config: Config{Self: self}}
		moved, kept, some := api.splitAliases([]byte(`{"alias":"#a:hanse.test","alt_aliases":["#b:far.test","#c:hanse.test"]}`))
		Expect(some).To(BeTrue())
		Expect(moved).To(MatchJSON(`{"alias":"#a:hanse.test","alt_aliases":["#c:hanse.test"]}`))
		Expect(kept).To(MatchJSON(`{"alt_aliases":["#b:far.test"]}`))
		for _, content := range []string{`{}`, `{"alias":null}`, `{"alias":""}`, `{"alias":"#b:far.test"}`, `{"alias":1}`} {
			_, _, some = api.splitAliases([]byte(content))
			Expect(some).To(BeFalse(), content)
		}
	})

	It("replace a room by one of another version", func() {
		w := newWorld(nil)
		alice, bob, carol := w.register("alice"), w.register("bob"), w.register("carol")
		for from, to := range map[string]string{"10": "12", "12": "11", "6": "9"} {
			alias := "tea" + from
			old := alice.room(obj{"room_version": from, "room_alias_name": alias, "name": "Tea", "visibility": "public", "creation_content": obj{"type": "m.space"}})
			fine(bob.post("/join/"+esc(old), obj{}))
			fine(alice.post("/rooms/"+esc(old)+"/ban", obj{"user_id": carol.id, "reason": "spam"}))
			child := obj{"via": []any{"hanse.test"}, "suggested": true}
			for room, content := range map[string]obj{"!there:far.test": child, "!gone:far.test": {}} {
				fine(alice.put("/rooms/"+esc(old)+"/state/m.space.child/"+esc(room), content))
			}
			refused(bob.post("/rooms/"+esc(old)+"/upgrade", obj{"new_version": to}), 403, "M_FORBIDDEN")
			last := fine(alice.get("/rooms/" + esc(old) + "/messages?dir=b&limit=1")).body["chunk"].([]any)[0].(obj)["event_id"]
			fresh := fine(alice.post("/rooms/"+esc(old)+"/upgrade", obj{"new_version": to})).text("replacement_room")
			Expect(alice.state(old, "m.room.tombstone", "")).To(HaveKeyWithValue("replacement_room", fresh))
			create := alice.state(fresh, "m.room.create", "")
			predecessor := obj{"room_id": old, "event_id": last}
			if to == "12" {
				delete(predecessor, "event_id")
			}
			Expect(create).To(And(HaveKeyWithValue("type", "m.space"), HaveKeyWithValue("predecessor", predecessor)))
			Expect(alice.state(fresh, "m.room.name", "")).To(HaveKeyWithValue("name", "Tea"))
			Expect(alice.state(fresh, "m.space.child", "!there:far.test")).To(Equal(child))
			refused(alice.get("/rooms/"+esc(fresh)+"/state/m.space.child/"+esc("!gone:far.test")), 404, "M_NOT_FOUND")
			if to != "12" {
				Expect(alice.state(fresh, "m.room.power_levels", "")["users"]).To(HaveKeyWithValue(alice.id, BeNumerically(">=", 100)))
			}
			Expect(alice.state(fresh, "m.room.canonical_alias", "")).To(Equal(obj{"alias": "#" + alias + ":hanse.test"}))
			Expect(alice.state(old, "m.room.canonical_alias", "")).To(BeEmpty(), "the alias leads to the new room")
			Expect(alice.state(fresh, "m.room.member", carol.id)).To(Equal(obj{"membership": "ban", "reason": "spam"}))
			Expect(fine(bob.get("/directory/room/" + esc("#"+alias+":hanse.test"))).body).To(HaveKeyWithValue("room_id", fresh))
			Expect(fine(bob.get("/directory/list/room/" + esc(fresh))).body).To(HaveKeyWithValue("visibility", "public"))
			Expect(fine(bob.get("/directory/list/room/" + esc(old))).body).To(HaveKeyWithValue("visibility", "private"))
			refused(bob.put("/rooms/"+esc(old)+"/send/m.room.message/1"+from, obj{"body": "still here?"}), 403, "M_FORBIDDEN")
		}
		// Whoever may upgrade a room can, though the new one wants more than they have there.
		room := alice.room(obj{"preset": "public_chat", "room_version": "10", "topic": "t", "power_level_content_override": obj{
			"users": obj{alice.id: 100, bob.id: 60}, "events": obj{"m.room.tombstone": 60, "m.room.power_levels": 100},
		}})
		fine(bob.post("/join/"+esc(room), obj{}))
		fresh := fine(bob.post("/rooms/"+esc(room)+"/upgrade", obj{"new_version": "11"})).text("replacement_room")
		Expect(bob.state(fresh, "m.room.power_levels", "")["users"]).To(Equal(obj{alice.id: 100.0, bob.id: 60.0}))
		fresh = fine(alice.post("/rooms/"+esc(room)+"/upgrade", obj{"new_version": "12", "additional_creators": []string{bob.id}})).text("replacement_room")
		Expect(alice.state(fresh, "m.room.power_levels", "")["users"]).To(BeEmpty())
		Expect(alice.state(fresh, "m.room.power_levels", "")["events"]).To(HaveKeyWithValue("m.room.tombstone", 60.0))
		Expect(alice.state(fresh, "m.room.create", "")).To(HaveKeyWithValue("additional_creators", []any{bob.id}))
		// Creators stay above everybody where there are no levels above all.
		room = alice.room(obj{"preset": "public_chat", "room_version": "12", "creation_content": obj{"additional_creators": []string{bob.id}},
			"power_level_content_override": obj{"users": obj{carol.id: 1<<53 - 1, "@dora:hanse.test": 30, "@far:far.test": 200}}})
		fine(carol.post("/join/"+esc(room), obj{}))
		for _, p := range []*person{alice, carol} {
			fresh = fine(p.post("/rooms/"+esc(room)+"/upgrade", obj{"new_version": "11"})).text("replacement_room")
			Expect(p.state(fresh, "m.room.power_levels", "")["users"]).To(Equal(obj{
				alice.id: float64(1<<53 - 1), bob.id: float64(1<<53 - 1), carol.id: float64(1<<53 - 2), "@dora:hanse.test": 30.0, "@far:far.test": 200.0,
			}))
		}
		refused(alice.post("/rooms/"+esc(room)+"/upgrade", obj{"new_version": "99"}), 400, "M_UNSUPPORTED_ROOM_VERSION")
		refused(alice.post("/rooms/"+esc(room)+"/upgrade", obj{}), 400, "M_MISSING_PARAM")
	})
})

var _ = Describe("the room directory", func() {
	It("holds aliases", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{"preset": "public_chat"})
		path := "/directory/room/"
		fine(alice.put(path+esc("#tea:hanse.test"), obj{"room_id": room}))
		refused(alice.put(path+esc("#tea:hanse.test"), obj{"room_id": room}), 409, "M_UNKNOWN")
		refused(bob.put(path+esc("#other:hanse.test"), obj{"room_id": room}), 403, "M_FORBIDDEN")
		refused(alice.put(path+esc("#x:far.test"), obj{"room_id": room}), 400, "M_INVALID_PARAM")
		refused(alice.put(path+"nonsense", obj{"room_id": room}), 400, "M_INVALID_PARAM")
		refused(alice.put(path+esc("#y:hanse.test"), obj{}), 400, "M_MISSING_PARAM")
		refused(alice.put(path+esc("#y:hanse.test"), obj{"room_id": "!none:hanse.test"}), 404, "M_NOT_FOUND")
		Expect(fine(w.nobody().get(path+esc("#tea:hanse.test")), "servers").body["servers"]).To(Equal([]any{"hanse.test"}))
		for _, path := range []string{"/rooms/", "/_matrix/client/unstable/org.matrix.msc2432/rooms/"} {
			Expect(fine(alice.get(path + esc(room) + "/aliases")).body["aliases"]).To(Equal([]any{"#tea:hanse.test"}))
		}
		refused(bob.get("/rooms/"+esc(room)+"/aliases"), 403, "M_FORBIDDEN")

		fine(alice.put("/rooms/"+esc(room)+"/state/m.room.canonical_alias", obj{"alias": "#tea:hanse.test"}))
		fine(bob.post("/join/"+esc(room), obj{}))
		refused(bob.del(path+esc("#tea:hanse.test"), nil), 403, "M_FORBIDDEN")
		fine(alice.del(path+esc("#tea:hanse.test"), nil))
		Expect(alice.state(room, "m.room.canonical_alias", "")).NotTo(HaveKey("alias"))
		refused(alice.del(path+esc("#tea:hanse.test"), nil), 404, "M_NOT_FOUND")
		refused(alice.get(path+esc("#tea:hanse.test")), 404, "M_NOT_FOUND")
		refused(alice.get(path+esc("#x:far.test")), 502, "M_UNKNOWN")
		w.peers.aliases["#x:far.test"] = federation.DirectoryResponse{RoomID: "!x:far.test"}
		Expect(fine(alice.get(path + esc("#x:far.test"))).body).To(Equal(obj{"room_id": "!x:far.test", "servers": []any{"far.test"}}))
	})

	It("lists published rooms, in pages, by search", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		for i := range 5 {
			alice.room(obj{"visibility": "public", "name": fmt.Sprintf("Room %d", i), "topic": "talk"})
		}
		busy := alice.room(obj{"visibility": "public", "name": "Busy", "room_alias_name": "busy"})
		fine(bob.post("/join/"+esc(busy), obj{}))
		hidden := alice.room(obj{"name": "Hidden"})

		page := fine(w.nobody().get("/publicRooms?limit=4"), "chunk", "next_batch", "total_room_count_estimate")
		Expect(page.body).To(HaveKeyWithValue("total_room_count_estimate", 6.0))
		Expect(page.body).NotTo(HaveKey("prev_batch"))
		chunk := page.body["chunk"].([]any)
		Expect(chunk).To(HaveLen(4))
		Expect(chunk[0]).To(Equal(obj{
			"room_id": busy, "name": "Busy", "num_joined_members": 2.0, "world_readable": false, "guest_can_join": false,
			"join_rule": "public", "canonical_alias": "#busy:hanse.test",
		}))
		rest := fine(w.nobody().get("/publicRooms?limit=4&since="+esc(page.text("next_batch"))), "prev_batch")
		Expect(rest.body["chunk"]).To(HaveLen(2))
		Expect(rest.body).NotTo(HaveKey("next_batch"))
		back := fine(w.nobody().get("/publicRooms?limit=4&since=" + esc(rest.text("prev_batch"))))
		Expect(back.body["chunk"]).To(Equal(page.body["chunk"]))
		refused(w.nobody().get("/publicRooms?since=nonsense"), 400, "M_INVALID_PARAM")
		refused(w.nobody().get("/publicRooms?limit=x"), 400, "M_INVALID_PARAM")

		search := func(filter obj) []any {
			return fine(bob.post("/publicRooms", obj{"filter": filter})).body["chunk"].([]any)
		}
		Expect(search(obj{"generic_search_term": "room 3"})).To(HaveLen(1))
		Expect(search(obj{"generic_search_term": "TALK"})).To(HaveLen(5))
		Expect(search(obj{"room_types": []any{"m.space"}})).To(BeEmpty())
		Expect(search(obj{"room_types": []any{nil}})).To(HaveLen(6))
		refused(bob.post("/publicRooms", obj{"limit": "x"}), 400, "M_BAD_JSON")

		refused(bob.put("/directory/list/room/"+esc(hidden), obj{}), 403, "M_FORBIDDEN")
		refused(bob.put("/directory/list/room/"+esc("!none:hanse.test"), obj{}), 404, "M_NOT_FOUND")
		refused(bob.get("/directory/list/room/"+esc("!none:hanse.test")), 404, "M_NOT_FOUND")
		refused(alice.put("/directory/list/room/"+esc(hidden), obj{"visibility": "loud"}), 400, "M_INVALID_PARAM")
		fine(alice.put("/directory/list/room/"+esc(hidden), obj{}))
		Expect(search(obj{"generic_search_term": "hidden"})).To(HaveLen(1))
		fine(alice.put("/directory/list/room/"+esc(hidden), obj{"visibility": "private"}))
		Expect(search(obj{"generic_search_term": "hidden"})).To(BeEmpty())
	})

	It("asks other servers for those who are logged in", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		w.peers.rooms["far.test"] = federation.PublicRoomsResponse{Chunk: []federation.PublicRoom{{RoomID: "!x:far.test"}}}
		Expect(fine(alice.get("/publicRooms?server=far.test")).body["chunk"]).To(HaveLen(1))
		Expect(fine(alice.post("/publicRooms?server=far.test", obj{})).body["chunk"]).To(HaveLen(1))
		refused(w.nobody().get("/publicRooms?server=far.test"), 401, "M_MISSING_TOKEN")
		refused(alice.get("/publicRooms?server=away.test"), 502, "M_UNKNOWN")
		refused(alice.get("/publicRooms?server="+esc("no name")), 400, "M_INVALID_PARAM")
	})
})

var _ = Describe("typing and receipts", func() {
	It("are for those in the room", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{})
		typing := "/rooms/" + esc(room) + "/typing/" + esc(alice.id)
		fine(alice.put(typing, obj{"typing": true, "timeout": 30000}))
		users, _ := w.config.Ephemeral.Typing(id.RoomID(room))
		Expect(users).To(Equal([]id.UserID{id.UserID(alice.id)}))
		fine(alice.put(typing, obj{"typing": false}))
		users, _ = w.config.Ephemeral.Typing(id.RoomID(room))
		Expect(users).To(BeEmpty())
		fine(alice.put(typing, obj{"typing": true, "timeout": 1 << 62}))
		refused(alice.put(typing, obj{}), 400, "M_MISSING_PARAM")
		refused(alice.put(typing, obj{"typing": "yes"}), 400, "M_BAD_JSON")
		refused(bob.put(typing, obj{"typing": true}), 403, "M_FORBIDDEN")
		refused(bob.put("/rooms/"+esc(room)+"/typing/"+esc(bob.id), obj{"typing": true}), 403, "M_FORBIDDEN")
	})

	It("ends for those who leave, of their own will or not", func() {
		w := newWorld(nil)
		alice, bob, carol := w.register("alice"), w.register("bob"), w.register("carol")
		room := alice.room(obj{"preset": "public_chat"})
		path := "/rooms/" + esc(room)
		for _, p := range []*person{bob, carol} {
			fine(p.post("/join/"+esc(room), obj{}))
		}
		for _, p := range []*person{alice, bob, carol} {
			fine(p.put(path+"/typing/"+esc(p.id), obj{"typing": true, "timeout": 120000}))
		}
		since := fine(alice.get("/sync")).text("next_batch")
		fine(bob.post(path+"/leave", obj{}))
		fine(alice.post(path+"/kick", obj{"user_id": carol.id}))
		Eventually(func() []id.UserID {
			users, _ := w.config.Ephemeral.Typing(id.RoomID(room))
			return users
		}, "1m").Should(ConsistOf(id.UserID(alice.id)))
		Expect(fine(alice.get("/sync?since=" + since)).raw).To(ContainSubstring(`"user_ids":["` + alice.id + `"]`))
	})

	It("mark events of the room as read", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{"preset": "public_chat"})
		path := "/rooms/" + esc(room)
		var events []string
		for i := range 3 {
			events = append(events, fine(alice.put(fmt.Sprintf("%s/send/m.room.message/%d", path, i), obj{"body": "x"})).text("event_id"))
		}
		receipts := func() map[string]string {
			list, err := w.store.UserReceipts(context.Background(), id.RoomID(room), id.UserID(alice.id))
			Expect(err).NotTo(HaveOccurred())
			found := map[string]string{}
			for _, r := range list {
				found[r.Type+" "+r.Thread] = string(r.Event)
			}
			return found
		}
		fine(alice.post(path+"/receipt/m.read/"+esc(events[1]), nil))
		fine(alice.post(path+"/receipt/m.read/"+esc(events[0]), obj{"thread_id": "main"}))
		fine(alice.post(path+"/receipt/m.read.private/"+esc(events[2]), obj{}))
		fine(alice.post(path+"/receipt/m.read/"+esc(events[0]), obj{})) // back: ignored
		Expect(receipts()).To(Equal(map[string]string{"m.read ": events[1], "m.read main": events[0], "m.read.private ": events[2]}))
		marker := "/user/" + esc(alice.id) + "/rooms/" + esc(room) + "/account_data/m.fully_read"
		fine(alice.post(path+"/read_markers", obj{"m.fully_read": events[0], "m.read": events[2]}))
		Expect(fine(alice.get(marker)).body).To(Equal(obj{"event_id": events[0]}))
		Expect(receipts()).To(HaveKeyWithValue("m.read ", events[2]))
		fine(alice.post(path+"/receipt/m.fully_read/"+esc(events[1]), obj{}))
		Expect(fine(alice.get(marker)).body).To(Equal(obj{"event_id": events[1]}))

		for _, thread := range []any{"", 7, nil, "nonsense", obj{}} {
			refused(alice.post(path+"/receipt/m.read/"+esc(events[0]), obj{"thread_id": thread}), 400, "M_INVALID_PARAM")
		}
		refused(alice.post(path+"/receipt/m.fully_read/"+esc(events[0]), obj{"thread_id": "main"}), 400, "M_INVALID_PARAM")
		refused(alice.post(path+"/receipt/m.nonsense/"+esc(events[0]), obj{}), 400, "M_INVALID_PARAM")
		refused(alice.post(path+"/receipt/m.read/"+esc("$none:hanse.test"), obj{}), 404, "M_NOT_FOUND")
		refused(alice.post(path+"/receipt/m.read/nonsense", obj{}), 400, "M_INVALID_PARAM")
		a := bob.post(path+"/receipt/m.read/"+esc(events[0]), obj{})
		Expect(a.status).To(Or(Equal(403), Equal(404)), a.raw)
	})
})
