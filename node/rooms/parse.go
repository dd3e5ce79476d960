package rooms

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup" // one parser a core

	"hanse/federation/event"
	"hanse/federation/roomversion"
)

// parseAll parses events on all cores; nil stands for what is no valid event. It takes the texts over.
func parseAll(rules *roomversion.Rules, raws []json.RawMessage) []*event.Event {
	events := make([]*event.Event, len(raws))
	if len(raws) <= parsedAtOnce { // not worth a goroutine
		parseInto(events, rules, raws)
		return events
	}
	group := parsers()
	for i := 0; i < len(raws); i += parsedAtOnce {
		end := min(i+parsedAtOnce, len(raws))
		group.Go(func() error {
			parseInto(events[i:end], rules, raws[i:end])
			return nil
		})
	}
	_ = group.Wait() // no parser fails
	return events
}

// parsedAtOnce is how many events a parser takes at a time.
const parsedAtOnce = 64

// parsers are as many as there are cores; who has more work for them waits.
func parsers() *errgroup.Group {
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	return &group
}

// parseInto parses events.
func parseInto(events []*event.Event, rules *roomversion.Rules, raws []json.RawMessage) {
	for i, raw := range raws {
		raws[i] = nil
		events[i] = parsed(rules, raw)
	}
}

// parsed is an event, redacted if its content hash is wrong; nil if it isn't valid. It runs in goroutines of parsers: a text that makes it
// panic is no valid event either.
func parsed(rules *roomversion.Rules, raw json.RawMessage) (e *event.Event) {
	defer func() {
		if recover() != nil {
			e = nil
		}
	}()
	e, err := event.ReceivedOld(rules, raw)
	if err != nil {
		return nil
	}
	return e
}

// streamed parses the events of an answer while the rest of it comes, so that they are never held as texts and as events both.
type streamed struct {
	rules   *roomversion.Rules
	most    int // events
	count   int
	parsers *errgroup.Group
	next    []json.RawMessage // not yet with a parser
	parsed  [][]*event.Event  // of the parsers, in the order of the answer
}

func newStreamed(rules *roomversion.Rules, most int) *streamed {
	return &streamed{rules: rules, most: most, parsers: parsers()}
}

// take takes over the text of the next event. It waits where the parsers can't follow.
func (s *streamed) take(raw json.RawMessage) error {
	if s.count++; s.count > s.most {
		return fmt.Errorf("the state of the room has more than %d events", s.most)
	}
	if s.next = append(s.next, raw); len(s.next) == parsedAtOnce {
		s.parse()
	}
	return nil
}

func (s *streamed) parse() {
	raws, events := s.next, make([]*event.Event, len(s.next))
	s.next, s.parsed = make([]json.RawMessage, 0, parsedAtOnce), append(s.parsed, events)
	s.parsers.Go(func() error {
		parseInto(events, s.rules, raws)
		return nil
	})
}

// all waits for the parsers and gives the events in the order of the answer; nil stands for what is no valid event.
func (s *streamed) all() []*event.Event {
	s.parse()
	_ = s.parsers.Wait() // no parser fails
	return slices.Concat(s.parsed...)
}
