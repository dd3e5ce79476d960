package sim

import (
	"maps"
	"slices"

	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/federation/stateres"
	"hanse/testnet/wholestate"
)

// check holds the end of a run against the invariants.
func (n *network) check() error {
	first := n.servers[0]
	for _, s := range n.servers {
		if !s.present() {
			continue
		}
		if s.leave != "" && first.membership(s.steward()) != "join" {
			// State resolution took the leave for later than the join after it (a merge of branches with other power levels can do that),
			// and the server doesn't know it is out.
			if !n.standsOn(s.store.forward, s.leave) {
				return n.failAt(s, "a server that came back has forgotten its leave, by which it is out", "%s at %s", s.leave, s.name)
			}
			n.report.Reset++
			continue
		}
		if n.stranded(s) {
			n.report.Stranded++
			continue
		}
		for _, check := range []func(*server) error{n.wholeState, n.sameRoom, n.sameGraph, n.nothingLost, n.soundState, n.bansHold} {
			if err := check(s); err != nil {
				return err
			}
		}
	}
	n.trace("all agree on %v", first.store.forward)
	n.report.Subgraphs += n.subgraphs(first)
	return nil
}

// standsOn tells whether one of some events is another, or has it as an ancestor, by all that any server has stored.
func (n *network) standsOn(events []id.EventID, on id.EventID) bool {
	seen := map[id.EventID]bool{}
	for queue := slices.Clone(events); len(queue) > 0; queue = queue[1:] {
		if queue[0] == on {
			return true
		}
		for _, s := range n.servers {
			for _, p := range s.prev(queue[0]) {
				if !seen[p] {
					seen[p] = true
					queue = append(queue, p)
				}
			}
		}
	}
	return false
}

// stranded tells whether nobody can give a server the whole state any more, nor take what it says: those who knew what its join stands on
// have left the room without telling the others.
func (n *network) stranded(s *server) bool {
	if s.store.partial == nil {
		return false
	}
	for _, other := range n.servers {
		if !other.whole() {
			continue
		}
		lacking := 0
		for _, p := range s.prev(s.store.partial.Join) {
			if other.lacks(p) {
				lacking++
			}
		}
		if lacking == 0 {
			return false
		}
	}
	return true
}

// wholeState: nobody is left with a part of the state.
func (n *network) wholeState(s *server) error {
	if s.store.partial != nil {
		return n.failAt(s, "the state is never whole", "of %s", s.name)
	}
	return nil
}

// bansHold: no join is accepted of who is banned before it.
func (n *network) bansHold(s *server) error {
	for _, e := range s.store.order {
		c := s.store.events[e]
		user, isState := c.Event.StateKey()
		if c.Status == room.Rejected || !isState || c.Event.Type() != "m.room.member" || c.Event.Membership() != "join" {
			continue
		}
		if at, ok := wholestate.Get(c.Before, "m.room.member", user); ok && s.store.events[at].Event.Membership() == "ban" {
			return n.failAt(s, "somebody who is banned joins", "%s by %s at %s", user, e, s.name)
		}
	}
	return nil
}

// subgraphs counts the merges of a server in which state resolution v2.1 has more to look at than v2 would.
func (n *network) subgraphs(s *server) (count int) {
	if n.rules.StateResolution != roomversion.StateResolutionV21 {
		return 0
	}
	for _, e := range s.store.order {
		if prev := s.store.events[e].Event.PrevEvents(); len(prev) > 1 && s.between(s.conflicted(prev)) {
			count++
		}
	}
	return count
}

// conflicted are the events of the states after some events that not all of these states have.
func (s *server) conflicted(prev []id.EventID) map[id.EventID]bool {
	conflicted := make(map[id.EventID]bool)
	first := s.store.events[prev[0]].After
	for _, p := range prev[1:] {
		for change := range wholestate.Diff(first, s.store.events[p].After) {
			for _, e := range []id.EventID{change.Old, change.New} {
				if e != "" {
					conflicted[e] = true
				}
			}
		}
	}
	return conflicted
}

// between tells whether an event that isn't conflicted is on a path of auth events between two that are.
func (s *server) between(conflicted map[id.EventID]bool) bool {
	below := make(map[id.EventID]bool) // whether an event rests on a conflicted one
	var rests func(e id.EventID) bool
	found := false
	rests = func(e id.EventID) bool {
		if known, seen := below[e]; seen {
			return known
		}
		any := false
		for _, a := range s.store.events[e].Event.AuthEvents() {
			on := rests(a)
			found = found || on && !conflicted[a]
			any = any || on || conflicted[a]
		}
		below[e] = any
		return any
	}
	for e := range conflicted {
		rests(e)
	}
	return found
}

// sameRoom: all servers have the same forward extremities and the same current state.
func (n *network) sameRoom(s *server) error {
	first := n.servers[0]
	if !slices.Equal(s.store.forward, first.store.forward) {
		return n.failAt(s, "forward extremities differ", "%s has %v, %s has %v", first.name, first.store.forward, s.name, s.store.forward)
	}
	for change := range wholestate.Diff(first.store.current, s.store.current) {
		return n.failAt(s, "current states differ", "%v: %s has %q, %s has %q", change.Key, first.name, change.Old, s.name, change.New)
	}
	return nil
}

// sameGraph: what a server has in common with the first, it judges in the same way, but for soft failures, which depend on when an event
// came; and the states after it are the same.
func (n *network) sameGraph(s *server) error {
	first := n.servers[0]
	for _, e := range s.store.order {
		mine, theirs := s.store.events[e], first.store.events[e]
		if theirs.Event == nil || theirs.Outlier {
			continue
		}
		if (mine.Status == room.Rejected) != (theirs.Status == room.Rejected) {
			return n.failAt(s, "an event is judged differently", "%s: %s: %s %s; %s: %s %s", e, first.name, theirs.Status, theirs.Reason, s.name, mine.Status, mine.Reason)
		}
		if !mine.After.Equal(theirs.After) {
			return n.failAt(s, "states after an event differ", "%s at %s and %s", e, first.name, s.name)
		}
	}
	return nil
}

// nothingLost: what was acknowledged is stored, or was given up with a verdict; nothing waits any more.
func (n *network) nothingLost(s *server) error {
	for _, e := range slices.Sorted(maps.Keys(s.acked)) {
		if c, ok := s.store.events[e]; (!ok || c.Outlier) && !s.dropped[e] {
			return n.failAt(s, "an acknowledged event is gone", "%s at %s", e, s.name)
		}
	}
	if s.m.Waiting() > 0 || len(s.store.staged) > 0 {
		return n.failAt(s, "events still wait", "%d at %s, %d staged", s.m.Waiting(), s.name, len(s.store.staged))
	}
	return nil
}

// soundState: the current state is the resolution over the forward extremities, its events have its keys, and the servers counted are
// those with joined members.
func (n *network) soundState(s *server) error {
	var states []roomstate.Map
	for _, e := range s.store.forward {
		states = append(states, s.store.events[e].After)
	}
	current, err := stateres.Resolve(n.rules, states, authSource{s.store})
	if err != nil || !current.Equal(s.store.current) {
		return n.failAt(s, "the current state isn't that of the forward extremities", "at %s: %v", s.name, err)
	}
	joined := make(map[id.ServerName]int)
	for key, e := range wholestate.All(s.store.current) {
		c, ok := s.store.events[e]
		if !ok || !c.Event.Is(key.Type, key.StateKey) || c.Status == room.Rejected {
			return n.failAt(s, "the state has an event that isn't its", "%v: %s at %s", key, e, s.name)
		}
		if key.Type == "m.room.member" && c.Event.Membership() == "join" {
			joined[id.UserID(key.StateKey).Server()]++
		}
	}
	if !maps.Equal(joined, s.store.servers) {
		return n.failAt(s, "members are counted wrong", "at %s: %v, should be %v", s.name, s.store.servers, joined)
	}
	return nil
}
