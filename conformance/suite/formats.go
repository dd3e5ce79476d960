package suite

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/conformance/literal"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/testnet/peer"
)

// publicKeys are the server under test's keys.
func publicKeys(ctx context.Context, p *peer.Peer) map[string]ed25519.PublicKey {
	GinkgoHelper()
	keys := map[string]ed25519.PublicKey{}
	for keyID, key := range ownKeys(ctx, p).VerifyKeys {
		raw, err := base64.RawStdEncoding.DecodeString(key.Key)
		Expect(err).NotTo(HaveOccurred())
		keys[string(keyID)] = raw
	}
	return keys
}

// judged holds an event of the server under test against the suite's own reading: its ID, hash, signature and auth
// events.
func (m meeting) judged(ctx context.Context, eventID id.EventID) *literal.Event {
	GinkgoHelper()
	Eventually(func() bool { _, ok := m.peer.Received(eventID); return ok }).Should(BeTrue(), "the event %s does not come", eventID)
	received, _ := m.peer.Received(eventID)
	e, err := literal.Read(numberOf(m.Rules.Version), received.Raw)
	Expect(err).NotTo(HaveOccurred())
	Expect(e.ID).To(Equal(string(eventID)), "the ID that the client got and that of the event: %s", received.Raw)
	Expect(e.CheckHash()).To(Succeed(), "%s", received.Raw)
	Expect(e.CheckSignature(string(home), publicKeys(ctx, m.peer))).To(Succeed())
	return e
}

// oddContent is content whose canonical form is easily got wrong.
const oddContent = `{"msgtype":"m.text","body":"é 日本 😀 \u2028 \u2029 \u007f \u0001 \u001f \" \\ / <b>&amp;\t\n\r\b\f",` +
	`"z":1,"a":{"ü":null,"u":true,"U":false,"":[],"\ud83d\ude00":{},"\uffff":[[],{}]},"n":[0,-1,9007199254740991,-9007199254740991]}`

var _ = Describe("Events of each room version", Label("s2s:events", "s2s:formats"), func() {
	for _, version := range peer.Versions() {
		v := "rooms/v" + string(version)
		Context("in room version "+string(version), Label(labelVersion+string(version)), func() {
			It("have the ID, the hash, the signature and the auth events that the specification computes",
				says(v+"#event-ids", "The event ID is as this room version has it."),
				says("server-server-api#adding-hashes-and-signatures-to-outgoing-events", "Before signing the event, the content hash of the event is calculated … The event object is then signed"),
				says("server-server-api#auth-events-selection", "The auth_events field of a PDU identifies the set of events which give the sender permission to send the event."),
				says("server-server-api#signing-events", "Signing events is complicated by the fact that servers can choose to redact non-essential parts of an event."), func(ctx SpecContext) {
					m := meet(ctx, version)
					message, err := alice.Say(ctx, string(m.ID), "a message")
					Expect(err).NotTo(HaveOccurred())
					state, err := alice.SetState(ctx, string(m.ID), "m.room.topic", "", topic("a topic"))
					Expect(err).NotTo(HaveOccurred())
					member, err := alice.SetState(ctx, string(m.ID), "m.room.member", alice.ID, map[string]any{"membership": "join", "reason": "spring"}) // not a name: some servers keep to the profile
					Expect(err).NotTo(HaveOccurred())
					for _, eventID := range []string{message, state, member} {
						e := m.judged(ctx, id.EventID(eventID))
						Expect(e.Auth()).To(ConsistOf(m.wantedAuth(e)), "auth_events of %s", literal.Canonical(e.Fields))
					}
				})

			It("have canonical JSON where it is hard to get right, both ways",
				says("appendices#canonical-json", "the shortest UTF-8 JSON encoding with dictionary keys lexicographically sorted by Unicode codepoint"),
				says("server-server-api#calculating-the-content-hash-for-an-event", "The content hash of an event covers the complete event including the unredacted contents."), func(ctx SpecContext) {
					m := meet(ctx, version)
					eventID, err := alice.Send(ctx, string(m.ID), "m.room.message", json.RawMessage(oddContent))
					Expect(err).NotTo(HaveOccurred())
					e := m.judged(ctx, id.EventID(eventID))
					Expect(encode(e.Content())).To(MatchJSON(oddContent))
					theirs, err := m.Put(event.Draft{Type: "m.room.message", Sender: m.user, Content: json.RawMessage(oddContent)})
					Expect(err).NotTo(HaveOccurred())
					read, err := literal.Read(numberOf(version), theirs.JSON())
					Expect(err).NotTo(HaveOccurred())
					Expect(read.CheckHash()).To(Succeed())
					m.delivered(ctx, theirs.JSON())
					m.sees(ctx, theirs.ID())
					shown, err := content(ctx, alice, m.ID, theirs.ID())()
					Expect(err).NotTo(HaveOccurred())
					Expect(encode(shown)).To(MatchJSON(oddContent))
				})

			It("keep, when they are redacted, what this version keeps",
				says(v+"#redactions", "The server must strip off any keys not in the following list"), func(ctx SpecContext) { redactions(ctx, version) })
		})
	}
})

// wantedAuth are the auth events that an event should have in the peer's room.
func (m meeting) wantedAuth(e *literal.Event) []string {
	GinkgoHelper()
	var ids []string
	graph := literal.NewGraph(numberOf(m.Rules.Version), func(*literal.Event, string) bool { return true })
	Eventually(func() bool { return m.Has(id.EventID(e.ID)) }).Should(BeTrue())
	for _, one := range m.All() {
		read, err := literal.Read(graph.Version, one.JSON())
		Expect(err).NotTo(HaveOccurred())
		graph.Events[read.ID] = read
	}
	for _, key := range literal.Selection(e) {
		if one := m.stateBefore(id.EventID(e.ID), key.Type, key.StateKey); one != "" && !slices.Contains(ids, one) {
			ids = append(ids, one)
		}
	}
	return ids
}

// stateBefore is the ID of the last state event at a place before an event, in a room without branches.
func (m meeting) stateBefore(eventID id.EventID, eventType, stateKey string) string {
	found := ""
	for _, e := range m.All() {
		if e.Is(eventType, stateKey) && (found == "" || e.Depth() > m.Event(id.EventID(found)).Depth()) && e.Depth() < m.Event(eventID).Depth() {
			found = string(e.ID())
		}
	}
	return found
}

// redactions lets the peer redact events of many kinds, and looks at what alice sees of them.
func redactions(ctx SpecContext, version roomversion.Version) {
	GinkgoHelper()
	c := openCourt(ctx, version, courtOptions{levels: func(content map[string]any) { content["redact"] = 50 }})
	extra := func(content map[string]any) map[string]any {
		content["org.example.extra"] = "goes"
		return content
	}
	var levels map[string]any
	Expect(json.Unmarshal(c.State("m.room.power_levels", "").Content(), &levels)).To(Succeed())
	carol := string(c.peer.User("carol"))
	drafts := []event.Draft{
		c.draft("carol", "m.room.message", nil, extra(map[string]any{"body": "x", "msgtype": "m.text"})),
		c.state("bob", "m.room.topic", "", extra(topic("x"))),
		c.state("bob", "m.room.history_visibility", "", extra(map[string]any{"history_visibility": "shared"})),
		c.state("bob", "m.room.join_rules", "", extra(map[string]any{"join_rule": "public", "allow": []any{map[string]any{"type": "m.room_membership", "room_id": "!x:y.test"}}})),
		c.state("bob", "m.room.power_levels", "", extra(levels)),
		c.state("carol", "m.room.member", carol, extra(map[string]any{"membership": "join", "displayname": "Carol", "reason": "none"})),
		c.state("bob", "m.room.aliases", string(c.peer.Name), extra(map[string]any{"aliases": []any{"#x:" + string(c.peer.Name)}})),
	}
	var made []*event.Event
	for _, d := range drafts {
		d.PrevEvents, d.AuthEvents = nil, nil
		e, err := c.Put(d)
		Expect(err).NotTo(HaveOccurred())
		c.delivered(ctx, e.JSON())
		made = append(made, e)
	}
	c.marker(ctx)
	for _, e := range made {
		if e.Type() == "m.room.aliases" && eventStatus(ctx, alice, c.ID, e.ID()) == http.StatusNotFound {
			continue // a server need not show clients what no client knows any more
		}
		_, err := c.Send(ctx, event.Draft{Type: "m.room.redaction", Sender: c.user, Redacts: e.ID(), Content: json.RawMessage(`{"reason":"test"}`)})
		Expect(err).NotTo(HaveOccurred())
		wanted := c.read(e).Redacted()["content"]
		Eventually(content(ctx, alice, c.ID, e.ID())).ShouldNot(HaveKey("org.example.extra"), e.Type())
		shown, err := content(ctx, alice, c.ID, e.ID())()
		Expect(err).NotTo(HaveOccurred())
		Expect(encode(shown)).To(MatchJSON(literal.Canonical(wanted)), "%s after its redaction", e.Type())
	}
}

var _ = Describe("Room upgrades", Label("c2s", "s2s:upgrades"), func() {
	It("leave a tombstone that other servers see, and a room that knows its predecessor",
		says("client-server-api#post_matrixclientv3roomsroomidupgrade", "Upgrades the given room to a particular room version."), func(ctx SpecContext) {
			m := meet(ctx, mainVersion)
			var answer struct {
				Room id.RoomID `json:"replacement_room"`
			}
			Expect(alice.Call(ctx, http.MethodPost, "/_matrix/client/v3/rooms/"+url.PathEscape(string(m.ID))+"/upgrade", nil, map[string]any{"new_version": "11"}, &answer)).To(Succeed())
			Eventually(func() *event.Event { return m.State("m.room.tombstone", "") }).ShouldNot(BeNil())
			Expect(string(m.State("m.room.tombstone", "").Content())).To(ContainSubstring(fmt.Sprintf("%q", answer.Room)))
			next := visit(ctx, m.peer, answer.Room)
			Expect(next.Rules.Version).To(Equal(roomversion.V11))
			Expect(string(next.State("m.room.create", "").Content())).To(ContainSubstring(string(m.ID)))
			next.marker(ctx)
		})
})
