package clientapi

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/node/clientsync"
	"hanse/node/slidingsync"
	"hanse/node/stream"
)

// slider is a client that speaks sliding sync and keeps what it is told, and can go back by one answer, as one does whose answer
// got lost.
type slider struct {
	p          *person
	random     *rand.Rand
	connection string
	lazy       bool
	messages   bool // it asks for messages to the device

	now, before slidden
}

// slidden is what a slider knows after an answer.
type slidden struct {
	pos   string
	rooms map[string]*slidRoom
	data  map[string]string
	lists obj
	// messages are those to the device, since where it has them.
	messages []string
	since    string
}

type slidRoom struct {
	facts    obj                  // what is told of the room itself
	state    map[[2]string]string // event IDs
	timeline []string             // event IDs; the newest ones, without gaps
	previous string               // the place before the timeline
	receipts map[string]string
	typing   []any
}

func newSlider(p *person, connection string, random *rand.Rand) *slider {
	s := &slider{p: p, random: random, connection: connection, lazy: random.IntN(2) == 0, messages: connection == ""}
	s.begin()
	return s
}

// begin forgets all but the messages, as a client does which the server doesn't know any more.
func (s *slider) begin() {
	s.now = slidden{rooms: map[string]*slidRoom{}, data: map[string]string{}, messages: s.now.messages, since: s.now.since}
}

func (s slidden) copy() slidden {
	rooms := map[string]*slidRoom{}
	for name, room := range s.rooms {
		c := *room
		c.state, c.receipts, c.timeline, c.facts = maps.Clone(room.state), maps.Clone(room.receipts), slices.Clone(room.timeline), maps.Clone(room.facts)
		rooms[name] = &c
	}
	s.rooms, s.data, s.messages = rooms, maps.Clone(s.data), slices.Clone(s.messages)
	return s
}

// slidFilters are what the lists of a slider beside the one of all rooms want.
var slidFilters = map[string]obj{
	"direct": {"is_dm": true}, "invites": {"is_invite": true}, "favourites": {"tags": []string{"m.favourite"}},
	"named": {"room_name_like": "text 1", "not_room_types": []any{"m.space"}},
}

// request is for some window: the whole of it now and then.
func (s *slider) request(whole bool) obj {
	members := []string{"m.room.member", "*"}
	if s.lazy {
		members[1] = "$LAZY"
	}
	required := [][]string{{"*", "*"}}
	if s.random.IntN(4) > 0 || s.lazy {
		required = append(required, members, []string{"m.room.member", "$ME"})
	}
	last, timeline := s.random.IntN(3), s.random.IntN(7)
	if whole {
		last, timeline = 20, 1+s.random.IntN(6)
	}
	request := lists(window(last, timeline, required...))
	request["conn_id"] = s.connection
	for _, name := range slices.Sorted(maps.Keys(slidFilters)) {
		if whole || s.random.IntN(2) == 0 {
			list := window(last, s.random.IntN(4), required...)
			list["filters"] = slidFilters[name]
			request["lists"].(obj)[name] = list
		}
	}
	on := obj{"enabled": true}
	request["extensions"] = obj{"account_data": on, "receipts": on, "typing": on}
	if s.messages {
		messages := obj{"enabled": true, "limit": 1 + s.random.IntN(3)}
		if s.now.since != "" {
			messages["since"] = s.now.since
		}
		request["extensions"].(obj)["to_device"] = messages
	}
	if s.random.IntN(3) == 0 && len(s.now.rooms) > 0 {
		some := slices.Sorted(maps.Keys(s.now.rooms))
		request["room_subscriptions"] = obj{some[s.random.IntN(len(some))]: obj{"timeline_limit": 1 + s.random.IntN(9), "required_state": required}}
	}
	return request
}

// sync asks and takes over the answer.
func (s *slider) sync(whole bool) {
	GinkgoHelper()
	switch n := s.random.IntN(12); {
	case whole: // it comes to rest
	case n == 0:
		s.begin()
	case n < 4 && s.before.pos != "":
		s.now = s.before.copy()
	}
	s.before = s.now.copy()
	answer := s.p.slide(s.now.pos, s.request(whole))
	if s.now.pos != "" && answer.status == 400 { // the server was started anew
		refused(answer, 400, "M_UNKNOWN_POS")
		s.begin()
		s.before = s.now.copy()
		answer = s.p.slide("", s.request(whole))
	}
	s.now.pos, s.now.lists = answer.pos(), answer.body["lists"].(obj)
	for name, room := range answer.body["rooms"].(obj) {
		s.room(name, room.(obj))
	}
	extensions := answer.body["extensions"].(obj)
	for room, receipt := range extensions["receipts"].(obj)["rooms"].(obj) {
		for event, types := range receipt.(obj)["content"].(obj) {
			for typ, users := range types.(obj) {
				for user, data := range users.(obj) {
					s.now.rooms[room].receipts[fmt.Sprint(typ, user, data.(obj)["thread_id"])] = event
				}
			}
		}
	}
	for room, typing := range extensions["typing"].(obj)["rooms"].(obj) {
		s.now.rooms[room].typing = typing.(obj)["content"].(obj)["user_ids"].([]any)
	}
	if s.messages {
		messages := extensions["to_device"].(obj)
		s.now.since = messages["next_batch"].(string)
		for _, m := range messages["events"].([]any) {
			s.now.messages = append(s.now.messages, m.(obj)["content"].(obj)["v"].(string))
		}
	}
	data := extensions["account_data"].(obj)
	for room, entries := range data["rooms"].(obj) {
		s.accountData(room, entries.([]any))
	}
	s.accountData("", data["global"].([]any))
}

func (s *slider) accountData(room string, entries []any) {
	for _, e := range entries {
		s.now.data[room+" "+e.(obj)["type"].(string)] = fmt.Sprint(e.(obj)["content"])
	}
}

func (s *slider) room(name string, answer obj) {
	GinkgoHelper()
	room := s.now.rooms[name]
	if answer["initial"] == true || room == nil {
		Expect(answer).To(HaveKeyWithValue("initial", true), "%s is new to %s", name, s.p.id)
		room = &slidRoom{state: map[[2]string]string{}, receipts: map[string]string{}, facts: obj{}}
		s.now.rooms[name] = room
	}
	for _, key := range slidFacts {
		if value, told := answer[key]; told {
			room.facts[key] = value
		}
	}
	if room.facts["name"] != nil {
		delete(room.facts, "heroes")
	}
	state, _ := answer["required_state"].([]any)
	for _, e := range state {
		room.state[[2]string{e.(obj)["type"].(string), e.(obj)["state_key"].(string)}] = e.(obj)["event_id"].(string)
	}
	events, _ := answer["timeline"].([]any)
	if s.lazy && answer["membership"] == "join" {
		for _, e := range events {
			Expect(room.state).To(HaveKey([2]string{"m.room.member", e.(obj)["sender"].(string)}), "the sender of %s", e)
		}
	}
	news := ids(events)
	if answer["limited"] == true || answer["initial"] == true || answer["expanded_timeline"] == true {
		room.timeline, room.previous = nil, ""
	}
	if room.previous == "" {
		room.previous, _ = answer["prev_batch"].(string)
	}
	room.timeline = append(room.timeline, news...)
}

// slidFacts are told of a room itself: when it is new, and when they have changed.
var slidFacts = []string{
	"membership", "name", "avatar", "heroes", "is_dm", "joined_count", "invited_count", "notification_count", "highlight_count", "bump_stamp",
}

// afresh is the same node with nothing in memory.
func (w *world) afresh() *world {
	GinkgoHelper()
	anew := *w
	places := stream.New(w.store, w.config.Ephemeral, nil)
	anew.config.Sync = clientsync.New(w.store, places, w.config.Rooms, w.config.Ephemeral)
	anew.config.SlidingSync = slidingsync.New(self, w.store, places, w.config.Ephemeral, anew.config.Sync)
	var err error
	anew.api, err = New(anew.config)
	Expect(err).NotTo(HaveOccurred())
	anew.server = httptest.NewServer(anew.api)
	DeferCleanup(anew.server.Close)
	return &anew
}

func (w *world) syncs() (*clientsync.Syncer, *slidingsync.Syncer) {
	return w.config.Sync, w.config.SlidingSync
}

// asIfNew holds what the client has been told, bit by bit, against what one is told that begins now on a server that has forgotten
// everything.
func (s *slider) asIfNew() {
	GinkgoHelper()
	new := *s.p
	new.w = s.p.w.afresh()
	request := s.request(true)
	request["conn_id"] = "new"
	delete(request, "room_subscriptions")
	delete(request["extensions"].(obj), "to_device") // they would be taken
	answer := new.slide("", request)
	for name, room := range answer.body["rooms"].(obj) {
		known := s.now.rooms[name]
		Expect(known).NotTo(BeNil(), "%s in %s", s.p.id, name)
		for _, key := range slidFacts {
			if room.(obj)["membership"] != "join" && key != "membership" {
				continue
			}
			have, want := known.facts[key], room.(obj)[key]
			if key == "is_dm" && have == false {
				have = nil
			}
			if want == nil {
				Expect(have).To(BeNil(), "%s of %s for %s", key, name, s.p.id)
			} else {
				Expect(have).To(Equal(want), "%s of %s for %s", key, name, s.p.id)
			}
		}
	}
	Expect(s.now.lists).To(Equal(answer.body["lists"]), "the lists of %s", s.p.id)
}

// history is everything before the timeline, the newest first.
func (s *slider) history(name, from string) []string {
	GinkgoHelper()
	var found []string
	for from != "" {
		page := fine(s.p.get(fmt.Sprintf("/rooms/%s/messages?dir=b&from=%s&limit=50", esc(name), from)))
		found = append(found, ids(page.body["chunk"].([]any))...)
		from, _ = page.body["end"].(string)
	}
	return found
}

// right holds all that the client knows against the server; it is to have asked for everything.
func (s *slider) right() {
	GinkgoHelper()
	ctx := context.Background()
	m := &model{p: s.p, lazy: s.lazy}
	joined := fine(s.p.get("/joined_rooms")).body["joined_rooms"].([]any)
	for _, name := range joined {
		room, roomID := s.now.rooms[name.(string)], id.RoomID(name.(string))
		Expect(room).NotTo(BeNil(), "%s is in %s", s.p.id, name)
		Expect(room.facts["membership"]).To(Equal("join"))
		state, err := s.p.w.config.Rooms.State(ctx, id.UserID(s.p.id), roomID)
		Expect(err).NotTo(HaveOccurred())
		want := map[[2]string]string{}
		for _, e := range plainEvents(state) {
			key := [2]string{e.Type, *e.StateKey}
			has, told := room.state[key]
			if s.lazy && e.Type == "m.room.member" && (!told || has != string(e.EventID)) {
				delete(room.state, key) // it changed in a gap; it is told when it is needed
				continue
			}
			want[key] = string(e.EventID)
		}
		Expect(room.state).To(Equal(want), "%s's state of %s", s.p.id, name)
		visible := m.visible(name.(string))
		n := min(len(room.timeline), len(visible))
		m.rightTimeline(name.(string), room.timeline, visible[len(visible)-n:])
		Expect(len(room.timeline)).To(BeNumerically(">", 0))
		Expect(append(s.history(name.(string), room.previous), room.timeline...)).To(ConsistOf(visible), "what is before, of %s's timeline of %s", s.p.id, name)
		classic := fine(s.p.get("/sync?full_state=true&filter=" + esc(`{"room":{"rooms":["`+name.(string)+`"]}}`))).
			body["rooms"].(obj)["join"].(obj)[name.(string)].(obj)
		unread, summary := classic["unread_notifications"].(obj), classic["summary"].(obj)
		Expect(room.facts["notification_count"]).To(Equal(unread["notification_count"]), "unread of %s in %s", s.p.id, name)
		Expect(room.facts["highlight_count"]).To(Equal(unread["highlight_count"]), "unread of %s in %s", s.p.id, name)
		Expect(room.facts["joined_count"]).To(Equal(summary["m.joined_member_count"]), "members of %s", name)
		Expect(room.facts["invited_count"]).To(Equal(summary["m.invited_member_count"]), "members of %s", name)
		heroes := []any{}
		told, _ := room.facts["heroes"].([]any)
		for _, hero := range told {
			heroes = append(heroes, hero.(obj)["user_id"])
		}
		if summary["m.heroes"] != nil {
			Expect(heroes).To(Equal(summary["m.heroes"]), "heroes of %s", name)
		}
		typing, _ := s.p.w.config.Ephemeral.Typing(roomID)
		for _, user := range room.typing {
			Expect(typing).To(ContainElement(id.UserID(user.(string))), "types in %s", name)
		}
		receipts, err := s.p.w.store.UserReceipts(ctx, roomID, id.UserID(s.p.id))
		Expect(err).NotTo(HaveOccurred())
		for _, r := range receipts {
			if r.Thread == "" {
				Expect(room.receipts[fmt.Sprint(r.Type, s.p.id, nil)]).To(Equal(string(r.Event)), "%s's receipt in %s", s.p.id, name)
			}
		}
	}
	for name, room := range s.now.rooms {
		if room.facts["membership"] == "join" {
			Expect(joined).To(ContainElement(name), "%s is out of it", s.p.id)
		}
	}
	entries, err := s.p.w.store.AccountDataChanges(ctx, id.UserID(s.p.id), 0, s.p.w.store.Position())
	Expect(err).NotTo(HaveOccurred())
	for _, entry := range entries {
		if entry.Room == "" && entry.Type == "org.example.global" || slices.Contains(joined, any(string(entry.Room))) {
			Expect(s.now.data).To(HaveKey(string(entry.Room)+" "+entry.Type), "%s", s.p.id)
		}
	}
}

var _ = Describe("clients that slide", func() {
	It("arrive at what the server has, by deltas", func() {
		seed := townSeed()
		AddReportEntry("seed", seed, ReportEntryVisibilityFailureOrVerbose)
		random := rand.New(rand.NewPCG(seed, 2))
		t := newTown(random)
		var clients []*slider
		for _, p := range t.people {
			clients = append(clients, newSlider(p, "", random), newSlider(p, "another", random))
		}
		rests := func(client *slider) {
			client.sync(true)
			client.sync(true) // rooms that were left are told once
			client.right()
			client.asIfNew()
		}
		for i := range 400 {
			t.act()
			t.actAside()
			if random.IntN(2) == 0 {
				clients[random.IntN(len(clients))].sync(false)
			}
			if i%60 == 59 {
				rests(clients[random.IntN(len(clients))])
			}
			if i%150 == 149 { // the server is started anew
				t.w.api.config.Sync, t.w.api.config.SlidingSync = t.w.afresh().syncs()
			}
		}
		for _, client := range clients {
			rests(client)
			for client.messages && len(client.now.messages) < len(t.sent[client.p.id]) {
				before := len(client.now.messages)
				client.sync(true)
				Expect(len(client.now.messages)).To(BeNumerically(">", before), "messages to %s", client.p.id)
			}
			if client.messages {
				Expect(client.now.messages).To(Equal(t.sent[client.p.id]), "messages to %s", client.p.id)
			}
		}
	})
})
