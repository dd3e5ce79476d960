package stateres

import (
	"cmp"
	"errors"
	"iter"
	"slices"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
)

// unconflictedChain answers which events are in the auth chains of the unconflicted state map, without walking them,
// which in a large room would mean to load every member. All its answers are exact. It asks, in this order:
//
//  1. What the auth chains of the conflicted events lead to and is unconflicted. The current power levels, join rules
//     and senders are mostly there, and with them all of their past.
//  2. The unconflicted events with the same key as a candidate, which usually replaced it and cite it, and the
//     memberships of those it is about.
//  3. Those that cite a candidate, and those that cite these, until one is unconflicted or there are no more. What
//     happened on one branch only ends here: few events cite it. It takes a Source with Citations.
//  4. Without that, or if it doesn't know, all unconflicted events, until no candidate is left. An old join rule is soon found in this way.
//
// It is not enough to look at events which are newer than the candidate or in the future of it: depths and timestamps
// are claims, and an event may cite auth events of another branch.
type unconflictedChain struct{ *resolution }

// outside returns the candidates that are not in the auth chain of any unconflicted event, in any order.
func (u *unconflictedChain) outside(candidates []int) ([]int, error) {
	if len(candidates) == 0 {
		return nil, nil
	}
	var met []int
	for v := range u.pool.vertices {
		at := &u.pool.vertices[v]
		if !at.walked || at.event == nil {
			continue
		}
		is, err := u.conflict.isUnconflicted(at.event)
		if err != nil {
			return nil, err
		}
		if is {
			met = append(met, v)
		}
	}
	u.mark(met)
	candidates = u.remaining(candidates)
	if len(candidates) == 0 {
		return nil, nil
	}
	related, err := u.related(candidates)
	if err == nil {
		err = u.markChains(related)
	}
	if err != nil {
		return nil, err
	}
	candidates = u.remaining(candidates)
	citations, ok := u.pool.src.(Citations)
	if !ok || len(candidates) == 0 {
		return u.scan(candidates)
	}
	outside, undecided, err := u.searchCiting(candidates, citations)
	if err != nil {
		return nil, err
	}
	undecided, err = u.scan(undecided)
	return append(outside, undecided...), err
}

// mark notes that events are in the auth chain of an unconflicted event, with their own auth chains.
func (u *unconflictedChain) mark(from []int) {
	u.pool.descend(from, func(at *vertex) bool {
		was := at.cited
		at.cited = true
		return !was
	})
}

// markChains loads events of which that is so, and marks them.
func (u *unconflictedChain) markChains(ids []id.EventID) error {
	list := u.pool.numbered(ids)
	if err := u.pool.grow(list); err != nil {
		return err
	}
	u.mark(list)
	return nil
}

func (u *unconflictedChain) remaining(candidates []int) []int {
	var rest []int
	for _, v := range candidates {
		if !u.pool.vertices[v].cited {
			rest = append(rest, v)
		}
	}
	return rest
}

// related returns the unconflicted events that replaced the candidates, and the memberships of their senders.
func (u *unconflictedChain) related(candidates []int) ([]id.EventID, error) {
	var ids []id.EventID
	for _, v := range candidates {
		e := u.pool.vertices[v].event
		keys := []roomstate.Key{{Type: typeMember, StateKey: string(e.Sender())}}
		if key, ok := keyOf(e); ok {
			keys = append(keys, key)
		}
		for _, key := range keys {
			value, err := u.conflict.unconflicted(key)
			if err != nil {
				return nil, err
			}
			if value != "" {
				ids = append(ids, value)
			}
		}
	}
	return ids, nil
}

// searchCiting looks for an unconflicted event among those that cite each candidate, directly or not. It returns the
// candidates that have none, and those for which it can't tell.
func (u *unconflictedChain) searchCiting(candidates []int, citations Citations) (outside, undecided []int, err error) {
	// The deepest are cited the least, and what is found for one is found for its auth chain. An order that is wrong,
	// since depths may lie, costs only time.
	slices.SortFunc(candidates, func(a, b int) int {
		x, y := u.pool.vertices[a].event, u.pool.vertices[b].event
		return cmp.Or(cmp.Compare(y.Depth(), x.Depth()), cmp.Compare(x.ID(), y.ID()))
	})
	fruitless := map[id.EventID]bool{} // neither these nor what cites them is unconflicted
	for _, v := range candidates {
		if u.pool.vertices[v].cited {
			continue
		}
		s := &citingSearch{u: u, citations: citations, seen: fruitless}
		found, err := s.from(u.pool.vertices[v].event.ID())
		switch {
		case errors.Is(err, ErrCitationsUnknown):
			undecided = append(undecided, v)
		case err != nil:
			return nil, nil, err
		case found:
			u.mark([]int{v})
		default:
			outside = append(outside, v)
			continue
		}
		for _, e := range s.visited { // not all of what cites these was seen
			delete(fruitless, e)
		}
	}
	return u.remaining(outside), u.remaining(undecided), nil
}

// citingSearch is the search upwards from one event.
type citingSearch struct {
	u         *unconflictedChain
	citations Citations
	seen      map[id.EventID]bool
	visited   []id.EventID // added to seen
	waiting   []id.EventID // visited, but not what cites it
	batch     []id.EventID // visited, but not loaded
}

// from reports whether an unconflicted event is among those that cite the event, directly or not.
func (s *citingSearch) from(e id.EventID) (bool, error) {
	s.visit(e)
	s.waiting, s.batch = append(s.waiting, e), nil
	for len(s.waiting) > 0 {
		if len(s.seen) > maxCiting {
			return false, ErrCitationsUnknown
		}
		e := s.waiting[len(s.waiting)-1]
		s.waiting = s.waiting[:len(s.waiting)-1]
		for citing, err := range s.citations.CitedBy(e) {
			if err != nil {
				return false, err
			}
			s.visit(citing)
			if len(s.batch) >= batch {
				if found, err := s.load(); found || err != nil {
					return found, err
				}
			}
		}
		if found, err := s.load(); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

func (s *citingSearch) visit(e id.EventID) {
	if !s.seen[e] {
		s.seen[e] = true
		s.visited = append(s.visited, e)
		s.batch = append(s.batch, e)
	}
}

// load looks at the events of the batch, and reports whether one is unconflicted.
func (s *citingSearch) load() (bool, error) {
	ids := s.batch
	s.batch = nil
	list := s.u.pool.numbered(ids)
	if err := s.u.pool.load(list); err != nil {
		return false, err
	}
	for i, citing := range ids {
		e := s.u.pool.vertices[list[i]].event
		if e == nil || !e.IsState() { // who cites a message event is rejected
			continue
		}
		if is, err := s.u.conflict.isUnconflicted(e); is || err != nil {
			return is, err
		}
		s.waiting = append(s.waiting, citing)
	}
	return false, nil
}

// scan looks at all unconflicted events, until no candidate remains: members last, since they are the most. Their
// events are not kept.
func (u *unconflictedChain) scan(candidates []int) ([]int, error) {
	var ids []id.EventID
	look := func() error {
		found, err := u.pool.src.Events(ids)
		if err != nil {
			return err
		}
		var auth []id.EventID
		for _, e := range ids {
			if e := found[e]; e != nil {
				auth = append(auth, unmarked(u, e)...)
			}
		}
		ids = ids[:0]
		err = u.markChains(auth)
		candidates = u.remaining(candidates)
		return err
	}
	for _, members := range []bool{false, true} {
		for e, err := range u.entries(members) {
			if err != nil || len(candidates) == 0 {
				return nil, err
			}
			if (e.Type == typeMember) != members || u.conflict.find(e.Key) >= 0 {
				continue
			}
			if ids = append(ids, e.Event); len(ids) >= batch {
				if err := look(); err != nil {
					return nil, err
				}
			}
		}
	}
	if len(candidates) > 0 && len(ids) > 0 {
		if err := look(); err != nil {
			return nil, err
		}
	}
	return candidates, nil
}

// unmarked returns the auth events of e that are not known to be in the auth chain of an unconflicted event.
func unmarked(u *unconflictedChain, e *event.Event) []id.EventID {
	var ids []id.EventID
	for _, auth := range e.AuthEvents() {
		if v, ok := u.pool.numbers[auth]; !ok || !u.pool.vertices[v].cited {
			ids = append(ids, auth)
		}
	}
	return ids
}

// entries iterates over the memberships of the state, or over all of it.
func (u *unconflictedChain) entries(members bool) iter.Seq2[roomstate.Entry, error] {
	if members {
		return u.conflict.states[0].OfType(typeMember)
	}
	return u.conflict.states[0].Entries()
}
