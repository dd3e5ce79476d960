package interop

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"hanse/testnet/adapter"
	"hanse/testnet/fabric"
	"hanse/testnet/user"
)

var (
	chaosFor  = flag.Duration("chaos", 0, "how long TestChaos begins rounds; 0: it is left out")
	chaosSeed = flag.Uint64("seed", 0, "of TestChaos; 0: by the clock. It is printed")
)

// Measures of TestChaos.
const (
	usersEach    = 3
	chaosRooms   = 4
	roundsARoom  = 6 // then others are made: in the end nobody is left who may do anything
	actsARound   = 50
	actsAtOnce   = 4
	agreeWithin  = 3 * time.Minute // servers that were cut off are tried again after half a minute
	arriveWithin = 2 * time.Minute
)

// TestChaos lets users of two Hanse servers and the other homeserver do to each other what they may, in rooms of several
// versions, while links are cut and servers are killed. After each round the servers must have the same state of every room,
// and what Hanse's users were told by /sync must be it; in the end every message to a device has come once, and everybody
// has the same keys of everybody. What each server shows of what was said while apart is its own affair: soft failure is.
func TestChaos(t *testing.T) {
	if peerKind == "" || *chaosFor == 0 {
		t.Skip("needs another homeserver, and time: run `make interop-chaos`")
	}
	RegisterTestingT(t)
	seed := *chaosSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	c := newChaos(t, seed)
	for began, round := time.Now(), 0; time.Since(began) < *chaosFor && !t.Failed(); round++ {
		if round%roundsARoom == 0 {
			c.makeRooms()
		}
		c.round = fmt.Sprintf("round %d, %s", round+1, c.breaks())
		c.act()
		c.heal()
		c.agree()
		t.Logf("%s: agreed after %s", c.round, time.Since(began).Round(time.Second))
	}
	c.delivered()
}

// chaos is a run. Its fields change between acts only.
type chaos struct {
	t       *testing.T
	random  *rand.Rand
	links   *links
	servers []*server
	crews   map[*server][]*person // the first of each may do everything in new rooms, the second something
	people  []*person
	rooms   []*chaosRoom
	round   string // for people
	dead    *server
}

// person is a user who syncs all the time.
type person struct {
	*user.User
	server *server

	mu    sync.Mutex
	owed  map[string]bool              // guarded by mu; messages to the device that were acknowledged
	got   map[string]int               // guarded by mu; how often each came
	rooms map[string]map[string]string // guarded by mu; each room's state as syncs told it, in the form of state
}

// chaosRoom is a room in which all are at first.
type chaosRoom struct {
	ID, version string
	maker       *person

	mu     sync.Mutex
	events []string // guarded by mu; that were acknowledged
}

func newChaos(t *testing.T, seed uint64) *chaos {
	c := &chaos{t: t, random: rand.New(rand.NewPCG(seed, 0)), links: newLinks(), crews: map[*server][]*person{}}
	folder := t.TempDir()
	ca, err := fabric.LoadOrCreateCA(folder)
	Expect(err).NotTo(HaveOccurred())
	places, err := fabric.Places(3)
	Expect(err).NotTo(HaveOccurred())
	bin := program(folder)
	for i, kind := range []string{"hanse", "hanse", peerKind} {
		s := newServer(kind, folder, fmt.Sprint(kind, i), netip.AddrPortFrom(places[i].IP, linkPort), "HANSE_BIN="+bin)
		stop, err := c.links.stand(ca, places[i].IP)
		Expect(err).NotTo(HaveOccurred())
		t.Cleanup(stop)
		s.start()
		t.Cleanup(func() {
			s.process.Kill()
			if t.Failed() {
				t.Logf("the log of %s, %s, ends with:\n%s", s.kind, s.orders.ServerName, adapter.LogTail(s.process.LogFile(), 0, 20_000))
			}
		})
		c.servers = append(c.servers, s)
		for n := range usersEach {
			p := &person{User: user.New(s.orders.ClientURL()), server: s, owed: map[string]bool{}, got: map[string]int{}, rooms: map[string]map[string]string{}}
			Expect(p.Register(t.Context(), fmt.Sprintf("user%d", n), password, secret)).To(Succeed())
			c.crews[s], c.people = append(c.crews[s], p), append(c.people, p)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	var syncing sync.WaitGroup
	for _, p := range c.people {
		syncing.Go(func() { p.sync(ctx) })
	}
	t.Cleanup(func() {
		stop()
		syncing.Wait()
	})
	return c
}

// makeRooms makes rooms of different versions in place of those that were, in which the servers take turns as the first.
func (c *chaos) makeRooms() {
	c.round, c.rooms = "new rooms", nil
	versions := []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"}
	if peerKind == "dendrite" {
		versions = versions[:11]
	}
	for i, n := range c.random.Perm(len(versions))[:chaosRooms] {
		maker := c.crews[c.servers[i%len(c.servers)]][0]
		levels := map[string]any{}
		for _, crew := range c.crews {
			levels[crew[0].ID], levels[crew[1].ID] = 100, 50
		}
		if versions[n] == "12" {
			delete(levels, maker.ID) // who made the room is above all levels
		}
		id, err := maker.CreateRoom(c.t.Context(), map[string]any{
			"preset": "public_chat", "room_version": versions[n], "power_level_content_override": map[string]any{"users": levels},
		})
		Expect(err).NotTo(HaveOccurred())
		c.rooms = append(c.rooms, &chaosRoom{ID: id, version: versions[n], maker: maker})
		for _, p := range c.people {
			_, err := p.Join(c.t.Context(), id, maker.server.orders.ServerName)
			Expect(err).NotTo(HaveOccurred(), "%s joins %s", p.ID, id)
		}
	}
	c.agree()
}

// breaks breaks something, and says what.
func (c *chaos) breaks() string {
	cut := map[[2]string]bool{}
	apart := func(a, b *server) {
		x, y := a.orders.ServerName, b.orders.ServerName
		cut[[2]string{x, y}], cut[[2]string{y, x}] = true, true
	}
	order := c.random.Perm(len(c.servers))
	a, b, third := c.servers[order[0]], c.servers[order[1]], c.servers[order[2]]
	x, y := a.orders.ServerName, b.orders.ServerName
	silent, how := c.random.IntN(3) == 0, ""
	if silent {
		how = ": requests are not answered"
	}
	defer func() { c.links.set(cut, silent) }()
	switch c.random.IntN(6) {
	case 0:
		apart(a, b)
		return x + " and " + y + " don't reach each other" + how
	case 1:
		cut[[2]string{x, y}] = true
		return x + " doesn't reach " + y + how
	case 2, 3:
		apart(a, b)
		apart(a, third)
		return x + " and the others don't reach each other" + how
	case 4:
		c.dead = a
		return x + " is killed"
	default:
		return "nothing is broken"
	}
}

// act has users act. Where a server is to die, it does so in the middle.
func (c *chaos) act() {
	var acting sync.WaitGroup
	slots := make(chan struct{}, actsAtOnce)
	for i := range actsARound {
		if c.dead != nil && i == actsARound/2 {
			acting.Wait()
			acting.Go(c.dead.process.Kill) // while the next acts are under way
		}
		act := c.next(i >= actsARound/2)
		slots <- struct{}{}
		acting.Go(func() {
			act()
			<-slots
		})
	}
	acting.Wait()
}

// next picks an act: who, where, what, to whom.
func (c *chaos) next(late bool) func() {
	room := c.rooms[c.random.IntN(len(c.rooms))]
	by, to := c.people[c.random.IntN(len(c.people))], c.people[c.random.IntN(len(c.people))]
	if c.random.IntN(3) == 0 { // who has power acts more often
		by = c.crews[by.server][0]
	}
	if late && by.server == c.dead {
		return func() {}
	}
	names := slices.Sorted(maps.Keys(acts))
	name := names[c.random.IntN(len(names))]
	if c.random.IntN(2) == 0 {
		name = "say"
	}
	d := deed{
		chaos: c, room: room, by: by, to: to, number: c.random.IntN(1 << 30),
		cited: room.pick(c.random.IntN(1 << 30)), other: c.rooms[c.random.IntN(len(c.rooms))].ID,
	}
	return func() {
		eventID, err := acts[name](c.t.Context(), d)
		if eventID != "" {
			room.add(eventID)
		}
		var refusal *user.Error
		refused := errors.As(err, &refusal) && refusal.Status != http.StatusInternalServerError
		if err != nil && !refused && by.server.kind == "hanse" && by.server != c.dead {
			c.t.Errorf("%s: %s of %s in %s failed: %v", c.round, name, by.ID, room.ID, err)
		}
	}
}

func (r *chaosRoom) add(eventID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, eventID)
}

// pick is one of the room's events; "" if there is none.
func (r *chaosRoom) pick(n int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) == 0 {
		return ""
	}
	return r.events[n%len(r.events)]
}

// heal mends the links and starts who was killed.
func (c *chaos) heal() {
	c.links.set(nil, false)
	if c.dead != nil {
		<-c.dead.process.Ended()
		c.dead.start()
		c.dead = nil
	}
}

// agree has somebody of each server speak in each room, and waits until all have the same state. Who differ after all have
// spoken at once speak in turn.
func (c *chaos) agree() {
	for _, r := range c.rooms {
		for _, s := range c.servers {
			c.speaks(r, s)
		}
	}
	for _, r := range c.rooms {
		turn, spoke := 0, time.Now()
		Eventually(func(g Gomega) {
			views, err := c.views(r)
			g.Expect(err).NotTo(HaveOccurred())
			first := slices.Sorted(maps.Keys(views))
			if len(first) == 0 {
				return // nobody is left
			}
			if !slices.ContainsFunc(first, func(name string) bool { return !maps.Equal(views[name], views[first[0]]) }) {
				return
			}
			if time.Since(spoke) > 5*time.Second {
				c.speaks(r, c.servers[turn%len(c.servers)])
				turn, spoke = turn+1, time.Now()
			}
			for _, name := range first[1:] {
				g.Expect(views[name]).To(Equal(views[first[0]]), "%s: %s and %s in %s of version %s", c.round, first[0], name, r.ID, r.version)
			}
		}).WithTimeout(agreeWithin).WithPolling(300 * time.Millisecond).Should(Succeed())
		c.told(r)
	}
}

// speaks has a user of a server say something in a room, if one of them may.
func (c *chaos) speaks(r *chaosRoom, s *server) {
	for _, p := range c.crews[s] {
		if eventID, err := p.Say(c.t.Context(), r.ID, "I am "+p.ID); err == nil {
			r.add(eventID)
			return
		}
	}
}

// views are the current state of a room on each server of which somebody is in it.
func (c *chaos) views(r *chaosRoom) (map[string]map[string]string, error) {
	views := map[string]map[string]string{}
	for _, s := range c.servers {
		p, err := c.inside(r, s)
		if err != nil {
			return nil, err
		}
		if p == nil {
			continue
		}
		if views[s.orders.ServerName], err = state(c.t.Context(), p.User, r.ID)(); err != nil {
			return nil, err
		}
	}
	return views, nil
}

// inside is a user of a server who is in a room; nil if there is none.
func (c *chaos) inside(r *chaosRoom, s *server) (*person, error) {
	for _, p := range c.crews[s] {
		all, err := members(c.t.Context(), p.User, r.ID)()
		var refusal *user.Error
		if errors.As(err, &refusal) && refusal.Status < http.StatusInternalServerError {
			continue // who never was in it
		}
		if err != nil {
			return nil, err
		}
		if all[p.ID] == "join" {
			return p, nil
		}
	}
	return nil, nil
}

// told checks that what Hanse's users were told of a room's state is its state. Of several memberships of a user that are the
// same, any may have been told last (node/clientsync says why).
func (c *chaos) told(r *chaosRoom) {
	for _, s := range c.servers {
		p, err := c.inside(r, s)
		Expect(err).NotTo(HaveOccurred())
		if s.kind != "hanse" || p == nil {
			continue
		}
		Eventually(func(g Gomega) {
			events, err := p.State(c.t.Context(), r.ID)
			g.Expect(err).NotTo(HaveOccurred())
			p.mu.Lock()
			defer p.mu.Unlock()
			for _, e := range events {
				if e.Type != "m.room.member" {
					g.Expect(p.rooms[r.ID]).To(HaveKeyWithValue(e.Type+" "+*e.StateKey, e.ID), "%s: what %s was told of %s", c.round, p.ID, r.ID)
				}
			}
		}).WithTimeout(patience).WithPolling(300 * time.Millisecond).Should(Succeed())
	}
}

// delivered checks what doesn't belong to rooms.
func (c *chaos) delivered() {
	for _, p := range c.people {
		Eventually(func(g Gomega) {
			p.mu.Lock()
			defer p.mu.Unlock()
			for text := range p.owed {
				g.Expect(p.got).To(HaveKeyWithValue(text, 1), "messages to the device of %s", p.ID)
			}
		}).WithTimeout(arriveWithin).WithPolling(300 * time.Millisecond).Should(Succeed())
	}
	for _, p := range c.people {
		Eventually(func(g Gomega) {
			want, err := p.keysOf(c.t.Context(), p)
			g.Expect(err).NotTo(HaveOccurred())
			for _, q := range c.people {
				g.Expect(q.keysOf(c.t.Context(), p)).To(Equal(want), "the keys of %s for %s", p.ID, q.ID)
			}
		}).WithTimeout(arriveWithin).WithPolling(time.Second).Should(Succeed())
	}
}

// sync follows what happens until ctx ends.
func (p *person) sync(ctx context.Context) {
	for ctx.Err() == nil {
		answer, err := p.Sync(ctx, 5*time.Second)
		if err != nil {
			time.Sleep(100 * time.Millisecond) // the server is down
			continue
		}
		p.note(answer)
	}
}

func (p *person) note(answer user.SyncAnswer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range answer.ToDevice.Events {
		p.got[e.Body()]++
	}
	for id, room := range answer.Rooms.Join {
		if p.rooms[id] == nil {
			p.rooms[id] = map[string]string{}
		}
		for _, e := range slices.Concat(room.State.Events, room.Timeline.Events) {
			if e.StateKey != nil {
				p.rooms[id][e.Type+" "+*e.StateKey] = e.ID
			}
		}
	}
	for id := range answer.Rooms.Leave {
		delete(p.rooms, id)
	}
}

// keysOf are another's device keys as p's server gives them.
func (p *person) keysOf(ctx context.Context, of *person) (map[string]string, error) {
	var answer struct {
		Keys map[string]map[string]struct{ Keys map[string]string } `json:"device_keys"`
	}
	question := map[string]any{"device_keys": map[string]any{of.ID: []string{}}}
	err := p.Call(ctx, "POST", "/_matrix/client/v3/keys/query", nil, question, &answer)
	return answer.Keys[of.ID][of.DeviceID].Keys, err
}
