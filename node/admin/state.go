package admin

import (
	"context"
	"slices"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/node/store"
)

// InForce tells whether a state event is part of the room's state.
type InForce struct {
	Now bool `json:"now"`
	// What took its place, "" if nothing did, and whether that stood on it or state resolution chose between them.
	ReplacedBy *Deciding `json:"replaced_by,omitempty"`
	Resolved   bool      `json:"by_resolution,omitempty"`
}

// Resolution is a state resolution that an event was part of: its prev events had different states.
//
// spec:server-server-api#room-state-resolution
type Resolution struct {
	Branches  int        `json:"branches"`
	Conflicts []Conflict `json:"conflicts"` // at most maxConflicts
	More      int        `json:"more,omitempty"`
}

// Conflict is a place in the state that the branches disagreed about.
type Conflict struct {
	Key    string   `json:"key"`
	Among  []string `json:"among"`  // events; "" stands for none
	Winner string   `json:"winner"` // "" if none
}

// maxConflicts bounds the conflicts that are told one by one.
const maxConflicts = 20

// resolution tells of the resolution before an event; nil if there was none.
func (a *Admin) resolution(ctx context.Context, e *event.Event) (*Resolution, error) {
	if len(e.PrevEvents()) < 2 {
		return nil, nil
	}
	var states []roomstate.Map
	for _, prev := range e.PrevEvents() {
		state, ok, err := a.Store.StateAfter(ctx, prev)
		if err != nil {
			return nil, err
		}
		if ok && !slices.ContainsFunc(states, state.Equal) {
			states = append(states, state)
		}
	}
	before, ok, err := a.Store.StateBefore(ctx, e.ID())
	if err != nil || !ok || len(states) < 2 {
		return nil, err
	}
	keys := map[roomstate.Key]bool{}
	for _, other := range states[1:] {
		for change, err := range states[0].Changes(other) {
			if err != nil {
				return nil, err
			}
			keys[change.Key] = true
		}
	}
	r := &Resolution{Branches: len(states)}
	for k := range keys {
		c := Conflict{Key: key(k)}
		for _, state := range states {
			at, err := state.Event(k.Type, k.StateKey)
			if err != nil {
				return nil, err
			}
			if !slices.Contains(c.Among, string(at)) {
				c.Among = append(c.Among, string(at))
			}
		}
		winner, err := before.Event(k.Type, k.StateKey)
		if err != nil {
			return nil, err
		}
		c.Winner = string(winner)
		r.Conflicts = append(r.Conflicts, c)
	}
	slices.SortFunc(r.Conflicts, func(a, b Conflict) int {
		if a.Key < b.Key {
			return -1
		}
		return 1
	})
	r.More = max(len(r.Conflicts)-maxConflicts, 0)
	r.Conflicts = r.Conflicts[:min(len(r.Conflicts), maxConflicts)]
	return r, nil
}

// inForce tells what became of a state event.
func (a *Admin) inForce(ctx context.Context, row store.EventRow, e *event.Event) (*InForce, error) {
	stateKey, _ := e.StateKey()
	k := roomstate.Key{Type: e.Type(), StateKey: stateKey}
	current, err := a.Store.CurrentState(ctx, row.RoomID)
	if err != nil {
		return nil, err
	}
	now, err := current.Event(k.Type, k.StateKey)
	if err != nil {
		return nil, err
	}
	if now == e.ID() {
		return &InForce{Now: true}, nil
	}
	_, after, found, err := a.Store.Superseded(ctx, row.RoomID, row.Position, k, e.ID())
	if err != nil || !found {
		return &InForce{}, err
	}
	next, err := after.Event(k.Type, k.StateKey)
	if err != nil {
		return nil, err
	}
	if next == "" {
		return &InForce{Resolved: true}, nil
	}
	f := &InForce{ReplacedBy: &Deciding{Event: string(next), Key: key(k)}}
	if replacement, ok, err := a.Store.Event(ctx, next); err != nil {
		return nil, err
	} else if ok {
		f.ReplacedBy.Sender, f.ReplacedBy.Content = string(replacement.Event.Sender()), brief(replacement.Event)
	}
	f.Resolved, err = a.chosen(ctx, e.ID(), next, k)
	return f, err
}

// chosen tells whether state resolution put one event in another's place: it didn't stand on that.
func (a *Admin) chosen(ctx context.Context, old, next id.EventID, k roomstate.Key) (bool, error) {
	before, ok, err := a.Store.StateBefore(ctx, next)
	if err != nil || !ok {
		return true, err
	}
	was, err := before.Event(k.Type, k.StateKey)
	return was != old, err
}
