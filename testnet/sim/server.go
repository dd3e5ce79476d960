package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/testnet/wholestate"
)

// server is one homeserver: a machine, and what survives it.
type server struct {
	n       *network
	name    id.ServerName
	store   *store
	m       *room.Machine // nil: never in the room
	skew    time.Duration // its clock is off by that
	users   []id.UserID   // the first is the steward, whom nobody throws out; the others are citizens
	acked   map[id.EventID]bool
	dropped map[id.EventID]bool // acknowledged, then given up with a verdict
	reopens bool                // after each second step its machine reads the state anew
	leave   id.EventID          // by which it left the room the last time
	saved   *backup             // nil: none
}

func newServer(n *network, i int) *server {
	name := names(i + 1)[i]
	unit := time.Minute
	if n.rand.IntN(8) == 0 {
		unit = time.Hour
	}
	s := &server{
		n: n, name: name, store: newStore(n.rules), skew: time.Duration(n.rand.IntN(20)-10) * unit,
		acked: make(map[id.EventID]bool), dropped: make(map[id.EventID]bool),
	}
	for _, user := range []string{"steward", "ada", "ben"} {
		s.users = append(s.users, id.UserID("@"+user+":"+string(name)))
	}
	return s
}

// names are those of the first servers.
func names(count int) []id.ServerName {
	list := make([]id.ServerName, count)
	for i := range list {
		list[i] = id.ServerName(fmt.Sprint("s", i))
	}
	return list
}

func (s *server) steward() id.UserID { return s.users[0] }

func (s *server) resident() bool { return s.m != nil && s.store.resident }

// present tells whether the server's steward is in the room, as far as the server knows. Without him it may be resident by a citizen, but
// the branch that he is on may be one that others don't follow.
func (s *server) present() bool { return s.resident() && s.membership(s.steward()) == "join" }

// step steps the machine and makes its commit durable; false: the server crashed before that.
func (s *server) step(in room.Input) (room.Result, bool, error) {
	result, err := s.m.Step(s.n.now.Add(s.skew), in, s.store)
	if err != nil {
		s.n.told.stepped(s, in, result)
		return result, false, s.n.failAt(s, "a machine fails", "%s: %T: %v", s.name, in, err)
	}
	if s.n.chance(s.n.cfg.Faults.Crash) {
		s.n.trace("%s crashes before it has stored %T", s.name, in)
		s.n.told.restarts(s)
		return result, false, s.restart()
	}
	if err := s.sound(result); err != nil {
		return result, false, err
	}
	for _, c := range result.Commit.Events {
		s.n.knows(c.Event)
	}
	mended := s.store.mended
	s.store.apply(result.Commit)
	if s.n.cfg.stored != nil {
		if err := s.n.cfg.stored(s, result.Commit); err != nil {
			return result, true, s.n.failAt(s, "what is stored isn't what was decided", "%s: %T: %v", s.name, in, err)
		}
	}
	if s.reopens = !s.reopens; s.reopens {
		s.m.Reopen(wholestate.Stored(s.m.Current()), s.store.given)
	}
	s.n.report.Mended += s.store.mended - mended
	s.n.told.stepped(s, in, result)
	s.note(in, result)
	if err := s.kept(in, result); err != nil {
		return result, true, err
	}
	for _, f := range result.Fetch {
		s.n.flying = append(s.n.flying, flight{server: s, fetch: f})
	}
	if s.n.chance(s.n.cfg.Faults.Crash) {
		s.n.trace("%s crashes after it has stored %T", s.name, in)
		s.n.told.restarts(s)
		return result, true, s.restart()
	}
	return result, true, nil
}

// restart loads the machine from what is stored. Answers to the old one's fetches may still come in.
func (s *server) restart() error {
	s.n.report.Crashes++
	s.n.report.Restaged += len(s.store.staged)
	if s.store.roomID == "" {
		s.m = nil
		return nil
	}
	s.m = room.Load(s.name, s.store.snapshot())
	if len(s.store.staged) == 0 {
		return nil
	}
	_, _, err := s.step(room.Resume{})
	return err
}

// sound checks a result by itself.
func (s *server) sound(r room.Result) error {
	if !s.m.Current().Equal(r.Commit.Current) || !slices.Equal(s.m.Forward(), r.Commit.Forward) {
		return s.n.failAt(s, "a machine and its commit differ", "%s", s.name)
	}
	differs := 0
	for change := range wholestate.Diff(s.store.current, r.Commit.Current) {
		if differs++; !slices.Contains(r.Commit.Changes, room.StateChange{Key: change.Key, Old: change.Old, New: change.New}) {
			return s.n.failAt(s, "the changes don't lead to the new state", "%s: %v", s.name, change)
		}
	}
	if differs != len(r.Commit.Changes) {
		return s.n.failAt(s, "a change doesn't fit the state", "%s: %d of %d do", s.name, differs, len(r.Commit.Changes))
	}
	placed := make(map[id.EventID]bool)
	for _, c := range r.Commit.Events {
		placed[c.Event.ID()] = true
	}
	for _, c := range r.Commit.Events {
		old, known := s.store.events[c.Event.ID()]
		if has := known && !old.Outlier; c.Again != has {
			return s.n.failAt(s, "an event gets a second place, or is judged again without one", "%s: %s", s.name, c.Event.ID())
		}
		delete(placed, c.Event.ID())
		for _, p := range c.Event.PrevEvents() {
			if placed[p] && !c.Outlier && !c.Gap && !c.Again {
				return s.n.failAt(s, "an event is stored before its prev event", "%s: %s", s.name, c.Event.ID())
			}
		}
	}
	return nil
}

// kept checks a step by what is stored after it: what is acknowledged now, and what was staged, is judged, staged, or was given up with a
// verdict. Others might bring it again as the ancestor of something, so that at the end of a run nobody would miss it.
func (s *server) kept(in room.Input, r room.Result) error {
	ids := r.Commit.Unstage
	if receive, ok := in.(room.Receive); ok {
		for _, e := range receive.Events {
			ids = append(ids[:len(ids):len(ids)], e.ID())
		}
	}
	for _, e := range ids {
		c, ok := s.store.events[e]
		if ok && !c.Outlier || s.dropped[e] || slices.ContainsFunc(s.store.staged, func(x *event.Event) bool { return x.ID() == e }) {
			continue
		}
		return s.n.failAt(s, "an acknowledged event isn't kept", "%s at %s", e, s.name)
	}
	if s.n.rules.EventIDs == roomversion.EventIDGiven {
		return nil // events can be above and below each other
	}
	for _, e := range s.store.forward {
		if top := s.standing(e); top != "" {
			return s.n.failAt(s, "an event below an accepted one is a forward extremity", "%s at %s, below %s", e, s.name, top)
		}
	}
	for _, e := range s.store.forward {
		s.store.been[e] = true
	}
	return nil
}

// standing is an accepted event by which another one should be no forward extremity; "" for none: one that names it and was an extremity itself,
// with the state that follows from what it names, or, of a new one, any that has it as an ancestor by the events that were here before it.
func (s *server) standing(e id.EventID) id.EventID {
	for _, child := range s.store.children[e] {
		if c := s.store.events[child]; c.Status == room.Accepted && s.store.been[child] && !c.Given {
			return child
		}
	}
	if s.store.been[e] {
		return ""
	}
	before := s.store.order[:slices.Index(s.store.order, e)]
	seen := map[id.EventID]bool{}
	for queue := []id.EventID{e}; len(queue) > 0; queue = queue[1:] {
		for _, child := range s.store.children[queue[0]] {
			if seen[child] || !slices.Contains(before, child) {
				continue
			}
			if s.store.events[child].Status == room.Accepted {
				return child
			}
			seen[child] = true
			queue = append(queue, child)
		}
	}
	return ""
}

func (s *server) note(in room.Input, r room.Result) {
	s.n.count(r)
	if receive, ok := in.(room.Receive); ok {
		for _, e := range receive.Events {
			s.acked[e.ID()] = true
			delete(s.dropped, e.ID())
		}
	}
	for _, v := range r.Verdicts {
		if v.Status == room.Dropped {
			s.dropped[v.EventID] = true
		}
		if s.n.cfg.Trace == nil {
			continue
		}
		s.n.trace("  %s: %s %s duplicate=%v %s", s.name, v.EventID, v.Status, v.Duplicate, v.Reason)
	}
	for _, c := range r.Commit.Events {
		if c.Event.Is("m.room.member", string(s.steward())) && c.Event.Membership() == "leave" && !c.Outlier && !c.Backfilled {
			s.leave = c.Event.ID()
		}
		if s.n.cfg.Trace == nil {
			continue
		}
		key, _ := c.Event.StateKey()
		s.n.trace("  %s stores %s %s %s by %s %s, prev %v: %s outlier=%v gap=%v", s.name, c.Event.ID(), c.Event.Type(), key,
			c.Event.Sender(), c.Event.Content(), c.Event.PrevEvents(), c.Status, c.Outlier, c.Gap)
	}
	for _, f := range r.Fetch {
		s.n.trace("  %s asks %v: %s at %s below %v", s.name, f.From, f.Kind, f.At, f.Latest)
	}
	if len(r.Commit.Forward) > 1 {
		s.n.report.Merges++
	}
}

// propose makes own events; a refusal is fine. Membership of stewards goes by the true time: with clocks apart, a leave and the invite
// and join after it may change places when branches merge, which puts a server out of the room without its knowing.
func (s *server) propose(drafts ...event.Draft) error {
	for i, d := range drafts {
		if d.StateKey != nil && strings.HasPrefix(*d.StateKey, "@steward:") {
			drafts[i].OriginServerTS = s.n.now.UnixMilli()
		}
	}
	s.n.trace("%s proposes %s by %s: %s", s.name, drafts[0].Type, drafts[0].Sender, drafts[0].Content)
	_, _, err := s.step(room.Propose{Drafts: drafts, Key: s.n.key})
	return err
}

// membership is a user's in this server's view.
func (s *server) membership(user id.UserID) string {
	e, ok := wholestate.Get(s.store.current, "m.room.member", string(user))
	if !ok {
		return "leave"
	}
	return s.store.events[e].Event.Membership()
}
