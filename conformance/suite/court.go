package suite

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/conformance/literal"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/testnet/peer"
	"hanse/testnet/user"
)

// court is a room of a peer's in which alice is, with users of every rank, and with the suite's own judgement of every
// event: of the peer's users bob made the room, ian has power level 75, jo too, dave 50, carol 0; frank is invited, erin
// banned, gina was never there.
type court struct {
	meeting
	graph   *literal.Graph
	version int
}

// courtOptions say what is different in a room.
type courtOptions struct {
	joinRule string                       // "public" when empty
	levels   func(content map[string]any) // changes the content of m.room.power_levels
	before   func(c *court)               // puts more into the room, before alice comes
	create   map[string]any               // added to the content of m.room.create
	allow    bool                         // the join rules have an allow condition
}

// numberOf is a room version as package literal has it.
func numberOf(version roomversion.Version) int {
	n, _ := strconv.Atoi(string(version))
	return n
}

// openCourt makes the room.
func openCourt(ctx context.Context, version roomversion.Version, o courtOptions) *court {
	GinkgoHelper()
	p := newPeer()
	u := func(name string) string { return string(p.User(name)) }
	content := map[string]any{
		"users":         map[string]any{u("bob"): 100, u("ian"): 75, u("jo"): 75, u("dave"): 50},
		"users_default": 0, "events_default": 0, "state_default": 50, "ban": 75, "kick": 50, "redact": 90, "invite": 50,
		"events":        map[string]any{"org.example.free": 0, "org.example.high": 75, "org.example.top": 90},
		"notifications": map[string]any{"room": 50},
	}
	if numberOf(version) >= 12 {
		delete(content["users"].(map[string]any), u("bob"))
	}
	if o.levels != nil {
		o.levels(content)
	}
	room, err := p.CreateRoom(version, p.User("bob"), peer.RoomOptions{JoinRule: "public", PowerLevels: content, CreateContent: o.create})
	Expect(err).NotTo(HaveOccurred())
	c := &court{meeting: meeting{Room: room, peer: p, user: p.User("bob")}, version: numberOf(version)}
	c.graph = literal.NewGraph(c.version, c.isSigned)
	for _, name := range []string{"ian", "jo", "dave", "carol"} {
		c.put(name, "m.room.member", u(name), map[string]any{"membership": "join"})
	}
	c.put("bob", "m.room.member", u("frank"), map[string]any{"membership": "invite"})
	c.put("bob", "m.room.member", u("erin"), map[string]any{"membership": "ban"})
	if o.before != nil {
		o.before(c)
	}
	_, err = alice.Join(ctx, string(room.ID), string(p.Name))
	Expect(err).NotTo(HaveOccurred())
	if o.joinRule != "" {
		rules := map[string]any{"join_rule": o.joinRule}
		if o.allow {
			rules["allow"] = []any{map[string]any{"type": "m.room_membership", "room_id": "!somewhere:" + string(p.Name)}}
		}
		e, err := c.tell(ctx, "bob", "m.room.join_rules", "", rules)
		Expect(err).NotTo(HaveOccurred())
		c.sees(ctx, e.ID())
	}
	for _, e := range c.Timeline() {
		Expect(c.graph.Add(c.read(e))).To(Succeed(), "the suite's own reading rejects what the room is made of: %s", e.JSON())
	}
	return c
}

// put adds a state event to the peer's room.
func (c *court) put(sender, eventType, stateKey string, content map[string]any) *event.Event {
	GinkgoHelper()
	e, err := c.Put(peer.StateDraft(c.peer.User(sender), eventType, stateKey, content))
	Expect(err).NotTo(HaveOccurred())
	return e
}

// tell adds a state event to the room and sends it.
func (c *court) tell(ctx context.Context, sender, eventType, stateKey string, content map[string]any) (*event.Event, error) {
	return c.Send(ctx, peer.StateDraft(c.peer.User(sender), eventType, stateKey, content))
}

func (c *court) read(e *event.Event) *literal.Event {
	GinkgoHelper()
	read, err := literal.Read(c.version, e.JSON())
	Expect(err).NotTo(HaveOccurred())
	Expect(read.ID).To(Equal(string(e.ID())), "the suite's own reading gives the event another ID")
	return read
}

// isSigned checks a signature by the peer's key or by one of the server under test's.
func (c *court) isSigned(e *literal.Event, server string) bool {
	if server == string(c.peer.Name) {
		key := c.peer.Key()
		return e.CheckSignature(server, map[string]ed25519.PublicKey{string(key.ID): ed25519.PublicKey(key.Private[len(key.Private)/2:])}) == nil
	}
	signatures, _ := e.Fields["signatures"].(map[string]any)
	return signatures[server] != nil // whether it is right is checked where the event comes
}

// draft is an event with the auth events that the suite's own reading selects, on top of the room's ends.
func (c *court) draft(sender, eventType string, stateKey *string, content any) event.Draft {
	GinkgoHelper()
	d := event.Draft{Type: eventType, StateKey: stateKey, Sender: c.peer.User(sender), Content: encode(content), PrevEvents: c.Ends()}
	d.AuthEvents = c.selected(d, c.graph.At(texts(d.PrevEvents)))
	return d
}

// selected are a draft's auth events in a state.
func (c *court) selected(d event.Draft, state literal.State) []id.EventID {
	GinkgoHelper()
	fields := map[string]any{"type": d.Type, "sender": string(d.Sender)}
	if d.StateKey != nil {
		fields["state_key"] = *d.StateKey
	}
	var content map[string]any
	Expect(json.Unmarshal(d.Content, &content)).To(Succeed())
	fields["content"] = content
	ids := []id.EventID{}
	seen := map[literal.Key]bool{}
	for _, key := range literal.Selection(&literal.Event{Version: c.version, Fields: fields}) {
		if e := state[key]; e != nil && !seen[key] {
			seen[key] = true
			ids = append(ids, id.EventID(e.ID))
		}
	}
	return ids
}

// state is the draft of a state event.
func (c *court) state(sender, eventType, stateKey string, content map[string]any) event.Draft {
	GinkgoHelper()
	return c.draft(sender, eventType, &stateKey, content)
}

// member is the draft of a membership; further pairs are added to its content.
func (c *court) member(sender, target, membership string, pairs ...any) event.Draft {
	GinkgoHelper()
	content := map[string]any{"membership": membership}
	for i := 0; i < len(pairs); i += 2 {
		content[pairs[i].(string)] = pairs[i+1]
	}
	return c.state(sender, "m.room.member", string(c.peer.User(target)), content)
}

// message is the draft of a message of any type.
func (c *court) message(sender, eventType string) event.Draft {
	GinkgoHelper()
	return c.draft(sender, eventType, nil, map[string]any{"msgtype": "m.text", "body": "a message"})
}

// levels is the draft of a change of the power levels.
func (c *court) levels(sender string, change func(content map[string]any)) event.Draft {
	GinkgoHelper()
	var content map[string]any
	Expect(json.Unmarshal(c.State("m.room.power_levels", "").Content(), &content)).To(Succeed())
	change(content)
	return c.state(sender, "m.room.power_levels", "", content)
}

// forbids checks that the server under test rejects an event, as the suite's own reading does.
func (c *court) forbids(ctx SpecContext, name string, d event.Draft) {
	GinkgoHelper()
	e, raw := c.built(d)
	Expect(c.graph.Add(e)).NotTo(Succeed(), "%s: the suite's own reading allows it: %s", name, raw)
	marker, err := c.Put(peer.MessageDraft(c.user, "after "+name))
	Expect(err).NotTo(HaveOccurred())
	c.delivered(ctx, raw, marker.JSON())
	Expect(c.graph.Add(c.read(marker))).To(Succeed())
	c.sees(ctx, marker.ID())
	Expect(eventStatus(ctx, alice, c.ID, id.EventID(e.ID))).To(Equal(http.StatusNotFound), "%s: it is shown, and should be rejected (%v): %s", name, c.graph.Rejected[e.ID], raw)
	c.holdsState(ctx, e)
}

// allows checks that the server under test takes an event, as the suite's own reading does.
func (c *court) allows(ctx SpecContext, name string, d event.Draft) {
	GinkgoHelper()
	e, raw := c.built(d)
	Expect(c.graph.Add(e)).To(Succeed(), "%s: the suite's own reading rejects it: %s", name, raw)
	parsed, err := event.Parse(c.Rules, raw)
	Expect(err).NotTo(HaveOccurred())
	Expect(c.Add(parsed)).To(Succeed())
	c.delivered(ctx, raw)
	Eventually(func() int { return c.shown(ctx, e) }).Should(Equal(http.StatusOK), "%s: it is not shown, and should be allowed: %s", name, raw)
	c.holdsState(ctx, e)
}

// shown is the status by which alice gets an event; for what servers need not show to clients, by which the peer does.
func (c *court) shown(ctx context.Context, e *literal.Event) int {
	if e.Type() == "m.room.aliases" {
		if _, err := c.peer.Client.Event(ctx, sut.name, id.EventID(e.ID)); err != nil {
			return refusedStatus(err)
		}
		return http.StatusOK
	}
	return eventStatus(ctx, alice, c.ID, id.EventID(e.ID))
}

// built signs a draft.
func (c *court) built(d event.Draft) (*literal.Event, json.RawMessage) {
	GinkgoHelper()
	e, err := c.Build(d)
	Expect(err).NotTo(HaveOccurred())
	return c.read(e), e.JSON()
}

// holdsState checks that alice sees, at an event's place in the state, what the suite's own reading has there.
func (c *court) holdsState(ctx context.Context, e *literal.Event) {
	GinkgoHelper()
	stateKey, ok := e.StateKey()
	if !ok || e.Type() == "m.room.create" {
		return
	}
	content, err := stateContent(ctx, alice, c.ID, e.Type(), stateKey)()
	wanted := c.graph.At(texts(c.Ends()))[literal.Key{Type: e.Type(), StateKey: stateKey}]
	if wanted == nil {
		Expect(status(err)).To(Equal(http.StatusNotFound), "the state has %s %q", e.Type(), stateKey)
		return
	}
	Expect(err).NotTo(HaveOccurred())
	Expect(encode(content)).To(MatchJSON(literal.Canonical(wanted.Content())), "the state at %s %q", e.Type(), stateKey)
}

// sees waits until alice sees an event.
func (m meeting) sees(ctx context.Context, eventID id.EventID) {
	GinkgoHelper()
	Eventually(func() int { return eventStatus(ctx, alice, m.ID, eventID) }).Should(Equal(http.StatusOK), "the event %s does not come", eventID)
}

// eventStatus is the HTTP status by which a user gets an event.
func eventStatus(ctx context.Context, u *user.User, roomID id.RoomID, eventID id.EventID) int {
	path := "/_matrix/client/v3/rooms/" + url.PathEscape(string(roomID)) + "/event/" + url.PathEscape(string(eventID))
	return status(u.Call(ctx, http.MethodGet, path, nil, nil, nil))
}

func texts(ids []id.EventID) []string {
	list := make([]string, len(ids))
	for i, eventID := range ids {
		list[i] = string(eventID)
	}
	return list
}

// encode is for values that always encode.
func encode(value any) json.RawMessage {
	GinkgoHelper()
	raw, err := json.Marshal(value)
	Expect(err).NotTo(HaveOccurred())
	return raw
}
