package hostile

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/testnet/peer"
)

// forms are events that are right but for what they are loaded with.
func forms() map[string]func(map[string]any) {
	return map[string]func(map[string]any){
		"of the largest size": func(e map[string]any) {
			e["content"] = map[string]any{"body": strings.Repeat("x", 64_000)}
		},
		"too large": func(e map[string]any) { e["content"] = map[string]any{"body": strings.Repeat("x", 70_000)} },
		"deep": func(e map[string]any) {
			e["content"] = map[string]any{"a": json.RawMessage(strings.Repeat(`{"a":`, 900) + "1" + strings.Repeat("}", 900))}
		},
		"with thousands of keys": func(e map[string]any) {
			content := map[string]any{}
			for i := range 4000 {
				content[fmt.Sprint("k", i)] = i
			}
			e["content"] = content
		},
		"on 20 events that nobody has": func(e map[string]any) { e["prev_events"] = nobodysEvents(20) },
		"on 2,000 events":              func(e map[string]any) { e["prev_events"] = nobodysEvents(2000) },
		"by 500 auth events":           func(e map[string]any) { e["auth_events"] = nobodysEvents(500) },
		"of a gigantic depth":          func(e map[string]any) { e["depth"] = json.Number("9007199254740991") },
		"of a depth that is too great": func(e map[string]any) { e["depth"] = json.Number("9999999999999999999999") },
		"of another room":              func(e map[string]any) { e["room_id"] = "!x:elsewhere.test" },
		"with a long type":             func(e map[string]any) { e["type"] = strings.Repeat("t", 300) },
		"by nobody":                    func(e map[string]any) { e["sender"] = "nobody" },
		"with no content":              func(e map[string]any) { delete(e, "content") },
	}
}

func nobodysEvents(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("$%043d", i)
	}
	return list
}

var _ = Describe("events", Serial, func() {
	It("that are hostile don't keep the good ones of their transaction from being taken", func(ctx SpecContext) {
		n := startNode()
		alice := n.newUser(ctx)
		roomID, err := alice.CreateRoom(ctx, map[string]any{"preset": "public_chat"})
		Expect(err).NotTo(HaveOccurred())
		p := newPeer()
		joined, err := p.Join(ctx, n.name, id.RoomID(roomID), p.User("mallory"))
		Expect(err).NotTo(HaveOccurred())
		p.On("get_missing_events", peer.Answer(200, `{"events":[`+strings.Repeat(`{"type":"x","prev_events":["$x"]},`, 500)+`{}]}`))
		p.On("state_ids", peer.Answer(200, `{"pdu_ids":["$x"],"auth_chain_ids":["$y"]}`))
		calm(ctx, n, 300e6, 2*time.Second, func() {
			for what, load := range forms() {
				good, err := joined.Room.Put(peer.MessageDraft(p.User("mallory"), "good beside one "+what))
				Expect(err).NotTo(HaveOccurred())
				var pdus []json.RawMessage
				for i := range 20 {
					e, err := joined.Room.Build(peer.MessageDraft(p.User("mallory"), fmt.Sprint(i)))
					Expect(err).NotTo(HaveOccurred())
					raw, _ := joined.Room.Forge(e, load, peer.Forgery{})
					pdus = append(pdus, raw)
				}
				results, err := p.Transaction(ctx, n.name, append(pdus, good.JSON())...)
				Expect(err).NotTo(HaveOccurred(), what)
				Expect(results).To(HaveKey(good.ID()), what)
				Expect(results[good.ID()].Error).To(BeEmpty(), what)
				Eventually(func() error {
					_, err := alice.History(ctx, roomID)
					return err
				}).Should(Succeed())
			}
		})
	})
})
