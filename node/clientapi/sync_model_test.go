package clientapi

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/testnet/wholestate"
)

// model is a client that keeps of a /sync what a client keeps, and can go back to an earlier token, as one does whose
// answers got lost.
type model struct {
	p      *person
	filter string
	lazy   bool
	after  bool   // use_state_after
	only   string // the type of the events that it wants; "": all
	not    string // a type of which it wants none
	random *rand.Rand

	now  snapshot
	past []snapshot // older ones
}

type snapshot struct {
	token string
	rooms map[string]*modelRoom
	data  map[string]string // account data by room and type
}

type modelRoom struct {
	state    map[[2]string]string // event IDs
	timeline []string             // event IDs, the oldest first, without gaps
	receipts map[string]string
	typing   []any
	unread   [2]any // of the room, or its main timeline, and of threads
}

func (s snapshot) copy() snapshot {
	rooms := map[string]*modelRoom{}
	for name, room := range s.rooms {
		rooms[name] = &modelRoom{
			state: maps.Clone(room.state), timeline: append([]string{}, room.timeline...),
			receipts: maps.Clone(room.receipts), typing: room.typing, unread: room.unread,
		}
	}
	return snapshot{s.token, rooms, maps.Clone(s.data)}
}

func newModel(p *person, random *rand.Rand) *model {
	m := &model{p: p, random: random, lazy: random.IntN(2) == 0, after: random.IntN(3) == 0}
	timeline := obj{"limit": 1 + random.IntN(8), "unread_thread_notifications": random.IntN(2) == 0}
	switch random.IntN(6) {
	case 0:
		m.only = "m.room.message"
		timeline["types"] = []string{m.only}
	case 1:
		m.not = []string{"m.room.message", "m.room.member", "org.example.thing"}[random.IntN(3)]
		timeline["not_types"] = []string{m.not}
	}
	raw, err := json.Marshal(obj{"room": obj{"timeline": timeline, "state": obj{"lazy_load_members": m.lazy}}})
	Expect(err).NotTo(HaveOccurred())
	m.filter = string(raw)
	m.now = snapshot{rooms: map[string]*modelRoom{}, data: map[string]string{}}
	return m
}

// back forgets the newest answers, now and then all.
func (m *model) back() {
	if n := m.random.IntN(12); n == 0 {
		m.past, m.now = nil, snapshot{rooms: map[string]*modelRoom{}, data: map[string]string{}}
	} else if n < 3 && len(m.past) > 0 {
		i := m.random.IntN(len(m.past))
		m.now, m.past = m.past[i], m.past[:i]
	}
}

// sync asks, takes over the answer, and holds the outcome against the server's own.
func (m *model) sync() {
	GinkgoHelper()
	m.back()
	full := m.now.token != "" && m.random.IntN(10) == 0
	path := fmt.Sprintf("/sync?timeout=0&filter=%s&since=%s&full_state=%v&use_state_after=%v", esc(m.filter), m.now.token, full, m.after)
	answer := fine(m.p.get(path), "next_batch", "rooms", "account_data")
	m.past = append(m.past, m.now.copy())
	since := m.now.token
	m.now.token = answer.text("next_batch")
	m.accountData("", answer.body["account_data"])
	sections := answer.body["rooms"].(obj)
	for name, joined := range sections["join"].(obj) {
		m.room(name, joined.(obj), since, full)
		m.now.rooms[name].unread = unreadOf(joined.(obj))
		m.accountData(name, joined.(obj)["account_data"])
		m.ephemeral(m.now.rooms[name], joined.(obj)["ephemeral"], since, full)
	}
	m.joinedRight()
	for _, section := range []string{"invite", "knock"} {
		for name := range sections[section].(obj) {
			delete(m.now.rooms, name) // who is invited is out, however they came to be
		}
	}
	for name, left := range sections["leave"].(obj) {
		m.leave(name, left.(obj), since, full)
	}
}

func unreadOf(room obj) [2]any {
	return [2]any{room["unread_notifications"], room["unread_thread_notifications"]}
}

// countsRight holds what is unread against what a server counts that has forgotten everything. Who wants nothing of what is counted isn't
// told of it until there is something else, as by Synapse.
func (m *model) countsRight() {
	GinkgoHelper()
	if m.only != "" || m.not == "m.room.message" {
		return
	}
	p := *m.p
	p.w = m.p.w.afresh()
	for name, room := range fine(p.get("/sync?timeout=0&filter=" + esc(m.filter))).body["rooms"].(obj)["join"].(obj) {
		Expect(m.now.rooms[name].unread).To(Equal(unreadOf(room.(obj))), "what %s hasn't read of %s, filter %s", m.p.id, name, m.filter)
	}
}

func eventsOf(events any) []any { return events.(obj)["events"].([]any) }

func (m *model) accountData(room string, events any) {
	for _, e := range eventsOf(events) {
		content, err := json.Marshal(e.(obj)["content"])
		Expect(err).NotTo(HaveOccurred())
		m.now.data[room+" "+e.(obj)["type"].(string)] = string(content)
	}
}

func (m *model) ephemeral(room *modelRoom, events any, since string, full bool) {
	if full {
		room.receipts, room.typing = map[string]string{}, nil
	}
	for _, e := range eventsOf(events) {
		content := e.(obj)["content"].(obj)
		if e.(obj)["type"] == "m.typing" {
			room.typing = content["user_ids"].([]any)
			continue
		}
		for event, types := range content {
			for typ, users := range types.(obj) {
				for user, data := range users.(obj) {
					room.receipts[fmt.Sprint(typ, user, data.(obj)["thread_id"])] = event
				}
			}
		}
	}
}

// room takes over a room's state and timeline.
func (m *model) room(name string, answer obj, since string, full bool) {
	GinkgoHelper()
	room := m.now.rooms[name]
	timeline := answer["timeline"].(obj)
	events := timeline["events"].([]any)
	if room == nil {
		room = &modelRoom{state: map[[2]string]string{}, timeline: []string{}, receipts: map[string]string{}}
		m.now.rooms[name] = room
		since = "" // there is nothing that this follows on
		Expect(m.now.token == "" || full || timeline["limited"] == true || len(m.past) == 1 || m.past[len(m.past)-1].token == "").
			To(BeTrue(), "a new room is limited")
	}
	set := func(events []any) {
		for _, e := range events {
			if key, isState := e.(obj)["state_key"]; isState {
				room.state[[2]string{e.(obj)["type"].(string), key.(string)}] = e.(obj)["event_id"].(string)
			}
		}
	}
	if m.after {
		Expect(answer).NotTo(HaveKey("state"))
		set(eventsOf(answer["state_after"]))
	} else {
		Expect(answer).NotTo(HaveKey("state_after"))
		set(eventsOf(answer["state"]))
		set(events)
	}
	news := ids(events)
	fmt.Fprintf(GinkgoWriter, "%s in %s since %s, full %v: limited %v, prev_batch %v, %d events %s", m.p.id, name, since, full, timeline["limited"], timeline["prev_batch"], len(news), m.describe(news))
	if m.lazy {
		for _, e := range events {
			Expect(room.state).To(HaveKey([2]string{"m.room.member", e.(obj)["sender"].(string)}), "the sender of %s", e)
		}
	}
	if since == "" || timeline["limited"] == true {
		news = append(m.gap(name, room.timeline, since, timeline["prev_batch"].(string)), news...)
	}
	room.timeline = append(room.timeline, news...)
}

func ids(events []any) []string {
	found := []string{}
	for _, e := range events {
		found = append(found, e.(obj)["event_id"].(string))
	}
	return found
}

// gap pages from prev_batch back to what is known, in one of the ways there are.
func (m *model) gap(name string, known []string, since, prevBatch string) []string {
	GinkgoHelper()
	filter := obj{}
	if m.only != "" {
		filter["types"] = []string{m.only}
	}
	if m.not != "" {
		filter["not_types"] = []string{m.not}
	}
	raw, _ := json.Marshal(filter)
	from, dir, to := prevBatch, "b", ""
	switch {
	case since != "" && m.random.IntN(3) == 0:
		from, dir, to = since, "f", prevBatch // as the specification has it
	case since != "" && m.random.IntN(2) == 0:
		to = since
	}
	var missed []string
	for range 200 {
		path := fmt.Sprintf("/rooms/%s/messages?dir=%s&from=%s&limit=%d&filter=%s", esc(name), dir, from, 1+m.random.IntN(9), esc(string(raw)))
		if to != "" {
			path += "&to=" + to
		}
		page := fine(m.p.get(path), "start", "chunk")
		Expect(page.text("start")).To(Equal(from))
		fmt.Fprintf(GinkgoWriter, "page %s: %s end %v\n", path, m.describe(ids(page.body["chunk"].([]any))), page.body["end"])
		for _, eventID := range ids(page.body["chunk"].([]any)) {
			if since != "" && slices.Contains(known, eventID) {
				Expect(eventID).To(Equal(known[len(known)-1]), "the first known event is the last one: %s%s", m.describe([]string{eventID}), m.describe(known[max(len(known)-3, 0):]))
				Expect(to).To(BeEmpty(), "nothing known comes between two tokens")
				slices.Reverse(missed)
				return missed
			}
			missed = append(missed, eventID)
		}
		end, more := page.body["end"]
		if !more {
			if dir == "b" {
				slices.Reverse(missed)
			}
			return missed
		}
		from = end.(string)
	}
	Fail("the history has no end")
	return nil
}

// visible are the events of a room that the user may see and the model wants, in order.
func (m *model) visible(name string) []string {
	ctx := context.Background()
	rows, _, err := m.p.w.store.Timeline(ctx, id.RoomID(name), 0, m.p.w.store.Position(), 10_000, false)
	Expect(err).NotTo(HaveOccurred())
	rows, err = m.p.w.config.Rooms.Visible(ctx, id.UserID(m.p.id), id.RoomID(name), rows)
	Expect(err).NotTo(HaveOccurred())
	found := []string{}
	for _, row := range rows {
		if typ := row.Event.Type(); (m.only == "" || typ == m.only) && typ != m.not {
			found = append(found, string(row.Event.ID()))
		}
	}
	return found
}

// right holds a room of the model against the state and the events that it should have.
func (m *model) right(name string, room *modelRoom, events []*clientEvent) {
	GinkgoHelper()
	want := map[[2]string]string{}
	for _, e := range events {
		key := [2]string{e.Type, *e.StateKey}
		if _, has := room.state[key]; m.lazy && key[0] == "m.room.member" && !has {
			continue
		}
		want[key] = string(e.EventID)
	}
	for key := range want {
		Expect(room.state[key]).To(Equal(want[key]), "%v in %s's state of %s, filter %s, state_after %v: %s", key, m.p.id, name, m.filter, m.after,
			m.describe([]string{room.state[key], want[key]}))
	}
	Expect(room.state).To(HaveLen(len(want)), "%s's state of %s", m.p.id, name)
	m.rightTimeline(name, room.timeline, m.visible(name))
}

// rightTimeline says where a timeline begins to differ from what it should be.
func (m *model) rightTimeline(name string, have, want []string) {
	GinkgoHelper()
	i := 0
	for i < min(len(have), len(want)) && have[i] == want[i] {
		i++
	}
	if i < len(have) || i < len(want) {
		Fail(fmt.Sprintf("%s's timeline of %s, filter %s, differs at %d: it has\n%s, it should have\n%s", m.p.id, name, m.filter, i,
			m.describe(have[max(0, i-2):min(i+6, len(have))]), m.describe(want[max(0, i-2):min(i+6, len(want))])))
	}
}

func (m *model) describe(events []string) string {
	text := ""
	for _, eventID := range events {
		row, ok, _ := m.p.w.store.Event(context.Background(), id.EventID(eventID))
		if !ok {
			continue
		}
		text += fmt.Sprintf("%s: position %d, depth %d, %s by %s: %s\n", eventID, row.Position, row.Event.Depth(), row.Event.Type(), row.Event.Sender(), row.Event.Content())
	}
	return text
}

// joinedRight holds all rooms against the server.
func (m *model) joinedRight() {
	GinkgoHelper()
	ctx := context.Background()
	joined := fine(m.p.get("/joined_rooms")).body["joined_rooms"].([]any)
	for _, name := range joined {
		room := m.now.rooms[name.(string)]
		Expect(room).NotTo(BeNil(), "%s is in %s", m.p.id, name)
		roomID := id.RoomID(name.(string))
		state, err := m.p.w.config.Rooms.State(ctx, id.UserID(m.p.id), roomID)
		Expect(err).NotTo(HaveOccurred())
		m.right(name.(string), room, plainEvents(state))
		receipts, err := m.p.w.store.Receipts(ctx, roomID, 0, m.p.w.store.Position())
		Expect(err).NotTo(HaveOccurred())
		want := map[string]string{}
		for _, r := range receipts {
			if r.Type == "m.read" || string(r.User) == m.p.id {
				var thread any
				if r.Thread != "" {
					thread = r.Thread
				}
				want[fmt.Sprint(r.Type, string(r.User), thread)] = string(r.Event)
			}
		}
		Expect(room.receipts).To(Equal(want), "receipts in %s", name)
		typing, _ := m.p.w.config.Ephemeral.Typing(roomID)
		Expect(fmt.Sprint(room.typing)).To(Equal(fmt.Sprint(typing)), "typing in %s", name)
	}
	entries, err := m.p.w.store.AccountDataChanges(ctx, id.UserID(m.p.id), 0, m.p.w.store.Position())
	Expect(err).NotTo(HaveOccurred())
	for _, entry := range entries {
		if entry.Room == "" || slices.Contains(joined, any(string(entry.Room))) {
			Expect(m.now.data[string(entry.Room)+" "+entry.Type]).To(MatchJSON(entry.Content))
		}
	}
}

// leftRight holds a room that the user has left against what it was then.
func (m *model) leftRight(name string, room *modelRoom) {
	GinkgoHelper()
	ctx := context.Background()
	membership, _, err := m.p.w.store.Membership(ctx, id.RoomID(name), id.UserID(m.p.id))
	Expect(err).NotTo(HaveOccurred())
	own := string(membership.EventID)
	visible := m.visible(name)
	if n := len(room.timeline); n > 0 && room.timeline[n-1] == own && !slices.Equal(room.timeline, visible) {
		room.timeline = room.timeline[:n-1] // what ended it is told in any case, though it may come after what is not
	}
	// A room that was world readable for a while goes on being seen by who asks; what was told ends with the leaving.
	m.rightTimeline(name, room.timeline, visible[:min(len(room.timeline), len(visible))])
	room.timeline = visible
	visibility, err := m.p.w.store.CurrentState(ctx, id.RoomID(name))
	Expect(err).NotTo(HaveOccurred())
	if eventID, _ := wholestate.Get(visibility, "m.room.history_visibility", ""); true {
		row, _, err := m.p.w.store.Event(ctx, eventID)
		Expect(err).NotTo(HaveOccurred())
		if strings.Contains(string(row.Event.Content()), "world_readable") {
			return // then /state gives the newest
		}
	}
	state, err := m.p.w.config.Rooms.State(ctx, id.UserID(m.p.id), id.RoomID(name))
	Expect(err).NotTo(HaveOccurred())
	delete(room.state, [2]string{"m.room.member", m.p.id}) // may be the ban after the leaving
	state = slices.DeleteFunc(state, func(e *event.Event) bool { return e.Is("m.room.member", m.p.id) })
	m.right(name, room, plainEvents(state))
}

// leave takes over what happened until the user left, and forgets the room.
func (m *model) leave(name string, answer obj, since string, full bool) {
	GinkgoHelper()
	if m.now.rooms[name] != nil {
		m.room(name, answer, since, full)
		m.leftRight(name, m.now.rooms[name])
	}
	delete(m.now.rooms, name)
	delete(m.now.data, name)
}
