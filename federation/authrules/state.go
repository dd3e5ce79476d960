package authrules

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"golang.org/x/crypto/ed25519" // the algorithm of every Matrix signature; the house uses this import throughout

	"hanse/federation/event"
)

// EventsState is the state that a list of events amounts to, for instance the auth events of an event. Of two with
// the same type and state key the later one counts; events that are not state events are left out. The list is looked
// through for each question, and isn't to be changed meanwhile.
func EventsState(events []*event.Event) State { return eventsState(events) }

type eventsState []*event.Event

func (events eventsState) StateEvent(typ, stateKey string) (*event.Event, error) {
	return stateEvent(events, typ, stateKey), nil
}

// stateEvent is the last of some events that has a type and a state key, nil if none has.
func stateEvent(events []*event.Event, typ, stateKey string) *event.Event {
	for _, e := range slices.Backward(events) {
		if e.Is(typ, stateKey) {
			return e
		}
	}
	return nil
}

// Memo is a State that remembers the power levels parsed last, for checking many events against one state, or
// against one that changes as it goes (the state below may change between checks: what is remembered belongs to
// events, not to places). Not safe for concurrent use.
type Memo struct {
	state State
	known []remembered // at most memoSize
	next  int          // the one that gives way next

	redeemed map[[sha256.Size]byte]bool // at most maxRedeemed: whether what a third-party invite is redeemed by is signed
}

// remembered are levels, and what they were made from.
type remembered struct {
	create, power *event.Event
	levels        Levels
}

// levelsOf are the levels of a room's create and power levels events.
func (m *Memo) levelsOf(create, power *event.Event) Levels {
	for i := range m.known {
		if k := &m.known[i]; k.create == create && k.power == power {
			return k.levels
		}
	}
	made := remembered{create, power, levelsFrom(create, power)}
	if len(m.known) < memoSize {
		m.known = append(m.known, made)
	} else {
		m.known[m.next] = made
		m.next = (m.next + 1) % memoSize
	}
	return made.levels
}

// signedByAny is signedByAny, once for the same object and keys.
func (m *Memo) signedByAny(signed []byte, keys []ed25519.PublicKey) bool {
	hash := sha256.New()
	_, _ = fmt.Fprint(hash, len(keys), " ") // a hash never fails
	for _, key := range keys {              // of one length
		_, _ = hash.Write(key) // as above
	}
	_, _ = hash.Write(signed) // as above
	var asked [sha256.Size]byte
	hash.Sum(asked[:0])
	good, known := m.redeemed[asked]
	if !known {
		if len(m.redeemed) >= maxRedeemed {
			clear(m.redeemed)
		}
		if m.redeemed == nil {
			m.redeemed = make(map[[sha256.Size]byte]bool)
		}
		good = signedByAny(signed, keys)
		m.redeemed[asked] = good
	}
	return good
}

// NewMemo wraps a state; a Memo is returned as it is.
func NewMemo(state State) *Memo {
	if m, ok := state.(*Memo); ok {
		return m
	}
	return &Memo{state: state}
}

// Over has the Memo ask another state from now on; what it remembers stays. nil: none, until the next call.
func (m *Memo) Over(state State) *Memo {
	if other, ok := state.(*Memo); ok {
		state = other.state
	}
	m.state = state
	return m
}

// StateEvent asks the state below.
func (m *Memo) StateEvent(typ, stateKey string) (*event.Event, error) {
	return m.state.StateEvent(typ, stateKey)
}
