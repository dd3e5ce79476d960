package literal

import (
	"crypto/sha1" // version 1 of the algorithm is defined with it
	"encoding/hex"
	"slices"
	"strings"
)

// Graph is a room's events with the state before and after each, by this package's own reading.
type Graph struct {
	Version  int
	Events   map[string]*Event
	Rejected map[string]error // by what an event is rejected
	before   map[string]State
	after    map[string]State
	signed   Signed
}

// NewGraph is a room without an event.
func NewGraph(version int, signed Signed) *Graph {
	return &Graph{Version: version, Events: map[string]*Event{}, Rejected: map[string]error{}, before: map[string]State{}, after: map[string]State{}, signed: signed}
}

// Add places an event whose prev events and auth events are there, and judges it: by its auth events, by the state of its
// auth events, by the state before it.
func (g *Graph) Add(e *Event) error {
	g.Events[e.ID] = e
	before := g.At(e.Prev())
	g.before[e.ID] = before
	err := CheckAuthEvents(e, g.Events, g.rejected())
	if err == nil {
		err = Check(e, g.authState(e), g.signed)
	}
	if err == nil {
		err = Check(e, before, g.signed)
	}
	after := before
	if err != nil {
		g.Rejected[e.ID] = err
	} else if stateKey, ok := e.StateKey(); ok {
		after = clone(before)
		after[Key{e.Type(), stateKey}] = e
	}
	g.after[e.ID] = after
	return err
}

func (g *Graph) rejected() map[string]bool {
	ids := map[string]bool{}
	for id := range g.Rejected {
		ids[id] = true
	}
	return ids
}

func (g *Graph) authState(e *Event) State {
	state := State{}
	for _, auth := range g.authEvents(e) {
		stateKey, _ := auth.StateKey()
		state[Key{auth.Type(), stateKey}] = auth
	}
	return state
}

// authEvents are an event's auth events; from version 12 on with the create event, which the room's ID names.
func (g *Graph) authEvents(e *Event) []*Event {
	ids := e.Auth()
	if e.Version >= 12 && e.Type() != "m.room.create" {
		ids = append(ids, "$"+strings.TrimPrefix(e.RoomID(), "!"))
	}
	var events []*Event
	for _, id := range ids {
		if auth := g.Events[id]; auth != nil {
			events = append(events, auth)
		}
	}
	return events
}

// At is the state after some events: before whatever comes next on top of them.
func (g *Graph) At(ids []string) State {
	var states []State
	for _, id := range ids {
		states = append(states, g.after[id])
	}
	return g.Resolve(states)
}

// Before is the state before an event.
func (g *Graph) Before(id string) State { return g.before[id] }

func clone(s State) State {
	other := State{}
	for key, e := range s {
		other[key] = e
	}
	return other
}

// Resolve is the resolution of some states by the algorithm of the room's version.
//
// spec:server-server-api#room-state-resolution
func (g *Graph) Resolve(states []State) State {
	switch {
	case len(states) == 0:
		return State{}
	case len(states) == 1:
		return states[0]
	case g.Version == 1:
		return g.resolveV1(states)
	}
	return g.resolveV2(states)
}

// divide finds the unconflicted state map and the conflicted state set.
func divide(states []State) (unconflicted State, conflicted map[string]*Event) {
	unconflicted, conflicted = State{}, map[string]*Event{}
	for _, one := range states {
		for key, e := range one {
			same := !slices.ContainsFunc(states, func(other State) bool { return other[key] != e })
			if same {
				unconflicted[key] = e
			} else {
				conflicted[e.ID] = e
			}
		}
	}
	return unconflicted, conflicted
}

// chain is the auth chain of an event.
func (g *Graph) chain(e *Event) map[string]*Event {
	found := map[string]*Event{}
	var walk func(e *Event)
	walk = func(e *Event) {
		for _, id := range e.Auth() {
			if auth := g.Events[id]; auth != nil && found[id] == nil {
				found[id] = auth
				walk(auth)
			}
		}
	}
	walk(e)
	return found
}

// resolveV2 is version 2 of the algorithm, and its version 2.1 from room version 12 on.
//
// spec:rooms/v12#state-resolution
func (g *Graph) resolveV2(states []State) State {
	unconflicted, conflicted := divide(states)
	full := map[string]*Event{}
	for id, e := range conflicted {
		full[id] = e
	}
	for id, e := range g.authDifference(states) {
		full[id] = e
	}
	if g.Version >= 12 {
		for id, e := range g.subgraph(conflicted) {
			full[id] = e
		}
	}

	// 1. power events, with what their auth chains have of the full conflicted set
	x := powerEvents(full)
	// 2. iterative auth checks on them
	start := unconflicted
	if g.Version >= 12 {
		start = State{}
	}
	resolved := g.iterate(start, g.reverseTopological(x))
	// 3. the remaining ones by the mainline
	var rest []*Event
	for id, e := range full {
		if x[id] == nil {
			rest = append(rest, e)
		}
	}
	g.mainlineOrder(rest, resolved[Key{"m.room.power_levels", ""}])
	// 4. iterative auth checks on those
	resolved = g.iterate(resolved, rest)
	// 5. the unconflicted state stands
	for key, e := range unconflicted {
		resolved[key] = e
	}
	return resolved
}

// powerEvents are the power events of the full conflicted set with what their auth chains have of it. Servers read this more
// narrowly than the text: they follow auth events as long as those are in the set, and no further.
func powerEvents(full map[string]*Event) map[string]*Event {
	x := map[string]*Event{}
	var enlarge func(e *Event)
	enlarge = func(e *Event) {
		x[e.ID] = e
		for _, id := range e.Auth() {
			if full[id] != nil && x[id] == nil {
				enlarge(full[id])
			}
		}
	}
	for id, e := range full {
		if isPower(e) && x[id] == nil {
			enlarge(e)
		}
	}
	return x
}

// authDifference is what is in the full auth chains of some states but not of all. By the text an event is not in its own
// auth chain. Servers in the federation, Synapse first, count a state's own events as part of its chain: an event that is
// in every state is in no difference. In rooms whose power levels change on both sides that decides who wins, and a server
// that took the text at its word would part from the others, so this is what is asked here.
func (g *Graph) authDifference(states []State) map[string]*Event {
	count, all := map[string]int{}, map[string]*Event{}
	for _, one := range states {
		full := map[string]*Event{}
		for _, e := range one {
			full[e.ID] = e
			for id, auth := range g.chain(e) {
				full[id] = auth
			}
		}
		for id, auth := range full {
			count[id]++
			all[id] = auth
		}
	}
	difference := map[string]*Event{}
	for id, e := range all {
		if count[id] < len(states) {
			difference[id] = e
		}
	}
	return difference
}

// subgraph is what lies on a path of auth events from one conflicted event to another.
func (g *Graph) subgraph(conflicted map[string]*Event) map[string]*Event {
	found := map[string]*Event{}
	for _, from := range conflicted {
		below := g.chain(from)
		for to := range conflicted {
			if below[to] == nil {
				continue
			}
			found[from.ID], found[to] = from, below[to]
			for id, between := range below {
				if g.chain(between)[to] != nil {
					found[id] = between
				}
			}
		}
	}
	return found
}

func isPower(e *Event) bool {
	stateKey, _ := e.StateKey()
	switch e.Type() {
	case "m.room.power_levels", "m.room.join_rules":
		return true
	case "m.room.member":
		return (e.Membership() == "leave" || e.Membership() == "ban") && e.Sender() != stateKey
	}
	return false
}

// senderPower is the power of an event's sender by the event's own auth events.
func (g *Graph) senderPower(e *Event) int64 { return powerOf(e.Version, g.authState(e), e.Sender()) }

// reverseTopological sorts by Kahn's algorithm: of those whose auth events are all out, the smallest. By the servers' reading
// the edges are those between events of the set: a path that leaves it and comes back is none.
func (g *Graph) reverseTopological(set map[string]*Event) []*Event {
	left := map[string]*Event{}
	for id, e := range set {
		left[id] = e
	}
	var order []*Event
	for len(left) > 0 {
		var best *Event
		for _, e := range left {
			waits := false
			for _, id := range e.Auth() {
				waits = waits || left[id] != nil
			}
			if !waits && (best == nil || g.less(e, best)) {
				best = e
			}
		}
		order = append(order, best)
		delete(left, best.ID)
	}
	return order
}

func (g *Graph) less(x, y *Event) bool {
	if px, py := g.senderPower(x), g.senderPower(y); px != py {
		return px > py
	}
	return earlier(x, y)
}

func earlier(x, y *Event) bool {
	if tx, ty := x.number("origin_server_ts"), y.number("origin_server_ts"); tx != ty {
		return tx < ty
	}
	return x.ID < y.ID
}

// mainlineOrder sorts by the mainline of a power levels event.
func (g *Graph) mainlineOrder(events []*Event, levels *Event) {
	position := map[string]int{}
	for i, p := 0, levels; p != nil; i, p = i+1, g.levelsOf(p) {
		position[p.ID] = i
	}
	const never = 1 << 30
	place := func(e *Event) int {
		for p := g.levelsOf(e); p != nil; p = g.levelsOf(p) {
			if i, ok := position[p.ID]; ok {
				return i
			}
		}
		return never
	}
	slices.SortFunc(events, func(x, y *Event) int {
		if px, py := place(x), place(y); px != py {
			return py - px
		}
		if earlier(x, y) {
			return -1
		}
		return 1
	})
}

func (g *Graph) levelsOf(e *Event) *Event { return g.authState(e)[Key{"m.room.power_levels", ""}] }

// iterate applies the iterative auth checks.
func (g *Graph) iterate(start State, events []*Event) State {
	state := clone(start)
	for _, e := range events {
		view := State{}
		for _, auth := range g.authEvents(e) {
			if stateKey, _ := auth.StateKey(); g.Rejected[auth.ID] == nil {
				view[Key{auth.Type(), stateKey}] = auth
			}
		}
		for _, key := range append(Selection(e), Key{"m.room.create", ""}) {
			if in := state[key]; in != nil {
				view[key] = in
			}
		}
		if Check(e, view, g.signed) == nil {
			stateKey, _ := e.StateKey()
			state[Key{e.Type(), stateKey}] = e
		}
	}
	return state
}

// resolveV1 is the algorithm of room version 1.
//
// spec:rooms/v1#state-resolution
func (g *Graph) resolveV1(states []State) State {
	r, candidates := State{}, map[Key]map[string]*Event{}
	for _, one := range states {
		for key, e := range one {
			if candidates[key] == nil {
				candidates[key] = map[string]*Event{}
			}
			candidates[key][e.ID] = e
		}
	}
	for key, events := range candidates {
		if len(events) == 1 {
			for _, e := range events {
				r[key] = e
			}
			delete(candidates, key)
		}
	}
	for _, eventType := range []string{"m.room.power_levels", "m.room.join_rules", "m.room.member"} {
		settled := State{}
		for key, events := range candidates {
			if key.Type == eventType {
				settled[key] = g.firstAllowedRun(r, key, sorted(events, true))
				delete(candidates, key)
			}
		}
		for key, e := range settled {
			r[key] = e
		}
	}
	settled := State{}
	for key, events := range candidates {
		list := sorted(events, false)
		settled[key] = list[len(list)-1]
		for _, e := range list {
			if Check(e, r, g.signed) == nil {
				settled[key] = e
				break
			}
		}
	}
	for key, e := range settled {
		r[key] = e
	}
	return r
}

// firstAllowedRun takes the first event, and each that follows while it is allowed.
func (g *Graph) firstAllowedRun(r State, key Key, list []*Event) *Event {
	state := clone(r)
	state[key] = list[0]
	for _, e := range list[1:] {
		if Check(e, state, g.signed) != nil {
			break
		}
		state[key] = e
	}
	return state[key]
}

// sorted is by ascending depth then descending SHA-1 of the ID, or the other way round.
func sorted(events map[string]*Event, ascending bool) []*Event {
	var list []*Event
	for _, e := range events {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b *Event) int {
		if !ascending {
			a, b = b, a
		}
		if d := a.number("depth") - b.number("depth"); d != 0 {
			return int(d)
		}
		return -strings.Compare(sha(a.ID), sha(b.ID))
	})
	return list
}

func sha(id string) string {
	sum := sha1.Sum([]byte(id))
	return hex.EncodeToString(sum[:])
}
