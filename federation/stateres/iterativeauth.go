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
	initial func(roomstate.Key) (id.EventID, bool)
	applied map[roomstate.Key]*event.Event
	auth    []*event.Event // auth events of the event under check, without rejected ones
}

// iterativeAuthChecks applies, in their order, those of the events that the authorisation rules allow.
//
// spec:rooms/v2#definitions
func (s *checkedState) iterativeAuthChecks(events []*event.Event) error {
	if err := s.prefetch(events); err != nil {
		return err
	}
	state := authrules.NewMemo(s)
	for _, e := range events {
		key, ok := keyOf(e)
		if !ok {
			continue
		}
		var err error
		if s.auth, err = s.r.authEvents(e, s.r.pool.rejected); err != nil {
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
func (s *checkedState) prefetch(events []*event.Event) error {
	var ids []id.EventID
	for _, e := range events {
		ids = append(ids, e.AuthEvents()...)
		key, ok := keyOf(e)
		if !ok {
			continue
		}
		for _, needed := range authrules.Selection(s.r.rules, key.Type, &key.StateKey, e.Sender(), e.Content()) {
			if value, ok := s.initial(needed); ok {
				ids = append(ids, value)
			}
		}
	}
	return s.r.pool.load(ids)
}

// StateEvent returns the event from the state or, if the state has none, from the auth events of the event under check.
func (s *checkedState) StateEvent(typ, stateKey string) (*event.Event, error) {
	key := roomstate.Key{Type: typ, StateKey: stateKey}
	found := s.applied[key]
	if found == nil {
		if value, ok := s.initial(key); ok {
			var err error
			if found, err = s.r.pool.event(value); err != nil {
				return nil, err
			}
		}
	}
	if found != nil && !s.r.pool.rejected(found.ID()) {
		return found, nil
	}
	return withKey(s.auth, key), nil
}

// authEvents returns the known auth events of e that are state events, leaving out those that skip tells. Where the room ID stands for the
// create event, that is one of them.
func (r *resolution) authEvents(e *event.Event, skip func(id.EventID) bool) ([]*event.Event, error) {
	ids := e.AuthEvents()
	if create, ok := e.RoomID().CreateEvent(); ok && r.rules.RoomIDIsCreateEvent && !e.Is(typeCreate, "") {
		ids = append(append(make([]id.EventID, 0, len(ids)+1), ids...), create)
	}
	if err := r.pool.load(ids); err != nil {
		return nil, err
	}
	auth := make([]*event.Event, 0, len(ids))
	for _, eventID := range ids {
		if a := r.pool.events[eventID]; a != nil && a.IsState() && !skip(eventID) {
			auth = append(auth, a)
		}
	}
	return auth, nil
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
