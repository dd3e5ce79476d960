package room

import (
	"maps"
	"slices"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

// forward is the set of forward extremities: accepted events that no accepted event has as an ancestor, as far as we know, but for those that
// keep has left. A value: its methods return changed copies.
type forward struct {
	list  []id.EventID // sorted; never changed in place
	depth int64        // the greatest depth among them
}

func newForward(events []id.EventID, depth int64) forward {
	list := slices.Clone(events)
	slices.Sort(list)
	return forward{list: slices.Compact(list), depth: depth}
}

func (f forward) ids() []id.EventID { return slices.Clone(f.list) }

func (f forward) has(e id.EventID) bool {
	_, ok := slices.BinarySearch(f.list, e)
	return ok
}

func (f forward) without(gone func(id.EventID) bool) forward {
	list := make([]id.EventID, 0, len(f.list)+1)
	for _, e := range f.list {
		if !gone(e) {
			list = append(list, e)
		}
	}
	return forward{list: list, depth: f.depth}
}

func (f forward) with(e id.EventID) forward {
	at, found := slices.BinarySearch(f.list, e)
	if found {
		return f
	}
	return forward{list: slices.Insert(slices.Clone(f.list), at, e), depth: f.depth}
}

// extend makes an accepted event an extremity, unless an accepted event above it is known, and removes those below it. One that was refused
// removes those below it where an accepted event stands on it: that has them as ancestors. So does history.
func (s *step) extend(c *Committed) error {
	if c.Given {
		s.m.arrivals.given(c.Event)
	}
	e := c.Event
	above, err := s.isBelow(e)
	if above = above || c.Backfilled; err != nil || c.Status != Accepted && !above {
		return err
	}
	below, err := s.below(c)
	if err != nil {
		return err
	}
	if above && s.m.rules.EventIDs == roomversion.EventIDGiven {
		if err := s.spare(below, e.ID()); err != nil {
			return err
		}
	}
	next := s.forward.without(func(x id.EventID) bool { return below[x] != notBelow })
	if !above && s.strays(e, next) {
		return nil
	}
	if !above {
		next = next.with(e.ID())
	}
	if next, err = s.keep(next, func(x id.EventID) bool {
		if above {
			return below[x] != notBelow && s.m.arrivals.beforeNaming(x, e.ID())
		}
		return below[x] == byWord && s.m.arrivals.beforeLast(x)
	}); err != nil {
		return err
	}
	if len(next.list) > len(s.forward.list) {
		if crowded, err := s.crowded(e.Sender().Server(), next.list); crowded || err != nil {
			return err
		}
	}
	if !above {
		s.m.arrivals.came(c, s.forward, next)
	}
	switch {
	case slices.Equal(next.list, s.forward.list):
		return nil
	case !above && e.Depth() >= s.forward.depth:
		next.depth = e.Depth()
	default:
		if next.depth, err = s.greatestDepth(next.list); err != nil {
			return err
		}
	}
	s.forward, s.stale = next, true
	return nil
}

// keep gives the extremities that are to follow, and with them those doubtful ones of now without which the room would have another state: those
// that are below another event by the word of a server alone, which gave the state there, and were here before that. Otherwise any server in the
// room could take away what others have set, the power levels too, by an event that names something hidden beside theirs. What is kept so is
// merged by an event of ours, and so the state before that is the same for all.
func (s *step) keep(next forward, doubtful func(id.EventID) bool) (forward, error) {
	more := next
	for _, e := range s.forward.list {
		if doubtful(e) {
			more = more.with(e)
		}
	}
	if len(more.list) == len(next.list) {
		return next, nil
	}
	with, err := s.stateAfterAll(more.list)
	if err != nil {
		return next, err
	}
	without, err := s.stateAfterAll(next.list)
	if err != nil || with.Equal(without) {
		return next, err
	}
	return more, nil
}

// arrivals tells what came first since the machine was loaded: extremities, or events before which another server gave the state. What came after
// such an event, and is below it, may be old: merged, it would bring back the state of then.
type arrivals struct {
	count       int
	last        int                // the last event whose state was given
	named       map[id.EventID]int // prev events of such events: the last one that names them
	extremities map[id.EventID]int
}

// given notes an event before which another server gave the state.
func (a *arrivals) given(e *event.Event) {
	a.count++
	a.last = a.count
	if a.named == nil || len(a.named) > maxNamed {
		a.named = make(map[id.EventID]int)
	}
	for _, p := range e.PrevEvents() {
		a.named[p] = a.count
	}
}

// came notes an event that has become an extremity, in the place of those of before that aren't any more, and so counts as here since they were:
// otherwise anything said in the room would take from them that they were here first. One beside an event whose state was given, below which
// both name the same, came no later than that; but such an event itself was not here before it came, nor is what stands on it.
func (a *arrivals) came(c *Committed, before, now forward) {
	e := c.Event
	a.count++
	came := a.count
	for _, x := range before.list {
		if !now.has(x) {
			came = min(came, a.extremities[x])
			delete(a.extremities, x)
		}
	}
	for _, p := range e.PrevEvents() {
		if by, ok := a.named[p]; ok && !c.Given {
			came = min(came, by)
		}
	}
	if a.extremities == nil {
		a.extremities = make(map[id.EventID]int)
	}
	a.extremities[e.ID()] = came
	if len(a.extremities) > len(now.list) {
		maps.DeleteFunc(a.extremities, func(x id.EventID, _ int) bool { return !now.has(x) })
	}
}

// beforeLast tells whether an extremity may have been here before any event whose state was given.
func (a *arrivals) beforeLast(extremity id.EventID) bool { return a.extremities[extremity] <= a.last }

// beforeNaming tells whether it may have been here before those that name an event.
func (a *arrivals) beforeNaming(extremity, named id.EventID) bool {
	if by, ok := a.named[named]; ok {
		return a.extremities[extremity] <= by
	}
	return a.beforeLast(extremity)
}

// crowded tells whether more than maxForward of the extremities are of users of one server. An event of theirs that would be one more becomes
// none then, and those below it stay: letting go of another one would lose with it what others had set and it stood on, a ban among it. What
// goes on from the event has it in the room.
func (s *step) crowded(server id.ServerName, extremities []id.EventID) (bool, error) {
	if len(extremities) <= maxForward {
		return false, nil
	}
	if err := s.load(extremities); err != nil {
		return false, err
	}
	theirs := 0
	for _, e := range extremities {
		stored, ok, err := s.stored(e)
		if err != nil {
			return false, err
		}
		if ok && stored.Event.Sender().Server() == server {
			theirs++
		}
	}
	return theirs > maxForward, nil
}

// isBelow tells whether e, which gets its place, is known to be an ancestor of an accepted event: one names it, or it is in the state that
// follows from the extremities, though none of them.
func (s *step) isBelow(e *event.Event) (bool, error) {
	if key, ok := e.StateKey(); ok && !s.stale {
		at, err := s.current.Event(e.Type(), key)
		if err != nil || at == e.ID() {
			return err == nil, err
		}
	}
	return s.isReferenced(e.ID())
}

// beneath says how an event is below another one.
type beneath int

const (
	notBelow beneath = iota
	byState          // the state after the other one is made of that after it
	byWord           // by the word of a server, which gave a state in between
)

// below are the events directly below one, and directly below the soft-failed and rejected ones there: those aren't extremities
// themselves, so an extremity under them is an ancestor of the event all the same. What isn't there yet is noted: it will be none when it comes.
func (s *step) below(c *Committed) (map[id.EventID]beneath, error) {
	type above struct {
		Stored
		how beneath
	}
	found := make(map[id.EventID]beneath, len(c.Event.PrevEvents()))
	for queue := []above{{c.Stored(), byState}}; len(queue) > 0 && len(found) < maxWalk; queue = queue[1:] {
		child := queue[0]
		if child.Given {
			child.how = byWord
		}
		for _, p := range child.Event.PrevEvents() {
			if found[p] == byState || found[p] == child.how {
				continue
			}
			first := found[p] == notBelow
			found[p], s.above[p] = child.how, true
			delete(s.m.strays, p)
			if s.forward.has(p) {
				continue // accepted
			}
			stored, ok, err := s.stored(p)
			switch {
			case err != nil:
				return nil, err
			case ok && !stored.Outlier && stored.Status != Accepted:
				queue = append(queue, above{stored, child.how})
			case (!ok || stored.Outlier) && child.Status != Accepted && first:
				s.result.Commit.Lacking = append(s.result.Commit.Lacking, Lack{Event: p, Child: child.Event.ID(), Depth: child.Event.Depth()})
			}
		}
	}
	return found, nil
}

// spare takes extremities that are above e, and below it at the same time, out of a set. Where servers choose IDs that is possible: what is
// between was skipped by a given state. Taken away, such an extremity would be covered by nothing, since e is none. One that can't be told
// to be another's descendant within the bound is spared too: should it be an ancestor, it is merged by our next event.
func (s *step) spare(set map[id.EventID]beneath, e id.EventID) error {
	for top := range set {
		if !s.forward.has(top) {
			continue
		}
		above, err := s.mayStandOn(top, e)
		if err != nil {
			return err
		}
		if above {
			delete(set, top)
		}
	}
	return nil
}

// mayStandOn tells whether e is an ancestor of top, or whether it takes more than maxWalk events to know.
func (s *step) mayStandOn(top, e id.EventID) (bool, error) {
	seen := map[id.EventID]bool{top: true}
	for queue := []id.EventID{top}; len(queue) > 0; queue = queue[1:] {
		stored, ok, err := s.stored(queue[0])
		if err != nil {
			return false, err
		}
		if !ok || stored.Outlier {
			continue
		}
		for _, prev := range stored.Event.PrevEvents() {
			if prev == e || len(seen) > maxWalk {
				return true, nil
			}
			if !seen[prev] {
				seen[prev] = true
				queue = append(queue, prev)
			}
		}
	}
	return false, nil
}

func (s *step) greatestDepth(ids []id.EventID) (int64, error) {
	depth := int64(0)
	if err := s.load(ids); err != nil {
		return 0, err
	}
	for _, e := range ids {
		stored, ok, err := s.stored(e)
		if err != nil {
			return 0, err
		}
		if ok {
			depth = max(depth, stored.Event.Depth())
		}
	}
	return depth, nil
}

// newest are at most n of the extremities, those of greatest depth: what an own event merges.
func (s *step) newest(n int) ([]id.EventID, error) {
	if len(s.forward.list) <= n {
		return s.forward.ids(), nil
	}
	if err := s.load(s.forward.list); err != nil {
		return nil, err
	}
	list := s.forward.ids()
	depths := make(map[id.EventID]int64, len(list))
	for _, e := range list {
		stored, ok, err := s.stored(e)
		if err != nil {
			return nil, err
		}
		if ok {
			depths[e] = stored.Event.Depth()
		}
	}
	slices.SortStableFunc(list, func(a, b id.EventID) int {
		switch {
		case depths[a] > depths[b]:
			return -1
		case depths[a] < depths[b]:
			return 1
		}
		return 0
	})
	list = list[:n]
	slices.Sort(list)
	return list, nil
}
