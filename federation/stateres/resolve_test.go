package stateres

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/testnet/wholestate"
)

// The fast algorithms agree with the slow ones, whatever the source offers, whatever is lost, and whatever the order of
// the states.
func TestFastAgreesWithSlow(t *testing.T) {
	r := random(t)
	for _, rules := range roomversion.All() {
		t.Run(string(rules.Version), func(t *testing.T) {
			conflicts := 0
			for range 4 {
				w := newWorld(t, rules)
				w.start()
				w.grow(r, 70)
				for range 25 {
					conflicts += compareOnce(t, r, w)
				}
			}
			if conflicts < 40 {
				t.Errorf("only %d of the cases were conflicts", conflicts)
			}
		})
	}
}

// compareOnce compares one resolution, and returns 1 if there was something to resolve.
func compareOnce(t *testing.T, r *rand.Rand, w *world) int {
	var states []roomstate.Map
	var plains []plain
	for range 2 + r.IntN(3) {
		state := w.after[w.order[r.IntN(len(w.order))]]
		for range r.IntN(3) / 2 { // a state that no DAG has: servers differ, and lie
			e := w.events[w.order[r.IntN(len(w.order))]]
			if key, ok := keyOf(e); ok && !e.Is(typeCreate, "") {
				state = wholestate.With(state, key.Type, key.StateKey, e.ID())
			}
		}
		states, plains = append(states, state), append(plains, maps.Collect(wholestate.All(state)))
	}
	lost := map[id.EventID]bool{}
	if r.IntN(3) == 0 {
		for range 1 + r.IntN(6) {
			lost[w.order[1+r.IntN(len(w.order)-1)]] = true
		}
	}
	events := maps.Clone(w.events)
	maps.DeleteFunc(events, func(e id.EventID, _ *event.Event) bool { return lost[e] })
	distinctStates := distinct(states)
	if len(distinctStates) == 1 {
		return 0
	}
	s := slow{w, events}
	want := roomstate.Build(maps.All(s.resolve(plains)))
	cited := w.withCitations()
	lossy := without{w, lost}
	for name, src := range map[string]Source{
		"plain": lossy,
		"citations": struct {
			without
			Citations
		}{lossy, cited},
	} {
		r.Shuffle(len(states), func(i, j int) { states[i], states[j] = states[j], states[i] })
		for _, keep := range []int{keptWhole, r.IntN(8000)} {
			run, err := newResolution(w.rules, distinct(states), src)
			if err != nil {
				t.Fatal(err)
			}
			run.pool.keep = keep
			got, err := run.resolve()
			if err != nil {
				t.Fatal(err)
			}
			if !got.Equal(want) {
				t.Fatalf("source %s, %d lost events, %d bytes kept: resolved to\n%s\n\nwant\n%s", name, len(lost), keep, w.describe(got), w.describe(want))
			}
		}
	}
	return 1
}

// The order in which branches are merged may change what the merged state is, but each server that merges the same
// branches gets the same, whatever it had before.
func TestMergesDoNotDependOnTheServer(t *testing.T) {
	r := random(t)
	for _, version := range []roomversion.Version{roomversion.V1, roomversion.V6, roomversion.V12} {
		rules, _ := roomversion.Lookup(version)
		w := newWorld(t, rules)
		w.start()
		w.grow(r, 60)
		states := w.states(w.order[len(w.order)-8:])
		want, err := Resolve(rules, states, w)
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			r.Shuffle(len(states), func(i, j int) { states[i], states[j] = states[j], states[i] })
			got, err := Resolve(rules, append(states, states[0]), w)
			if err != nil || !got.Equal(want) {
				t.Fatalf("version %s: another order gives another state (%v)", version, err)
			}
		}
	}
}

// Servers that receive the same events in other orders, each knowing only what it has received so far, have the same
// state after each event, and reject the same ones.
func TestDeliveryOrderDoesNotMatter(t *testing.T) {
	r := random(t)
	for _, rules := range roomversion.All() {
		w := newWorld(t, rules)
		w.start()
		w.grow(r, 50)
		other := newWorld(t, rules)
		other.key, other.roomID = w.key, w.roomID
		waiting := slices.Clone(w.order)
		for len(waiting) > 0 {
			i := r.IntN(len(waiting))
			if e := w.events[waiting[i]]; other.has(e.PrevEvents()) && other.has(e.AuthEvents()) {
				other.receive(e)
				if got, want := other.after[e.ID()], w.after[e.ID()]; !got.Equal(want) || other.rejected[e.ID()] != w.rejected[e.ID()] {
					t.Fatalf("version %s: the state after %s is\n%s\n\nwant\n%s", rules.Version, e.ID(), w.describe(got), w.describe(want))
				}
				waiting = slices.Delete(waiting, i, i+1)
			}
		}
	}
}

func (w *world) has(ids []id.EventID) bool {
	return !slices.ContainsFunc(ids, func(e id.EventID) bool { return w.events[e] == nil })
}

func TestNothingToResolve(t *testing.T) {
	rules, _ := roomversion.Lookup(roomversion.V11)
	if got, err := Resolve(rules, nil, nil); err != nil || got.Len() != 0 {
		t.Errorf("no states: %v, %v", got, err)
	}
	a := wholestate.With(wholestate.With(roomstate.Map{}, "a", "", "$1"), "b", "", "$2")
	b := wholestate.With(wholestate.With(roomstate.Map{}, "b", "", "$2"), "a", "", "$1")
	if got, err := Resolve(rules, []roomstate.Map{a, b}, nil); err != nil || !got.Equal(a) {
		t.Errorf("equal states: %v, %v", got, err)
	}
}

type broken struct{ *world }

var errBroken = errors.New("the disk is gone")

func (broken) Events([]id.EventID) (map[id.EventID]*event.Event, error) { return nil, errBroken }

type brokenCitations struct{ *world }

func (brokenCitations) CitedBy(id.EventID) iter.Seq2[id.EventID, error] {
	return func(yield func(id.EventID, error) bool) { yield("", errBroken) }
}

func TestErrorsOfTheSource(t *testing.T) {
	for _, version := range []roomversion.Version{roomversion.V1, roomversion.V11, roomversion.V12} {
		rules, _ := roomversion.Lookup(version)
		w := newWorld(t, rules)
		fork := w.start()
		states := twoChanges(w, fork.ID())
		if _, err := Resolve(rules, states, broken{w}); !errors.Is(err, errBroken) {
			t.Errorf("version %s: %v, want the error of the source", version, err)
		}
		if rules.StateResolution == roomversion.StateResolutionV1 {
			continue
		}
		if _, err := Resolve(rules, states, brokenCitations{w}); !errors.Is(err, errBroken) {
			t.Errorf("version %s: %v, want the error of the citations", version, err)
		}
	}
}

// twoChanges makes a fork with two changes of the power levels in a row on one branch and a topic on the other.
func twoChanges(w *world, fork id.EventID) []roomstate.Map {
	send := func(s step) id.EventID {
		e, ok := w.send(s)
		if !ok {
			w.t.Fatalf("%v is not allowed", s)
		}
		return e.ID()
	}
	left := fork
	for _, level := range []int{50, 60} {
		levels := w.levels(map[string]any{"@alice:a": 100, "@bob:b": level})
		left = send(step{sender: "@alice:a", typ: typePowerLevels, content: levels, after: []id.EventID{left}})
	}
	right := send(step{sender: "@alice:a", typ: "m.room.topic", after: []id.EventID{fork}})
	return w.states([]id.EventID{left, right})
}

// What is asked of the source is what the conflict needs.
func TestCostIsTheConflicts(t *testing.T) {
	for _, version := range []roomversion.Version{roomversion.V1, roomversion.V11, roomversion.V12} {
		var asked []int
		for _, members := range []int{100, 2000} {
			rules, _ := roomversion.Lookup(version)
			w := newWorld(t, rules)
			states := twoChanges(w, w.crowd(members))
			c := &counting{citing: w.withCitations()}
			if _, err := Resolve(rules, states, c); err != nil {
				t.Fatal(err)
			}
			asked = append(asked, c.events)
		}
		if asked[0] == 0 || asked[1] > asked[0] || asked[0] > 20 {
			t.Errorf("version %s: a small room needs %d events, a large one %d", version, asked[0], asked[1])
		}
	}
}

type counting struct {
	citing
	events int
}

func (c *counting) Events(ids []id.EventID) (map[id.EventID]*event.Event, error) {
	c.events += len(ids)
	return c.citing.Events(ids)
}

// crowd starts a room in which many users are joined, and returns its last event.
func (w *world) crowd(members int) id.EventID {
	last := w.start()
	state := w.after[last.ID()]
	joined := map[roomstate.Key]id.EventID{}
	for i := range members {
		s := step{
			sender: fmt.Sprintf("@user%d:b", i), typ: typeMember, stateKey: fmt.Sprintf("@user%d:b", i),
			content: map[string]any{"membership": "join"}, after: []id.EventID{last.ID()},
		}
		d := w.draft(s)
		for _, key := range []roomstate.Key{createKey, powerKey, {Type: typeJoinRules}} {
			if value, ok := wholestate.Get(state, key.Type, key.StateKey); ok && (key != createKey || w.rules.CreateInAuthEvents) {
				d.AuthEvents = append(d.AuthEvents, value)
			}
		}
		e, err := d.Sign(w.rules, "b", w.key)
		if err != nil {
			w.t.Fatal(err)
		}
		w.events[e.ID()] = e
		w.order = append(w.order, e.ID())
		joined[roomstate.Key{Type: typeMember, StateKey: s.stateKey}] = e.ID()
		last = e
	}
	maps.Insert(joined, wholestate.All(state))
	w.after[last.ID()] = roomstate.Build(maps.All(joined))
	return last.ID()
}
