package clientapi

import (
	"encoding/json"
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// synced is a /sync answer, as far as these tests look.
type synced struct {
	Next  string `json:"next_batch"`
	Rooms struct {
		Join  map[string]syncedRoom `json:"join"`
		Leave map[string]syncedRoom `json:"leave"`
	} `json:"rooms"`
}

type syncedRoom struct {
	State    syncedEvents `json:"state"`
	Timeline syncedEvents `json:"timeline"`
}

type syncedEvents struct {
	Events []struct {
		Type     string `json:"type"`
		StateKey string `json:"state_key"`
		Content  obj    `json:"content"`
	} `json:"events"`
}

// members are the membership events among them: "@alice:hanse.test leave".
func (e syncedEvents) members() []string {
	found := []string{}
	for _, one := range e.Events {
		if one.Type == "m.room.member" {
			found = append(found, fmt.Sprint(one.StateKey, " ", one.Content["membership"]))
		}
	}
	return found
}

func (p *person) sync(since, filter string) synced {
	GinkgoHelper()
	a := fine(p.get("/sync?timeout=0&since=" + since + "&filter=" + esc(filter)))
	raw, err := json.Marshal(a.body)
	Expect(err).NotTo(HaveOccurred())
	var s synced
	Expect(json.Unmarshal(raw, &s)).To(Succeed(), a.raw)
	return s
}

var _ = Describe("sync shows who left", func() {
	It("once, where the room was forgotten at once", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{"preset": "public_chat"})
		fine(bob.post("/join/"+esc(room), nil))
		left := `{"room":{"include_leave":true}}`
		before := bob.sync("", left).Next
		fine(bob.post("/rooms/"+esc(room)+"/leave", nil))
		fine(bob.post("/rooms/"+esc(room)+"/forget", nil))
		told := bob.sync(before, "{}")
		Expect(told.Rooms.Leave).To(HaveKey(room))
		Expect(told.Rooms.Leave[room].Timeline.members()).To(Equal([]string{bob.id + " leave"}))
		Expect(bob.sync(told.Next, left).Rooms.Leave).NotTo(HaveKey(room))
		Expect(bob.sync("", left).Rooms.Leave).NotTo(HaveKey(room))
	})

	It("to the one whose invite or knock was taken back or turned down, though the history is not theirs", func() {
		w := newWorld(nil)
		alice, bob, carol, dave := w.register("alice"), w.register("bob"), w.register("carol"), w.register("dave")
		room := alice.room(obj{"preset": "private_chat", "invite": []string{bob.id, carol.id}})
		path := "/rooms/" + esc(room)
		bobs, carols, daves := bob.sync("", "{}").Next, carol.sync("", "{}").Next, dave.sync("", "{}").Next
		fine(bob.post(path+"/leave", obj{}))
		fine(alice.post(path+"/kick", obj{"user_id": carol.id}))
		fine(alice.post(path+"/ban", obj{"user_id": dave.id}))
		Expect(bob.sync(bobs, "{}").Rooms.Leave[room].Timeline.members()).To(Equal([]string{bob.id + " leave"}))
		Expect(carol.sync(carols, "{}").Rooms.Leave[room].Timeline.members()).To(Equal([]string{carol.id + " leave"}))
		Expect(dave.sync(daves, "{}").Rooms.Leave[room].Timeline.members()).To(Equal([]string{dave.id + " ban"}))
		filtered := bob.sync(bobs, `{"room":{"timeline":{"not_types":["m.room.member"]}}}`)
		Expect(filtered.Rooms.Leave[room].Timeline.members()).To(BeEmpty())
	})

	It("to members who load members lazily, also behind a limited timeline", func() {
		w := newWorld(nil)
		alice, bob, carol := w.register("alice"), w.register("bob"), w.register("carol")
		room := alice.room(obj{"preset": "public_chat", "name": "Tea"})
		path := "/rooms/" + esc(room)
		fine(bob.post("/join/"+esc(room), obj{}))
		const lazy = `{"room":{"state":{"lazy_load_members":true},"timeline":{"limit":1}}}`
		fine(alice.put(path+"/send/m.room.message/1", obj{"body": "x"}))
		first := alice.sync("", lazy)
		Expect(first.Rooms.Join[room].State.members()).To(Equal([]string{alice.id + " join"}))
		fine(bob.post(path+"/leave", obj{}))
		fine(carol.post("/join/"+esc(room), obj{}))
		fine(alice.put(path+"/send/m.room.message/2", obj{"body": "x"}))
		Expect(alice.sync(first.Next, lazy).Rooms.Join[room].State.members()).
			To(ConsistOf(bob.id+" leave", carol.id+" join"))
	})
})
