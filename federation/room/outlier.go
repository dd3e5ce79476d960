package room

import (
	"cmp"
	"errors"
	"fmt"
	"iter"

	"hanse/federation/authrules"
	"hanse/federation/dag"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
)

// outliers takes in events without a place in the graph: auth chains and states from other servers. Each is judged against its auth
// events alone, auth events first. Those whose auth events aren't known can't be judged and are left out.
func (s *step) outliers(events []*event.Event) error {
	if err := s.prefetchAuth(events); err != nil {
		return err
	}
	for _, e := range dag.SortTopologically(events) {
		if e.RoomID() != s.m.roomID {
			s.verdict(Verdict{EventID: e.ID(), Status: Dropped, Reason: fmt.Sprintf("it belongs to room %s", e.RoomID())})
			continue
		}
		known, ok, err := s.stored(e.ID())
		if err != nil {
			return err
		}
		again := known.Outlier && known.Status == Rejected // see [Committed]
		if ok && !again {
			continue
		}
		c, judged, err := s.judgeOutlier(e)
		if err != nil {
			return err
		}
		if again && (!judged || c.Status != Accepted) {
			continue
		}
		if !judged {
			s.verdict(Verdict{EventID: e.ID(), Status: Dropped, Reason: "its auth events aren't known"})
			continue
		}
		if again {
			s.mended(c)
		}
		if c.Status != Accepted {
			s.verdict(verdictOf(&c))
		}
		if err := s.commit(c); err != nil {
			return err
		}
	}
	return nil
}

// mended tells of an outlier that was rejected and is not any more, or the other way round.
func (s *step) mended(c Committed) {
	s.verdict(verdictOf(&c))
	// What was resolved may have left out what rests on it.
	s.m.cache.resolved = newRecent[string, roomstate.Map](cachedResolutions)
}

// doubtful tells whether a rejected outlier may have been rejected for its copy: a hostile or broken server gave it, or one of its auth
// events, with content that doesn't fit the hash, so that it was judged redacted. Another copy may be whole. A whole event that was
// judged by whole auth events is rejected for good.
func (s *step) doubtful(e Stored) (bool, error) {
	seen := make(map[id.EventID]bool)
	for queue := []Stored{e}; len(queue) > 0 && len(seen) < maxWalk; queue = queue[1:] {
		at := queue[0]
		if !at.Outlier || at.Status != Rejected {
			continue
		}
		if !at.Event.ContentHashMatches() {
			return true, nil
		}
		for _, a := range authEvents(at.Event) {
			if seen[a] {
				continue
			}
			seen[a] = true
			stored, ok, err := s.stored(a)
			if err != nil {
				return false, err
			}
			if ok {
				queue = append(queue, stored)
			}
		}
	}
	return false, nil
}

// wakeAll settles those that waited for the events committed since then.
func (s *step) wakeAll(since int) error {
	for i := since; i < len(s.order); i++ {
		if c := s.order[i]; c != nil {
			if err := s.wake(c.Event.ID()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *step) prefetchAuth(events []*event.Event) error {
	ids := make([]id.EventID, 0, len(events))
	for _, e := range events {
		ids = append(append(ids, e.ID()), authEvents(e)...)
	}
	return s.load(ids)
}

// judgeOutlier makes check 4, the only one there is for an event without a state before it; false: an auth event isn't known.
func (s *step) judgeOutlier(e *event.Event) (Committed, bool, error) {
	c := Committed{Event: e, Outlier: true}
	for _, a := range authEvents(e) {
		if _, ok, err := s.stored(a); err != nil || !ok {
			return c, false, err
		}
	}
	err := s.checkAuthEvents(&c)
	if err == nil {
		return c, true, nil
	}
	rejection, ok := errors.AsType[*authrules.Rejection](err)
	if !ok {
		return c, false, err
	}
	c.Status, c.Rejection = Rejected, rejection
	c.Reason = fmt.Sprintf("it fails the check against 4. its auth events: %v", rejection)
	return c, true, nil
}

func buildState(entries map[roomstate.Key]id.EventID) roomstate.Map {
	return roomstate.Build(iter.Seq2[roomstate.Key, id.EventID](func(yield func(roomstate.Key, id.EventID) bool) {
		for key, e := range entries {
			if !yield(key, e) {
				return
			}
		}
	}))
}

func compareKeys(a, b roomstate.Key) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.StateKey, b.StateKey))
}
