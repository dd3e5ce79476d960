package roomstate

import (
	"iter"

	"hanse/federation/id"
)

// The tests ask and change states in memory, and states that are read from a disk which doesn't fail, by methods that return no
// error. testnet/wholestate is the same for other packages.

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Get is Event that can't fail.
func (m Map) Get(typ, stateKey string) (id.EventID, bool) {
	e := must(m.Event(typ, stateKey))
	return e, e != ""
}

// With is Set that can't fail.
func (m Map) With(typ, stateKey string, e id.EventID) Map { return must(m.Set(typ, stateKey, e)) }

// Without is Remove that can't fail.
func (m Map) Without(typ, stateKey string) Map { return must(m.Remove(typ, stateKey)) }

// All is Entries that can't fail.
func (m Map) All() iter.Seq2[Key, id.EventID] {
	return func(yield func(Key, id.EventID) bool) {
		for e, err := range m.Entries() {
			if must(e, err); !yield(e.Key, e.Event) {
				return
			}
		}
	}
}

// ByType is OfType that can't fail.
func (m Map) ByType(typ string) iter.Seq2[string, id.EventID] {
	return func(yield func(string, id.EventID) bool) {
		for e, err := range m.OfType(typ) {
			if must(e, err); !yield(e.StateKey, e.Event) {
				return
			}
		}
	}
}

// Diff is Changes that can't fail.
func (m Map) Diff(other Map) iter.Seq[Change] {
	return func(yield func(Change) bool) {
		for c, err := range m.Changes(other) {
			if must(c, err); !yield(c) {
				return
			}
		}
	}
}
