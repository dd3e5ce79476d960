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
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"hanse/testnet/fabric"
	"hanse/testnet/user"
)

var (
	chaosFor     = flag.Duration("chaos", 0, "how long TestChaos begins rounds; 0: it is left out")
	chaosServers = flag.Int("servers", 3, "how many servers TestChaos has; those beyond three are Hanse")
	chaosSeed    = flag.Uint64("seed", 0, "of TestChaos; 0: by the clock. It is printed")
)

// Measures of TestChaos.
const (
	usersEach    = 3
	chaosRooms   = 4
	nobodies     = 60 // members of one of the rooms who are banned
	roundsARoom  = 6  // then others are made: in the end nobody is left who may do anything
	actsARound   = 80
	actsAtOnce   = 4
	lookedAt     = 12              // events of each room at which states are compared after a round
	agreeWithin  = 3 * time.Minute // servers that were cut off are tried again after half a minute
	arriveWithin = 2 * time.Minute
)

// TestChaos lets users of two Hanse servers or more and the other homeserver, which may be one more, do to each other what they may,
// in rooms of several versions, while links are cut and servers are killed. After each round the servers must have the same state
// of every room, now and at its latest events; what somebody of each says and reads then comes to all; and what Hanse's users were
// told by /sync must be what one is told who begins then. In the end every message to a device has come once and in order,
// everybody has the same keys of everybody, as they were told when these changed, and every file is had by all. What each server
// shows of what was said while apart is its own affair: soft failure is.
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
		if round%roundsARoom == 0 || len(c.rooms) == 0 {
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
	silent  bool // requests over cut links are not answered

	mu    sync.Mutex
	files []string // guarded by mu; that were uploaded, by server and ID
}

// chaosRoom is a room in which all are at first.
type chaosRoom struct {
	ID, version string
	creators    []*person        // of version 12: above all levels
	mute        map[*server]bool // of which nobody could speak when asked last
	hides       atomic.Bool      // somebody may not see what was said before they came
	heard       string           // an event above which nothing was apart; "" if there is none yet

	mu     sync.Mutex
	events []string // guarded by mu; that were acknowledged
}

func newChaos(t *testing.T, seed uint64) *chaos {
	c := &chaos{t: t, random: rand.New(rand.NewPCG(seed, 0)), links: newLinks(), crews: map[*server][]*person{}}
	folder := t.ArtifactDir() // the databases are what a difference is understood by
	ca, err := fabric.LoadOrCreateCA(folder)
	Expect(err).NotTo(HaveOccurred())
	places, err := fabric.Places(*chaosServers)
	Expect(err).NotTo(HaveOccurred())
	bin := program(folder)
	kinds := slices.Repeat([]string{"hanse"}, *chaosServers)
	kinds[2] = peerKind
	for i, kind := range kinds {
		s := newServer(kind, folder, fmt.Sprint(kind, i), netip.AddrPortFrom(places[i].IP, linkPort), "HANSE_BIN="+bin)
		stop, err := c.links.stand(ca, places[i].IP)
		Expect(err).NotTo(HaveOccurred())
		t.Cleanup(stop)
		s.start()
		t.Cleanup(func() {
			s.process.Kill()
			t.Logf("the log of %s, %s: %s", s.kind, s.orders.ServerName, s.process.LogFile())
		})
		c.servers = append(c.servers, s)
		for n := range usersEach {
			p := newPerson(c, s)
			Expect(p.Register(t.Context(), fmt.Sprintf("user%d", n), password, secret)).To(Succeed())
			Expect(upload(t.Context(), p.User, n)).To(Succeed())
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

// makeRooms makes rooms of different versions in place of those that were, in which the servers take turns as the first. One of
// them has so many members that servers which come back join it without.
func (c *chaos) makeRooms() {
	c.round, c.rooms = "new rooms", nil
	versions := []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"}
	if peerKind == "dendrite" {
		versions = versions[:11]
	}
	for i, n := range c.random.Perm(len(versions))[:chaosRooms] {
		room := &chaosRoom{version: versions[n], mute: map[*server]bool{}}
		maker, second := c.crews[c.servers[i%len(c.servers)]][0], c.crews[c.servers[(i+1)%len(c.servers)]][0]
		levels := map[string]any{}
		for _, crew := range c.crews {
			levels[crew[0].ID], levels[crew[1].ID] = 100, 50
		}
		options := map[string]any{
			"preset": "public_chat", "room_version": room.version, "power_level_content_override": map[string]any{"users": levels},
			"initial_state": []any{map[string]any{"type": "m.room.encryption", "content": map[string]any{"algorithm": "m.megolm.v1.aes-sha2"}}},
		}
		if room.version == "12" {
			room.creators = []*person{maker, second}
			options["creation_content"] = map[string]any{"additional_creators": []string{second.ID}}
			for _, creator := range room.creators {
				delete(levels, creator.ID)
			}
		}
		var err error
		room.ID, err = maker.CreateRoom(c.t.Context(), options)
		Expect(err).NotTo(HaveOccurred())
		c.rooms = append(c.rooms, room)
		for n := range nobodies {
			if i > 0 {
				break
			}
			nobody := fmt.Sprintf("@nobody%d:elsewhere.example", n)
			Expect(do(c.t.Context(), maker.User, "rooms/"+room.ID+"/ban", map[string]any{"user_id": nobody})).To(Succeed())
		}
		for _, p := range c.people {
			_, err := p.Join(c.t.Context(), room.ID, maker.server.orders.ServerName)
			Expect(err).NotTo(HaveOccurred(), "%s joins %s", p.ID, room.ID)
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
	servers := make([]*server, len(c.servers)) // in any order
	for i, n := range c.random.Perm(len(c.servers)) {
		servers[i] = c.servers[n]
	}
	a, b := servers[0], servers[1]
	x, y := a.orders.ServerName, b.orders.ServerName
	silent, how := c.random.IntN(3) == 0, ""
	if silent {
		how = ": requests are not answered"
	}
	defer func() {
		c.links.set(cut, silent)
		c.silent = silent && len(cut) > 0
	}()
	kinds := 7
	if len(servers) > 3 {
		kinds++
	}
	switch c.random.IntN(kinds) {
	case 0:
		apart(a, b)
		return x + " and " + y + " don't reach each other" + how
	case 1:
		cut[[2]string{x, y}] = true
		return x + " doesn't reach " + y + how
	case 2, 3:
		for _, other := range servers[1:] {
			apart(a, other)
		}
		return x + " and the others don't reach each other" + how
	case 4:
		c.dead = a
		return x + " is killed"
	case 5:
		for i, one := range servers {
			for _, other := range servers[i+1:] {
				apart(one, other)
			}
		}
		return "none reaches another" + how
	case 7:
		for _, one := range servers[:2] {
			for _, other := range servers[2:] {
				apart(one, other)
			}
		}
		return x + " and " + y + " reach each other, and not the others" + how
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
	names := slices.Sorted(maps.Keys(acts))
	name := names[c.random.IntN(len(names))]
	if c.random.IntN(3) == 0 {
		name = "say"
	}
	d := deed{
		chaos: c, room: room, by: by, to: to, number: c.random.IntN(1 << 30),
		cited: room.pick(c.random.IntN(1 << 30)), other: c.rooms[c.random.IntN(len(c.rooms))].ID,
	}
	all := []*person{by}
	if c.random.IntN(4) == 0 && slices.Contains(clashing, name) {
		all = nil
		for _, s := range c.servers {
			all = append(all, c.crews[s][0])
		}
	}
	return func() {
		var acting sync.WaitGroup
		for i, by := range all {
			d := d
			d.by, d.number = by, d.number+i
			if !late || by.server != c.dead {
				acting.Go(func() { d.does(name) })
			}
		}
		acting.Wait()
	}
}

// does has somebody act. A Hanse server that lives may refuse, but not fail; users lose patience where it waits for others.
func (d deed) does(name string) {
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	eventID, err := acts[name](ctx, d)
	if eventID != "" {
		d.room.add(eventID)
	}
	var refusal *user.Error
	refused := errors.As(err, &refusal) && refusal.Status != http.StatusInternalServerError || d.silent && errors.Is(err, context.DeadlineExceeded)
	if err != nil && !refused && d.by.server.kind == "hanse" && d.by.server != d.dead {
		d.t.Errorf("%s: %s of %s in %s failed: %v", d.round, name, d.by.ID, d.room.ID, err)
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

// heal mends the links, starts who was killed, and opens the rooms whose ACLs keep somebody out.
func (c *chaos) heal() {
	c.links.set(nil, false)
	if c.dead != nil {
		<-c.dead.process.Ended()
		c.dead.start()
		c.dead = nil
	}
	c.rooms = slices.DeleteFunc(c.rooms, func(r *chaosRoom) bool {
		for began := time.Now(); time.Since(began) < patience; time.Sleep(300 * time.Millisecond) {
			if !slices.ContainsFunc(c.servers, func(s *server) bool { return c.closed(r, s) }) {
				return false
			}
			for _, s := range c.servers {
				c.opens(r, s)
			}
		}
		c.t.Logf("%s: nobody can open %s any more", c.round, r.ID)
		return true
	})
}

// closed tells whether a server, as far as one of its users in a room knows, keeps another out of it.
func (c *chaos) closed(r *chaosRoom, s *server) bool {
	p, err := c.inside(r, s)
	if s.kind == "hanse" {
		Expect(err).NotTo(HaveOccurred())
	}
	var acl struct{ Deny []string }
	return p != nil && p.Call(c.t.Context(), "GET", "/_matrix/client/v3/rooms/"+r.ID+"/state/m.room.server_acl", nil, nil, &acl) == nil && len(acl.Deny) > 0
}

// opens has a user of a server let all servers into a room, if one of them may.
func (c *chaos) opens(r *chaosRoom, s *server) {
	for _, p := range c.crews[s] {
		if _, err := p.SetState(c.t.Context(), r.ID, "m.room.server_acl", "", map[string]any{"allow": []string{"*"}}); err == nil {
			return
		}
	}
}

// agree has somebody of each server speak in each room, and waits until all have the same state. Who differ after all have
// spoken at once speak in turn. A server of which nobody may speak any more isn't asked: what its users did last, and others
// soft-failed, is the state there alone, for good.
func (c *chaos) agree() {
	for _, r := range c.rooms {
		for _, s := range c.servers {
			c.speaks(r, s)
		}
	}
	for _, r := range c.rooms {
		turn, spoke := 0, time.Now()
		var out *server
		Eventually(func(g Gomega) {
			if out = nil; turn > 2*len(c.servers) {
				if out = c.out(r); out != nil {
					return
				}
			}
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
		if out != nil {
			Eventually(func() error { return c.rightly(r, out) }).WithTimeout(patience).Should(Succeed(),
				"%s: for all others nobody of %s is in %s of version %s, and it has somebody in it", c.round, out.orders.ServerName, r.ID, r.version)
			c.t.Logf("%s: for all others nobody of %s is in %s of version %s, which is right by what they had when its events came: not compared",
				c.round, out.orders.ServerName, r.ID, r.version)
			c.rooms = slices.DeleteFunc(slices.Clone(c.rooms), func(other *chaosRoom) bool { return other == r })
			continue
		}
		c.listed(r)
		c.remembered(r)
		c.threaded(r)
	}
	for _, r := range c.rooms {
		c.told(r)
	}
	c.heard()
}

// listed checks that a server's lists of members are what it says of the state.
func (c *chaos) listed(r *chaosRoom) {
	for _, s := range c.servers {
		Eventually(func(g Gomega) {
			p, err := c.inside(r, s) // who may leave yet: a request that nobody waits for any more may take effect late
			g.Expect(err).NotTo(HaveOccurred())
			if p == nil {
				return
			}
			want, err := members(c.t.Context(), p.User, r.ID)()
			g.Expect(err).NotTo(HaveOccurred())
			var all struct{ Chunk []user.Event }
			g.Expect(p.Call(c.t.Context(), "GET", "/_matrix/client/v3/rooms/"+r.ID+"/members", nil, nil, &all)).To(Succeed())
			got := map[string]string{}
			for _, e := range all.Chunk {
				got[*e.StateKey] = membership(e)
			}
			g.Expect(got).To(Equal(want))
			var now struct{ Joined map[string]any }
			g.Expect(p.Call(c.t.Context(), "GET", "/_matrix/client/v3/rooms/"+r.ID+"/joined_members", nil, nil, &now)).To(Succeed())
			maps.DeleteFunc(want, func(_, membership string) bool { return membership != "join" })
			g.Expect(now.Joined).To(HaveLen(len(want)))
			for name := range want {
				g.Expect(now.Joined).To(HaveKey(name))
			}
		}).WithTimeout(patience).Should(Succeed(), "%s: the members of %s on %s", c.round, r.ID, s.orders.ServerName)
	}
}

// remembered checks that servers have the same state at the latest events of a room, of those that both show.
func (c *chaos) remembered(r *chaosRoom) {
	for _, eventID := range r.latest(lookedAt) {
		first, want := "", map[string]string(nil)
		for _, s := range c.servers {
			p, err := c.inside(r, s)
			Expect(err).NotTo(HaveOccurred())
			if p == nil {
				continue
			}
			var answer struct{ State []user.Event }
			if p.Call(c.t.Context(), "GET", "/_matrix/client/v3/rooms/"+r.ID+"/context/"+url.PathEscape(eventID), url.Values{"limit": {"0"}}, nil, &answer) != nil {
				continue // it was refused there
			}
			got := byKey(answer.State)
			if want == nil {
				first, want = s.orders.ServerName, got
			}
			Expect(got).To(Equal(want), "%s: at %s of %s, version %s, for %s and %s", c.round, eventID, r.ID, r.version, s.orders.ServerName, first)
		}
	}
}

// threaded checks that Hanse counts in each thread of a room what it lists of it, where nobody is kept from seeing some.
func (c *chaos) threaded(r *chaosRoom) {
	for _, s := range c.servers {
		p, err := c.inside(r, s)
		Expect(err).NotTo(HaveOccurred())
		if p == nil || s.kind != "hanse" || r.hides.Load() {
			continue
		}
		var threads struct {
			Chunk []struct {
				ID       string  `json:"event_id"`
				StateKey *string `json:"state_key"`
				Unsigned struct {
					Relations struct {
						Thread struct {
							Count  int
							Latest user.Event `json:"latest_event"`
						} `json:"m.thread"`
					} `json:"m.relations"`
				}
			}
		}
		path := "/_matrix/client/v1/rooms/" + r.ID
		Eventually(func(g Gomega) { // what servers tell each other of may still come
			g.Expect(p.Call(c.t.Context(), "GET", path+"/threads", url.Values{"limit": {"50"}}, nil, &threads)).To(Succeed())
			for _, root := range threads.Chunk {
				if root.StateKey != nil {
					continue // spec:client-server-api#aggregations-of-child-events no counts
				}
				var said struct{ Chunk []user.Event }
				query := url.Values{"limit": {"100"}}
				g.Expect(p.Call(c.t.Context(), "GET", path+"/relations/"+url.PathEscape(root.ID)+"/m.thread", query, nil, &said)).To(Succeed())
				thread := root.Unsigned.Relations.Thread
				g.Expect(said.Chunk).To(HaveLen(thread.Count), "the thread of %s", root.ID)
				g.Expect(said.Chunk).To(ContainElement(HaveField("ID", thread.Latest.ID)), "the thread of %s", root.ID)
			}
		}).WithTimeout(patience).Should(Succeed(), "%s: threads of %s for %s", c.round, r.ID, p.ID)
	}
}

// latest are the last n of the room's events.
func (r *chaosRoom) latest(n int) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events[max(0, len(r.events)-n):])
}

// out is a server that has somebody in a room, of which nobody is in it for any other server though all have spoken; nil if there is none. So it
// stays: a join that the others soft-failed, as the rules had changed when it came, is followed by nothing that they would take. That this is it
// is to be proven: see rightly.
func (c *chaos) out(r *chaosRoom) *server {
	for _, s := range c.servers {
		if p, err := c.inside(r, s); p == nil || err != nil || r.mute[s] {
			continue
		}
		others, has := 0, false
		for _, other := range c.servers {
			p, err := c.inside(r, other)
			if other == s || p == nil || err != nil {
				continue
			}
			all, err := members(c.t.Context(), p.User, r.ID)()
			others++
			has = has || err != nil || slices.ContainsFunc(c.crews[s], func(q *person) bool { return all[q.ID] == "join" })
		}
		if others > 0 && !has {
			return s
		}
	}
	return nil
}

// speaks has a user of a server say something in a room, if one of them may, and gives the event's ID.
func (c *chaos) speaks(r *chaosRoom, s *server) string {
	for _, p := range c.crews[s] {
		if eventID, err := p.Say(c.t.Context(), r.ID, "I am "+p.ID); err == nil {
			r.add(eventID)
			r.mute[s] = false
			return eventID
		}
	}
	r.mute[s] = true
	return ""
}

// views are the current state of a room on each server of which somebody is in it and may speak.
func (c *chaos) views(r *chaosRoom) (map[string]map[string]string, error) {
	views := map[string]map[string]string{}
	for _, s := range c.servers {
		p, err := c.inside(r, s)
		if err != nil {
			return nil, err
		}
		if p == nil || r.mute[s] {
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
		if errors.As(err, &refusal) && (refusal.Status < http.StatusInternalServerError || s.kind == "synapse" && refusal.Status == http.StatusInternalServerError) {
			continue // who never was in it; Synapse has no state for some who left by way of another server
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

// heard checks that, now that the state is everywhere the same, all of Hanse's users hear what somebody of each server says in each
// room, and that it was read. Synapse forgets to tell clients what they are in again by a state resolution.
func (c *chaos) heard() {
	said := map[*chaosRoom]map[*server]string{}
	for _, r := range c.rooms {
		said[r] = map[*server]string{}
		for _, s := range c.servers {
			if eventID := c.speaks(r, s); eventID != "" {
				said[r][s], r.heard = eventID, eventID
			}
		}
	}
	c.soon("what was said", func(g Gomega, p *person) {
		for r, events := range said {
			for s, eventID := range events {
				if in := p.rooms[r.ID]; in != nil && p.server.kind == "hanse" {
					g.Expect(in.timeline).To(ContainElement(eventID), "%s in %s of version %s", s.orders.ServerName, r.ID, r.version)
				}
			}
		}
	})
	read := map[*chaosRoom]map[string]string{}
	for r, events := range said {
		read[r] = map[string]string{}
		for s, eventID := range events {
			for _, p := range c.crews[s] {
				if !slices.Contains(p.in(), r.ID) {
					continue
				}
				err := do(c.t.Context(), p.User, "rooms/"+r.ID+"/receipt/m.read/"+url.PathEscape(eventID), map[string]any{})
				if s.kind == "hanse" {
					Expect(err).NotTo(HaveOccurred())
				}
				if err == nil {
					read[r][p.ID] = eventID
				}
			}
		}
	}
	c.soon("who has read it", func(g Gomega, p *person) {
		for r, readers := range read {
			for reader, eventID := range readers {
				if in := p.rooms[r.ID]; in != nil && p.server.kind == "hanse" {
					g.Expect(in.receipts).To(HaveKeyWithValue(reader, eventID), "in %s of version %s", r.ID, r.version)
				}
			}
		}
	})
}

// soon checks of everybody, who is locked meanwhile, what they know.
func (c *chaos) soon(what string, check func(g Gomega, p *person)) {
	for _, p := range c.people {
		Eventually(func(g Gomega) {
			p.mu.Lock()
			defer p.mu.Unlock()
			check(g, p)
		}).WithTimeout(arriveWithin).WithPolling(100*time.Millisecond).Should(Succeed(), "%s: %s knows %s", c.round, p.ID, what)
	}
}

// told checks that what Hanse's users were told of a room is what one is told who begins now, by either kind of sync, and that those of one server
// were told the same since all agreed before: what was said beside a join may be hidden from who joined. Of several memberships
// of a user that are the same, any may have been told last (node/clientsync says why).
func (c *chaos) told(r *chaosRoom) {
	for _, s := range c.servers {
		if s.kind != "hanse" {
			continue
		}
		inside, err := c.inside(r, s)
		Expect(err).NotTo(HaveOccurred())
		var other *person
		for _, p := range c.crews[s] {
			Eventually(func(g Gomega) {
				now, err := p.afresh(c.t.Context())
				g.Expect(err).NotTo(HaveOccurred())
				room, joined := now.Rooms.Join[r.ID]
				_, invited := now.Rooms.Invite[r.ID]
				if inside != nil {
					all, err := members(c.t.Context(), inside.User, r.ID)()
					g.Expect(err).NotTo(HaveOccurred())
					g.Expect(joined).To(Equal(all[p.ID] == "join"), "is %q, as %s sees it", all[p.ID], inside.ID)
					g.Expect(invited).To(Equal(all[p.ID] == "invite"), "is %q, as %s sees it", all[p.ID], inside.ID)
				}
				slid, err := p.slides(c.t.Context())
				g.Expect(err).NotTo(HaveOccurred())
				var state []user.Event
				if joined {
					state, err = p.State(c.t.Context(), r.ID)
					g.Expect(err).NotTo(HaveOccurred())
				}
				p.mu.Lock()
				defer p.mu.Unlock()
				was := p.rooms[r.ID]
				g.Expect(was != nil).To(Equal(joined), "is in the room")
				g.Expect(p.invites[r.ID]).To(Equal(invited), "is invited")
				g.Expect(slid[r.ID].Membership == "join").To(Equal(joined), "is in the room by sliding sync")
				if !joined {
					return
				}
				slid[r.ID].is(g, room.Unread.Notifications, room.Unread.Highlights, state)
				g.Expect(was.notifications).To(Equal(room.Unread.Notifications), "notifications")
				g.Expect(was.highlights).To(Equal(room.Unread.Highlights), "highlights")
				for _, e := range state {
					if e.Type == "m.room.member" {
						g.Expect(was.members).To(HaveKeyWithValue(*e.StateKey, membership(e)))
					} else {
						g.Expect(was.state).To(HaveKeyWithValue(e.Type+" "+*e.StateKey, e.ID))
					}
				}
				if other != nil {
					other.mu.Lock()
					defer other.mu.Unlock()
					g.Expect(differ(was.timeline, other.rooms[r.ID].timeline, r.heard)).To(BeEmpty(), "and %s", other.ID)
				}
				other = p
			}).WithTimeout(patience).WithPolling(300*time.Millisecond).Should(Succeed(), "%s: what %s was told of %s", c.round, p.ID, r.ID)
		}
	}
}

// delivered checks what doesn't belong to rooms.
func (c *chaos) delivered() {
	c.soon("the messages to the device, each once and in order", func(g Gomega, p *person) {
		last := map[string]int{}
		for _, m := range p.got {
			g.Expect(m.Number).To(BeNumerically(">", last[m.From]), "from %s: %v", m.From, p.got)
			last[m.From] = m.Number
		}
		for m := range p.owed {
			g.Expect(p.got).To(ContainElement(m))
		}
	})
	for _, q := range c.people {
		var want map[string]string
		Eventually(func() (err error) {
			want, err = q.keysOf(c.t.Context(), q.ID)
			return err
		}).WithTimeout(patience).Should(Succeed())
		for _, p := range c.people {
			Eventually(func() (map[string]string, error) { return p.keysOf(c.t.Context(), q.ID) }).
				WithTimeout(arriveWithin).WithPolling(time.Second).Should(Equal(want), "the keys of %s for %s", q.ID, p.ID)
		}
		in := q.in()
		c.soon("the keys of "+q.ID, func(g Gomega, p *person) {
			if slices.ContainsFunc(in, func(id string) bool { return p.rooms[id] != nil }) {
				g.Expect(p.devices[q.ID]).To(Equal(want))
			}
		})
	}
	for _, f := range c.files {
		for _, s := range c.servers {
			p := c.crews[s][0]
			response, got := call(c.t.Context(), p.User, s, "GET", filePath+"download/"+f, "", nil)
			Expect(response.StatusCode).To(Equal(http.StatusOK), "%s of %s for %s", f, got, p.ID)
		}
	}
}
