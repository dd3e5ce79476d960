package clientapi

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
)

// town is users who do anything in rooms of all kinds.
type town struct {
	w      *world
	random *rand.Rand
	people []*person
	rooms  []string
	serial int
	sent   map[string][]string // messages to devices, by user
}

// newTown is four people, none of whom is in a room of the others yet.
func newTown(random *rand.Rand) *town {
	t := &town{w: newWorld(nil), random: random, sent: map[string][]string{}}
	for _, name := range []string{"alice", "bob", "carol", "dave"} {
		t.people = append(t.people, t.w.register(name))
	}
	for _, options := range []obj{
		{"preset": "public_chat", "room_version": "11"}, {"preset": "public_chat", "name": "named"}, {"preset": "private_chat"},
	} {
		t.rooms = append(t.rooms, t.people[0].room(options))
	}
	return t
}

func (t *town) person() *person { return t.people[t.random.IntN(len(t.people))] }
func (t *town) room() string    { return t.rooms[t.random.IntN(len(t.rooms))] }
func (t *town) text() string    { t.serial++; return fmt.Sprint("text ", t.serial) }

// event is some event of a room.
func (t *town) event(room string) string {
	rows, _, err := t.w.store.Timeline(context.Background(), id.RoomID(room), 0, t.w.store.Position(), 30, true)
	Expect(err).NotTo(HaveOccurred())
	return string(rows[t.random.IntN(len(rows))].Event.ID())
}

// act does something; much of it is refused, which is fine. Who leaves by it types no longer when it returns: that ends a moment later.
func (t *town) act() {
	p, room := t.person(), t.room()
	defer t.leaversAreSilent(id.RoomID(room))
	path := "/rooms/" + esc(room)
	other := t.person().id
	switch t.random.IntN(24) {
	default:
		for range 1 + t.random.IntN(6) {
			t.serial++
			p.put(fmt.Sprintf("%s/send/m.room.message/t%d", path, t.serial), obj{"msgtype": "m.text", "body": t.text()})
		}
	case 0, 1:
		p.put(path+"/state/m.room.topic/", obj{"topic": t.text()})
	case 2:
		p.put(fmt.Sprintf("%s/state/org.example.thing/%d", path, t.random.IntN(3)), obj{"v": t.text()})
	case 3:
		if t.random.IntN(2) == 0 {
			p.put("/profile/"+esc(p.id)+"/displayname", obj{"displayname": t.text()})
		}
	case 4, 5, 6, 7:
		p.post(path+"/join", obj{})
	case 8:
		p.post(path+"/leave", obj{})
	case 9:
		t.people[0].post(path+"/kick", obj{"user_id": other})
	case 10:
		t.people[0].post(path+"/ban", obj{"user_id": other})
	case 11:
		t.people[0].post(path+"/unban", obj{"user_id": other})
	case 12:
		p.post(path+"/invite", obj{"user_id": other})
	case 13:
		t.serial++
		p.put(fmt.Sprintf("%s/redact/%s/t%d", path, esc(t.event(room)), t.serial), obj{})
	case 14:
		visibility := []string{"shared", "joined", "invited", "world_readable"}[t.random.IntN(4)]
		t.people[0].put(path+"/state/m.room.history_visibility/", obj{"history_visibility": visibility})
	case 15:
		p.put("/user/"+esc(p.id)+"/rooms/"+esc(room)+"/account_data/org.example.note", obj{"v": t.text()})
	case 16:
		p.put("/user/"+esc(p.id)+"/account_data/org.example.global", obj{"v": t.text()})
	case 17, 18:
		typ := []string{"m.read", "m.read.private"}[t.random.IntN(2)]
		body := []obj{{}, {"thread_id": "main"}}[t.random.IntN(2)]
		p.post(path+"/receipt/"+typ+"/"+esc(t.event(room)), body)
	case 19:
		p.put(path+"/typing/"+esc(p.id), obj{"typing": t.random.IntN(2) == 0, "timeout": 100_000})
	}
}

// leaversAreSilent waits until nobody types in a room who isn't in it.
func (t *town) leaversAreSilent(room id.RoomID) {
	Eventually(func() (out []id.UserID) {
		users, _ := t.w.config.Ephemeral.Typing(room)
		for _, user := range users {
			m, _, err := t.w.store.Membership(context.Background(), room, user)
			Expect(err).NotTo(HaveOccurred())
			if m.Membership != "join" {
				out = append(out, user)
			}
		}
		return out
	}).Should(BeEmpty())
}

// actAside does something that /sync doesn't tell of, or not of events.
func (t *town) actAside() {
	p, room := t.person(), t.room()
	path, user := "/rooms/"+esc(room), "/user/"+esc(p.id)
	switch t.random.IntN(16) {
	case 0:
		name := []string{"", t.text()}[t.random.IntN(2)]
		t.people[0].put(path+"/state/m.room.name/", obj{"name": name})
	case 1:
		t.people[0].put(path+"/state/m.room.avatar/", []obj{{}, {"url": "mxc://hanse.test/" + esc(t.text())}}[t.random.IntN(2)])
	case 2:
		p.post(path+"/forget", obj{})
	case 3:
		p.put(user+"/account_data/m.direct", []obj{{}, {t.person().id: []string{room}}}[t.random.IntN(2)])
	case 4:
		p.put(user+"/rooms/"+esc(room)+"/tags/m.favourite", obj{})
	case 5:
		p.del(user+"/rooms/"+esc(room)+"/tags/m.favourite", nil)
	case 6, 7:
		t.sayInThread()
	case 8, 9:
		other, text := t.person(), t.text()
		fine(p.put(fmt.Sprintf("/sendToDevice/org.example.note/t%d", t.serial), obj{"messages": obj{other.id: obj{other.device: obj{"v": text}}}}))
		t.sent[other.id] = append(t.sent[other.id], text)
	case 10:
		p.post("/knock/"+esc(room), obj{})
	case 11:
		t.people[0].put(path+"/state/m.room.join_rules/", obj{"join_rule": []string{"public", "invite", "knock"}[t.random.IntN(3)]})
	}
}

func (t *town) sayInThread() {
	room := t.room()
	t.serial++
	t.person().put(fmt.Sprintf("/rooms/%s/send/m.room.message/t%d", esc(room), t.serial), obj{
		"msgtype": "m.text", "body": t.text(), "m.relates_to": obj{"rel_type": "m.thread", "event_id": t.event(room)},
		"m.mentions": obj{"user_ids": []string{t.person().id}},
	})
}

var seedFlag = flag.Uint64("seed", 1, "of what happens in a town; 0: Ginkgo's, so that no change is refused for what it didn't do")

func townSeed() uint64 {
	if *seedFlag == 0 {
		return uint64(GinkgoRandomSeed())
	}
	return *seedFlag
}

var _ = Describe("clients that sync", func() {
	It("arrive at the server's state and have every visible event once, in order", func() {
		seed := townSeed()
		AddReportEntry("seed", seed, ReportEntryVisibilityFailureOrVerbose)
		random := rand.New(rand.NewPCG(seed, 1))
		t := newTown(random)
		var clients []*model
		for _, p := range t.people {
			clients = append(clients, newModel(p, random))
		}
		for range 400 {
			t.act()
			if random.IntN(6) == 0 {
				t.sayInThread()
			}
			if random.IntN(3) == 0 {
				clients[random.IntN(len(clients))].sync()
			}
		}
		for _, client := range clients {
			client.sync()
			client.countsRight()
		}
	})
})
