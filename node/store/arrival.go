package store

import (
	"strconv"
	"strings"
	"time"

	"hanse/federation/id"
)

// How is the way by which an event came here.
type How byte

// The ways. The letters are stored.
const (
	UnknownWay  How = 0
	Local       How = 'l' // made here, by a user of ours or by this server
	Transaction How = 't' // in another server's transaction
	Handshake   How = 'h' // a membership event that another server asked us to take: send_join, send_leave, send_knock, invite
	Join        How = 'j' // with the room, when we joined it through another server
	Backfill    How = 'b' // history, asked for because somebody looked
	Fetched     How = 'f' // asked for because another event stands on it
)

// String says it for people.
func (h How) String() string {
	switch h {
	case Local:
		return "made here"
	case Transaction:
		return "transaction"
	case Handshake:
		return "handshake"
	case Join:
		return "join"
	case Backfill:
		return "backfill"
	case Fetched:
		return "asked for"
	}
	return "unknown"
}

// Arrival is how an event came here first. The zero value says that it isn't known.
type Arrival struct {
	How  How
	From id.ServerName // "" for what was made here
	At   time.Time     // to the millisecond
}

// encodeArrival is an arrival as stored: the way's letter, the milliseconds since 1970 in base 36, a space and the
// server. Some 25 bytes an event of others, 9 of ours. nil for the zero value.
func encodeArrival(a Arrival) []byte {
	if a.How == UnknownWay {
		return nil
	}
	b := make([]byte, 0, 12+len(a.From))
	b = strconv.AppendInt(append(b, byte(a.How)), a.At.UnixMilli(), 36)
	if a.From != "" {
		b = append(append(b, ' '), a.From...)
	}
	return b
}

// decodeArrival reads what encodeArrival wrote; what it doesn't understand is not known.
func decodeArrival(b []byte) Arrival {
	if len(b) < 2 {
		return Arrival{}
	}
	when, from, _ := strings.Cut(string(b[1:]), " ")
	ms, err := strconv.ParseInt(when, 36, 64)
	if err != nil {
		return Arrival{}
	}
	return Arrival{How: How(b[0]), From: id.ServerName(from), At: time.UnixMilli(ms)}
}
