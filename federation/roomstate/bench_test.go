package roomstate

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"iter"
	"runtime"
	"testing"

	"hanse/federation/id"
)

// room iterates over the state of a room with that many members; the event IDs depend on salt.
func room(members int, salt string) iter.Seq2[Key, id.EventID] {
	event := func(key Key) id.EventID {
		hash := sha256.Sum256([]byte(salt + key.Type + key.StateKey))
		return id.EventID("$" + base64.RawURLEncoding.EncodeToString(hash[:]))
	}
	return func(yield func(Key, id.EventID) bool) {
		for _, typ := range []string{"create", "power_levels", "join_rules", "history_visibility", "name", "topic", "avatar"} {
			if key := (Key{"m.room." + typ, ""}); !yield(key, event(key)) {
				return
			}
		}
		for i := range members {
			key := Key{"m.room.member", fmt.Sprintf("@user%d:example.org", i)}
			if !yield(key, event(key)) {
				return
			}
		}
	}
}

func roomOf(members int, salt string) Map { return Build(room(members, salt)) }

func sizes(b *testing.B, run func(*testing.B, Map)) {
	for _, members := range []int{20, 1_000, 100_000} {
		m := roomOf(members, "a")
		b.Run(fmt.Sprint(members), func(b *testing.B) { run(b, m) })
	}
}

func BenchmarkGet(b *testing.B) {
	sizes(b, func(b *testing.B, m Map) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := m.Get("m.room.member", "@user7:example.org"); !ok {
				b.Fatal("not found")
			}
		}
	})
}

func BenchmarkWith(b *testing.B) {
	sizes(b, func(b *testing.B, m Map) {
		b.ReportAllocs()
		for b.Loop() {
			m.With("m.room.member", "@user7:example.org", "$other")
		}
	})
}

// BenchmarkDiff compares two states that differ in ten members.
func BenchmarkDiff(b *testing.B) {
	sizes(b, func(b *testing.B, m Map) {
		other := m
		for i := range 10 {
			other = other.With("m.room.member", fmt.Sprintf("@user%d:example.org", i*17), "$other")
		}
		b.ReportAllocs()
		for b.Loop() {
			count := 0
			for range m.Diff(other) {
				count++
			}
			if count != 10 {
				b.Fatal(count)
			}
		}
	})
}

func BenchmarkBuild(b *testing.B) {
	sizes(b, func(b *testing.B, m Map) {
		b.ReportAllocs()
		for b.Loop() {
			Build(m.All())
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*m.Len()), "ns/entry")
	})
}

func BenchmarkRead(b *testing.B) {
	sizes(b, func(b *testing.B, m Map) {
		nodes, bytes := stored(b, m), 0
		for _, data := range nodes {
			bytes += len(data)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := read(m.Hash(), fetch(nodes)); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(bytes)/float64(m.Len()), "stored-B/entry")
		b.ReportMetric(float64(len(nodes)), "nodes")
	})
}

// BenchmarkNewNodes is what a store writes for a change of one entry.
func BenchmarkNewNodes(b *testing.B) {
	sizes(b, func(b *testing.B, m Map) {
		nodes := map[Hash]bool{}
		for n := range m.Nodes(func(Hash) bool { return false }) {
			nodes[n.Hash()] = true
		}
		changed := m.With("m.room.member", "@user7:example.org", "$other")
		bytes := 0
		for b.Loop() {
			for _, data := range changed.Nodes(func(h Hash) bool { return nodes[h] }) {
				bytes += len(data)
			}
		}
		b.ReportMetric(float64(bytes)/float64(b.N), "B/change")
	})
}

// BenchmarkMemory reports what an entry of a state costs in memory, keys and event IDs included.
func BenchmarkMemory(b *testing.B) {
	for _, members := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			nodes := stored(b, roomOf(members, "a"))
			root := roomOf(members, "a").Hash()
			var before, after runtime.MemStats
			kept := make([]Map, 0, b.N)
			runtime.GC()
			runtime.GC() // what the first one finalised
			runtime.ReadMemStats(&before)
			for range b.N {
				m, err := read(root, fetch(nodes))
				if err != nil {
					b.Fatal(err)
				}
				kept = append(kept, m)
			}
			runtime.GC()
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(b.N*members), "B/entry")
			runtime.KeepAlive(kept)
			runtime.KeepAlive(nodes)
		})
	}
}
