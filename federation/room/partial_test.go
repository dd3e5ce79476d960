package room_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"hanse/federation/dag"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/testnet/wholestate"
)

var (
	partialSeeds = flag.Int("partial-seeds", 15, "partial joins of each room version")
	partialSeed  = flag.Uint64("partial-seed", 1, "the first seed; 0: by the clock, so that no change is refused for what it didn't do")
)

// joining is one server that joins a generated room: with the whole state, or with a part of it.
type joining struct {
	t       *testing.T
	w       *world
	m       *room.Machine
	store   *memory
	partial bool
	rand    *rand.Rand     // of faults, which only the partial one has
	again   int            // verdicts that changed when the state was whole
	placed  []*event.Event // in the order in which they got their place
}

func (j *joining) step(in room.Input) room.Result {
	j.t.Helper()
	result, err := j.m.Step(start, in, j.store)
	if err != nil {
		j.t.Fatalf("partial %v: %T: %v", j.partial, in, err)
	}
	j.store.apply(result.Commit)
	j.store.reopen(j.m)
	for _, c := range result.Commit.Events {
		if !c.Outlier && !c.Again {
			j.placed = append(j.placed, c.Event)
		}
	}
	for _, f := range result.Fetch {
		j.step(j.w.provide(f))
	}
	return result
}

// receive hands in one event, and answers what is asked for at once. All comes from a server that stays in the room: of one that doesn't, events may
// be strays, and who is asked for what is below an event needn't be the sender of that.
func (j *joining) receive(e *event.Event) {
	j.t.Helper()
	j.step(room.Receive{Origin: "w", Events: []*event.Event{e}})
	if j.m.Waiting() > 0 {
		j.t.Fatalf("partial %v: %s waits though all was answered", j.partial, e.ID())
	}
	if j.partial && j.rand.IntN(10) == 0 {
		j.m = room.Load("a", j.store.snapshot())
	}
}

// provide is the true answer to a fetch.
func (w *world) provide(f room.Fetch) room.Provide {
	in := room.Provide{Fetch: f, From: f.From[0]}
	switch f.Kind {
	case room.FetchMissing:
		in.Events = w.between(f.Latest, f.Earliest, 20)
	case room.FetchAuth:
		in.Events = w.authChain([]id.EventID{f.At})
	case room.FetchState:
		if w.events[f.At] == nil {
			in.Err = errors.New("not found")
			return in
		}
		in.State = &room.StateAt{At: f.At, State: stateIDs(w.before[f.At])}
		in.Events = append(w.wholeState(w.before[f.At], f.At), w.events[f.At])
	}
	return in
}

func stateIDs(state roomstate.Map) []id.EventID {
	var ids []id.EventID
	for _, e := range wholestate.All(state) {
		ids = append(ids, e)
	}
	return ids
}

// wholeState are the events of a state and of its auth chain, with that of an event besides, parents first.
func (w *world) wholeState(state roomstate.Map, of id.EventID) []*event.Event {
	ids := append(stateIDs(state), of)
	seen := map[id.EventID]bool{of: true}
	var list []*event.Event
	for _, e := range append(w.authChain(ids), w.stateEvents(state)...) {
		if !seen[e.ID()] {
			seen[e.ID()] = true
			list = append(list, e)
		}
	}
	return dag.SortTopologically(list)
}

// without is a state as send_join gives it with omit_members.
func (w *world) without(state roomstate.Map, user string) roomstate.Map {
	for key, e := range wholestate.All(state) {
		if key.Type == "m.room.member" && key.StateKey != user {
			state = wholestate.Without(state, key.Type, key.StateKey)
			_ = e
		}
	}
	return state
}

// life makes events of a room, on random ends of its graph.
type life struct {
	w     *world
	rand  *rand.Rand
	ends  []id.EventID
	users []id.UserID
	n     int
}

// next is what somebody does; most is allowed, some is not, and some hides what speaks against it.
func (l *life) next() *event.Event {
	user, other := l.users[l.rand.IntN(len(l.users))], l.users[1+l.rand.IntN(len(l.users)-1)]
	l.n++
	what, content := fmt.Sprint("message m", l.n), ""
	switch l.rand.IntN(16) {
	case 0, 1:
		what = "join"
	case 2:
		what = "leave"
	case 3, 4:
		what, user = "ban "+string(other), l.users[0]
	case 5:
		what, user = "kick "+string(other), l.users[0]
	case 6:
		what, user = "unban "+string(other), l.users[0]
	case 7:
		what, user = "rules "+[]string{"public", "public", "invite"}[l.rand.IntN(3)], l.users[0]
	case 8:
		what = fmt.Sprint("topic t", l.n)
	case 9:
		what = fmt.Sprint("nick n", l.n)
	case 10:
		what, user = "power", l.users[0]
		content = fmt.Sprintf(`{"users":{%q:100,%q:%d},"events":{"m.room.topic":%d}}`, l.users[0], other, l.rand.IntN(3)*25, l.rand.IntN(2)*50)
		if l.w.rules.PrivilegedCreators {
			content = fmt.Sprintf(`{"users":{%q:%d},"events":{"m.room.topic":%d}}`, other, l.rand.IntN(3)*25, l.rand.IntN(2)*50)
		}
	}
	d, err := l.w.draft(user, what, content)
	if err != nil {
		l.w.t.Fatal(err)
	}
	for range 1 + l.rand.IntN(2) {
		d.PrevEvents = append(d.PrevEvents, l.ends[len(l.ends)-1-l.rand.IntN(min(3, len(l.ends)))])
	}
	slices.Sort(d.PrevEvents)
	d.PrevEvents = slices.Compact(d.PrevEvents)
	e := l.w.make(d)
	if l.rand.IntN(6) == 0 { // without naming the sender's or the target's membership
		d.AuthEvents = slices.DeleteFunc(slices.Clone(e.AuthEvents()), func(a id.EventID) bool { return l.w.events[a].Type() == "m.room.member" && l.rand.IntN(2) == 0 })
		d.RoomID = ""
		e = l.w.make(d)
	}
	l.ends = append(l.ends, e.ID())
	return e
}

// A partial join ends as the join with the whole state: the same verdicts, the same forward extremities, the same states. What is
// soft-failed depends on the order in which events get their place, and the one that lacks members has to ask for more before it can judge
// an event: so the other takes them in the order that came of it.
func TestPartialJoinIsAJoin(t *testing.T) {
	first := *partialSeed
	if first == 0 {
		first = uint64(time.Now().UnixNano()) % 1_000_000_000
	}
	t.Logf("seeds %d to %d", first, first+uint64(*partialSeeds)-1)
	again := 0
	for _, rules := range roomversion.All() {
		seeds := []uint64{20077} // which has found something
		for seed := range uint64(*partialSeeds) {
			seeds = append(seeds, first+seed)
		}
		for _, seed := range seeds {
			again += partialJoin(t, rules.Version, seed)
			if t.Failed() {
				t.Fatalf("again: go test ./federation/room -run PartialJoinIsAJoin -partial-seeds 1 -partial-seed %d (version %s)", seed, rules.Version)
			}
		}
	}
	if t.Logf("%d verdicts were changed when the state was whole", again); again == 0 {
		t.Error("no verdict has ever changed when the state was whole: this proves nothing")
	}
}

// lived is a room in which something has happened, and the join of @alice:a on top; false: it doesn't let her in.
func lived(t *testing.T, v roomversion.Version, chance *rand.Rand) (l *life, join *event.Event, ok bool) {
	l = &life{w: newWorld(t, v), rand: chance}
	w := l.w
	l.users = []id.UserID{"@bob:b"}
	for i := range 8 {
		l.users = append(l.users, id.UserID(fmt.Sprintf("@u%d:s%d", i, i%3)))
	}
	at := func(user id.UserID, what, content string) {
		d, err := w.draft(user, what, content)
		if err != nil {
			t.Fatal(err)
		}
		if len(l.ends) > 0 {
			d.PrevEvents = []id.EventID{l.ends[len(l.ends)-1]}
		}
		l.ends = append(l.ends, w.make(d).ID())
	}
	at("@bob:b", "create", "")
	at("@bob:b", "join", "")
	if !w.rules.PrivilegedCreators {
		at("@bob:b", "power", `{"users":{"@bob:b":100}}`)
	}
	at("@bob:b", "rules public", "")
	at("@watch:w", "join", "")
	for _, user := range l.users[1:] {
		at(user, "join", "")
	}
	for range 15 { // what the join stands on
		l.next()
	}
	at("@bob:b", "unban @alice:a", "")
	at("@bob:b", "rules public", "")
	at("@alice:a", "join", "")
	join = w.events[l.ends[len(l.ends)-1]]
	l.ends = l.ends[len(l.ends)-1:]
	member, _ := wholestate.Get(w.after[join.ID()], "m.room.member", "@alice:a")
	return l, join, member == join.ID()
}

func partialJoin(t *testing.T, v roomversion.Version, seed uint64) int {
	l, join, ok := lived(t, v, rand.New(rand.NewPCG(seed, 7)))
	if !ok {
		return 0
	}
	w := l.w
	before := w.before[join.ID()]
	whole := &joining{t: t, w: w, m: room.New("a", w.rules), store: newMemory()}
	part := &joining{t: t, w: w, m: room.New("a", w.rules), store: newMemory(), partial: true, rand: rand.New(rand.NewPCG(seed, 8))}
	whole.step(room.Adopt{Event: join, State: w.stateEvents(before), AuthChain: w.wholeState(before, join.ID())})
	few := w.without(before, "@alice:a")
	part.step(room.Adopt{Event: join, State: w.stateEvents(few), AuthChain: w.wholeState(few, join.ID()), Partial: true, Servers: []id.ServerName{"b", "s0", "s1", "s2", "w", "a"}})
	if !whole.m.Resident() {
		return 0 // what state resolution made of it is not what was given
	}
	if part.m.Partial() == nil {
		t.Fatalf("seed %d: whole: resident %v; partial: %v", seed, whole.m.Resident(), part.m.Partial())
	}
	events := make([]*event.Event, 25)
	for i := range events {
		events[i] = l.next()
	}
	for i := range len(events) / 5 { // some out of order
		a, b := l.rand.IntN(len(events)), min(len(events)-1, i*5+l.rand.IntN(4))
		events[a], events[b] = events[b], events[a]
	}
	ready := part.rand.IntN(len(events) + 1)
	for i, e := range events {
		if i == ready {
			part.complete(join, before)
		}
		if i < ready && part.rand.IntN(3) == 0 { // parts of the state come between what happens in the room
			parts := w.wholeState(before, join.ID())
			part.step(room.Outliers{Events: parts[:part.rand.IntN(len(parts)+1)]})
		}
		part.receive(e)
	}
	if ready == len(events) {
		part.complete(join, before)
	}
	for _, e := range part.placed[1:] { // the first is the join
		if whole.receive(e); !whole.m.Resident() {
			return 0 // by the whole state we are out of the room, and what comes later is dropped
		}
	}
	same(t, whole, part)
	return part.again
}

// States that other servers give while the state isn't whole, all members each, don't stay in memory once they are stored.
func TestStatesGivenAreReadFromTheStore(t *testing.T) {
	var l *life
	var join *event.Event
	for seed, ok := uint64(1), false; !ok; seed++ {
		l, join, ok = lived(t, roomversion.V11, rand.New(rand.NewPCG(seed, 7)))
	}
	w := l.w
	few := w.without(w.before[join.ID()], "@alice:a")
	part := &joining{t: t, w: w, m: room.New("a", w.rules), store: newMemory(), partial: true, rand: rand.New(rand.NewPCG(1, 8))}
	part.step(room.Adopt{Event: join, State: w.stateEvents(few), AuthChain: w.wholeState(few, join.ID()), Partial: true, Servers: []id.ServerName{"b", "w", "a"}})
	var step func(room.Input)
	step = func(in room.Input) {
		result, err := part.m.Step(start, in, part.store)
		if err != nil {
			t.Fatal(err)
		}
		part.store.apply(result.Commit)
		for _, f := range result.Fetch {
			answer := w.provide(f)
			if f.Kind == room.FetchMissing { // so that the state is asked for
				answer.Events = nil
			}
			step(answer)
		}
	}
	last, members := join, 0
	for range 3 {
		for range 20 {
			members++
			d, err := w.draft(id.UserID(fmt.Sprintf("@new%d:b", members)), "join", "")
			if err != nil {
				t.Fatal(err)
			}
			d.PrevEvents = []id.EventID{last.ID()}
			last = w.make(d)
		}
		step(room.Receive{Origin: "w", Events: []*event.Event{last}})
	}
	inMemory := func() (given, nodes int) {
		for _, u := range part.m.Partial().Unsure {
			if u.Given && u.Event != join.ID() {
				given++
				for range u.Before.Nodes(func(roomstate.Hash) bool { return false }) {
					nodes++
				}
			}
		}
		return given, nodes
	}
	current := wholestate.Stored(part.m.Current())
	notYet := func(id.EventID) (roomstate.Map, bool, error) { return roomstate.Map{}, false, nil }
	part.m = room.Load("a", part.store.snapshot())
	given, before := inMemory()
	if part.m.Reopen(current, notYet) {
		t.Error("states that aren't stored were read")
	}
	if _, nodes := inMemory(); given == 0 || before <= given || nodes != before {
		t.Fatalf("%d states given with %d nodes, then %d", given, before, nodes)
	}
	if !part.m.Reopen(current, part.store.given) {
		t.Error("states that are stored weren't read")
	}
	if _, nodes := inMemory(); nodes != given {
		t.Errorf("%d nodes of %d states are in memory", nodes, given)
	}
}

// complete hands in the whole state, parts of it before, wrong ones first.
func (j *joining) complete(join *event.Event, before roomstate.Map) {
	t := j.t
	t.Helper()
	events := j.w.wholeState(before, join.ID())
	in := room.Complete{Join: join.ID(), States: [][]id.EventID{stateIDs(before)}, Strict: true}
	wrong := in
	wrong.States = [][]id.EventID{nil}
	refused := j.step(wrong)
	if v, _ := refused.Verdict(join.ID()); v.Status != room.Dropped || j.m.Partial() == nil {
		t.Fatalf("a state without anything completes: %+v", v)
	}
	half := j.rand.IntN(len(events) + 1)
	j.step(room.Outliers{Events: events[:half]})
	in.Events = events[half:]
	result := j.step(in)
	if v := result.Verdicts; len(v) == 0 || j.m.Partial() != nil || !result.Commit.Whole {
		t.Fatalf("the whole state doesn't complete: %+v", v)
	}
	for _, v := range result.Verdicts {
		if v.EventID != join.ID() {
			j.again++
		}
	}
	if j.rand.IntN(2) == 0 {
		j.m = room.Load("a", j.store.snapshot())
	}
}

func same(t *testing.T, whole, part *joining) {
	t.Helper()
	if a, b := whole.m.Forward(), part.m.Forward(); !slices.Equal(a, b) {
		t.Errorf("forward extremities: %v, of the partial join %v", a, b)
	}
	for change := range wholestate.Diff(whole.m.Current(), part.m.Current()) {
		t.Errorf("current state: %v: %s, of the partial join %s", change.Key, change.Old, change.New)
	}
	if a, b := whole.m.Servers(), part.m.Servers(); !slices.Equal(a, b) {
		t.Errorf("servers: %v, of the partial join %v", a, b)
	}
	for e, a := range whole.store.events {
		b, ok := part.store.events[e]
		if a.Outlier && (!ok || b.Outlier) {
			continue
		}
		if !ok || a.Status != b.Status || a.Outlier != b.Outlier {
			t.Errorf("%s (%s by %s): %s, of the partial join: %v %s", e, a.Event.Type(), a.Event.Sender(), a.Status, ok, b.Status)
		}
		if !whole.store.after[e].Equal(part.store.after[e]) {
			t.Errorf("%s: the states after it differ", e)
		}
	}
}
