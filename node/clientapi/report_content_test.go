package clientapi

import (
	"context"
	"fmt"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
)

var _ = Describe("reports", func() {
	It("of events, rooms and users are kept for the administrators", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{})
		event := fine(alice.put("/rooms/"+esc(room)+"/send/m.room.message/1", obj{"msgtype": "m.text", "body": "rude"})).text("event_id")
		fine(alice.post("/rooms/"+esc(room)+"/report/"+esc(event), obj{"reason": "rude", "score": -100}))
		fine(alice.post("/rooms/"+esc(room)+"/report/"+esc(event), nil))
		fine(bob.post("/rooms/"+esc(room)+"/report", obj{"reason": ""}))
		fine(bob.post("/users/"+esc(alice.id)+"/report", obj{"reason": "spam"}))
		fine(bob.post("/users/@any:far.test/report", obj{"reason": "spam"}))

		refused(bob.post("/rooms/"+esc(room)+"/report/"+esc(event), obj{"reason": ""}), 404, "M_NOT_FOUND")
		refused(alice.post("/rooms/"+esc(room)+"/report/$nothing", obj{"reason": ""}), 404, "M_NOT_FOUND")
		refused(bob.post("/rooms/!nowhere:hanse.test/report", obj{"reason": ""}), 404, "M_NOT_FOUND")
		refused(bob.post("/users/@nobody:hanse.test/report", obj{"reason": ""}), 404, "M_NOT_FOUND")
		refused(bob.post("/users/nonsense/report", obj{"reason": ""}), 400, "M_INVALID_PARAM")
		refused(bob.post("/rooms/"+esc(room)+"/report", obj{}), 400, "M_MISSING_PARAM")
		refused(bob.post("/rooms/"+esc(room)+"/report", obj{"reason": 7}), 400, "M_BAD_JSON")
		refused(bob.post("/rooms/"+esc(room)+"/report", obj{"reason": strings.Repeat("x", 5000)}), 400, "M_INVALID_PARAM")

		reports, err := w.store.Reports(context.Background(), 10)
		Expect(err).NotTo(HaveOccurred())
		Expect(reports).To(HaveLen(5))
		Expect(reports[4].Reporter).To(Equal(id.UserID(alice.id)))
		Expect(reports[4].EventID).To(Equal(id.EventID(event)))
		Expect(reports[4].Reason).To(Equal("rude"))
		Expect(reports[2].RoomID).To(Equal(id.RoomID(room)))
		Expect(reports[1].UserID).To(Equal(id.UserID(alice.id)))
	})
})

var _ = Describe("mutual rooms", func() {
	It("are those that both are joined to", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		shared := alice.room(obj{"preset": "public_chat"})
		alice.room(obj{"preset": "public_chat"})
		fine(bob.post("/join/"+esc(shared), obj{}))
		ask := func(query string) answered { return alice.get("/_matrix/client/v1/mutual_rooms" + query) }
		Expect(fine(ask("?user_id=" + esc(bob.id))).body).To(Equal(obj{"joined": []any{shared}, "count": 1.0}))
		Expect(fine(ask("?user_id=@nobody:far.test")).body).To(Equal(obj{"joined": []any{}, "count": 0.0}))
		Expect(fine(ask("?user_id=" + esc(bob.id) + "&from=" + esc(shared))).body["joined"]).To(BeEmpty())
		refused(ask(""), 400, "M_MISSING_PARAM")
		for _, bad := range []string{"nonsense", esc(alice.id), esc(bob.id) + "&from=nonsense"} {
			refused(ask("?user_id="+bad), 400, "M_INVALID_PARAM")
		}
		Expect(fine(alice.get("/_matrix/client/versions")).body["unstable_features"]).To(HaveKeyWithValue("uk.half-shot.msc2666.query_mutual_rooms", true))
		former := "/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms?user_id=" + esc(bob.id)
		Expect(fine(alice.get(former)).body).To(Equal(obj{"joined": []any{shared}, "count": 1.0}))
		Expect(fine(alice.get(former + "&batch_token=" + esc(shared))).body["joined"]).To(BeEmpty())
	})

	It("come in pages, whose tokens have the names of the specification and of MSC2666", func() {
		var shared []id.RoomID
		for i := range maxMutualRooms + 1 {
			shared = append(shared, id.RoomID(fmt.Sprintf("!%04d:here.test", i)))
		}
		first, err := mutualRoomsPage(shared, "")
		Expect(err).NotTo(HaveOccurred())
		Expect(first.Joined).To(Equal(shared[:maxMutualRooms]))
		Expect(marshal(first)).To(And(ContainSubstring(`"next_batch":"!0499:here.test"`), ContainSubstring(`"next_batch_token":"!0499:here.test"`)))
		last, err := mutualRoomsPage(shared, string(first.NextBatchToken))
		Expect(err).NotTo(HaveOccurred())
		Expect(last).To(Equal(&mutualRoomsAnswer{Joined: shared[maxMutualRooms:], Count: len(shared)}))
	})
})
