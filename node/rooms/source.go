package rooms

import (
	"context"
	"maps"

	"hanse/federation/authrules"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
)

// source is what a machine reads: what is on disk, and over it what was decided and is on its way there. That lets a
// machine be stepped again before its last commit is durable; nothing is shown or answered before that all the same.
type source struct {
	stored  room.Source
	pending []*batch // newest first
}

func (a *actor) source(ctx context.Context) source {
	s := source{stored: a.r.store.Source(ctx, a.machine.Rules()), pending: []*batch{a.filling}}
	if a.flying != nil {
		s.pending = append(s.pending, a.flying)
	}
	return s
}

func (s source) lookup(eventID id.EventID) (room.Committed, bool) {
	for _, b := range s.pending {
		if i, ok := b.events[eventID]; ok {
			return b.commit.Events[i], true
		}
	}
	return room.Committed{}, false
}

// Events implements room.Source.
func (s source) Events(ids []id.EventID) (map[id.EventID]room.Stored, error) {
	found := make(map[id.EventID]room.Stored, len(ids))
	var rest []id.EventID
	for _, eventID := range ids {
		if c, ok := s.lookup(eventID); ok {
			found[eventID] = c.Stored()
		} else {
			rest = append(rest, eventID)
		}
	}
	if len(rest) == 0 {
		return found, nil
	}
	stored, err := s.stored.Events(rest)
	maps.Copy(found, stored)
	return found, err
}

// StateAfter implements room.Source.
func (s source) StateAfter(eventID id.EventID) (roomstate.Map, bool, error) {
	if c, ok := s.lookup(eventID); ok {
		return c.After, !c.Outlier, nil
	}
	return s.stored.StateAfter(eventID)
}

// Referenced implements room.Source.
func (s source) Referenced(ids []id.EventID) (map[id.EventID]bool, error) {
	found := make(map[id.EventID]bool, len(ids))
	var rest []id.EventID
	for _, eventID := range ids {
		for _, b := range s.pending {
			if _, ok := b.referenced[eventID]; ok {
				found[eventID] = true
			}
		}
		if !found[eventID] {
			rest = append(rest, eventID)
		}
	}
	if len(rest) == 0 {
		return found, nil
	}
	stored, err := s.stored.Referenced(rest)
	maps.Copy(found, stored)
	return found, err
}

// stateOf reads the events of a state through a source: an authrules.State.
type stateOf struct {
	state roomstate.Map
	src   room.Source
}

// StateEvent implements authrules.State.
func (s stateOf) StateEvent(typ, stateKey string) (*event.Event, error) {
	eventID, err := s.state.Event(typ, stateKey)
	if err != nil || eventID == "" {
		return nil, err
	}
	found, err := s.src.Events([]id.EventID{eventID})
	if err != nil {
		return nil, err
	}
	return found[eventID].Event, nil
}

var _ authrules.State = stateOf{}
