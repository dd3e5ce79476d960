package telemetry

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// tracedEvents and tracedMarks bound what is kept: the last events, and of each its first marks.
	tracedEvents = 2048
	tracedMarks  = 64
	// MaxTracing is the longest time for which traces may be switched on.
	MaxTracing = 24 * time.Hour
)

// Stage is a station on an event's way through this server.
type Stage string

// The stages, in the order of the way.
const (
	Verified  Stage = "verified"  // format, signatures and hash were looked at
	Stepped   Stage = "stepped"   // the room has judged it
	Committed Stage = "committed" // it is on disk
	Queued    Stage = "queued"    // it waits for other servers
	Sent      Stage = "sent"      // another server has taken it
)

// Mark says when an event reached a stage.
type Mark struct {
	At     time.Time `json:"at"`
	Stage  Stage     `json:"stage"`
	Detail string    `json:"detail,omitempty"`
}

// Traces keeps the ways of the last events, while it is switched on. Off, a mark costs one atomic read. Its zero value is
// off. Safe for concurrent use.
type Traces struct {
	until atomic.Int64 // nanoseconds since 1970; on until then

	mu    sync.Mutex
	marks map[string][]Mark // guarded by mu: by event
	order []string          // guarded by mu: events, a ring once it is full
	next  int               // guarded by mu
}

// Switch turns traces on for a time, at most MaxTracing; 0 turns them off. What was traced stays.
func (t *Traces) Switch(on time.Duration) {
	if on <= 0 {
		t.until.Store(0)
		return
	}
	t.until.Store(time.Now().Add(min(on, MaxTracing)).UnixNano())
}

// On tells whether marks are kept now. Who has to make a mark's arguments first asks.
func (t *Traces) On() bool {
	until := t.until.Load()
	return until != 0 && time.Now().UnixNano() < until
}

// Until is when traces switch off by themselves; false if they are off.
func (t *Traces) Until() (time.Time, bool) {
	return time.Unix(0, t.until.Load()), t.On()
}

// Mark notes that an event reached a stage.
func (t *Traces) Mark(event string, stage Stage, detail string) {
	if !t.On() || event == "" {
		return
	}
	mark := Mark{At: time.Now(), Stage: stage, Detail: clip(detail)}
	t.mu.Lock()
	defer t.mu.Unlock()
	marks, known := t.marks[event]
	if !known {
		t.remember(event)
	}
	if len(marks) < tracedMarks {
		t.marks[event] = append(marks, mark)
	}
}

// remember makes room for one more event; mu is held.
func (t *Traces) remember(event string) {
	if t.marks == nil {
		t.marks = map[string][]Mark{}
	}
	if len(t.order) < tracedEvents {
		t.order = append(t.order, event)
		return
	}
	delete(t.marks, t.order[t.next])
	t.order[t.next] = event
	t.next = (t.next + 1) % tracedEvents
}

// Of is an event's way so far, nil if it wasn't traced.
func (t *Traces) Of(event string) []Mark {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Mark(nil), t.marks[event]...)
}
