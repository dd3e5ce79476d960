// Package wholestate asks and changes room states that are whole in memory, as those are that tests, simulations and scripted
// servers make. These can't fail, so nothing here returns an error; a state that has to be read panics.
package wholestate

import (
	"iter"

	"hanse/federation/id"
	"hanse/federation/roomstate"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Get returns the event for (typ, stateKey), and whether there is one.
func Get(m roomstate.Map, typ, stateKey string) (id.EventID, bool) {
	e := must(m.Event(typ, stateKey))
	return e, e != ""
}

// With returns m with an entry set.
func With(m roomstate.Map, typ, stateKey string, e id.EventID) roomstate.Map {
	return must(m.Set(typ, stateKey, e))
}

// Without returns m without an entry.
func Without(m roomstate.Map, typ, stateKey string) roomstate.Map {
	return must(m.Remove(typ, stateKey))
}

// All iterates over all entries.
func All(m roomstate.Map) iter.Seq2[roomstate.Key, id.EventID] {
	return func(yield func(roomstate.Key, id.EventID) bool) {
		for e, err := range m.Entries() {
			if must(e, err); !yield(e.Key, e.Event) {
				return
			}
		}
	}
}

// ByType iterates over the entries of one type: state key and event.
func ByType(m roomstate.Map, typ string) iter.Seq2[string, id.EventID] {
	return func(yield func(string, id.EventID) bool) {
		for e, err := range m.OfType(typ) {
			if must(e, err); !yield(e.StateKey, e.Event) {
				return
			}
		}
	}
}

// Stored returns m as a store has it: node by node, read as it is asked.
func Stored(m roomstate.Map) roomstate.Map {
	nodes := stored{}
	for n, data := range roomstate.Build(All(m)).Nodes(func(roomstate.Hash) bool { return false }) {
		nodes[n.Hash()] = must(roomstate.Decode(n.Hash(), data))
	}
	return must(roomstate.Open(m.Hash(), nodes))
}

// stored implements roomstate.Loader.
type stored map[roomstate.Hash]roomstate.Node

func (s stored) Node(h roomstate.Hash) (roomstate.Node, error) {
	n, ok := s[h]
	if !ok {
		return n, roomstate.Missing(h)
	}
	return n, nil
}

func (s stored) Nodes(hashes []roomstate.Hash, into []roomstate.Node, _ bool) error {
	for i, h := range hashes {
		into[i] = must(s.Node(h))
	}
	return nil
}

// Diff iterates over what must change to get from m to other.
func Diff(m, other roomstate.Map) iter.Seq[roomstate.Change] {
	return func(yield func(roomstate.Change) bool) {
		for c, err := range m.Changes(other) {
			if must(c, err); !yield(c) {
				return
			}
		}
	}
}
