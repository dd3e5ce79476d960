package hostile

import (
	"encoding/json"
	"fmt"
	"slices"
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
		"on 10,000 events":             func(e map[string]any) { e["prev_events"] = nobodysEvents(10_000) },
		"by 500 auth events":           func(e map[string]any) { e["auth_events"] = nobodysEvents(500) },
		oversigned:                     func(map[string]any) {},
		"of a gigantic depth":          func(e map[string]any) { e["depth"] = json.Number("9007199254740991") },
		"of a depth that is too great": func(e map[string]any) { e["depth"] = json.Number("9999999999999999999999") },
		"of another room":              func(e map[string]any) { e["room_id"] = "!x:elsewhere.test" },
		"with a long type":             func(e map[string]any) { e["type"] = strings.Repeat("t", 300) },
		"by nobody":                    func(e map[string]any) { e["sender"] = "nobody" },
		"with no content":              func(e map[string]any) { delete(e, "content") },
	}
}

// harmless are the forms that an event may have: it is taken.
var harmless = []string{"of the largest size", "deep", "with thousands of keys", "of a gigantic depth"}

// oversigned is the form of an event that thousands of servers signed besides.
const oversigned = "with thousands of signatures"

func signedByThousands(raw json.RawMessage) json.RawMessage {
	GinkgoHelper()
	var fields map[string]json.RawMessage
	Expect(json.Unmarshal(raw, &fields)).To(Succeed())
	var all map[string]map[string]string
	Expect(json.Unmarshal(fields["signatures"], &all)).To(Succeed())
	for i := range 5000 {
		all[fmt.Sprintf("s%d.test", i)] = map[string]string{"ed25519:1": "AAAA"}
	}
	var err error
	fields["signatures"], err = json.Marshal(all)
	Expect(err).NotTo(HaveOccurred())
	raw, err = json.Marshal(fields)
	Expect(err).NotTo(HaveOccurred())
	return raw
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
				bad := map[string]bool{}
				for i := range 20 {
					e, err := joined.Room.Build(peer.MessageDraft(p.User("mallory"), fmt.Sprint(i)))
					Expect(err).NotTo(HaveOccurred())
					raw, eventID := joined.Room.Forge(e, load, peer.Forgery{})
					if what == oversigned {
						raw = signedByThousands(raw)
					}
					pdus = append(pdus, raw)
					bad[string(eventID)] = !slices.Contains(harmless, what)
				}
				results, err := p.Transaction(ctx, n.name, append(pdus, good.JSON())...)
				Expect(err).NotTo(HaveOccurred(), what)
				Expect(results).To(HaveKey(good.ID()), what)
				Expect(results[good.ID()].Error).To(BeEmpty(), what)
				history, err := alice.History(ctx, roomID)
				Expect(err).NotTo(HaveOccurred(), what)
				for _, e := range history {
					Expect(bad[e.ID]).To(BeFalse(), "an event %s is shown", what)
				}
			}
		})
	})
})
