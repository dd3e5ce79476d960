package room

import (
	"fmt"
	"slices"

	"hanse/federation/event"
	"hanse/federation/id"
)

// waiting is an event that can't be judged yet: some of its prev events have no place in the graph here, or some of its auth
// events are unknown.
type waiting struct {
	event    *event.Event
	origin   id.ServerName // whose chase it belongs to
	staged   bool          // kept by the store until decided
	itself   bool          // nobody has its prev events any more: ask for the state before it itself
	backfill bool
	outside  bool         // see stray.go
	bytes    int          // what it counts for while it waits
	asked    bool         // nobody has better copies of its rejected auth events: judge it by what we have
	prev     []id.EventID // prev events without a place here
	auth     []id.EventID // unknown auth events, and those rejected for what may be a bad copy
}

func (w *waiting) chase() chaseKey { return chaseKey{origin: w.origin, backfill: w.backfill} }

// waitingEvents are the waiting events of a room.
type waitingEvents struct {
	byID   map[id.EventID]*waiting
	on     map[id.EventID][]*waiting // by what they wait for
	chases map[chaseKey]*chase
	bytes  int // of the events
	ticket int64
	staged []*event.Event // from before the last stop, to be received again
}

func newWaiting(staged []*event.Event) waitingEvents {
	return waitingEvents{
		byID: make(map[id.EventID]*waiting), on: make(map[id.EventID][]*waiting),
		chases: make(map[chaseKey]*chase), staged: staged,
	}
}

func (w *waitingEvents) len() int { return len(w.byID) + len(w.staged) }

// room tells whether one more event of its chase may wait.
func (w *waitingEvents) room(e *waiting) bool {
	bytes := len(e.event.JSON())
	if len(w.byID) >= maxWaiting || w.bytes+bytes > maxWaitingBytes {
		return false
	}
	c := w.chases[e.chase()]
	return c == nil || len(c.events) < maxWaitingOrigin && c.bytes+bytes <= maxWaitingOriginBytes
}

// add puts an event among the waiting, with what it waits for in its prev and auth.
func (w *waitingEvents) add(e *waiting) {
	if w.byID[e.event.ID()] == nil {
		c := w.chases[e.chase()]
		if c == nil {
			c = &chase{chaseKey: e.chase()}
			w.chases[e.chase()] = c
		}
		e.bytes = len(e.event.JSON())
		c.events, c.bytes = append(c.events, e), c.bytes+e.bytes
		w.byID[e.event.ID()], w.bytes = e, w.bytes+e.bytes
	}
	for _, list := range [2][]id.EventID{e.prev, e.auth} {
		for _, need := range list {
			if !slices.Contains(w.on[need], e) {
				w.on[need] = append(w.on[need], e)
			}
		}
	}
}

// makeWhole has a whole copy take the place of one that waits redacted, if its chase has room for what it weighs more.
func (w *waitingEvents) makeWhole(e *waiting, whole *event.Event) bool {
	c, more := w.chases[e.chase()], len(whole.JSON())-e.bytes
	if w.bytes+more > maxWaitingBytes || c.bytes+more > maxWaitingOriginBytes {
		return false
	}
	e.event, e.bytes, c.bytes, w.bytes = whole, e.bytes+more, c.bytes+more, w.bytes+more
	return true
}

// remove takes an event out that is decided or dropped.
func (w *waitingEvents) remove(e *waiting) {
	delete(w.byID, e.event.ID())
	w.release(e)
	w.bytes -= e.bytes
	if c := w.chases[e.chase()]; c != nil {
		c.bytes -= e.bytes
		c.events = slices.DeleteFunc(c.events, func(x *waiting) bool { return x == e })
		if len(c.events) == 0 && c.fetch == nil && !c.answered {
			delete(w.chases, e.chase())
		}
	}
	e.bytes = 0
}

// release has an event wait for nothing.
func (w *waitingEvents) release(e *waiting) {
	for _, list := range [2][]id.EventID{e.prev, e.auth} {
		for _, need := range list {
			rest := slices.DeleteFunc(w.on[need], func(x *waiting) bool { return x == e })
			if len(rest) == 0 {
				delete(w.on, need)
			} else {
				w.on[need] = rest
			}
		}
	}
	e.prev, e.auth = nil, nil
}

// wake gives those that wait for an event, and has them wait for it no longer.
func (w *waitingEvents) wake(e id.EventID) []*waiting {
	list := w.on[e]
	delete(w.on, e)
	return list
}

// open are those of the needed events that don't wait themselves: nobody takes care of them yet.
func (w *waitingEvents) open(needs []id.EventID) []id.EventID {
	var open []id.EventID
	for _, need := range needs {
		if w.byID[need] == nil {
			open = append(open, need)
		}
	}
	return open
}

// drop gives an event up, and with it those of the same origin that stand on it. Those of others may find another way.
func (s *step) drop(e *waiting, reason string) {
	above := fmt.Sprintf("it stands on %s, which was dropped: %s", e.event.ID(), reason)
	queue := []*waiting{e}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		if s.m.waiting.byID[at.event.ID()] != at {
			continue
		}
		for _, w := range s.m.waiting.on[at.event.ID()] {
			if w.chase() == at.chase() {
				queue = append(queue, w)
			}
		}
		s.m.waiting.remove(at)
		s.unstage(at)
		s.verdict(Verdict{EventID: at.event.ID(), Status: Dropped, Reason: reason})
		reason = above
	}
}

func (s *step) verdict(v Verdict) { s.result.Verdicts = append(s.result.Verdicts, v) }

// stage has the store keep a waiting event that came by a transaction which will be acknowledged.
func (s *step) stage(e *waiting) {
	if !e.staged {
		e.staged = true
		s.result.Commit.Stage = append(s.result.Commit.Stage, e.event)
	}
}

// unstage ends that: the event is decided or dropped.
func (s *step) unstage(e *waiting) {
	if !e.staged {
		return
	}
	e.staged = false
	stage := s.result.Commit.Stage
	if i := slices.IndexFunc(stage, func(staged *event.Event) bool { return staged.ID() == e.event.ID() }); i >= 0 { // staged in this very step
		s.result.Commit.Stage = slices.Delete(stage, i, i+1)
		return
	}
	s.result.Commit.Unstage = append(s.result.Commit.Unstage, e.event.ID())
}
