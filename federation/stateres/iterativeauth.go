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
	applied map[roomstate.Key]int                   // the numbers of events
	auth    []*event.Event                          // auth events of the event under check, without rejected ones
}

// newCheckedState begins with the unconflicted state map.
func newCheckedState(r *resolution) *checkedState {
	return &checkedState{r: r, initial: r.conflict.unconflicted, applied: map[roomstate.Key]int{}}
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
		e, err := s.r.pool.whole(v)
		if err != nil {
			return err
		}
		key, ok := keyOf(e)
		if !ok {
			continue
		}
		if s.auth, err = s.r.authEvents(s.auth[:0], v, s.r.pool.rejected); err != nil {
			return err
		}
		err = authrules.Check(e, state)
		var rejection *authrules.Rejection
		switch {
		case err == nil:
			s.applied[key] = v
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
		e, err := s.r.pool.whole(v)
		if err != nil {
			return err
		}
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
	found, err := s.value(key)
	if err != nil {
		return nil, err
	}
	if found != nil && !s.r.pool.rejected(found.ID()) {
		return found, nil
	}
	return withKey(s.auth, key), nil
}

// value is the event that the state has for a key; nil: none.
func (s *checkedState) value(key roomstate.Key) (*event.Event, error) {
	if v, ok := s.applied[key]; ok {
		return s.r.pool.whole(v)
	}
	value, err := s.initial(key)
	if err != nil || value == "" {
		return nil, err
	}
	return s.r.pool.event(value)
}

// authEvents appends to list the known auth events of an event that are state events, leaving out those that skip tells. Where the room ID
// stands for the create event, that is one of them.
func (r *resolution) authEvents(list []*event.Event, v int, skip func(id.EventID) bool) ([]*event.Event, error) {
	e := r.pool.vertices[v].event
	auth, err := r.pool.loadAuth(v)
	if err != nil {
		return nil, err
	}
	if create, ok := e.RoomID().CreateEvent(); ok && r.rules.RoomIDIsCreateEvent && !e.Is(typeCreate, "") {
		number := r.pool.number(create)
		if err := r.pool.load([]int{number}); err != nil {
			return nil, err
		}
		auth = append(auth[:len(auth):len(auth)], number)
	}
	for _, a := range auth {
		if e := r.pool.vertices[a].event; e == nil || !e.IsState() || skip(e.ID()) {
			continue
		}
		whole, err := r.pool.whole(a)
		if err != nil {
			return nil, err
		}
		list = append(list, whole)
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
