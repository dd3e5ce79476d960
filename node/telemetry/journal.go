package telemetry

import (
	"sync"
	"time"
	"unicode/utf8"
)

const (
	// journalEntries is how many refusals are remembered: hours of a quiet server, minutes of one under attack.
	journalEntries = 2048
	// maxWhy bounds the text of one, in bytes.
	maxWhy = 400
)

// Refusal is something that another server sent or asked and that was not taken, or something of ours that can't be judged.
type Refusal struct {
	At     time.Time `json:"at"`
	Server string    `json:"server,omitempty"` // who sent it, "" if nobody knows
	Room   string    `json:"room,omitempty"`
	Event  string    `json:"event,omitempty"` // "" where the event has no ID yet, or it is about a request
	What   string    `json:"what"`            // of a closed set: see the constants
	Why    string    `json:"why"`             // for people
}

// What is refused, and by which check. These are labels of a metric, so the set is closed.
const (
	RefusedRequest   = "request"   // a request of the server-server API
	RefusedFormat    = "format"    // check 1 on receipt of a PDU
	RefusedSignature = "signature" // check 2
	RefusedACL       = "acl"       // the room's server ACL
	RefusedRoom      = "room"      // we aren't in the room, or don't know it
	RefusedMissing   = "missing"   // what the event stands on can't be had
	RefusedBusy      = "busy"      // we had too much to do
)

// Journal remembers the last refusals, in memory. Its zero value is ready. Safe for concurrent use.
type Journal struct {
	mu    sync.Mutex
	ring  []Refusal        // guarded by mu
	next  int              // guarded by mu: where the next one goes once the ring is full
	count map[string]int64 // guarded by mu: by What
}

// Note remembers one; the oldest makes room for it.
func (j *Journal) Note(r Refusal) {
	r.Why = clip(r.Why)
	if r.At.IsZero() {
		r.At = time.Now()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.count == nil {
		j.count = map[string]int64{}
	}
	j.count[r.What]++
	if len(j.ring) < journalEntries {
		j.ring = append(j.ring, r)
		return
	}
	j.ring[j.next] = r
	j.next = (j.next + 1) % journalEntries
}

// clip bounds what a peer may have written.
func clip(text string) string {
	if len(text) <= maxWhy {
		return text
	}
	end := maxWhy
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// Counts are how often each check has refused something since the start.
func (j *Journal) Counts() map[string]int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	counts := make(map[string]int64, len(j.count))
	for what, n := range j.count {
		counts[what] = n
	}
	return counts
}

// Find gives those that fit, the newest first, at most so many.
func (j *Journal) Find(most int, fits func(Refusal) bool) []Refusal {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []Refusal
	for i := range len(j.ring) {
		r := j.ring[(j.next+len(j.ring)-1-i)%len(j.ring)]
		if len(found) == most {
			break
		}
		if fits(r) {
			found = append(found, r)
		}
	}
	return found
}
