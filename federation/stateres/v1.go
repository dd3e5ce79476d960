package stateres

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"errors"
	"math"
	"slices"

	"hanse/federation/authrules"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
)

// resolveV1 is state resolution v1. Conflicts are resolved key by key, in passes; what a pass resolved counts from the
// next one on.
//
// spec:rooms/v1#state-resolution
func (r *resolution) resolveV1() (roomstate.Map, error) {
	r.pool.keep = math.MaxInt // no auth chain is read
	if err := r.pool.load(r.conflict.conflicted()); err != nil {
		return roomstate.Map{}, err
	}
	// R is the union of the states, excluding conflicting events.
	s := &v1State{r: r, resolved: map[roomstate.Key]*event.Event{}, trial: map[roomstate.Key]*event.Event{}}
	conflicts := s.conflicts()
	if err := s.prefetch(conflicts); err != nil {
		return roomstate.Map{}, err
	}
	// Power levels, join rules and members each decide what the next are checked against.
	for _, typ := range []string{typePowerLevels, typeJoinRules, typeMember} {
		err := s.pass(conflicts, s.resolveAuthEvents, func(key roomstate.Key) bool {
			return key.Type == typ && (typ != typePowerLevels || key.StateKey == "")
		})
		if err != nil {
			return roomstate.Map{}, err
		}
	}
	// No other events affect the authorisation rules.
	if err := s.pass(conflicts, s.resolveOther, func(roomstate.Key) bool { return true }); err != nil {
		return roomstate.Map{}, err
	}
	return s.result()
}

// v1State is R.
type v1State struct {
	r        *resolution
	alone    map[roomstate.Key]id.EventID   // in some states, and the same in these: no conflict
	left     map[roomstate.Key]id.EventID   // the only candidate of a conflict that is known; nothing is checked against it
	resolved map[roomstate.Key]*event.Event // by the passes so far
	trial    map[roomstate.Key]*event.Event // of the key that is being resolved
}

// conflicts returns the keys for which states have different events, with these. Events that the source does not have
// and rejected ones don't count.
func (s *v1State) conflicts() map[roomstate.Key][]*event.Event {
	s.alone, s.left = map[roomstate.Key]id.EventID{}, map[roomstate.Key]id.EventID{}
	conflicts := map[roomstate.Key][]*event.Event{}
	for _, k := range s.r.conflict.keys {
		key := k.key
		if len(k.events) == 1 {
			s.alone[key] = s.r.pool.vertices[k.events[0]].id
			continue
		}
		var events []*event.Event
		for _, v := range k.events {
			if e := s.r.pool.vertices[v].event; e != nil && !s.r.pool.rejected(e.ID()) {
				events = append(events, e)
			}
		}
		switch len(events) {
		case 0:
		case 1:
			s.left[key] = events[0].ID()
		default:
			conflicts[key] = events
		}
	}
	return conflicts
}

// prefetch loads what the checks will need, all at once.
func (s *v1State) prefetch(conflicts map[roomstate.Key][]*event.Event) error {
	var list []int
	for key, events := range conflicts {
		for _, e := range events {
			for _, needed := range authrules.Selection(s.r.rules, key.Type, &key.StateKey, e.Sender(), e.Content()) {
				value, err := s.unresolved(needed)
				if err != nil {
					return err
				}
				if value != "" {
					list = append(list, s.r.pool.number(value))
				}
			}
		}
	}
	return s.r.pool.load(list)
}

// pass resolves the conflicts of those keys that are asked for and not resolved yet.
func (s *v1State) pass(conflicts map[roomstate.Key][]*event.Event, resolve func(roomstate.Key, []*event.Event) (*event.Event, error),
	wanted func(roomstate.Key) bool) error {
	resolved := map[roomstate.Key]*event.Event{}
	for key, events := range conflicts {
		if s.resolved[key] != nil || !wanted(key) {
			continue
		}
		e, err := resolve(key, ascending(events))
		if err != nil {
			return err
		}
		resolved[key] = e
	}
	for key, e := range resolved {
		s.resolved[key] = e
	}
	return nil
}

// ascending sorts by ascending depth, then descending SHA-1 of the event ID.
func ascending(events []*event.Event) []*event.Event {
	sorted := slices.Clone(events)
	slices.SortFunc(sorted, func(x, y *event.Event) int {
		if c := cmp.Compare(x.Depth(), y.Depth()); c != 0 {
			return c
		}
		hashX, hashY := sha1.Sum([]byte(x.ID())), sha1.Sum([]byte(y.ID()))
		return bytes.Compare(hashY[:], hashX[:])
	})
	return sorted
}

// resolveAuthEvents takes the first event, and the next ones as long as each is allowed in the state with the one
// before.
func (s *v1State) resolveAuthEvents(key roomstate.Key, events []*event.Event) (*event.Event, error) {
	defer clear(s.trial)
	last := events[0]
	for _, e := range events[1:] {
		s.trial[key] = last
		allowed, err := s.allows(e)
		if err != nil {
			return nil, err
		}
		if !allowed {
			break
		}
		last = e
	}
	return last, nil
}

// resolveOther takes the last event that is allowed, or the first one if none is.
func (s *v1State) resolveOther(_ roomstate.Key, events []*event.Event) (*event.Event, error) {
	for _, e := range slices.Backward(events) {
		if allowed, err := s.allows(e); allowed || err != nil {
			return e, err
		}
	}
	return events[0], nil
}

func (s *v1State) allows(e *event.Event) (bool, error) {
	err := authrules.Check(e, s.r.memo.Over(s))
	var rejection *authrules.Rejection
	if errors.As(err, &rejection) {
		return false, nil
	}
	return err == nil, err
}

// unresolved returns what R has before the passes, "" for nothing.
func (s *v1State) unresolved(key roomstate.Key) (id.EventID, error) {
	if value, ok := s.alone[key]; ok {
		return value, nil
	}
	return s.r.conflict.unconflicted(key)
}

// StateEvent makes v1State an authrules.State.
func (s *v1State) StateEvent(typ, stateKey string) (*event.Event, error) {
	key := roomstate.Key{Type: typ, StateKey: stateKey}
	if e := s.trial[key]; e != nil {
		return e, nil
	}
	if e := s.resolved[key]; e != nil {
		return e, nil
	}
	value, err := s.unresolved(key)
	if err != nil || value == "" {
		return nil, err
	}
	e, err := s.r.pool.event(value)
	if e != nil && s.r.pool.rejected(value) {
		return nil, nil
	}
	return e, err
}

// result returns R.
func (s *v1State) result() (roomstate.Map, error) {
	return s.r.conflict.result(func(key roomstate.Key) id.EventID {
		if e := s.resolved[key]; e != nil {
			return e.ID()
		}
		if value, ok := s.alone[key]; ok {
			return value
		}
		return s.left[key]
	}, s.r.pool.number)
}
