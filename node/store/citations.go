package store

import (
	"crypto/sha256"
	"database/sql"
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
func (w *roomWrite) writeCitations(t *writeTx, e room.Committed) error {
	if !e.Event.IsState() || w.bulk && e.Outlier {
		return nil
	}
	create, _ := w.commit.Current.Get(createType, "")
	return cite(t, e.Event, create)
}

func cite(t *writeTx, e *event.Event, create id.EventID) error {
	for _, cited := range e.AuthEvents() {
		if cited == create {
			continue
		}
		if err := t.insert(insertCitation, citedKey(cited), int64(t.position), string(e.ID())); err != nil {
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
		for last := (citation{stored: math.MinInt64}); err == nil; {
			var rows []citation
			if rows, err = s.citations(cited, last); err != nil || len(rows) == 0 {
				break
			}
			var ids []id.EventID
			for _, row := range rows {
				ids = append(ids, row.citing)
			}
			var events map[id.EventID]*storedEvent
			if events, err = s.store.stored(s.ctx, ids); err != nil {
				break
			}
			for _, e := range ids {
				row := events[e]
				if row != nil && slices.Contains(row.event.AuthEvents(), cited) && !yield(e, nil) {
					return
				}
			}
			last = rows[len(rows)-1]
			if len(rows) < citedBatch {
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

type citation struct {
	stored int64
	citing id.EventID
}

// citations are those after the given one, at most citedBatch.
func (s source) citations(cited id.EventID, after citation) ([]citation, error) {
	var found []citation
	err := s.store.read.each(s.ctx, `SELECT stored, citing FROM citations WHERE cited = $1 AND (stored, citing) > ($2, $3)
		ORDER BY stored, citing LIMIT $4`, []any{citedKey(cited), after.stored, string(after.citing), int64(citedBatch)},
		func(rows *sql.Rows) error {
			var c citation
			err := rows.Scan(&c.stored, &c.citing)
			found = append(found, c)
			return err
		})
	return found, err
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
