package stateres

import (
	"errors"
	"slices"

	"hanse/federation/authrules"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
)

// checkedState is the state that the iterative auth checks build: what they applied, over the initial state. It is the
// authrules.State for the event under check.
type checkedState struct {
	r       *resolution
	initial func(roomstate.Key) (id.EventID, error) // "": none
	applied map[roomstate.Key]*event.Event
	auth    []*event.Event // auth events of the event under check, without rejected ones
}

// newCheckedState begins with the unconflicted state map.
func newCheckedState(r *resolution) *checkedState {
	return &checkedState{r: r, initial: r.conflict.unconflicted, applied: map[roomstate.Key]*event.Event{}}
}

// iterativeAuthChecks applies, in their order, those of the events that the authorisation rules allow.
//
// spec:rooms/v2#definitions
func (s *checkedState) iterativeAuthChecks(events []int) error {
	if err := s.prefetch(events); err != nil {
		return err
	}
	state := s.r.memo.Over(s)
	for _, v := range events {
		e := s.r.pool.vertices[v].event
		key, ok := keyOf(e)
		if !ok {
			continue
		}
		var err error
		if s.auth, err = s.r.authEvents(s.auth[:0], v, s.r.pool.rejected); err != nil {
			return err
		}
		err = authrules.Check(e, state)
		var rejection *authrules.Rejection
		switch {
		case err == nil:
			s.applied[key] = e
		case !errors.As(err, &rejection):
			return err
		}
	}
	return nil
}

// prefetch loads what the checks of the events will need, all at once.
func (s *checkedState) prefetch(events []int) error {
	list := make([]int, 0, 8*len(events))
	for _, v := range events {
		list = append(list, s.r.pool.auth(v)...)
		e := s.r.pool.vertices[v].event
		key, ok := keyOf(e)
		if !ok {
			continue
		}
		for _, needed := range authrules.Selection(s.r.rules, key.Type, &key.StateKey, e.Sender(), e.Content()) {
			value, err := s.initial(needed)
			if err != nil {
				return err
			}
			if value != "" {
				list = append(list, s.r.pool.number(value))
			}
		}
	}
	return s.r.pool.load(list)
}

// StateEvent returns the event from the state or, if the state has none, from the auth events of the event under check.
func (s *checkedState) StateEvent(typ, stateKey string) (*event.Event, error) {
	key := roomstate.Key{Type: typ, StateKey: stateKey}
	found := s.applied[key]
	if found == nil {
		value, err := s.initial(key)
		if err == nil && value != "" {
			found, err = s.r.pool.event(value)
		}
		if err != nil {
			return nil, err
		}
	}
	if found != nil && !s.r.pool.rejected(found.ID()) {
		return found, nil
	}
	return withKey(s.auth, key), nil
}

// authEvents appends to list the known auth events of an event that are state events, leaving out those that skip tells. Where the room ID
// stands for the create event, that is one of them.
func (r *resolution) authEvents(list []*event.Event, v int, skip func(id.EventID) bool) ([]*event.Event, error) {
	e := r.pool.vertices[v].event
	auth, err := r.pool.loadAuth(v)
	if err != nil {
		return nil, err
	}
	add := func(a *event.Event) {
		if a != nil && a.IsState() && !skip(a.ID()) {
			list = append(list, a)
		}
	}
	for _, a := range auth {
		add(r.pool.vertices[a].event)
	}
	if create, ok := e.RoomID().CreateEvent(); ok && r.rules.RoomIDIsCreateEvent && !e.Is(typeCreate, "") {
		a, err := r.pool.event(create)
		if err != nil {
			return nil, err
		}
		add(a)
	}
	return list, nil
}

// withKey returns the event of a list that has a key: the last one, should several have it; nil if none has. An event has few auth events,
// and of each only some are asked for, so that a map of them would cost more than it saves.
func withKey(events []*event.Event, key roomstate.Key) *event.Event {
	for _, e := range slices.Backward(events) {
		if e.Is(key.Type, key.StateKey) {
			return e
		}
	}
	return nil
}
