package clientapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"

	"hanse/federation/id"
	"hanse/node/clientsync"
	"hanse/node/rooms"
)

var _ = Describe("a room with a large state", func() {
	const widgets = clientsync.MaxStateRows + 10
	var (
		w        *world
		alice    *person
		room     string
		said     string // an event
		redacted string // of one of the state's events
		from     string // a place in the stream from before the room
	)
	BeforeEach(func() {
		w = newWorld(nil)
		alice = w.register("alice")
		from = fine(alice.get("/sync")).text("next_batch")
		room = alice.room(obj{"preset": "private_chat"})
		var senders errgroup.Group
		senders.SetLimit(50)
		for i := range widgets {
			senders.Go(func() error {
				stateKey := fmt.Sprint(i)
				_, err := w.config.Rooms.Send(context.Background(), rooms.SendRequest{
					Sender: id.UserID(alice.id), Room: id.RoomID(room), Type: "org.example.widget", StateKey: &stateKey, Content: json.RawMessage(`{"name":"a widget"}`),
				})
				return err
			})
		}
		Expect(senders.Wait()).To(Succeed())
		in := "/rooms/" + esc(room)
		last := fine(alice.get(in + "/state/org.example.widget/" + fmt.Sprint(widgets-1) + "?format=event")).text("event_id")
		redacted = last
		fine(alice.put(in+"/redact/"+esc(last)+"/1", obj{"reason": "wrong"}))
		for i := range clientsync.DefaultTimeline { // so that nothing of it is in the timeline
			said = fine(alice.put(in+"/send/m.room.message/"+fmt.Sprint("m", i), obj{"msgtype": "m.text", "body": "harbour"})).text("event_id")
		}
	})

	// whole expects all widgets in a list of events, each once, one of them redacted, and says what types the others have.
	whole := func(list any, because bool) (others []string) {
		GinkgoHelper()
		seen := map[string]bool{}
		for _, each := range list.([]any) {
			e := each.(obj)
			if e["type"] != "org.example.widget" {
				others = append(others, e["type"].(string))
				continue
			}
			Expect(seen).NotTo(HaveKey(e["state_key"]))
			seen[e["state_key"].(string)] = true
			content := obj{"name": "a widget"}
			if e["event_id"] == redacted {
				content = obj{}
				if because {
					Expect(e["unsigned"]).To(HaveKeyWithValue("redacted_because", HaveKeyWithValue("type", "m.room.redaction")))
				}
			}
			Expect(e["content"]).To(Equal(content))
		}
		Expect(seen).To(HaveLen(widgets))
		slices.Sort(others)
		return others
	}
	joined := func(a answered) obj { return a.body["rooms"].(obj)["join"].(obj)[room].(obj) }

	It("is told as a whole wherever it is asked for", func() {
		in := "/rooms/" + esc(room)
		By("/sync")
		Expect(whole(joined(fine(alice.get("/sync")))["state"].(obj)["events"], true)).To(ContainElement("m.room.create"))
		after := joined(fine(alice.get("/sync?use_state_after=true&since=" + from)))
		Expect(whole(after["state_after"].(obj)["events"], true)).To(ContainElement("m.room.member"))
		lazily := `{"room":{"timeline":{"limit":1},"state":{"lazy_load_members":true,"not_types":["m.room.create"]}}}`
		Expect(whole(joined(fine(alice.get("/sync?filter=" + esc(lazily))))["state"].(obj)["events"], true)).
			To(And(ContainElement("m.room.member"), Not(ContainElement("m.room.create"))))
		format := joined(fine(alice.get("/sync?filter=" + esc(`{"event_format":"federation"}`))))["state"].(obj)["events"].([]any)
		Expect(format).To(HaveEach(HaveKey("auth_events")))

		By("sliding sync")
		slid := fine(alice.post("/_matrix/client/unstable/org.matrix.simplified_msc3575/sync",
			obj{"lists": obj{"all": obj{"ranges": [][]int{{0, 9}}, "timeline_limit": 1, "required_state": [][]string{{"*", "*"}}}}}))
		Expect(whole(slid.body["rooms"].(obj)[room].(obj)["required_state"], true)).To(ContainElements("m.room.create", "m.room.member"))

		By("/state and /members")
		var state []any
		asked, err := http.NewRequest("GET", w.server.URL+"/_matrix/client/v3"+in+"/state", nil)
		Expect(err).NotTo(HaveOccurred())
		asked.Header.Set("Authorization", "Bearer "+alice.token)
		answer, err := http.DefaultTransport.RoundTrip(asked)
		Expect(err).NotTo(HaveOccurred())
		defer answer.Body.Close()
		Expect(json.NewDecoder(answer.Body).Decode(&state)).To(Succeed()) // the one answer that is a list
		Expect(whole(state, false)).To(ContainElements("m.room.create", "m.room.member"))

		By("/context and /search")
		around := fine(alice.get(in + "/context/" + esc(said)))
		Expect(whole(around.body["state"], false)).To(ContainElement("m.room.create"))
		Eventually(func(g Gomega) {
			found := alice.post("/search", obj{"search_categories": obj{"room_events": obj{"search_term": "harbour", "include_state": true}}})
			events := found.body["search_categories"].(obj)["room_events"].(obj)
			g.Expect(events["count"]).To(BeEquivalentTo(clientsync.DefaultTimeline))
			whole(events["state"].(obj)[room], false)
		}).Should(Succeed())

		By("the old endpoints")
		Expect(whole(fine(alice.get(in + "/initialSync")).body["state"], false)).To(ContainElement("m.room.create"))
		for _, each := range fine(alice.get("/initialSync")).body["rooms"].([]any) {
			Expect(whole(each.(obj)["state"], true)).To(ContainElement("m.room.create"))
		}
		heard := fine(alice.get("/events?timeout=0&from=" + from))
		Expect(strings.Count(heard.raw, `"type":"org.example.widget"`)).To(Equal(widgets))
	})
})
