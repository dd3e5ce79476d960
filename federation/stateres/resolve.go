// Package stateres resolves the states of the branches of a room into one: state resolution v1, v2 and v2.1.
//
// A file is a step of the specification, in its words; resolve.go, v1.go and v2.go put the steps in order. The cost is
// that of the conflict: states are compared by what differs, the unconflicted part of the state is never copied or
// walked, and events are loaded only if they are in the auth chain of a conflicted event or needed to check one. The
// one question that is about the whole room, whether an unconflicted event leads to a certain auth event, is answered
// in unconflicted.go.
//
// Where the text allows two readings, or says nothing, this package does what the servers of today's federation do,
// since a room whose servers differ falls apart:
//
//   - The auth chain of a state includes the state's own events. So an event in all states is never in the auth
//     difference, even if the auth chains of only some lead to it.
//   - Power events are those with the empty state key (and kicks and bans); a create event is one too.
//   - The auth events of a power event are followed as long as they are in the full conflicted set.
//   - An event that the source does not have counts as absent from the conflicted set and from all auth chains.
//   - A rejected event is checked like any other, but never used to authorise another one.
//   - In v1 a key that is in only some of the states is no conflict, and a rejected event counts as one that the source
//     does not have: nothing checks whether the first candidate for a key is allowed, so that it could win by rank.
//   - In v1 a candidate whose rivals the source does not have is taken unchecked, but authorises no other candidate.
//
// The package decides nothing about events outside a conflict, and keeps nothing between calls.
package stateres

import (
	"errors"
	"fmt"
	"iter"

	"hanse/federation/authrules"
	"hanse/federation/dag"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
)

// Source answers from what is stored. It has all events of the states and of their auth chains, as far as they are
// known, and only events of this room. It may have more to say: see Rejections and Citations.
type Source = dag.Source

// Rejections is what a Source implements that also answers with rejected events. Without it no event counts as
// rejected.
type Rejections interface {
	// Rejected reports whether an event was rejected. It is asked about events that Events returned in the same call
	// of Resolve.
	Rejected(id.EventID) bool
}

// Citations is what a Source implements that knows which events cite an event. Without it the answer is the same, but
// some conflicts cost one look at each event of the state: those in which a branch has auth events that no longer are
// part of its state, such as two changes of the power levels in a row.
type Citations interface {
	// CitedBy iterates over the stored state events (others too, if that is simpler) that have the given one among
	// their auth_events, in any order. It stops as soon as the caller does, often after the first few; an error is
	// the last thing it yields. ErrCitationsUnknown means that some may be missing. Since an event is stored after
	// its auth events, an index that begins later than the room (with the state of a join, say) is complete for all
	// events that were stored after its beginning.
	CitedBy(id.EventID) iter.Seq2[id.EventID, error]
}

// Remembering is what a Source implements that remembers parsed power levels from one call of Resolve to the next.
type Remembering interface {
	// Memo is used during the call alone, and asks no state after it.
	Memo() *authrules.Memo
}

// ErrCitationsUnknown is what Citations yields for an event of which it doesn't know everything. The state is looked
// through then, for what was not found before.
var ErrCitationsUnknown = errors.New("not all citations are known")

// Resolve returns the resolution of a set of states, the states after the prev_events of an event, by the algorithm of
// the room version. It does not depend on the order of the states. No state resolves to the empty state, equal states
// to themselves. Errors are those of the source and of reading the states.
//
// spec:server-server-api#room-state-resolution
func Resolve(rules *roomversion.Rules, states []roomstate.Map, src Source) (roomstate.Map, error) {
	states = distinct(states)
	switch len(states) {
	case 0:
		return roomstate.Map{}, nil
	case 1:
		return states[0], nil
	}
	r, err := newResolution(rules, states, src)
	var resolved roomstate.Map
	if err == nil {
		resolved, err = r.resolve()
	}
	if err != nil {
		return roomstate.Map{}, fmt.Errorf("state resolution of %d states: %w", len(states), err)
	}
	return resolved, nil
}

// distinct returns the states without repetitions.
func distinct(states []roomstate.Map) []roomstate.Map {
	seen := make(map[roomstate.Hash]bool, len(states))
	var kept []roomstate.Map
	for _, s := range states {
		if !seen[s.Hash()] {
			seen[s.Hash()] = true
			kept = append(kept, s)
		}
	}
	return kept
}

// resolution is one call of Resolve.
type resolution struct {
	rules    *roomversion.Rules
	pool     *pool
	conflict *conflict
	memo     *authrules.Memo
}

func newResolution(rules *roomversion.Rules, states []roomstate.Map, src Source) (*resolution, error) {
	p := newPool(src)
	c, err := findConflict(states, p)
	if err != nil {
		return nil, err
	}
	r := &resolution{rules: rules, pool: p, conflict: c}
	if src, ok := src.(Remembering); ok {
		r.memo = src.Memo()
	} else {
		r.memo = authrules.NewMemo(nil)
	}
	return r, nil
}

func (r *resolution) resolve() (roomstate.Map, error) {
	defer r.memo.Over(nil)
	switch r.rules.StateResolution {
	case roomversion.StateResolutionV1:
		return r.resolveV1()
	case roomversion.StateResolutionV2:
		return r.resolveV2(false)
	case roomversion.StateResolutionV21:
		return r.resolveV2(true)
	}
	return roomstate.Map{}, fmt.Errorf("unknown state resolution algorithm %d", r.rules.StateResolution)
}
