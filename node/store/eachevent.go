package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"

	"hanse/federation/event"
	"hanse/federation/id"
)

// ServedEvent is what other servers get of an event, and what its auth chain takes.
type ServedEvent struct {
	ID id.EventID
	// JSON is the event as it may be served: redacted if it was. It is overwritten once use has returned.
	JSON json.RawMessage
	// Auth is shared with other events and must not be changed.
	Auth  []id.EventID
	Depth int64
}

// EachEvent reads many events a few hundred at a time, mostly in the order in which they were stored and without keeping them in the cache:
// for states that are large. The next ones are read while use is called for those before, and use may read. Its error ends it. What is not
// stored is left out, and an ID that is there twice is given once.
func (s *Store) EachEvent(ctx context.Context, ids []id.EventID, use func(ServedEvent) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	batches, used, failed := make(chan *servedBatch, 1), make(chan *servedBatch, 3), make(chan error, 1)
	for range cap(used) { // one is filled, one waits, of one the events are used
		used <- &servedBatch{}
	}
	go func() {
		defer close(batches)
		failed <- s.eachBatch(ctx, ids, used, batches)
	}()
	var err error
	for batch := range batches {
		for _, e := range batch.events {
			if err == nil {
				err = use(e)
			}
		}
		used <- batch
		if err != nil {
			cancel() // the reading ends, and with it the batches
		}
	}
	if err != nil {
		return err
	}
	return <-failed
}

// sampled and sampleRun: of a list of events, one in so many is looked up to see where the others are, and so many neighbours of those are
// looked at together. The events expected between them are listLength.
const (
	sampled   = 16
	sampleRun = listLength / sampled
)

// eachBatch reads events. To find an event by its ID costs as much as to read it, and most of a large state was stored together. So a few
// are found, and where those are so close that half of what is between them must be of the state, everything there is read. The rest is
// found by its IDs.
func (s *Store) eachBatch(ctx context.Context, ids []id.EventID, from <-chan *servedBatch, to chan<- *servedBatch) error {
	r := servedReader{store: s, wanted: make(map[id.EventID]struct{}, len(ids)), from: from, to: to}
	for _, e := range ids {
		r.wanted[e] = struct{}{}
	}
	if len(ids) > 2*listLength {
		sample := make([]id.EventID, 0, len(ids)/sampled+1)
		for i := 0; i < len(ids); i += sampled {
			sample = append(sample, ids[i])
		}
		numbers, err := s.sortedNumbers(ctx, sample)
		if err != nil {
			return err
		}
		for len(numbers) > 1 {
			run := numbers[:min(len(numbers), sampleRun+1)]
			numbers = numbers[len(run)-1:] // the last one is the first of the next run
			if first, last := run[0], run[len(run)-1]; int64(last-first) < 2*sampled*int64(len(run)-1) {
				if err := r.between(ctx, first, last); err != nil {
					return err
				}
			}
		}
	}
	rest := make([]id.EventID, 0, len(r.wanted))
	for e := range r.wanted {
		rest = append(rest, e)
	}
	numbers, err := s.sortedNumbers(ctx, rest)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(numbers, listLength) {
		if err := r.at(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// sortedNumbers are where events are stored: in order, as neighbours are on the same pages. What is not stored is left out.
func (s *Store) sortedNumbers(ctx context.Context, ids []id.EventID) ([]Position, error) {
	numbers, rest := s.tail.numbers(ids)
	slices.Sort(rest) // for the pages of the index
	numbers = slices.Grow(numbers, len(rest))
	err := list("SELECT number FROM event_ids WHERE event_id IN (%s)", nil, rest, func(query string, args []any) error {
		return s.read.each(ctx, query, args, func(rows *sql.Rows) error {
			var number int64
			err := rows.Scan(&number)
			numbers = append(numbers, Position(number))
			return err
		})
	})
	slices.Sort(numbers)
	return numbers, err
}

// servedReader reads the events of one EachEvent.
type servedReader struct {
	store  *Store
	wanted map[id.EventID]struct{} // and not read yet
	from   <-chan *servedBatch     // to be filled again
	to     chan<- *servedBatch
	glance event.Glance
}

// servedBatch is events that were read together. Its memory is used again and again: a large state is a hundred megabytes.
type servedBatch struct {
	events []ServedEvent
	rows   []servedRow
	texts  []byte // of all rows
}

// servedColumns are what an event is served from.
const servedColumns = "SELECT event_id, room, redacted_by, json FROM events WHERE number "

// servedRow is a row of servedColumns.
type servedRow struct {
	eventRow
	start, end int // of the JSON, in the texts
}

// at reads at most listLength events by their numbers, which are sorted. What was stored together is read in one scan.
func (r *servedReader) at(ctx context.Context, numbers []Position) error {
	first, last := numbers[0], numbers[len(numbers)-1]
	if int64(last-first) < 2*int64(len(numbers)) {
		return r.between(ctx, first, last)
	}
	return r.batch(ctx, func(scan func(*sql.Rows) error) error {
		return listPositions(servedColumns+"IN (%s) ORDER BY number", nil, numbers, func(query string, args []any) error {
			return r.store.read.each(ctx, query, args, scan)
		})
	})
}

// between reads what is wanted of at most 2*listLength neighbours.
func (r *servedReader) between(ctx context.Context, first, last Position) error {
	return r.batch(ctx, func(scan func(*sql.Rows) error) error {
		return r.store.read.each(ctx, servedColumns+"BETWEEN $1 AND $2 ORDER BY number", []any{int64(first), int64(last)}, scan)
	})
}

// batch passes on what is wanted of the rows that read gives to scan.
func (r *servedReader) batch(ctx context.Context, read func(scan func(*sql.Rows) error) error) error {
	var batch *servedBatch
	select {
	case batch = <-r.from:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := r.fill(ctx, batch, read); err != nil {
		return err
	}
	select {
	case r.to <- batch:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *servedReader) fill(ctx context.Context, batch *servedBatch, read func(scan func(*sql.Rows) error) error) error {
	rows, texts := batch.rows[:0], batch.texts[:0]
	var row servedRow
	var eventID string // plain types are scanned faster
	var raw sql.RawBytes
	err := read(func(result *sql.Rows) error {
		if err := result.Scan(&eventID, &row.number, &row.redactedBy, &raw); err != nil {
			return err
		}
		before := len(r.wanted)
		row.eventID = id.EventID(eventID)
		if delete(r.wanted, row.eventID); len(r.wanted) < before { // it was wanted: not looked for twice, as that is slow in a large table
			row.start = len(texts)
			texts = append(texts, raw...)
			row.end = len(texts)
			rows = append(rows, row)
		}
		return nil
	})
	batch.events, batch.rows, batch.texts = slices.Grow(batch.events[:0], len(rows)), rows, texts
	for i := 0; i < len(rows) && err == nil; i++ {
		var e ServedEvent
		rows[i].json = texts[rows[i].start:rows[i].end:rows[i].end]
		if e, err = r.served(ctx, &rows[i].eventRow); err != nil {
			return fmt.Errorf("store: reading: %w", err)
		}
		batch.events = append(batch.events, e)
	}
	return err
}

func (r *servedReader) served(ctx context.Context, row *eventRow) (ServedEvent, error) {
	if row.redactedBy.Valid {
		e, err := r.store.loaded(ctx, row)
		if err != nil {
			return ServedEvent{}, err
		}
		served := e.served()
		return ServedEvent{served.ID(), served.JSON(), served.AuthEvents(), served.Depth()}, nil
	}
	room, err := r.store.rooms.numbered(ctx, row.number)
	if err != nil {
		return ServedEvent{}, err
	}
	auth, depth, err := r.glance.Read(room.rules, row.json)
	if err != nil {
		return ServedEvent{}, fmt.Errorf("the stored event %s: %w", row.eventID, err)
	}
	return ServedEvent{row.eventID, row.json, auth, depth}, nil
}
