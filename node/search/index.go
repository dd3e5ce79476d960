package search

import (
	"context"
	"time"

	"hanse/node/store"
)

// Run writes the index until ctx ends.
func (s *Search) Run(ctx context.Context) error {
	feed := s.store.Follow(1) // as an alarm only: the tables tell what is new
	defer feed.Close()
	for wait := time.Duration(0); ; {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-s.kick:
		case <-timer.C:
		}
		timer.Stop()
		var more bool
		for more = true; more; {
			var err error
			if more, err = s.note(ctx); err != nil {
				if ctx.Err() == nil {
					s.log.Warn("the index for searching can't be written, it is tried again", "error", err, "in", retry)
				}
				more, wait = true, retry
				break
			}
			if wait = pause; more && !s.awaited() {
				break
			}
		}
		if more {
			continue // the rest in a moment, or when somebody asks for it
		}
		select {
		case <-ctx.Done():
			return nil
		case <-feed.Wake:
			wait = gather
		case <-s.kick:
			wait = 0
		}
	}
}

// note notes a batch of events, and tells whether there are more.
func (s *Search) note(ctx context.Context) (more bool, err error) {
	upto := s.store.Position()
	events, err := s.store.Unsearched(ctx, batch)
	if err != nil {
		return false, err
	}
	if !events.Empty() {
		if err := s.store.AddSearched(ctx, events, wordsOf, s.namesOf); err != nil {
			return false, err
		}
	}
	if !events.More {
		s.reached(upto)
	}
	return events.More, nil
}

// reached lets those go on who wait for the index.
func (s *Search) reached(upto store.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if upto > s.upto {
		s.upto = upto
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

// awaited tells whether somebody waits for the index.
func (s *Search) awaited() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting > 0
}

// count counts those who wait.
func (s *Search) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting += n
}

// await waits until the index has all events up to a position, or for as long as one may wait for that.
func (s *Search) await(ctx context.Context, upto store.Position) {
	timeout := time.NewTimer(catchUp)
	defer timeout.Stop()
	s.count(1)
	defer s.count(-1)
	for {
		s.mu.Lock()
		done, changed := s.upto >= upto, s.changed
		s.mu.Unlock()
		if done {
			return
		}
		select {
		case s.kick <- struct{}{}:
		default:
		}
		select {
		case <-changed:
		case <-timeout.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
