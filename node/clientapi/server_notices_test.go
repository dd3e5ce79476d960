package clientapi

import (
	"context"
	"encoding/json"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/node/users"
)

// notice is the body of a server notice.
func notice(user, text string) obj {
	return obj{"user_id": user, "content": obj{"msgtype": "m.text", "body": text}}
}

// invite is the one room that a first /sync shows a user invited to, and the state that comes along.
func (p *person) invite() (room, state string) {
	GinkgoHelper()
	rooms, _ := fine(p.get("/sync")).body["rooms"].(obj)
	invites, _ := rooms["invite"].(obj)
	Expect(invites).To(HaveLen(1))
	for room := range invites {
		raw, err := json.Marshal(invites[room])
		Expect(err).NotTo(HaveOccurred())
		return room, string(raw)
	}
	return "", ""
}

var _ = Describe("server notices", func() {
	It("are sent by administrators alone, to users of this server", func() {
		w := newWorld(nil)
		root, alice := w.administrator("root"), w.register("alice")
		hello := notice(alice.id, "hello")
		refused(w.nobody().post(noticePath, hello), 401, "M_MISSING_TOKEN")
		refused(alice.post(noticePath, nil), 403, "M_FORBIDDEN")
		refused(alice.post(noticePath, hello), 403, "M_FORBIDDEN")
		refused(alice.put(noticePath+"/1", hello), 403, "M_FORBIDDEN")
		refused(root.post(noticePath, nil), 400, "M_NOT_JSON")
		refused(root.post(noticePath, obj{"content": obj{}}), 400, "M_MISSING_PARAM")
		refused(root.post(noticePath, obj{"user_id": alice.id}), 400, "M_MISSING_PARAM")
		refused(root.post(noticePath, obj{"user_id": alice.id, "content": "hello"}), 400, "M_BAD_JSON")
		refused(root.post(noticePath, obj{"user_id": alice.id, "content": obj{"body": 1.5}}), 400, "M_BAD_JSON")
		for _, user := range []string{"nonsense", "@alice:elsewhere.test", "@_server:hanse.test"} {
			refused(root.post(noticePath, notice(user, "hello")), 400, "M_INVALID_PARAM")
		}
		refused(root.post(noticePath, notice("@nobody:hanse.test", "hello")), 404, "M_NOT_FOUND")
		Expect(w.users.Suspend(context.Background(), id.UserID(root.id), true)).To(Succeed())
		refused(root.post(noticePath, hello), 403, "M_USER_SUSPENDED")
		Expect(w.users.Suspend(context.Background(), id.UserID(root.id), false)).To(Succeed())
		fine(root.post(noticePath, hello), "event_id")
		Expect(w.users.Deactivate(context.Background(), id.UserID(alice.id), false)).To(Succeed())
		refused(root.post(noticePath, hello), 404, "M_NOT_FOUND")
		_, err := w.users.Register(context.Background(), users.Registration{Username: "_server", Password: "x"})
		Expect(err).To(MatchError(ContainSubstring("M_INVALID_USERNAME")))
	})

	It("come in one room, to which the user is invited again after they left", func() {
		w := newWorld(nil)
		root, alice := w.administrator("root"), w.register("alice")
		first := fine(root.post(noticePath, notice(alice.id, "first"))).text("event_id")
		room, state := alice.invite()
		Expect(state).To(And(ContainSubstring(`"sender":"@_server:hanse.test"`), ContainSubstring(`"name":"Server notices"`)))
		Expect(alice.get("/user/" + alice.id + "/rooms/" + esc(room) + "/tags").body).To(Equal(obj{"tags": obj{"m.server_notice": obj{}}}))

		By("an invite that can't be rejected, in whatever way")
		const never = "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM"
		refused(alice.post("/rooms/"+esc(room)+"/leave", obj{}), 403, never)
		refused(alice.post("/rooms/"+esc(room)+"/kick", obj{"user_id": alice.id}), 403, never)
		refused(alice.put("/rooms/"+esc(room)+"/state/m.room.member/"+alice.id, obj{"membership": "leave"}), 403, never)
		Expect(w.users.Suspend(context.Background(), id.UserID(alice.id), true)).To(Succeed())
		refused(alice.post("/rooms/"+esc(room)+"/leave", obj{}), 403, never)
		Expect(w.users.Suspend(context.Background(), id.UserID(alice.id), false)).To(Succeed())

		By("a room where the user may read and leave, and nothing else")
		fine(alice.post("/join/"+esc(room), obj{}))
		Expect(fine(alice.get("/rooms/" + esc(room) + "/event/" + first)).body).To(HaveKeyWithValue("sender", "@_server:hanse.test"))
		refused(alice.put("/rooms/"+esc(room)+"/send/m.room.message/1", obj{"msgtype": "m.text", "body": "no"}), 403, "M_FORBIDDEN")
		refused(alice.post("/rooms/"+esc(room)+"/invite", obj{"user_id": root.id}), 403, "M_FORBIDDEN")
		second := fine(root.post(noticePath, notice(alice.id, "second"))).text("event_id")
		fine(alice.get("/rooms/" + esc(room) + "/event/" + second))
		fine(alice.post("/rooms/"+esc(room)+"/leave", obj{}))
		fine(alice.post("/rooms/"+esc(room)+"/forget", obj{}))
		fine(root.post(noticePath, notice(alice.id, "third")))
		again, _ := alice.invite()
		Expect(again).To(Equal(room))

		By("other rooms being as they were")
		other := root.room(obj{"invite": []string{alice.id}})
		fine(alice.post("/rooms/"+esc(other)+"/leave", obj{}))
	})

	It("is sent once in a transaction, and the room is made once", func() {
		w := newWorld(nil)
		root, alice, bob := w.administrator("root"), w.register("alice"), w.register("bob")
		once := fine(root.put(noticePath+"/1", notice(alice.id, "hello"))).text("event_id")
		Expect(fine(root.put(noticePath+"/1", notice(alice.id, "hello"))).text("event_id")).To(Equal(once))
		Expect(fine(root.put(noticePath+"/2", notice(alice.id, "hello"))).text("event_id")).NotTo(Equal(once))
		again := w.login("root") // another device's transactions are others
		Expect(fine(again.put(noticePath+"/1", notice(alice.id, "hello"))).text("event_id")).NotTo(Equal(once))
		var asking sync.WaitGroup
		for range 8 {
			asking.Go(func() {
				defer GinkgoRecover()
				fine(root.post(noticePath, notice(bob.id, "hello")))
			})
		}
		asking.Wait()
		bob.invite()
	})

	It("may be of another type, and state", func() {
		w := newWorld(nil)
		root, alice := w.administrator("root"), w.register("alice")
		event := fine(root.post(noticePath, notice(alice.id, "limit"))).text("event_id")
		pins := fine(root.post(noticePath, obj{
			"user_id": alice.id, "type": "m.room.pinned_events", "state_key": "", "content": obj{"pinned": []string{event}},
		})).text("event_id")
		room, _ := alice.invite()
		fine(alice.post("/join/"+esc(room), obj{}))
		Expect(alice.state(room, "m.room.pinned_events", "")).To(Equal(obj{"pinned": []any{event}}))
		fine(alice.get("/rooms/" + esc(room) + "/event/" + pins))
	})

	It("is no reason for a user who deactivates the account to stay", func() {
		w := newWorld(nil)
		root, alice := w.administrator("root"), w.register("alice")
		fine(root.post(noticePath, notice(alice.id, "hello")))
		room, _ := alice.invite()
		fine(alice.post("/account/deactivate", obj{"auth": passwordOf("alice")}))
		server := &person{w: w, id: "@_server:hanse.test"}
		Expect(server.state(room, "m.room.member", alice.id)).To(HaveKeyWithValue("membership", "leave"))
	})
})
