package store

import (
	"crypto/sha256"
	"encoding/binary"
	"iter"
	"math"
	"slices"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/stateres"
)

// createType is the type of the event that all others of a room cite, where the room version has them do so.
const createType = "m.room.create"

// citedKey is what an event's citations are found by. Two events with the same key cost time, not correctness.
func citedKey(e id.EventID) int64 {
	h := sha256.Sum256([]byte(e))
	return int64(binary.BigEndian.Uint64(h[:8])) //nolint:gosec // any 64 bits will do
}

func outliers(c room.Commit) int {
	n := 0
	for _, e := range c.Events {
		if e.Outlier {
			n++
		}
	}
	return n
}

// writeCitations notes what a state event cites: for state resolution, which asks from above. Left out are the create
// event, which all cite and nothing doubts, and what a bulk of outliers cites; rooms.cited remembers that.
func (w *roomWrite) writeCitations(t *writeTx, e room.Committed, number Position) error {
	if !e.Event.IsState() || w.bulk && e.Outlier {
		return nil
	}
	return cite(t, e.Event, number, w.create)
}

func cite(t *writeTx, e *event.Event, number Position, create id.EventID) error {
	for _, cited := range e.AuthEvents() {
		if cited == create {
			continue
		}
		if err := t.insert(insertCitation, citedKey(cited), int64(number)); err != nil {
			return err
		}
	}
	return nil
}

// CitedBy is stateres.Citations: it knows all that cites an event which was stored after the state that the room was
// joined with (and other bulks of outliers).
func (s source) CitedBy(cited id.EventID) iter.Seq2[id.EventID, error] {
	return func(yield func(id.EventID, error) bool) {
		known, err := s.citationsKnown(cited)
		last := Position(math.MinInt64)
		for limit := citedFirst; err == nil; limit = citedBatch { // the caller often stops after a few
			var citing []*storedEvent
			var more bool
			if citing, last, more, err = s.citing(cited, last, limit); err != nil {
				break
			}
			for _, e := range citing {
				if slices.Contains(e.event.AuthEvents(), cited) && !yield(e.event.ID(), nil) {
					return
				}
			}
			if !more {
				break
			}
		}
		if err == nil && !known {
			err = stateres.ErrCitationsUnknown
		}
		if err != nil {
			yield("", err)
		}
	}
}

// citing reads events that cite one (or one with the same key), those with numbers after the given one; last is the
// greatest number, more says that there may be more.
func (s source) citing(cited id.EventID, after Position, limit int) (events []*storedEvent, last Position, more bool, err error) {
	numbers, err := readAll[Position](s.ctx, s.store, "SELECT citing FROM citations WHERE cited = $1 AND citing > $2 ORDER BY citing LIMIT $3",
		citedKey(cited), int64(after), int64(limit))
	if err != nil || len(numbers) == 0 {
		return nil, after, false, err
	}
	err = listPositions("SELECT "+eventColumns+" FROM events WHERE number IN (%s)", nil, numbers, func(query string, args []any) error {
		return s.store.eachEvent(s.ctx, query, args, func(e *storedEvent) { events = append(events, e) })
	})
	return events, numbers[len(numbers)-1], len(numbers) == limit, err
}

func (s source) citationsKnown(cited id.EventID) (bool, error) {
	var stored, begin int64
	found, err := s.store.eventColumns(s.ctx, cited, "stored, (SELECT cited FROM rooms WHERE rooms.room = events.room)", &stored, &begin)
	if err != nil || !found {
		return false, err
	}
	rows, err := s.store.stored(s.ctx, []id.EventID{cited})
	if err != nil || rows[cited] == nil {
		return false, err
	}
	return stored > begin && rows[cited].event.Type() != createType, nil
}
