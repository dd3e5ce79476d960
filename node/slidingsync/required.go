package slidingsync

import (
	"iter"
	"slices"
	"strings"

	"hanse/federation/id"
	"hanse/federation/roomstate"
)

const (
	wildcard   = "*"
	lazy       = "$LAZY"
	me         = "$ME"
	memberType = "m.room.member"
)

// element is a kind of state that is wanted: a type and a state key, each of which may be a wildcard.
type element struct{ typ, stateKey string }

// Required is the state that a list or a subscription wants of its rooms. Immutable.
//
// Next to ["*","*"] other elements narrow: of their types nothing else is wanted. So it was in MSC3575, and clients write it so that
// they get all state but the members that they load lazily; MSC4186 says that by an object. Synapse gives all state then.
type Required struct {
	name     string           // what it is, for comparing
	all      bool             // ["*","*"]
	lazy     bool             // ["m.room.member","$LAZY"]
	types    map[string]bool  // [type,"*"]
	keys     map[string]bool  // ["*",key]
	elements map[element]bool // the others
	named    map[string]bool  // the types of types and elements, and the members' where they are loaded lazily
}

// newRequired reads a list of elements for a user.
func newRequired(elements []element, user id.UserID) *Required {
	r := &Required{types: map[string]bool{}, keys: map[string]bool{}, elements: map[element]bool{}, named: map[string]bool{}}
	for _, e := range elements {
		if e.stateKey == me {
			e.stateKey = string(user)
		}
		switch {
		case e.typ == wildcard && e.stateKey == wildcard:
			r.all = true
		case e.typ == memberType && e.stateKey == lazy:
			r.lazy, r.named[memberType] = true, true
		case e.stateKey == lazy: // it is said of members alone
		case e.typ == wildcard:
			r.keys[e.stateKey] = true
		case e.stateKey == wildcard:
			r.types[e.typ], r.named[e.typ] = true, true
		default:
			r.elements[e], r.named[e.typ] = true, true
		}
	}
	sorted := slices.Clone(elements)
	slices.SortFunc(sorted, func(a, b element) int {
		if c := strings.Compare(a.typ, b.typ); c != 0 {
			return c
		}
		return strings.Compare(a.stateKey, b.stateKey)
	})
	var name strings.Builder
	for _, e := range slices.Compact(sorted) {
		name.WriteString(e.typ + "\x00" + e.stateKey + "\x00")
	}
	r.name = name.String()
	return r
}

// matches tells whether a state event is wanted, apart from members that are loaded lazily.
func (r *Required) matches(key roomstate.Key) bool {
	switch {
	case r.types[key.Type], r.keys[key.StateKey], r.elements[element{key.Type, key.StateKey}]:
		return true
	default:
		return r.all && !r.named[key.Type]
	}
}

// everyMember tells whether all members are wanted.
func (r *Required) everyMember() bool { return r.all && !r.named[memberType] || r.types[memberType] }

// allMembers tells whether members are wanted that a room which was joined without them doesn't have yet, as Synapse does.
func (r *Required) allMembers(server id.ServerName) bool {
	if r.everyMember() {
		return true
	}
	foreign := func(stateKey string) bool {
		user, err := id.ParseUserID(stateKey)
		return err == nil && user.Server() != server
	}
	for stateKey := range r.keys {
		if foreign(stateKey) {
			return true
		}
	}
	for e := range r.elements {
		if e.typ == memberType && foreign(e.stateKey) {
			return true
		}
	}
	return false
}

// of are the entries of a state that may be wanted; those that matches denies may be among them, but no members: of a large room
// these are nearly all, and none is read that isn't wanted.
func (r *Required) of(state roomstate.Map) iter.Seq2[roomstate.Entry, error] {
	anyType := r.all || len(r.keys) > 0
	if anyType && r.everyMember() {
		return state.Entries()
	}
	return func(yield func(roomstate.Entry, error) bool) {
		one := func(typ, stateKey string) bool {
			event, err := state.Event(typ, stateKey)
			return event == "" && err == nil || yield(roomstate.Entry{Key: roomstate.Key{Type: typ, StateKey: stateKey}, Event: event}, err)
		}
		if anyType {
			for entry, err := range state.OtherTypes(memberType) {
				if !yield(entry, err) {
					return
				}
			}
			for stateKey := range r.keys {
				if !one(memberType, stateKey) {
					return
				}
			}
		} else {
			for typ := range r.types {
				for entry, err := range state.OfType(typ) {
					if !yield(entry, err) {
						return
					}
				}
			}
		}
		for e := range r.elements {
			if !one(e.typ, e.stateKey) {
				return
			}
		}
	}
}

// union is the state that any of some wants. Immutable.
type union []*Required

// with adds what another one wants.
func (u union) with(r *Required) union {
	if slices.ContainsFunc(u, func(have *Required) bool { return have.name == r.name }) {
		return u
	}
	return append(slices.Clip(u), r)
}

func (u union) withAll(other union) union {
	for _, r := range other {
		u = u.with(r)
	}
	return u
}

// within tells whether another one wants all of it, as they are written.
func (u union) within(other union) bool {
	return !slices.ContainsFunc(u, func(r *Required) bool {
		return !slices.ContainsFunc(other, func(o *Required) bool { return o == r || o.name == r.name })
	})
}

func (u union) matches(key roomstate.Key) bool {
	return slices.ContainsFunc(u, func(r *Required) bool { return r.matches(key) })
}

func (u union) lazy() bool { return slices.ContainsFunc(u, func(r *Required) bool { return r.lazy }) }

func (u union) allMembers(server id.ServerName) bool {
	return slices.ContainsFunc(u, func(r *Required) bool { return r.allMembers(server) })
}
