package stream

import (
	"fmt"
	"strconv"
	"strings"

	"hanse/node/ephemeral"
	"hanse/node/store"
)

// Token is a place in everything that a user can be told: `next_batch` and `since` of /sync. Position is the commit
// order; Typing is the order of typing changes, which are not stored.
type Token struct {
	Position store.Position
	Typing   ephemeral.Serial
}

// String is the token as clients hold it: s12_7.
func (t Token) String() string { return fmt.Sprintf("s%d_%d", t.Position, t.Typing) }

// ParseToken reads a token that String made.
func ParseToken(text string) (Token, error) {
	rest, isStream := strings.CutPrefix(text, "s")
	position, typing, both := strings.Cut(rest, "_")
	if !isStream || !both {
		return Token{}, fmt.Errorf("%q is not a token of /sync", text)
	}
	p, err1 := strconv.ParseInt(position, 10, 64)
	serial, err2 := strconv.ParseInt(typing, 10, 64)
	if err1 != nil || err2 != nil || p < 0 || serial < 0 {
		return Token{}, fmt.Errorf("%q is not a token of /sync", text)
	}
	return Token{Position: store.Position(p), Typing: ephemeral.Serial(serial)}, nil
}

// FormatTopological is a place in a room's history as clients hold it: `prev_batch`, and `start` and `end` of /messages.
func FormatTopological(t store.Topological) string {
	return fmt.Sprintf("t%d_%d", t.Depth, t.Position)
}

// ParseTopological reads a token that FormatTopological made.
func ParseTopological(text string) (store.Topological, error) {
	rest, isTopological := strings.CutPrefix(text, "t")
	depth, position, both := strings.Cut(rest, "_")
	if !isTopological || !both {
		return store.Topological{}, fmt.Errorf("%q is not a place in a room's history", text)
	}
	d, err1 := strconv.ParseInt(depth, 10, 64)
	p, err2 := strconv.ParseInt(position, 10, 64)
	if err1 != nil || err2 != nil {
		return store.Topological{}, fmt.Errorf("%q is not a place in a room's history", text)
	}
	return store.Topological{Depth: d, Position: store.Position(p)}, nil
}
