package suite

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/testnet/peer"
)

const historySection = "server-server-api#backfilling-and-retrieving-missing-events"

// hidden puts messages into the peer's room that the server under test isn't sent.
func (m meeting) hidden(n int) []id.EventID {
	GinkgoHelper()
	var ids []id.EventID
	for i := range n {
		e, err := m.Put(peer.MessageDraft(m.user, fmt.Sprintf("missed %d", i)))
		Expect(err).NotTo(HaveOccurred())
		ids = append(ids, e.ID())
	}
	return ids
}

// hiddenButTheLast is hidden, but the last of the events is given to who asks for what is missing: that one and nothing before it.
func (m meeting) hiddenButTheLast(n int) []id.EventID {
	GinkgoHelper()
	ids := m.hidden(n)
	m.peer.On("get_missing_events", peer.Answer(http.StatusOK, `{"events":[`+string(m.Event(ids[n-1]).JSON())+`]}`))
	return ids
}

// inOrder checks that alice sees the events, in this order.
func (m meeting) inOrder(ctx context.Context, ids []id.EventID) {
	GinkgoHelper()
	Eventually(func() ([]id.EventID, error) {
		shown, err := timeline(ctx, alice, m.ID)()
		return slices.DeleteFunc(shown, func(e id.EventID) bool { return !slices.Contains(ids, e) }), err
	}).Should(Equal(ids))
}

// parsed reads events that the server under test gave.
func (m meeting) parsed(raws []json.RawMessage) []id.EventID {
	GinkgoHelper()
	var list []id.EventID
	for _, raw := range raws {
		e, err := event.Parse(m.Rules, raw)
		Expect(err).NotTo(HaveOccurred(), string(raw))
		Expect(e.ContentHashMatches()).To(BeTrue(), string(raw))
		list = append(list, e.ID())
	}
	return list
}

// eventIDs are the IDs of events as clients get them.
func eventIDs(events any) []id.EventID {
	GinkgoHelper()
	ids := []id.EventID{}
	for _, e := range events.([]any) {
		ids = append(ids, id.EventID(e.(map[string]any)["event_id"].(string)))
	}
	return ids
}

// talk is a room in which alice has said some things that the peer got.
func talk(ctx context.Context, n int) (meeting, []id.EventID) {
	GinkgoHelper()
	m := meet(ctx, mainVersion)
	var said []id.EventID
	for i := range n {
		said = append(said, m.fromAlice(ctx, fmt.Sprintf("said %d", i)).ID())
	}
	return m, said
}

var _ = Describe("Missing events: a gap", Label("s2s:missing-events"), func() {
	DescribeTable("is filled from the server that sent what comes after it",
		says(historySection, "That server may use the /get_missing_events API to acquire the events it is missing."), func(ctx SpecContext, version roomversion.Version) {
			m := meet(ctx, version)
			missed := m.hidden(7)
			last, err := m.Say(ctx, m.user, "after the gap")
			Expect(err).NotTo(HaveOccurred())
			m.inOrder(ctx, append(missed, last.ID()))
			requests := m.peer.Requests("get_missing_events")
			Expect(requests).NotTo(BeEmpty())
			var asked federation.MissingEventsRequest
			Expect(json.Unmarshal(requests[0].Body, &asked)).To(Succeed())
			Expect(asked.LatestEvents).To(ContainElement(last.ID()))
			Expect(asked.EarliestEvents).NotTo(BeEmpty())
			Expect(m.fromAlice(ctx, "here again").PrevEvents()).To(Equal([]id.EventID{last.ID()}))
		}, eachVersion())

	It("of state is filled, and the state counts",
		says(checksSection, "5. Passes authorisation rules based on the state before the event"), func(ctx SpecContext) {
			m := meet(ctx, mainVersion)
			carol := m.peer.User("carol")
			_, err := m.Put(peer.StateDraft(carol, "m.room.member", string(carol), map[string]any{"membership": "join"}))
			Expect(err).NotTo(HaveOccurred())
			last, err := m.Say(ctx, carol, "the join was missing")
			Expect(err).NotTo(HaveOccurred())
			Eventually(timeline(ctx, alice, m.ID)).Should(ContainElement(last.ID()))
			Expect(membership(ctx, m.ID, carol)()).To(Equal("join"))
		})

	It("is bridged by the state at the event where nobody fills it",
		says("server-server-api#retrieving-events", "a homeserver may be missing a particular event or information about the room which cannot be easily determined from backfilling. These APIs provide homeservers with the option of getting events and the state of the room at a given point in the timeline."), func(ctx SpecContext) {
			m := meet(ctx, mainVersion)
			carol := m.peer.User("carol")
			_, err := m.Put(peer.StateDraft(carol, "m.room.member", string(carol), map[string]any{"membership": "join"}))
			Expect(err).NotTo(HaveOccurred())
			m.hiddenButTheLast(1)
			last, err := m.Say(ctx, carol, "the join was missing")
			Expect(err).NotTo(HaveOccurred())
			Eventually(timeline(ctx, alice, m.ID)).Should(ContainElement(last.ID()))
			Eventually(membership(ctx, m.ID, carol)).Should(Equal("join"))
		})

	It("that nobody fills is one of the timeline in /sync too, until a user looks back",
		follows("client-server-api#syncing", "what came here without what was said before it is behind a gap in the client's timeline, which the client fills"), func(ctx SpecContext) {
			m := meet(ctx, mainVersion)
			m.marker(ctx)
			filter := `{"room":{"rooms":["` + string(m.ID) + `"],"timeline":{"limit":20}}}`
			since := raw(ctx, alice, http.MethodGet, "/_matrix/client/v3/sync", query("timeout", "0", "filter", filter), nil)["next_batch"].(string)
			before := m.fromAlice(ctx, "before the gap").ID()
			missed := m.hiddenButTheLast(5)
			last, err := m.Say(ctx, m.user, "after the gap")
			Expect(err).NotTo(HaveOccurred())
			told := func() map[string]any {
				GinkgoHelper()
				joined := raw(ctx, alice, http.MethodGet, "/_matrix/client/v3/sync", query("timeout", "0", "filter", filter, "since", since), nil)["rooms"].(map[string]any)["join"]
				return joined.(map[string]any)[string(m.ID)].(map[string]any)["timeline"].(map[string]any)
			}
			Eventually(func() []id.EventID { return eventIDs(told()["events"]) }).Should(ContainElement(last.ID()))
			// Looking back fills the gap; clients that sync from before it have it to fill all the same.
			for range 2 {
				timeline := told()
				Expect(eventIDs(timeline["events"])).NotTo(ContainElement(before), "it comes right before what was said later")
				Expect(timeline).To(HaveKeyWithValue("limited", true))
				Eventually(func() []id.EventID {
					older := raw(ctx, alice, http.MethodGet, "/_matrix/client/v3/rooms/"+url.PathEscape(string(m.ID))+"/messages",
						query("dir", "b", "limit", "10", "from", timeline["prev_batch"].(string)), nil)
					shown := eventIDs(older["chunk"])
					slices.Reverse(shown)
					shown = append(shown, eventIDs(timeline["events"])...)
					return shown[max(0, slices.Index(shown, before)):]
				}).Should(Equal(append(append([]id.EventID{before}, missed...), last.ID())))
			}
		})

	DescribeTable("that nobody tells of is not bridged: what stands on it is taken when what it stands on is there",
		follows("server-server-api#retrieving-events", "who doesn't tell what came before its event isn't asked for the state there, which it could choose"), func(ctx SpecContext, answer func(first json.RawMessage) peer.Hook) {
			m := meet(ctx, mainVersion)
			first, err := m.Put(peer.MessageDraft(m.user, "not told yet"))
			Expect(err).NotTo(HaveOccurred())
			last, err := m.Put(peer.MessageDraft(m.user, "on what was not told"))
			Expect(err).NotTo(HaveOccurred())
			m.peer.On("get_missing_events", answer(first.JSON()))
			m.delivered(ctx, last.JSON())
			Eventually(func() []peer.Request { return m.peer.Requests("get_missing_events") }).ShouldNot(BeEmpty())
			m.invisible(ctx, last.ID())
			m.delivered(ctx, first.JSON())
			m.delivered(ctx, last.JSON())
			m.inOrder(ctx, []id.EventID{first.ID(), last.ID()})
			Expect(m.peer.Requests("state_ids")).To(BeEmpty())
			Expect(m.peer.Requests("state")).To(BeEmpty())
		},
		Entry("refused", func(json.RawMessage) peer.Hook { return peer.Fail(http.StatusNotFound, "M_NOT_FOUND") }),
		Entry("an empty list", func(json.RawMessage) peer.Hook { return peer.Answer(http.StatusOK, `{"events":[]}`) }),
		Entry("with a number that no event has", func(first json.RawMessage) peer.Hook {
			return peer.Answer(http.StatusOK, `{"events":[`+strings.Replace(string(first), `"content":{`, `"content":{"number":1.5,`, 1)+`]}`)
		}))

	It("does not hold up other rooms",
		follows(historySection, "the events that a server waits for are one room's"), func(ctx SpecContext) {
			m := meet(ctx, mainVersion)
			other := visit(ctx, m.peer, roomOfAlice(ctx, mainVersion, nil))
			m.peer.On("get_missing_events", peer.Hang())
			m.peer.On("state_ids", peer.Hang())
			m.peer.On("state", peer.Hang())
			m.hidden(2)
			late, err := m.Put(peer.MessageDraft(m.user, "after the gap"))
			Expect(err).NotTo(HaveOccurred())
			go func() { _, _ = m.peer.Transaction(ctx, sut.name, late.JSON()) }() // its answer may wait for the gap
			other.marker(ctx)
		})

	It("that is filled with lies is not filled",
		says(checksSection, "2. Passes signature checks, otherwise it is dropped."), func(ctx SpecContext) {
			m := meet(ctx, mainVersion)
			raw, forged := m.forged(asIs, peer.Forgery{Key: peer.NewKey("ed25519:peer")})
			m.peer.On("get_missing_events", peer.Answer(http.StatusOK, `{"events":[`+string(raw)+`]}`))
			m.hidden(1)
			last, err := m.Say(ctx, m.user, "after the lie")
			Expect(err).NotTo(HaveOccurred())
			Eventually(timeline(ctx, alice, m.ID)).Should(ContainElement(last.ID()))
			m.invisible(ctx, forged)
		})

	It("before the join is filled when a user looks back",
		says(historySection, "To request more history, the requesting homeserver picks another homeserver that it thinks may have more … and makes a /backfill request."), func(ctx SpecContext) {
			p := newPeer()
			room, err := p.CreateRoom(mainVersion, p.User("bob"), peer.RoomOptions{})
			Expect(err).NotTo(HaveOccurred())
			m := meeting{Room: room, peer: p, user: p.User("bob")}
			old := m.hidden(30)
			_, err = alice.Join(ctx, string(room.ID), string(p.Name))
			Expect(err).NotTo(HaveOccurred())
			m.inOrder(ctx, old)
			Expect(p.Requests("backfill")).NotTo(BeEmpty())
		})
})

var _ = Describe("Missing events: asked for", Label("s2s:missing-events", "s2s:history"), func() {
	It("get_missing_events gives what lies between",
		says(historySection, "Retrieves previous events that the sender is missing. This is done by doing a breadth-first walk of the prev_events for the latest_events, ignoring any events in earliest_events and stopping at the limit."), func(ctx SpecContext) {
			m, said := talk(ctx, 6)
			ask := func(latest, earliest id.EventID, limit int, minDepth int64) []id.EventID {
				GinkgoHelper()
				answer, err := m.peer.Client.MissingEvents(ctx, sut.name, federation.MissingEventsRequest{
					RoomID: m.ID, LatestEvents: []id.EventID{latest}, EarliestEvents: []id.EventID{earliest}, Limit: limit, MinDepth: minDepth,
				})
				Expect(err).NotTo(HaveOccurred())
				return m.parsed(answer)
			}
			Expect(ask(said[5], said[0], 10, 0)).To(ConsistOf(said[1], said[2], said[3], said[4]))
			Expect(ask(said[5], said[0], 2, 0)).To(ConsistOf(said[3], said[4]))
			Expect(ask(said[5], said[4], 10, 0)).To(BeEmpty())
			Expect(ask(said[5], said[0], 10, m.Event(said[3]).Depth())).To(ConsistOf(said[3], said[4]))
		})

	It("backfill gives events and those before them",
		says(historySection, "Retrieves a sliding-window history of previous PDUs that occurred in the given room. Starting from the PDU ID(s) given in the v argument, the PDUs given in v and the PDUs that preceded them are retrieved, up to the total number given by the limit."), func(ctx SpecContext) {
			m, said := talk(ctx, 6)
			events, err := m.peer.Client.Backfill(ctx, sut.name, m.ID, 3, []id.EventID{said[4]})
			Expect(err).NotTo(HaveOccurred())
			Expect(m.parsed(events)).To(ConsistOf(said[4], said[3], said[2]))
			events, err = m.peer.Client.Backfill(ctx, sut.name, m.ID, 100, []id.EventID{said[4]})
			Expect(err).NotTo(HaveOccurred())
			Expect(m.parsed(events)).To(ContainElements(said[0], m.create()))
		})

	It("event gives one event",
		says("server-server-api#retrieving-events", "Retrieves a single event."), func(ctx SpecContext) {
			m, said := talk(ctx, 1)
			raw, err := m.peer.Client.Event(ctx, sut.name, said[0])
			Expect(err).NotTo(HaveOccurred())
			Expect(m.parsed([]json.RawMessage{raw})).To(Equal(said))
			_, err = m.peer.Client.Event(ctx, sut.name, id.EventID("$"+"0123456789012345678901234567890123456789012"))
			Expect(refusedStatus(err)).To(Equal(http.StatusNotFound))
		})

	DescribeTable("state, state_ids and event_auth give the state before an event",
		says("server-server-api#retrieving-events", "The fully resolved state for the room, prior to considering any state changes induced by the requested event."),
		says("server-server-api#retrieving-event-authorisation-information", "Retrieves the complete auth chain for a given event."), func(ctx SpecContext, version roomversion.Version) {
			m := meet(ctx, version)
			topic, err := alice.SetState(ctx, string(m.ID), "m.room.topic", "", map[string]any{"topic": "new"})
			Expect(err).NotTo(HaveOccurred())
			set := m.arrives(id.EventID(topic))
			after := m.fromAlice(ctx, "after it")

			before, err := m.peer.Client.StateIDs(ctx, sut.name, m.ID, set.ID())
			Expect(err).NotTo(HaveOccurred())
			then, err := m.peer.Client.StateIDs(ctx, sut.name, m.ID, after.ID())
			Expect(err).NotTo(HaveOccurred())
			Expect(before.PDUIDs).NotTo(ContainElement(set.ID()))
			Expect(then.PDUIDs).To(ConsistOf(append(slices.Clone(before.PDUIDs), set.ID())))
			for _, member := range []string{alice.ID, string(m.user)} {
				Expect(before.PDUIDs).To(ContainElement(m.State("m.room.member", member).ID()))
			}

			full, err := m.peer.Client.State(ctx, sut.name, m.ID, after.ID())
			Expect(err).NotTo(HaveOccurred())
			Expect(m.parsed(full.PDUs)).To(ConsistOf(then.PDUIDs))
			Expect(m.parsed(full.AuthChain)).To(ConsistOf(then.AuthChainIDs))

			chain, err := m.peer.Client.EventAuth(ctx, sut.name, m.ID, after.ID())
			Expect(err).NotTo(HaveOccurred())
			got := m.parsed(chain)
			need := slices.Clone(after.AuthEvents())
			for len(need) > 0 {
				Expect(got).To(ContainElement(need[0]), "the auth chain lacks an event")
				need = append(need[1:], m.Event(need[0]).AuthEvents()...)
			}

			_, err = m.peer.Client.StateIDs(ctx, sut.name, m.ID, "$0123456789012345678901234567890123456789012")
			Expect(err).To(refusedWith(http.StatusNotFound, "M_NOT_FOUND"))
		}, Entry("in room version 1", Label("rooms:v1"), roomversion.V1), Entry("in room version 10", Label("rooms:v10"), roomversion.V10), Entry("in room version 12", Label("rooms:v12"), roomversion.V12))

	DescribeTable("a server that is not in the room gets nothing",
		says("server-server-api#retrieving-events", "403: The requesting host is not in the room, or is excluded from the room via m.room.server_acl."), func(ctx SpecContext, endpoint string) {
			m, said := talk(ctx, 1)
			stranger := newPeer()
			answer, err := stranger.Do(ctx, sut.name, historyRequest(endpoint, m.ID, said[0]))
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Status).To(BeElementOf(http.StatusForbidden, http.StatusNotFound), "%s", answer.String())
			if endpoint != "event" {
				Expect(answer.Status).To(Equal(http.StatusForbidden), "%s", answer.String())
				Expect(answer.Code()).To(Equal("M_FORBIDDEN"))
			}
			Expect(string(answer.Body)).NotTo(ContainSubstring("said 0"))
		}, Entry(nil, "event"), Entry(nil, "state"), Entry(nil, "state_ids"), Entry(nil, "event_auth"), Entry(nil, "backfill"), Entry(nil, "get_missing_events"))

	DescribeTable("an event of another room gives nothing of it",
		says("server-server-api#retrieving-events", "The given event_id was not found"), func(ctx SpecContext, endpoint string) {
			m, _ := talk(ctx, 1)
			secret := roomOfAlice(ctx, mainVersion, map[string]any{"preset": "private_chat"})
			eventID, err := alice.Say(ctx, string(secret), "a secret")
			Expect(err).NotTo(HaveOccurred())
			answer, err := m.peer.Do(ctx, sut.name, historyRequest(endpoint, m.ID, id.EventID(eventID)))
			Expect(err).NotTo(HaveOccurred())
			Expect(string(answer.Body)).NotTo(ContainSubstring(string(secret)), "something of another room came back")
			Expect(string(answer.Body)).NotTo(ContainSubstring("a secret"))
		}, Entry(nil, "event"), Entry(nil, "state"), Entry(nil, "state_ids"), Entry(nil, "event_auth"), Entry(nil, "backfill"), Entry(nil, "get_missing_events"))

	It("what a server may not see of the time before it came is not given in clear",
		says("client-server-api#room-history-visibility", "Events are accessible to newly joined members from the point they joined the room onwards."), func(ctx SpecContext) {
			p := newPeer()
			roomID := roomOfAlice(ctx, mainVersion, map[string]any{"initial_state": []any{map[string]any{
				"type": "m.room.history_visibility", "state_key": "", "content": map[string]any{"history_visibility": "joined"},
			}}})
			eventID, err := alice.Say(ctx, string(roomID), "before you came")
			Expect(err).NotTo(HaveOccurred())
			m := visit(ctx, p, roomID)
			answer, err := m.peer.Do(ctx, sut.name, historyRequest("backfill", roomID, m.State("m.room.member", string(m.user)).ID()))
			Expect(err).NotTo(HaveOccurred())
			Expect(string(answer.Body)).NotTo(ContainSubstring("before you came"))
			answer, err = m.peer.Do(ctx, sut.name, historyRequest("event", roomID, id.EventID(eventID)))
			Expect(err).NotTo(HaveOccurred())
			Expect(string(answer.Body)).NotTo(ContainSubstring("before you came"))
		})
})

// historyRequest asks for something of a room's past.
func historyRequest(endpoint string, roomID id.RoomID, eventID id.EventID) peer.ByHand {
	const prefix = "/_matrix/federation/v1/"
	room, e := url.PathEscape(string(roomID)), url.PathEscape(string(eventID))
	r := peer.ByHand{Method: http.MethodGet}
	switch endpoint {
	case "event":
		r.URI = prefix + "event/" + e
	case "state", "state_ids":
		r.URI = prefix + endpoint + "/" + room + "?event_id=" + url.QueryEscape(string(eventID))
	case "event_auth":
		r.URI = prefix + "event_auth/" + room + "/" + e
	case "backfill":
		r.URI = prefix + "backfill/" + room + "?limit=50&v=" + url.QueryEscape(string(eventID))
	case "get_missing_events":
		r.Method, r.URI = http.MethodPost, prefix+"get_missing_events/"+room
		r.Body = []byte(`{"earliest_events":[],"latest_events":["` + string(eventID) + `"],"limit":20}`)
	}
	return r
}
