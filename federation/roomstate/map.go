// Package roomstate is the state of a room as a value: a persistent, immutable map from (type, state_key) to event
// ID. A change makes a new Map that shares all but a few nodes with the old one, so that every event of a room can
// keep its state, two states are compared by walking only what differs, and a store writes each node once.
//
// It is a hash trie over a path of 32 nibbles: 8 of the type's hash, then 24 of the hash of type and state key. A
// type is therefore a subtree, and what belongs to the hundred thousand members of a room is not in the way of the
// rest. The shape depends on the entries alone, never on the order of changes, and each node is known by a hash over
// everything below it: equal hash, equal state. The hashes are SHA-256, so that nobody can choose state keys that
// make the trie deep or two states look alike.
//
// The package knows nothing of events: it does not check that an ID names an event of that type.
package roomstate

import (
	"iter"

	"hanse/federation/id"
)

// Key names one entry of a state.
type Key struct{ Type, StateKey string }

// Map is an immutable state. The zero value is the empty state. Copies are cheap and may be used from several
// goroutines at once.
type Map struct{ root *node }

// Len returns how many entries m has.
func (m Map) Len() int {
	if m.root == nil {
		return 0
	}
	return m.root.size
}

// Hash returns the hash of the whole state: equal for equal states, however they came about. The empty state has the
// zero Hash.
func (m Map) Hash() Hash {
	if m.root == nil {
		return Hash{}
	}
	return m.root.hash
}

// Equal reports whether both states have the same entries. It costs one comparison.
func (m Map) Equal(other Map) bool { return m.Hash() == other.Hash() }

// Get returns the event for (typ, stateKey), and whether there is one.
func (m Map) Get(typ, stateKey string) (id.EventID, bool) {
	if m.root == nil {
		return "", false
	}
	if m.root.isLeaf() {
		if e := m.root.entry(Key{typ, stateKey}); e != nil {
			return e.event, true
		}
		return "", false
	}
	return m.root.get(pathOf(typ, stateKey), Key{typ, stateKey})
}

// path is the path of a key. In a small state the entry with that key knows it.
func (m Map) path(key Key) path {
	if m.root != nil && m.root.isLeaf() {
		if e := m.root.entry(key); e != nil {
			return e.path
		}
	}
	return pathOf(key.Type, key.StateKey)
}

// With returns m with the entry (typ, stateKey) set to e. It is m itself if that is so already.
func (m Map) With(typ, stateKey string, e id.EventID) Map {
	key := Key{typ, stateKey}
	added := entry{path: m.path(key), key: key, event: e}
	if m.root == nil {
		return Map{newLeaf([]entry{added})}
	}
	return Map{m.root.with(added)}
}

// Without returns m without the entry (typ, stateKey). It is m itself if there is no such entry.
func (m Map) Without(typ, stateKey string) Map {
	if m.root == nil {
		return m
	}
	key := Key{typ, stateKey}
	return Map{m.root.without(m.path(key), key)}
}

// All iterates over all entries in the order of the trie: the same for equal states, without meaning otherwise.
func (m Map) All() iter.Seq2[Key, id.EventID] {
	return func(yield func(Key, id.EventID) bool) {
		m.root.walk(func(e *entry) bool { return yield(e.key, e.event) })
	}
}

// ByType iterates over the entries of one type: state key and event. It costs what there is of that type, not what
// the state holds.
func (m Map) ByType(typ string) iter.Seq2[string, id.EventID] {
	return func(yield func(string, id.EventID) bool) {
		m.root.subtree(pathOf(typ, "")).walk(func(e *entry) bool {
			return e.key.Type != typ || yield(e.key.StateKey, e.event)
		})
	}
}
