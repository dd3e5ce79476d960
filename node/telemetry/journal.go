package telemetry

import (
	"slices"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	// journalEntries is how many refusals of each kind are remembered: hours of a quiet server, minutes of one under attack.
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

// Journal remembers the last refusals, in memory: those of events, and apart from them those of requests and of what has no
// ID, so that who sends rubbish doesn't make forgotten what became of events. Its zero value is ready. Safe for concurrent use.
type Journal struct {
	mu     sync.Mutex
	events ring // guarded by mu
	others ring // guarded by mu
}

// ring holds the last refusals.
type ring struct {
	list []Refusal
	next int // where the next one goes once the ring is full
}

func (r *ring) add(one Refusal) {
	if len(r.list) < journalEntries {
		r.list = append(r.list, one)
		return
	}
	r.list[r.next] = one
	r.next = (r.next + 1) % journalEntries
}

// find appends those that fit, the newest first, at most so many.
func (r *ring) find(most int, fits func(Refusal) bool) []Refusal {
	var found []Refusal
	for i := range len(r.list) {
		if len(found) == most {
			break
		}
		if one := r.list[(r.next+len(r.list)-1-i)%len(r.list)]; fits(one) {
			found = append(found, one)
		}
	}
	return found
}

// Note remembers one; the oldest of its kind makes room for it.
func (j *Journal) Note(r Refusal) {
	r.Why = clip(r.Why)
	if r.At.IsZero() {
		r.At = time.Now()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if r.Event != "" {
		j.events.add(r)
	} else {
		j.others.add(r)
	}
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

// Find gives those that fit, the newest first, at most so many.
func (j *Journal) Find(most int, fits func(Refusal) bool) []Refusal {
	j.mu.Lock()
	defer j.mu.Unlock()
	found := append(j.events.find(most, fits), j.others.find(most, fits)...)
	slices.SortStableFunc(found, func(a, b Refusal) int { return b.At.Compare(a.At) })
	return found[:min(len(found), most)]
}
