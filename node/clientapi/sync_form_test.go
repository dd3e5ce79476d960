package clientapi

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("the form of /sync", func() {
	It("has what strict clients require, empty or not", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{"invite": []string{bob.id}})
		answer := fine(alice.get("/sync"), "next_batch", "account_data", "presence", "device_lists", "device_one_time_keys_count")
		joined := answer.body["rooms"].(obj)["join"].(obj)[room].(obj)
		for _, list := range []string{"state", "timeline", "ephemeral", "account_data"} {
			Expect(joined[list]).To(HaveKeyWithValue("events", BeAssignableToTypeOf([]any{})), list)
		}
		Expect(joined["timeline"]).To(And(HaveKey("prev_batch"), HaveKeyWithValue("limited", false)))
		Expect(joined["summary"]).To(HaveKeyWithValue("m.heroes", ConsistOf(bob.id)))
		for _, e := range joined["timeline"].(obj)["events"].([]any) {
			for _, key := range []string{"content", "event_id", "origin_server_ts", "sender", "type", "unsigned"} {
				Expect(e).To(HaveKey(key))
			}
			Expect(e).NotTo(HaveKey("room_id"))
		}
		invited := fine(bob.get("/sync")).body["rooms"].(obj)["invite"].(obj)[room].(obj)["invite_state"].(obj)["events"].([]any)
		Expect(invited).NotTo(BeEmpty())
		Expect(invited[len(invited)-1]).To(HaveKeyWithValue("state_key", bob.id), "what it is all about comes last")
		knocked := alice.room(obj{"initial_state": []any{obj{"type": "m.room.join_rules", "content": obj{"join_rule": "knock"}}}})
		fine(bob.post("/knock/"+esc(knocked), obj{}))
		events := fine(bob.get("/sync")).body["rooms"].(obj)["knock"].(obj)[knocked].(obj)["knock_state"].(obj)["events"].([]any)
		Expect(events[len(events)-1]).To(HaveKeyWithValue("content", HaveKeyWithValue("membership", "knock")))
		Expect(events[:len(events)-1]).NotTo(ContainElement(HaveKeyWithValue("type", "m.room.member")))
	})

	It("has the state after the timeline, under the name by which the client asks for it", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		kept, left := bob.room(obj{"preset": "public_chat"}), bob.room(obj{"preset": "public_chat"})
		for _, room := range []string{kept, left} {
			fine(alice.post("/join/"+esc(room), obj{}))
		}
		since := fine(alice.get("/sync")).text("next_batch")
		for _, room := range []string{kept, left} {
			fine(bob.put("/rooms/"+esc(room)+"/state/m.room.topic/", obj{"topic": "t"}))
		}
		fine(alice.post("/rooms/"+esc(left)+"/leave", obj{}))
		Expect(fine(alice.get("/_matrix/client/versions")).body["unstable_features"]).To(HaveKeyWithValue("org.matrix.msc4222", true))
		for asked, name := range map[string]string{
			"": "state", "&use_state_after=true": "state_after",
			"&org.matrix.msc4222.use_state_after=true":                      "org.matrix.msc4222.state_after",
			"&use_state_after=true&org.matrix.msc4222.use_state_after=true": "state_after",
		} {
			rooms := fine(alice.get("/sync?since=" + since + asked)).body["rooms"].(obj)
			for _, room := range []any{rooms["join"].(obj)[kept], rooms["leave"].(obj)[left]} {
				for _, other := range []string{"state", "state_after", "org.matrix.msc4222.state_after"} {
					if other != name {
						Expect(room).NotTo(HaveKey(other), asked)
					}
				}
				topic := ContainElement(HaveKeyWithValue("type", "m.room.topic"))
				if name == "state" {
					topic = Not(topic)
				}
				Expect(room).To(HaveKeyWithValue(name, HaveKeyWithValue("events", topic)), asked)
			}
		}
	})

	It("takes a token of the future for now, and refuses what is no token", func() {
		alice := newWorld(nil).register("alice")
		Expect(fine(alice.get("/sync?since=s999999999_0")).text("next_batch")).NotTo(HavePrefix("s999999999"))
		refused(alice.get("/sync?since=nonsense"), 400, "M_INVALID_PARAM")
	})

	It("has only the fields of event_fields", func() {
		alice := newWorld(nil).register("alice")
		room := alice.room(obj{"name": "n"})
		filter := esc(`{"event_fields":["type","content.name"]}`)
		joined := fine(alice.get("/sync?filter=" + filter)).body["rooms"].(obj)["join"].(obj)[room].(obj)
		Expect(joined["timeline"].(obj)["events"]).To(ContainElement(obj{"type": "m.room.name", "content": obj{"name": "n"}}))
	})

	It("has nothing of a room in which nothing happened that the client wants", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{})
		filter := "/sync?filter=" + esc(`{"room":{"timeline":{"types":[]},"state":{"types":["org.example"]}}}`) + "&since="
		since := fine(alice.get("/sync")).text("next_batch")
		fine(alice.put(fmt.Sprintf("/rooms/%s/state/m.room.member/%s", esc(room), esc(alice.id)), obj{"membership": "join", "displayname": "A"}))
		Expect(fine(alice.get(filter + since)).body["rooms"].(obj)["join"]).To(BeEmpty(), "another name makes no other summary")
		fine(alice.post("/rooms/"+esc(room)+"/invite", obj{"user_id": bob.id}))
		Expect(fine(alice.get(filter + since)).body["rooms"].(obj)["join"].(obj)[room].(obj)["summary"]).To(HaveKeyWithValue("m.invited_member_count", 1.0))
	})

	It("has no timeline where its limit is 0, and events as servers get them with their ID where that is asked for", func() {
		alice := newWorld(nil).register("alice")
		for _, version := range []string{"1", "12"} {
			room := alice.room(obj{"room_version": version})
			sent := fine(alice.put("/rooms/"+esc(room)+"/send/m.room.message/"+version, obj{"body": "x"})).text("event_id")
			with := func(filter string) obj {
				GinkgoHelper()
				return fine(alice.get("/sync?filter=" + esc(filter))).body["rooms"].(obj)["join"].(obj)[room].(obj)
			}
			state := with(`{"room":{"timeline":{"limit":0},"state":{"types":["m.room.member"]}}}`)
			Expect(state["timeline"]).To(And(HaveKeyWithValue("events", BeEmpty()), HaveKeyWithValue("limited", false)))
			Expect(state["state"]).To(HaveKeyWithValue("events", ConsistOf(HaveKeyWithValue("state_key", alice.id))))
			raw := with(`{"event_format":"federation","room":{"timeline":{"limit":1}}}`)["timeline"].(obj)["events"].([]any)
			Expect(raw).To(ConsistOf(And(HaveKeyWithValue("event_id", sent), HaveKey("hashes"), HaveKey("depth"), HaveKeyWithValue("room_id", room))))
		}
	})

	It("leaves out what ignored users say, and their invites, but not the state they set", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{"preset": "public_chat"})
		fine(bob.post("/join/"+esc(room), nil))
		fine(alice.put("/user/"+esc(alice.id)+"/account_data/m.ignored_user_list", obj{"ignored_users": obj{bob.id: obj{}}}))
		since := fine(alice.get("/sync")).text("next_batch")
		fine(bob.put("/rooms/"+esc(room)+"/send/m.room.message/1", obj{"msgtype": "m.text", "body": "x"}))
		fine(bob.put(fmt.Sprintf("/rooms/%s/state/m.room.member/%s", esc(room), esc(bob.id)), obj{"membership": "join", "displayname": "B"}))
		other := bob.room(obj{"invite": []string{alice.id}})
		answer := fine(alice.get("/sync?since=" + since)).body["rooms"].(obj)
		events := answer["join"].(obj)[room].(obj)["timeline"].(obj)["events"].([]any)
		Expect(events).To(HaveLen(1))
		Expect(events[0]).To(HaveKeyWithValue("type", "m.room.member"))
		Expect(answer["invite"]).NotTo(HaveKey(other))
		page := fine(alice.get("/rooms/"+esc(room)+"/messages?dir=b"), "start", "chunk")
		Expect(page.body["chunk"]).NotTo(ContainElement(HaveKeyWithValue("type", "m.room.message")))
	})

	// spec:client-server-api/modules/invite_permission#server-behaviour
	It("leaves out the invites of who takes none, those from before too", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		invites := func(since string) any { return fine(alice.get("/sync" + since)).body["rooms"].(obj)["invite"] }
		before := alice.slide("", lists(window(9, 0)))
		room := bob.room(obj{"invite": []string{alice.id}})
		Expect(invites("")).To(HaveKey(room))
		at := alice.slide(before.pos(), lists(window(9, 0)))
		Expect(at.listed("all")).To(Equal([]string{room}))
		takes := func(content obj) {
			fine(alice.put("/user/"+esc(alice.id)+"/account_data/m.invite_permission_config", content))
		}
		takes(obj{"default_action": "block"})
		Expect(invites("")).To(BeEmpty())
		at = alice.slide(at.pos(), lists(window(9, 0)))
		Expect(at.listed("all")).To(BeEmpty())
		refused(bob.post("/rooms/"+esc(bob.room(obj{}))+"/invite", obj{"user_id": alice.id}), 403, "M_INVITE_BLOCKED")
		takes(obj{"default_action": "ask"}) // a value that isn't known
		Expect(invites("")).To(HaveKey(room))
		Expect(alice.slide(at.pos(), lists(window(9, 0))).listed("all")).To(Equal([]string{room}))
	})
})
