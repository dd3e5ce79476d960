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
	// JSON is the event as it may be served: redacted if it was.
	JSON  json.RawMessage
	Auth  []id.EventID
	Depth int64
}

// EachEvent reads many events a few hundred at a time, in the order in which they were stored and without keeping them in the cache: for
// states that are large. The next ones are read while use is called for those before, and use may read. Its error ends it. What is not
// stored is left out.
func (s *Store) EachEvent(ctx context.Context, ids []id.EventID, use func(ServedEvent) error) error {
	numbers, err := s.sortedNumbers(ctx, ids)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	batches, failed := make(chan []ServedEvent, 1), make(chan error, 1)
	go func() {
		defer close(batches)
		failed <- s.eachBatch(ctx, numbers, batches)
	}()
	for events := range batches {
		for _, e := range events {
			if err == nil {
				err = use(e)
			}
		}
		if err != nil {
			cancel() // the reading ends, and with it the batches
		}
	}
	if err != nil {
		return err
	}
	return <-failed
}

// sortedNumbers are where events are stored: in order, as neighbours are on the same pages. What is not stored is left out.
func (s *Store) sortedNumbers(ctx context.Context, ids []id.EventID) ([]Position, error) {
	numbers, rest := s.tail.numbers(ids)
	slices.Sort(rest) // for the pages of the index
	numbers = slices.Grow(numbers, len(rest))
	err := list("SELECT number FROM event_ids WHERE event_id IN (%s)", nil, rest, func(query string, args []any) error {
		return s.read.each(ctx, query, args, func(rows *sql.Rows) error {
			var number Position
			err := rows.Scan(&number)
			numbers = append(numbers, number)
			return err
		})
	})
	slices.Sort(numbers)
	return numbers, err
}

// eachBatch reads events by their numbers, which are sorted.
func (s *Store) eachBatch(ctx context.Context, numbers []Position, to chan<- []ServedEvent) error {
	for part := range slices.Chunk(numbers, listLength) {
		events, err := s.servedEvents(ctx, part)
		if err != nil {
			return err
		}
		select {
		case to <- events:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// servedColumns are what an event is served from.
const servedColumns = "SELECT number, event_id, room, redacted_by, json FROM events WHERE number "

// servedRow is a row of servedColumns.
type servedRow struct {
	eventRow
	start, end int // of the JSON, among that of all
}

// servedEvents reads at most listLength events by their numbers, which are sorted. What was stored together is read in one scan.
func (s *Store) servedEvents(ctx context.Context, numbers []Position) ([]ServedEvent, error) {
	rows, texts := make([]servedRow, 0, len(numbers)), make([]byte, 0, servedSize*len(numbers))
	next := 0
	scan := func(result *sql.Rows) error {
		var r servedRow
		var number Position
		var raw sql.RawBytes
		if err := result.Scan(&number, &r.eventID, &r.number, &r.redactedBy, &raw); err != nil {
			return err
		}
		for next < len(numbers) && numbers[next] < number {
			next++
		}
		if next < len(numbers) && numbers[next] == number {
			r.start = len(texts)
			texts = append(texts, raw...)
			r.end = len(texts)
			rows = append(rows, r)
		}
		return nil
	}
	first, last := numbers[0], numbers[len(numbers)-1]
	var err error
	if int64(last-first) < 2*int64(len(numbers)) {
		err = s.read.each(ctx, servedColumns+"BETWEEN $1 AND $2 ORDER BY number", []any{int64(first), int64(last)}, scan)
	} else {
		err = listPositions(servedColumns+"IN (%s) ORDER BY number", nil, numbers, func(query string, args []any) error {
			return s.read.each(ctx, query, args, scan)
		})
	}
	if err != nil {
		return nil, err
	}
	events := make([]ServedEvent, len(rows))
	for i := range rows {
		rows[i].json = texts[rows[i].start:rows[i].end:rows[i].end]
		if events[i], err = s.served(ctx, &rows[i].eventRow); err != nil {
			return nil, fmt.Errorf("store: reading: %w", err)
		}
	}
	return events, nil
}

// servedSize is about how long an event of a state is.
const servedSize = 800

func (s *Store) served(ctx context.Context, r *eventRow) (ServedEvent, error) {
	if r.redactedBy.Valid {
		e, err := s.loaded(ctx, r)
		if err != nil {
			return ServedEvent{}, err
		}
		served := e.served()
		return ServedEvent{served.ID(), served.JSON(), served.AuthEvents(), served.Depth()}, nil
	}
	room, err := s.rooms.numbered(ctx, r.number)
	if err != nil {
		return ServedEvent{}, err
	}
	auth, depth, err := event.Glance(room.rules, r.json)
	if err != nil {
		return ServedEvent{}, fmt.Errorf("the stored event %s: %w", r.eventID, err)
	}
	return ServedEvent{r.eventID, r.json, auth, depth}, nil
}
