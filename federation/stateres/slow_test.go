package stateres

import (
	"crypto/sha1"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"hanse/federation/authrules"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
)

// The algorithms as the specification words them, sentence by sentence, over plain maps, without any care for cost.
// Only the authorisation rules are shared with what is tested.

type plain = map[roomstate.Key]id.EventID

// slow is one resolution.
type slow struct {
	w      *world
	events map[id.EventID]*event.Event // what is known; without lost ones
}

// plainState is a state for the authorisation rules.
type plainState struct {
	w     *world
	state plain
	auth  map[roomstate.Key]*event.Event
}

func (s *plainState) StateEvent(typ, stateKey string) (*event.Event, error) {
	key := roomstate.Key{Type: typ, StateKey: stateKey}
	if value, ok := s.state[key]; ok && s.w.events[value] != nil && !s.w.rejected[value] {
		return s.w.events[value], nil
	}
	return s.auth[key], nil
}

func (s *slow) resolve(states []plain) plain {
	if s.w.rules.StateResolution == roomversion.StateResolutionV1 {
		return s.v1(states)
	}
	return s.v2(states)
}

// v2 is the algorithm of room versions 2 and 12.
func (s *slow) v2(states []plain) plain {
	v21 := s.w.rules.StateResolution == roomversion.StateResolutionV21
	// Unconflicted state map and conflicted state set.
	unconflicted, conflicted := plain{}, map[id.EventID]bool{}
	for _, state := range states {
		for key, value := range state {
			everywhere := true
			for _, other := range states {
				everywhere = everywhere && other[key] == value
			}
			if everywhere {
				unconflicted[key] = value
			} else {
				conflicted[value] = true
			}
		}
	}
	if len(conflicted) == 0 {
		return unconflicted
	}
	full := map[id.EventID]bool{}
	for e := range conflicted {
		full[e] = true
	}
	for e := range s.authDifference(states) {
		full[e] = true
	}
	if v21 {
		for e := range s.conflictedSubgraph(conflicted) {
			full[e] = true
		}
	}
	maps.DeleteFunc(full, func(e id.EventID, _ bool) bool { return s.events[e] == nil })

	// 1. Select the set X of all power events …, enlarge it, sort it.
	x := map[id.EventID]bool{}
	for e := range full {
		if s.isPower(s.events[e]) {
			s.enlarge(x, e, full)
		}
	}
	ordered := s.powerOrdering(x)
	// 2. Apply the iterative auth checks.
	state := plain{}
	if !v21 {
		state = maps.Clone(unconflicted)
	}
	s.iterate(state, ordered)
	// 3. Order the remaining events by the mainline ordering.
	var rest []id.EventID
	for e := range full {
		if !x[e] {
			rest = append(rest, e)
		}
	}
	s.mainlineOrdering(rest, state[powerKey])
	// 4. Apply the iterative auth checks.
	s.iterate(state, rest)
	// 5. Update the result.
	maps.Copy(state, unconflicted)
	return state
}

// chain adds an event and its auth chain to a set.
func (s *slow) chain(e id.EventID, set map[id.EventID]bool) {
	if s.events[e] == nil || set[e] {
		return
	}
	set[e] = true
	for _, auth := range s.events[e].AuthEvents() {
		s.chain(auth, set)
	}
}

func (s *slow) authDifference(states []plain) map[id.EventID]bool {
	chains := make([]map[id.EventID]bool, len(states))
	union := map[id.EventID]bool{}
	for i, state := range states {
		chains[i] = map[id.EventID]bool{}
		for _, e := range state {
			s.chain(e, chains[i])
		}
		maps.Copy(union, chains[i])
	}
	maps.DeleteFunc(union, func(e id.EventID, _ bool) bool { // ∪ C − ∩ C
		for _, c := range chains {
			if !c[e] {
				return false
			}
		}
		return true
	})
	return union
}

func (s *slow) conflictedSubgraph(conflicted map[id.EventID]bool) map[id.EventID]bool {
	subgraph := map[id.EventID]bool{}
	for from := range conflicted {
		way := map[id.EventID]bool{}
		s.chain(from, way)
		for e := range way {
			below := map[id.EventID]bool{}
			s.chain(e, below)
			for to := range conflicted {
				if below[to] {
					subgraph[e] = true
				}
			}
		}
	}
	return subgraph
}

func (s *slow) isPower(e *event.Event) bool {
	key, _ := keyOf(e)
	if key == powerKey || key == createKey || key == (roomstate.Key{Type: typeJoinRules}) {
		return true
	}
	m := e.Membership()
	return e.Type() == typeMember && (m == "leave" || m == "ban") && key.StateKey != string(e.Sender())
}

func (s *slow) enlarge(x map[id.EventID]bool, e id.EventID, full map[id.EventID]bool) {
	if x[e] {
		return
	}
	x[e] = true
	for _, auth := range s.events[e].AuthEvents() {
		if full[auth] {
			s.enlarge(x, auth, full)
		}
	}
}

func (s *slow) authEvents(e *event.Event, rejected bool) map[roomstate.Key]*event.Event {
	auth := map[roomstate.Key]*event.Event{}
	ids := e.AuthEvents()
	if s.w.rules.RoomIDIsCreateEvent {
		create, _ := e.RoomID().CreateEvent()
		ids = append(slices.Clone(ids), create)
	}
	for _, a := range ids {
		if a := s.events[a]; a != nil && (rejected || !s.w.rejected[a.ID()]) {
			key, _ := keyOf(a)
			auth[key] = a
		}
	}
	return auth
}

func (s *slow) powerLess(x, y *event.Event) bool {
	level := func(e *event.Event) int64 {
		levels, err := authrules.LevelsOf(&plainState{w: s.w, auth: s.authEvents(e, true)})
		if err != nil {
			panic(err)
		}
		return levels.User(e.Sender())
	}
	if a, b := level(x), level(y); a != b {
		return a > b
	}
	if x.OriginServerTS() != y.OriginServerTS() {
		return x.OriginServerTS() < y.OriginServerTS()
	}
	return x.ID() < y.ID()
}

// powerOrdering: at each step select the smallest among the candidate vertices.
func (s *slow) powerOrdering(x map[id.EventID]bool) []id.EventID {
	var ordered []id.EventID
	for len(ordered) < len(x) {
		var best *event.Event
		for e := range x {
			candidate := !slices.Contains(ordered, e)
			for _, auth := range s.events[e].AuthEvents() {
				candidate = candidate && (!x[auth] || slices.Contains(ordered, auth))
			}
			if candidate && (best == nil || s.powerLess(s.events[e], best)) {
				best = s.events[e]
			}
		}
		ordered = append(ordered, best.ID())
	}
	return ordered
}

func (s *slow) iterate(state plain, list []id.EventID) {
	known := &plainState{w: &world{events: s.events, rejected: s.w.rejected}, state: state}
	for _, eventID := range list {
		e := s.events[eventID]
		known.auth = s.authEvents(e, false)
		if authrules.Check(e, known) == nil {
			key, _ := keyOf(e)
			state[key] = eventID
		}
	}
}

func (s *slow) powerBefore(e *event.Event) *event.Event {
	for _, auth := range e.AuthEvents() {
		if a := s.events[auth]; a != nil && a.Is(typePowerLevels, "") {
			return a
		}
	}
	return nil
}

func (s *slow) mainlineOrdering(list []id.EventID, power id.EventID) {
	var mainline []id.EventID
	for p := s.events[power]; p != nil; p = s.powerBefore(p) {
		mainline = append(mainline, p.ID())
	}
	position := func(e *event.Event) int {
		for p := s.powerBefore(e); p != nil; p = s.powerBefore(p) {
			if i := slices.Index(mainline, p.ID()); i >= 0 {
				return i
			}
		}
		return 1 << 30
	}
	slices.SortFunc(list, func(a, b id.EventID) int {
		x, y := s.events[a], s.events[b]
		if i, j := position(x), position(y); i != j {
			return j - i
		}
		if x.OriginServerTS() != y.OriginServerTS() {
			return int(x.OriginServerTS() - y.OriginServerTS())
		}
		return strings.Compare(string(a), string(b))
	})
}

// v1 is the algorithm of room version 1.
func (s *slow) v1(states []plain) plain {
	// Start by setting R to the union of the states, excluding any conflicting events.
	values := map[roomstate.Key][]id.EventID{}
	for _, state := range states {
		for key, value := range state {
			if !slices.Contains(values[key], value) {
				values[key] = append(values[key], value)
			}
		}
	}
	state := plain{}
	conflicts := map[roomstate.Key][]id.EventID{}
	left := plain{} // the only known candidates of conflicts
	for key, list := range values {
		if len(list) == 1 {
			state[key] = list[0]
			continue
		}
		list = slices.DeleteFunc(list, func(e id.EventID) bool { return s.events[e] == nil || s.w.rejected[e] })
		switch len(list) {
		case 0:
		case 1:
			left[key] = list[0]
		default:
			conflicts[key] = list
		}
	}
	known := &plainState{w: &world{events: s.events, rejected: s.w.rejected}}
	allowed := func(e id.EventID, state plain) bool {
		known.state = state
		return authrules.Check(s.events[e], known) == nil
	}
	// Power levels, then join rules, then members: the same process.
	for _, typ := range []string{typePowerLevels, typeJoinRules, typeMember} {
		resolved := plain{}
		for key, list := range conflicts {
			if key.Type != typ {
				continue
			}
			s.ascending(list)
			r := maps.Clone(state)
			r[key] = list[0]
			for _, e := range list[1:] {
				if !allowed(e, r) {
					break
				}
				r[key] = e
			}
			resolved[key] = r[key]
			delete(conflicts, key)
		}
		maps.Copy(state, resolved)
	}
	// For all other conflicts pick the event with the highest depth and lowest SHA-1 that passes.
	before := maps.Clone(state)
	for key, list := range conflicts {
		s.ascending(list)
		state[key] = list[0]
		for _, e := range list {
			if allowed(e, before) {
				state[key] = e
			}
		}
	}
	maps.Copy(state, left)
	return state
}

func (s *slow) ascending(list []id.EventID) {
	hash := func(e id.EventID) string {
		sum := sha1.Sum([]byte(e))
		return hex.EncodeToString(sum[:])
	}
	slices.SortFunc(list, func(a, b id.EventID) int {
		if x, y := s.events[a].Depth(), s.events[b].Depth(); x != y {
			return int(x - y)
		}
		return strings.Compare(hash(b), hash(a))
	})
}
