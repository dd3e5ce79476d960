package clientapi

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
)

// slider is a client that speaks sliding sync and keeps what it is told, and can go back by one answer, as one does whose answer
// got lost.
type slider struct {
	p      *person
	random *rand.Rand
	lazy   bool

	now, before slidden
}

// slidden is what a slider knows after an answer.
type slidden struct {
	pos   string
	rooms map[string]*slidRoom
	data  map[string]string
}

type slidRoom struct {
	membership string
	name       string
	state      map[[2]string]string // event IDs
	timeline   []string             // event IDs; the newest ones, without gaps
	receipts   map[string]string
	unread     any
	joined     any
}

func newSlider(p *person, random *rand.Rand) *slider {
	return &slider{p: p, random: random, lazy: random.IntN(2) == 0, now: slidden{rooms: map[string]*slidRoom{}, data: map[string]string{}}}
}

func (s slidden) copy() slidden {
	rooms := map[string]*slidRoom{}
	for name, room := range s.rooms {
		c := *room
		c.state, c.receipts, c.timeline = maps.Clone(room.state), maps.Clone(room.receipts), slices.Clone(room.timeline)
		rooms[name] = &c
	}
	return slidden{s.pos, rooms, maps.Clone(s.data)}
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
	last := s.random.IntN(3)
	if whole {
		last = 20
	}
	request := lists(window(last, 1+s.random.IntN(6), required...))
	request["extensions"] = obj{"account_data": obj{"enabled": true}, "receipts": obj{"enabled": true}}
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
	case n == 0:
		s.now = slidden{rooms: map[string]*slidRoom{}, data: map[string]string{}}
	case n < 4 && s.before.pos != "":
		s.now = s.before.copy()
	}
	s.before = s.now.copy()
	answer := s.p.slide(s.now.pos, s.request(whole))
	s.now.pos = answer.pos()
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
		room = &slidRoom{state: map[[2]string]string{}, receipts: map[string]string{}}
		s.now.rooms[name] = room
	}
	room.membership = answer["membership"].(string)
	room.unread = answer["notification_count"]
	if title, told := answer["name"].(string); told {
		room.name = title
	}
	if joined, told := answer["joined_count"]; told {
		room.joined = joined
	}
	state, _ := answer["required_state"].([]any)
	for _, e := range state {
		room.state[[2]string{e.(obj)["type"].(string), e.(obj)["state_key"].(string)}] = e.(obj)["event_id"].(string)
	}
	events, _ := answer["timeline"].([]any)
	if s.lazy && room.membership == "join" {
		for _, e := range events {
			Expect(room.state).To(HaveKey([2]string{"m.room.member", e.(obj)["sender"].(string)}), "the sender of %s", e)
		}
	}
	news := ids(events)
	if answer["limited"] == true || answer["initial"] == true || answer["expanded_timeline"] == true {
		room.timeline = nil
	}
	room.timeline = append(room.timeline, news...)
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
		Expect(room.membership).To(Equal("join"))
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
		unread := fine(s.p.get("/sync?full_state=true&filter=" + esc(`{"room":{"rooms":["`+name.(string)+`"]}}`))).
			body["rooms"].(obj)["join"].(obj)[name.(string)].(obj)
		Expect(room.unread).To(Equal(unread["unread_notifications"].(obj)["notification_count"]), "unread of %s in %s", s.p.id, name)
		Expect(room.joined).To(Equal(unread["summary"].(obj)["m.joined_member_count"]), "members of %s", name)
		receipts, err := s.p.w.store.UserReceipts(ctx, roomID, id.UserID(s.p.id))
		Expect(err).NotTo(HaveOccurred())
		for _, r := range receipts {
			if r.Thread == "" {
				Expect(room.receipts[fmt.Sprint(r.Type, s.p.id, nil)]).To(Equal(string(r.Event)), "%s's receipt in %s", s.p.id, name)
			}
		}
	}
	for name, room := range s.now.rooms {
		if room.membership == "join" {
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
		seed := uint64(GinkgoRandomSeed())
		AddReportEntry("seed", seed, ReportEntryVisibilityFailureOrVerbose)
		random := rand.New(rand.NewPCG(seed, 2))
		t := newTown(random)
		var clients []*slider
		for _, p := range t.people {
			clients = append(clients, newSlider(p, random))
		}
		for i := range 300 {
			t.act()
			if random.IntN(3) == 0 {
				clients[random.IntN(len(clients))].sync(false)
			}
			if i%60 == 59 {
				client := clients[random.IntN(len(clients))]
				client.sync(true)
				client.right()
			}
		}
		for _, client := range clients {
			client.sync(true)
			client.right()
		}
	})
})
