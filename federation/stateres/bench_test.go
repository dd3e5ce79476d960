package stateres

import (
	"fmt"
	"testing"

	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
)

// BenchmarkResolve10Conflicts resolves ten conflicting events of two branches in rooms of two sizes. The mark is the
// ratio of the two.
//
//   - topics: a name, a topic and eight widgets, as most conflicts are.
//   - powers: changes of power levels, a ban and a kick, a join: what the algorithm is there for, with auth events that
//     are on one branch only.
func BenchmarkResolve10Conflicts(b *testing.B) {
	for _, version := range []roomversion.Version{roomversion.V1, roomversion.V11, roomversion.V12} {
		for _, members := range []int{1_000, 100_000} {
			rules, _ := roomversion.Lookup(version)
			w := newWorld(b, rules)
			fork := w.crowd(members)
			for _, kind := range []struct {
				name   string
				states []roomstate.Map
			}{{"topics", topicFork(w, fork)}, {"powers", powerFork(w, fork)}} {
				src := w.withCitations()
				b.Run(fmt.Sprintf("v%s/%s/%d", version, kind.name, members), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						if _, err := Resolve(rules, kind.states, src); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}

// branch sends one event after the other and returns the last.
func (w *world) branch(from id.EventID, steps ...step) id.EventID {
	for _, s := range steps {
		s.after = []id.EventID{from}
		e, ok := w.send(s)
		if !ok {
			w.t.Fatalf("%s %q is not allowed", s.typ, s.stateKey)
		}
		from = e.ID()
	}
	return from
}

func topicFork(w *world, fork id.EventID) []roomstate.Map {
	var left, right []step
	for i := range 5 {
		left = append(left, step{sender: "@alice:a", typ: "org.example.x", stateKey: fmt.Sprint(i)})
		right = append(right, step{sender: "@alice:a", typ: "org.example.x", stateKey: fmt.Sprint(i)})
	}
	return w.states([]id.EventID{w.branch(fork, left...), w.branch(fork, right...)})
}

func powerFork(w *world, fork id.EventID) []roomstate.Map {
	power := func(level int) step {
		users := map[string]any{"@alice:a": 100, "@user1:b": level}
		return step{sender: "@alice:a", typ: typePowerLevels, content: w.levels(users)}
	}
	member := func(target, membership string) step {
		return step{sender: "@alice:a", typ: typeMember, stateKey: target, content: map[string]any{"membership": membership}}
	}
	self := member("@user9:b", "leave")
	self.sender = "@user9:b"
	left := w.branch(fork, power(50), power(60), member("@user2:b", "ban"), member("@user3:b", "leave"), self)
	right := w.branch(fork, power(10), member("@user4:b", "ban"), member("@user5:b", "leave"),
		step{sender: "@alice:a", typ: typeJoinRules, content: map[string]any{"join_rule": "invite"}},
		step{sender: "@alice:a", typ: "m.room.topic"})
	return w.states([]id.EventID{left, right})
}

// BenchmarkResolveBranches resolves many branches that each set another widget and change the same topic.
func BenchmarkResolveBranches(b *testing.B) {
	rules, _ := roomversion.Lookup(roomversion.V12)
	for _, branches := range []int{2, 20, 200} {
		w := newWorld(b, rules)
		fork := w.crowd(1_000)
		var tips []id.EventID
		for i := range branches {
			tips = append(tips, w.branch(fork,
				step{sender: "@alice:a", typ: "m.room.topic"},
				step{sender: "@alice:a", typ: "org.example.x", stateKey: fmt.Sprint(i)}))
		}
		states, src := w.states(tips), w.withCitations()
		b.Run(fmt.Sprint(branches), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Resolve(rules, states, src); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkResolveWithoutCitations is what two changes of power levels on one branch cost if the source can't tell which
// events cite another one: a look at all members.
func BenchmarkResolveWithoutCitations(b *testing.B) {
	rules, _ := roomversion.Lookup(roomversion.V12)
	for _, members := range []int{1_000, 100_000} {
		w := newWorld(b, rules)
		states := powerFork(w, w.crowd(members))
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			for b.Loop() {
				if _, err := Resolve(rules, states, w); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
