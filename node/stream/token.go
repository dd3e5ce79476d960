package stream

import (
	"fmt"
	"strconv"
	"strings"

	"hanse/node/ephemeral"
	"hanse/node/store"
)

// Token is a place in everything that a user can be told: `next_batch` and `since` of /sync. Position is the commit
// order; Typing is the order of changes of typing and presence, which are not stored.
type Token struct {
	Position store.Position
	Typing   ephemeral.Serial
	// ToDevice is up to where messages to the device were handed out: before Position if there were too many for one answer.
	ToDevice store.Position
}

// String is the token as clients hold it: s12_7, or s12_7_9 with messages to the device left.
func (t Token) String() string {
	if t.ToDevice == t.Position {
		return fmt.Sprintf("s%d_%d", t.Position, t.Typing)
	}
	return fmt.Sprintf("s%d_%d_%d", t.Position, t.Typing, t.ToDevice)
}

// ParseToken reads a token that String made.
func ParseToken(text string) (Token, error) {
	rest, isStream := strings.CutPrefix(text, "s")
	position, typing, both := strings.Cut(rest, "_")
	if !isStream || !both {
		return Token{}, fmt.Errorf("%q is not a token of /sync", text)
	}
	typing, messages, apart := strings.Cut(typing, "_")
	if !apart {
		messages = position
	}
	m, err3 := strconv.ParseInt(messages, 10, 64)
	if err3 != nil || m < 0 {
		return Token{}, fmt.Errorf("%q is not a token of /sync", text)
	}
	p, err1 := strconv.ParseInt(position, 10, 64)
	serial, err2 := strconv.ParseInt(typing, 10, 64)
	if err1 != nil || err2 != nil || p < 0 || serial < 0 {
		return Token{}, fmt.Errorf("%q is not a token of /sync", text)
	}
	return Token{Position: store.Position(p), Typing: ephemeral.Serial(serial), ToDevice: store.Position(m)}, nil
}

// Place is a place in a room's history: `prev_batch`, and `start` and `end` of /messages. Before it are the events that
// come before At in the order of depth and whose position is below Below; 0: whatever their position. So the place before
// a timeline, which is in order of position, has all events before it that the timeline and what comes later don't
// have, each once, whatever their depth.
type Place struct {
	At    store.Topological
	Below store.Position
	// Told, of a place before a timeline that is the first that a client gets of a room, is the position that the timeline
	// goes to. Who was in the room at such a place is asked for as of then: before the first of its events was nobody, and
	// in a forked room what comes last in the timeline need not be said last.
	Told store.Position
}

// PlaceBelow is the place just before everything at or after a position.
func PlaceBelow(position store.Position) Place { return Place{At: store.End(), Below: position} }

// String is the place as clients hold it: t5_9 or t5_9_12; one with no bound in depth is t_12, or t_12_30 with Told.
func (p Place) String() string {
	switch {
	case p.At == store.End() && p.Below > 0 && p.Told > 0:
		return fmt.Sprintf("t_%d_%d", p.Below, p.Told)
	case p.At == store.End() && p.Below > 0:
		return fmt.Sprintf("t_%d", p.Below)
	case p.Below > 0:
		return fmt.Sprintf("t%d_%d_%d", p.At.Depth, p.At.Position, p.Below)
	}
	return fmt.Sprintf("t%d_%d", p.At.Depth, p.At.Position)
}

// ParsePlace reads what String made.
func ParsePlace(text string) (Place, error) {
	wrong := fmt.Errorf("%q is not a place in a room's history", text)
	rest, isPlace := strings.CutPrefix(text, "t")
	if !isPlace {
		return Place{}, wrong
	}
	parts := strings.Split(rest, "_")
	if parts[0] == "" {
		return parsePlaceBelow(parts[1:], wrong)
	}
	var numbers [3]int64
	if len(parts) < 2 || len(parts) > len(numbers) {
		return Place{}, wrong
	}
	for i, part := range parts {
		n, err := strconv.ParseInt(part, 10, 64)
		if err != nil || i == 2 && n <= 0 {
			return Place{}, wrong
		}
		numbers[i] = n
	}
	at := store.Topological{Depth: numbers[0], Position: store.Position(numbers[1])}
	return Place{At: at, Below: store.Position(numbers[2])}, nil
}

// parsePlaceBelow reads the numbers of a place with no bound in depth.
func parsePlaceBelow(parts []string, wrong error) (Place, error) {
	var numbers [2]int64
	if len(parts) < 1 || len(parts) > len(numbers) {
		return Place{}, wrong
	}
	for i, part := range parts {
		n, err := strconv.ParseInt(part, 10, 64)
		if err != nil || n <= 0 {
			return Place{}, wrong
		}
		numbers[i] = n
	}
	place := PlaceBelow(store.Position(numbers[0]))
	place.Told = store.Position(numbers[1])
	return place, nil
}
