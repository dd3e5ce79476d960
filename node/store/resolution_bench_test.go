//go:build unix

package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"syscall"
	"testing"
	"time"

	"hanse/federation/authrules"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/node/store"
	"hanse/testnet/wholestate"
)

// BenchmarkMerge10Conflicts merges two branches with ten conflicting events in rooms of two sizes, read from a store that has just been
// opened: the room is loaded, and a message on both branches received. "reads/op" are the events that were read: they must not grow with
// the room.
//
//   - topics: five keys that both branches set, as most conflicts are.
//   - powers: changes of power levels, bans, kicks, join rules.
func BenchmarkMerge10Conflicts(b *testing.B) {
	for _, members := range []int{1000, 100_000} {
		r := newBenchRoom(b, roomversion.V12, members, 0)
		topics := r.branches(2, func(branch int) []event.Draft {
			var drafts []event.Draft
			for key := range 5 {
				drafts = append(drafts, state("org.example.x", fmt.Sprint(key), fmt.Sprintf(`{"of":%d}`, branch), alice))
			}
			return drafts
		})
		r.measure(fmt.Sprintf("topics/members=%d", members), topics)
		r.merge(topics)
		r.measure(fmt.Sprintf("powers/members=%d", members), r.branches(2, r.powerConflict))
	}
}

func (r *benchRoom) powerConflict(branch int) []event.Draft {
	levels := func(level int) event.Draft {
		return state("m.room.power_levels", "", r.levels(map[id.UserID]int{benchMember(1): level}), alice)
	}
	if branch == 0 {
		return []event.Draft{
			levels(50), levels(60), member(benchMember(2), "ban", alice), member(benchMember(3), "leave", alice), member(benchMember(9), "leave", benchMember(9)),
		}
	}
	return []event.Draft{
		levels(10), member(benchMember(4), "ban", alice), member(benchMember(5), "leave", alice),
		state("m.room.join_rules", "", `{"join_rule":"invite"}`, alice), state("m.room.topic", "", `{"topic":"x"}`, alice),
	}
}

// BenchmarkMergeExtremities merges forward extremities, each with a topic and a key of its own, in rooms of so many events.
func BenchmarkMergeExtremities(b *testing.B) {
	for _, events := range []int{2000, 50_000} {
		r := newBenchRoom(b, roomversion.V12, 1000, events-1000)
		for _, count := range []int{2, 5, 10, 20} {
			tips := r.branches(count, func(branch int) []event.Draft {
				return []event.Draft{
					state("m.room.topic", "", fmt.Sprintf(`{"topic":"%d of %d"}`, branch, count), alice),
					state("org.example.x", fmt.Sprint(branch), "{}", alice),
				}
			})
			r.measure(fmt.Sprintf("events=%d/extremities=%d", events, count), tips)
			r.merge(tips)
		}
	}
}

// benchRoom is a room of alice's with members of another server.
type benchRoom struct {
	b       *testing.B
	dialect store.Dialect
	roomID  id.RoomID
	rules   *roomversion.Rules
	state   roomstate.Map // at the fork
	fork    id.EventID
	depth   int64
	clock   int64
}

func benchMember(i int) id.UserID { return id.UserID(fmt.Sprintf("@m%d:there.example", i)) }

func newBenchRoom(b *testing.B, version roomversion.Version, members, messages int) *benchRoom {
	b.Helper()
	r := &benchRoom{b: b, dialect: durable(b, databases()[0]), rules: rulesOf(version)}
	s, stop := openBench(b, r.dialect)
	defer stop()
	a, err := create(s, version)
	r.check(err)
	_, err = a.propose(store.CommitOptions{}, state("m.room.power_levels", "", r.levels(nil), alice))
	r.check(err)
	r.roomID, r.clock = a.id(), time.Now().UnixMilli()
	var batch []*event.Event
	for i := range members + messages {
		d := member(benchMember(i), "join", benchMember(i))
		if i >= members {
			d = message(benchMember(i%members), "x")
		}
		if len(batch) == 0 {
			r.at(a)
		}
		batch = append(batch, r.next(d))
		if len(batch) == 500 || i == members+messages-1 {
			r.take(a, batch)
			batch = nil
		}
	}
	r.at(a)
	return r
}

// levels are power levels of some users, and of alice.
func (r *benchRoom) levels(users map[id.UserID]int) string {
	all := map[id.UserID]int{}
	maps.Copy(all, users)
	if !r.rules.PrivilegedCreators {
		all[alice] = 100
	}
	content, err := json.Marshal(map[string]any{"users": all})
	r.check(err)
	return string(content)
}

func (r *benchRoom) check(err error) {
	r.b.Helper()
	if err != nil {
		r.b.Fatal(err)
	}
}

// at goes on from where a room is.
func (r *benchRoom) at(a *actor) {
	r.state, r.fork = a.machine.Current(), a.machine.Forward()[0]
	info, _, err := a.store.Room(context.Background(), r.roomID)
	r.check(err)
	r.depth = info.Depth
}

// next is an event on top of the last one.
func (r *benchRoom) next(d event.Draft) *event.Event {
	r.clock++
	r.depth++
	d.RoomID, d.PrevEvents, d.Depth, d.OriginServerTS = r.roomID, []id.EventID{r.fork}, r.depth, r.clock
	for _, key := range authrules.Selection(r.rules, d.Type, d.StateKey, d.Sender, d.Content) {
		if e, ok := wholestate.Get(r.state, key.Type, key.StateKey); ok {
			d.AuthEvents = append(d.AuthEvents, e)
		}
	}
	e, err := d.Sign(r.rules, d.Sender.Server(), testKey())
	r.check(err)
	if key, ok := e.StateKey(); ok {
		r.state = wholestate.With(r.state, e.Type(), key, e.ID())
	}
	r.fork = e.ID()
	return e
}

// take has the room receive events.
func (r *benchRoom) take(a *actor, events []*event.Event) {
	r.b.Helper()
	result, _, err := a.step(room.Receive{Origin: "there.example", Events: events}, store.CommitOptions{})
	r.check(err)
	for _, v := range result.Verdicts {
		if v.Status != room.Accepted {
			r.b.Fatalf("%+v", v)
		}
	}
}

// branches stores branches from the fork on, and gives their ends.
func (r *benchRoom) branches(count int, drafts func(branch int) []event.Draft) []id.EventID {
	r.b.Helper()
	s, stop := openBench(r.b, r.dialect)
	defer stop()
	a, err := load(s, r.roomID)
	r.check(err)
	var tips []id.EventID
	for branch := range count {
		on := *r
		for _, d := range drafts(branch) {
			e := on.next(d)
			result, _, err := a.step(room.Receive{Origin: "there.example", Events: []*event.Event{e}}, store.CommitOptions{})
			r.check(err)
			if result.Verdicts[0].Status == room.Rejected { // against the other branches it may soft-fail
				r.b.Fatalf("%+v", result.Verdicts)
			}
		}
		tips = append(tips, on.fork)
	}
	return tips
}

// on is a message of alice's on some events.
func (r *benchRoom) on(tips []id.EventID, text string) *event.Event {
	place := *r
	d := message(alice, text)
	d.AuthEvents = place.next(d).AuthEvents()
	d.RoomID, d.PrevEvents, d.Depth, d.OriginServerTS = r.roomID, tips, r.depth+10, r.clock+10
	e, err := d.Sign(r.rules, self, testKey())
	r.check(err)
	return e
}

// merge has the room go on from a message on some events.
func (r *benchRoom) merge(tips []id.EventID) {
	r.b.Helper()
	s, stop := openBench(r.b, r.dialect)
	defer stop()
	a, err := load(s, r.roomID)
	r.check(err)
	r.take(a, []*event.Event{r.on(tips, "merged")})
	r.at(a)
}

// measure receives a message that merges branches, again and again, each time with a store that was just opened.
func (r *benchRoom) measure(name string, tips []id.EventID) {
	r.b.Run(name, func(b *testing.B) {
		r := &benchRoom{b: b, dialect: r.dialect, roomID: r.roomID, rules: r.rules, state: r.state, fork: r.fork, depth: r.depth, clock: r.clock}
		var used time.Duration
		reads := 0
		for i := range b.N {
			s, stop := openBench(b, r.dialect)
			a, err := load(s, r.roomID)
			r.check(err)
			e := r.on(tips, fmt.Sprint("merged ", i))
			src := s.Source(context.Background(), r.rules)
			before := processorTime(b) // of the whole process, which does nothing else
			result, err := a.machine.Step(time.Now(), room.Receive{Origin: "there.example", Events: []*event.Event{e}}, countedReads{src, src.(room.Citer), &reads})
			used += processorTime(b) - before
			r.check(err)
			if v := result.Verdicts[0]; v.Status == room.Waiting || v.Status == room.Dropped {
				b.Fatalf("%+v", v)
			}
			stop()
		}
		b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-µs/op")
		b.ReportMetric(float64(reads)/float64(b.N), "reads/op")
		b.ReportMetric(0, "ns/op") // says nothing: most is opening the store
	})
}

// processorTime is what the process has used so far.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// countedReads counts the events that a machine reads.
type countedReads struct {
	room.Source
	citer room.Citer
	reads *int
}

func (c countedReads) Events(ids []id.EventID) (map[id.EventID]room.Stored, error) {
	found, err := c.Source.Events(ids)
	*c.reads += len(found)
	return found, err
}

func (c countedReads) CitedBy(e id.EventID) iter.Seq2[id.EventID, error] { return c.citer.CitedBy(e) }
