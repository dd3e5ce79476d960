package federation

import (
	"encoding/json"
	"time"
)

// Batch is what goes out next to one server, oldest first: what an outbox hands to a sender.
type Batch struct {
	PDUs []json.RawMessage
	EDUs []EDU
	// Upto is the outbox's own mark of how far this batch reaches. With the content it makes the transaction's ID.
	Upto int64
}

// Empty tells whether there is nothing in the batch.
func (b Batch) Empty() bool { return len(b.PDUs) == 0 && len(b.EDUs) == 0 }

// Backoff says that a server did not take what it was sent, and when it is tried again. The zero value says that
// nothing is wrong.
type Backoff struct {
	Failures int       // in a row
	Until    time.Time // not before
	// Since is when the first of the failures was, and Why what the last one was, for people.
	Since time.Time `json:",omitzero"`
	Why   string    `json:",omitempty"`
	// Kind says of which kind the last one was, in a word: "DNS", "TCP", "TLS", "slow", "signature", "HTTP 502".
	Kind string `json:",omitempty"`
}
