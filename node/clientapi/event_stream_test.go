package clientapi

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	gomegatypes "github.com/onsi/gomega/types"
)

// chunk is what /events tells.
func chunk(a answered) []any {
	GinkgoHelper()
	list, ok := fine(a, "start", "end").body["chunk"].([]any)
	Expect(ok).To(BeTrue(), a.raw)
	return list
}

// saying matches an event of a type and with these members of its content.
func saying(typ string, content obj) gomegatypes.GomegaMatcher {
	matchers := []gomegatypes.GomegaMatcher{}
	for key, value := range content {
		matchers = append(matchers, HaveKeyWithValue(key, value))
	}
	return And(HaveKeyWithValue("type", typ), HaveKeyWithValue("content", And(matchers...)))
}

var _ = Describe("the event stream", func() {
	const now = "/events?timeout=0"

	It("tells in one list what /sync tells", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		begin := fine(alice.get(now))
		Expect(chunk(begin)).To(BeEmpty())
		room := alice.room(obj{"preset": "public_chat", "name": "Harbour"})
		path := "/rooms/" + esc(room)
		fine(bob.post("/join/"+esc(room), obj{}))
		sent := fine(alice.put(path+"/send/m.room.message/t1", obj{"msgtype": "m.text", "body": "Ahoy"})).text("event_id")
		fine(bob.put(path+"/typing/"+esc(bob.id), obj{"typing": true}))
		fine(bob.post(path+"/receipt/m.read/"+esc(sent), obj{}))
		fine(alice.put("/user/"+esc(alice.id)+path+"/tags/u.work", obj{"order": 0.5}))
		fine(alice.put("/user/"+esc(alice.id)+"/account_data/org.example", obj{"x": 1}))

		heard := fine(alice.get(now + "&from=" + begin.text("end")))
		Expect(heard.text("start")).To(Equal(begin.text("end")))
		list := chunk(heard)
		Expect(list[0]).To(And(HaveKeyWithValue("type", "m.room.create"), HaveKeyWithValue("room_id", room)), "in the order in which they came")
		Expect(list).To(ContainElements(
			saying("m.room.name", obj{"name": "Harbour"}),
			And(saying("m.room.member", obj{"membership": "join"}), HaveKeyWithValue("state_key", bob.id)),
			And(saying("m.room.message", obj{"body": "Ahoy"}), HaveKeyWithValue("event_id", sent), HaveKeyWithValue("user_id", alice.id), HaveKeyWithValue("unsigned", HaveKeyWithValue("transaction_id", "t1"))),
			And(saying("m.typing", obj{"user_ids": []any{bob.id}}), HaveKeyWithValue("room_id", room)),
			And(saying("m.receipt", obj{sent: HaveKey("m.read")}), HaveKeyWithValue("room_id", room)),
			And(saying("m.tag", obj{"tags": HaveKey("u.work")}), HaveKeyWithValue("room_id", room)),
			saying("org.example", obj{"x": 1.0}),
		))
		Expect(chunk(alice.get(now+"&from="+heard.text("end")))).To(BeEmpty(), "each is told once")

		after := fine(bob.get(now)).text("end")
		fine(bob.post(path+"/leave", obj{}))
		Expect(chunk(bob.get(now + "&from=" + after))).To(ContainElement(And(saying("m.room.member", obj{"membership": "leave"}), HaveKeyWithValue("state_key", bob.id))))
		after = fine(bob.get(now)).text("end")
		fine(alice.post(path+"/invite", obj{"user_id": bob.id}))
		Expect(chunk(bob.get(now + "&from=" + after))).To(ContainElement(And(
			saying("m.room.member", obj{"membership": "invite"}), HaveKeyWithValue("room_id", room), HaveKeyWithValue("event_id", HavePrefix("$")),
			HaveKeyWithValue("unsigned", HaveKeyWithValue("invite_room_state", ContainElement(HaveKeyWithValue("type", "m.room.name")))),
		)))
	})

	It("waits, and takes no messages away from /sync", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		begin := fine(alice.get(now)).text("end")
		told := make(chan answered)
		go func() {
			defer GinkgoRecover()
			told <- alice.get("/events?timeout=60000&from=" + begin)
		}()
		fine(alice.put("/sendToDevice/org.example/1", obj{"messages": obj{alice.id: obj{alice.device: obj{"x": 1}}}}))
		fine(alice.put("/user/"+esc(alice.id)+"/account_data/org.example", obj{"x": 1}))
		var heard answered
		Eventually(told, "1m").Should(Receive(&heard))
		Expect(chunk(heard)).To(ContainElement(saying("org.example", obj{"x": 1.0})))
		Expect(chunk(alice.get(now + "&from=" + heard.text("end")))).To(BeEmpty())
		Expect(fine(alice.get("/sync")).body).To(HaveKeyWithValue("to_device", HaveKeyWithValue("events", HaveLen(1))))

		room := alice.room(obj{"preset": "public_chat", "initial_state": []any{
			obj{"type": "m.room.history_visibility", "content": obj{"history_visibility": "world_readable"}},
		}})
		look := fine(alice.get("/rooms/" + esc(room) + "/initialSync")).body["messages"].(obj)["end"].(string)
		fine(alice.post("/rooms/"+esc(room)+"/leave", obj{}))
		for _, end := range []string{look, fine(alice.get(now)).text("end"), fine(alice.get(now + "&room_id=" + esc(room))).text("end")} {
			Expect(fine(alice.get("/sync?since=" + end)).body).To(HaveKeyWithValue("to_device", HaveKeyWithValue("events", HaveLen(1))))
		}
	})

	It("of one room is for those who are in it, or may read it without", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room, other := alice.room(obj{}), alice.room(obj{})
		path := "/rooms/" + esc(room)
		send := func(body string) string {
			GinkgoHelper()
			return fine(alice.post(path+"/send/m.room.message", obj{"msgtype": "m.text", "body": body})).text("event_id")
		}
		begin := fine(bob.get(now)).text("end")
		peek := now + "&room_id=" + esc(room) + "&from="
		send("among us")
		refused(bob.get(peek+begin), 403, "M_FORBIDDEN")
		refused(bob.get(now+"&room_id="+esc("!nowhere:hanse.test")), 403, "M_FORBIDDEN")
		refused(bob.get(now+"&room_id=harbour"), 400, "M_INVALID_PARAM")
		Expect(chunk(alice.get(peek + begin))).To(HaveLen(1))

		fine(alice.put(path+"/state/m.room.history_visibility", obj{"history_visibility": "world_readable"}))
		said := send("to the world")
		fine(alice.put(path+"/typing/"+esc(alice.id), obj{"typing": true}))
		fine(alice.post(path+"/receipt/m.read/"+esc(said), obj{}))
		fine(alice.post(path+"/receipt/m.read.private/"+esc(said), obj{}))
		fine(alice.post("/rooms/"+esc(other)+"/send/m.room.message", obj{"msgtype": "m.text", "body": "elsewhere"}))
		heard := fine(bob.get(peek + begin))
		Expect(chunk(heard)).To(HaveExactElements(
			saying("m.room.history_visibility", obj{"history_visibility": "world_readable"}), saying("m.room.message", obj{"body": "to the world"}),
			saying("m.typing", obj{"user_ids": []any{alice.id}}), saying("m.receipt", obj{said: And(HaveLen(1), HaveKeyWithValue("m.read", HaveKey(alice.id)))}),
		))
		told := make(chan answered)
		go func() {
			defer GinkgoRecover()
			told <- bob.get("/events?timeout=60000&room_id=" + esc(room) + "&from=" + heard.text("end"))
		}()
		send("more")
		Eventually(told, "1m").Should(Receive(&heard))
		Expect(chunk(heard)).To(HaveExactElements(saying("m.room.message", obj{"body": "more"})))
		Expect(chunk(alice.get(now + "&room_id=" + esc(room) + "&from=" + begin))).NotTo(ContainElement(HaveKeyWithValue("room_id", other)))

		fine(alice.put(path+"/state/m.room.history_visibility", obj{"history_visibility": "shared"}))
		refused(bob.get(peek+heard.text("end")), 403, "M_FORBIDDEN")
	})

	It("refuses what it doesn't understand", func() {
		alice := newWorld(nil).register("alice")
		for _, query := range []string{"from=t5", "from=hello", "timeout=hello", "timeout=-1", "limit=hello", "limit=-2"} {
			refused(alice.get("/events?"+query), 400, "M_INVALID_PARAM")
		}
		refused(alice.w.nobody().get(now), 401, "M_MISSING_TOKEN")
	})

	It("has single events", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		sent := fine(alice.post("/rooms/"+esc(alice.room(obj{}))+"/send/m.room.message", obj{"body": "Ahoy"})).text("event_id")
		Expect(fine(alice.get("/events/" + esc(sent))).body).To(saying("m.room.message", obj{"body": "Ahoy"}))
		refused(bob.get("/events/"+esc(sent)), 404, "M_NOT_FOUND")
		refused(bob.get("/events/$nothing"), 404, "M_NOT_FOUND")
	})
})

var _ = Describe("initialSync", func() {
	It("is what /sync begins with", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room, left := alice.room(obj{"visibility": "public", "topic": "ships"}), bob.room(obj{"preset": "public_chat"})
		path := "/rooms/" + esc(room)
		sent := fine(alice.post(path+"/send/m.room.message", obj{"body": "Ahoy"})).text("event_id")
		fine(alice.post(path+"/receipt/m.read/"+esc(sent), obj{}))
		fine(alice.post("/join/"+esc(left), obj{}))
		fine(alice.post("/rooms/"+esc(left)+"/leave", obj{}))
		invited := bob.room(obj{"invite": []string{alice.id}})

		got := fine(alice.get("/initialSync?limit=1"), "end", "presence", "account_data").body
		Expect(got["receipts"]).To(ConsistOf(And(saying("m.receipt", obj{sent: HaveKey("m.read")}), HaveKeyWithValue("room_id", room))))
		Expect(got["account_data"]).To(ContainElement(HaveKeyWithValue("type", "m.push_rules")))
		Expect(got["rooms"]).To(ConsistOf(
			And(
				HaveKeyWithValue("room_id", room), HaveKeyWithValue("membership", "join"), HaveKeyWithValue("visibility", "public"),
				HaveKeyWithValue("messages", And(HaveKeyWithValue("chunk", ConsistOf(saying("m.room.message", obj{"body": "Ahoy"}))), HaveKey("start"), HaveKey("end"))),
				HaveKeyWithValue("state", ContainElements(saying("m.room.topic", obj{"topic": "ships"}), saying("m.room.member", obj{"membership": "join"}))),
			),
			And(
				HaveKeyWithValue("room_id", invited), HaveKeyWithValue("membership", "invite"), HaveKeyWithValue("inviter", bob.id),
				HaveKeyWithValue("invite", saying("m.room.member", obj{"membership": "invite"})),
			),
		))
		Expect(fine(alice.get("/initialSync?archived=true")).body["rooms"]).To(ContainElement(And(
			HaveKeyWithValue("room_id", left), HaveKeyWithValue("membership", "leave"), HaveKeyWithValue("messages", HaveKeyWithValue("chunk", Not(BeEmpty()))),
		)))
		Expect(fine(alice.get("/initialSync?limit=0")).body["rooms"]).To(ContainElement(HaveKeyWithValue("messages", HaveKeyWithValue("chunk", BeEmpty()))))
		fine(alice.get("/events?timeout=0&from=" + got["end"].(string)))
		refused(alice.get("/initialSync?limit=hello"), 400, "M_INVALID_PARAM")
		refused(alice.get("/initialSync?archived=perhaps"), 400, "M_INVALID_PARAM")
	})

	It("looks into one room", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{"preset": "public_chat"})
		path := "/rooms/" + esc(room)
		sent := fine(alice.post(path+"/send/m.room.message", obj{"body": "Ahoy"})).text("event_id")
		fine(alice.post(path+"/receipt/m.read/"+esc(sent), obj{}))
		fine(alice.put("/user/"+esc(alice.id)+path+"/tags/u.work", obj{}))
		refused(bob.get(path+"/initialSync"), 403, "M_FORBIDDEN")

		got := fine(alice.get(path + "/initialSync?limit=2")).body
		Expect(got).To(And(HaveKeyWithValue("membership", "join"), HaveKeyWithValue("visibility", "private"), HaveKey("presence")))
		Expect(got["account_data"]).To(ConsistOf(HaveKeyWithValue("type", "m.tag")))
		Expect(got["receipts"]).To(ConsistOf(saying("m.receipt", obj{sent: HaveKey("m.read")})))
		messages := got["messages"].(obj)
		Expect(messages["chunk"]).To(HaveExactElements(HaveKey("state_key"), saying("m.room.message", obj{"body": "Ahoy"})))
		before := fine(alice.get(path + "/messages?dir=b&from=" + messages["start"].(string))).body["chunk"].([]any)
		Expect(before[0]).To(HaveKey("state_key"))
		Expect(before).NotTo(ContainElement(HaveKeyWithValue("event_id", sent)))
		Expect(chunk(alice.get("/events?timeout=0&room_id=" + esc(room) + "&from=" + messages["end"].(string)))).To(BeEmpty())
		Expect(fine(alice.get(path + "/initialSync?limit=0")).body["messages"]).To(HaveKeyWithValue("chunk", BeEmpty()))
		refused(alice.get(path+"/initialSync?limit=hello"), 400, "M_INVALID_PARAM")

		fine(alice.put(path+"/state/m.room.history_visibility", obj{"history_visibility": "world_readable"}))
		got = fine(bob.get(path + "/initialSync")).body
		Expect(got).NotTo(HaveKey("membership"))
		Expect(got["messages"]).To(HaveKeyWithValue("chunk", ConsistOf(HaveKeyWithValue("type", "m.room.history_visibility"))))
		for _, list := range []string{"receipts", "presence", "account_data"} {
			Expect(got[list]).To(BeEmpty(), "that is for those who are in the room")
		}
	})
})
