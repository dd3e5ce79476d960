package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup" // a few readers of a state

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

// ServedEvent is what other servers get of an event, and what its auth chain takes.
type ServedEvent struct {
	ID id.EventID
	// JSON is the event as it may be served: redacted if it was. It is overwritten once use has returned.
	JSON json.RawMessage
	// Auth is shared with other events and must not be changed.
	Auth  []id.EventID
	Depth int64
	// RedactedBy is the redaction of a redacted event; "" of others.
	RedactedBy id.EventID
}

// EachEvent reads many events of a room a few hundred at a time, mostly in the order in which they were stored and without keeping them in
// the cache: for states that are large. The next ones are read, on two processors, while use is called for those before, and use may read.
// Its error ends it. What is not stored is left out, and an ID that is there twice is given once.
func (s *Store) EachEvent(ctx context.Context, roomID id.RoomID, ids []id.EventID, use func(ServedEvent) error) error {
	room, err := s.rooms.find(ctx, roomID)
	if err != nil || room == nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	batches, used, failed := make(chan *servedBatch, 1), make(chan *servedBatch, servedAtOnce+2), make(chan error, 1)
	for range cap(used) { // each reader fills one, one waits, of one the events are used
		used <- &servedBatch{}
	}
	go func() {
		defer close(batches)
		r := servedReader{store: s, rules: room.rules, ids: ids, from: used, to: batches}
		failed <- r.all(ctx)
	}()
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

// servedAtOnce is how many read the events of one EachEvent: what they are used for takes less than reading them.
const servedAtOnce = 2

// sampled and sampleRun: of a list of events, one in so many is looked up to see where the others are, and so many neighbours of those are
// looked at together. The events expected between them are listLength.
const (
	sampled   = 16
	sampleRun = listLength / sampled
)

// servedReader reads the events of one EachEvent.
type servedReader struct {
	store *Store
	rules *roomversion.Rules
	ids   []id.EventID
	from  <-chan *servedBatch // to be filled again
	to    chan<- *servedBatch

	wanted map[id.EventID]int // places in given
	given  []atomic.Bool
}

// place is where events are stored: everything from first up to before end, or, if only isn't empty, these numbers.
type place struct {
	first, end Position
	only       []Position
}

// all reads the events. To find an event by its ID costs as much as to read it, and most of a large state was stored together. So a few
// are found, and where those are so close that half of what is between them must be of the state, everything there is read. The rest is
// found by its IDs.
func (r *servedReader) all(ctx context.Context) error {
	r.wanted, r.given = make(map[id.EventID]int, len(r.ids)), make([]atomic.Bool, len(r.ids))
	for i, e := range r.ids {
		r.wanted[e] = i
	}
	if len(r.ids) > 2*listLength {
		sample := make([]id.EventID, 0, len(r.ids)/sampled+1)
		for i := 0; i < len(r.ids); i += sampled {
			sample = append(sample, r.ids[i])
		}
		numbers, err := r.store.sortedNumbers(ctx, sample)
		if err != nil {
			return err
		}
		if err := r.places(ctx, closePlaces(numbers)); err != nil {
			return err
		}
	}
	rest := make([]id.EventID, 0, len(r.wanted))
	for e, i := range r.wanted {
		if !r.given[i].Load() {
			rest = append(rest, e)
		}
	}
	numbers, err := r.store.sortedNumbers(ctx, rest)
	if err != nil {
		return err
	}
	var places []place
	for part := range slices.Chunk(numbers, listLength) {
		p := place{first: part[0], end: part[len(part)-1] + 1}
		if int64(p.end-p.first) > 2*int64(len(part)) { // else what was stored together is read in one scan
			p.only = part
		}
		places = append(places, p)
	}
	return r.places(ctx, places)
}

// closePlaces are the places between the numbers of a sample, in order, that most of what is looked for must be in, of at most 2*listLength
// neighbours each.
func closePlaces(numbers []Position) []place {
	var places []place
	for len(numbers) > 1 {
		run := numbers[:min(len(numbers), sampleRun+1)]
		numbers = numbers[len(run)-1:] // the last one is the first of the next run
		if first, last := run[0], run[len(run)-1]; int64(last-first) < 2*sampled*int64(len(run)-1) {
			places = append(places, place{first: first, end: last})
		}
	}
	return places
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

// places reads what is wanted of some places.
func (r *servedReader) places(ctx context.Context, places []place) error {
	readers, ctx := errgroup.WithContext(ctx)
	readers.SetLimit(servedAtOnce)
	for _, at := range places {
		readers.Go(func() error { return r.batches(ctx, at) })
	}
	return readers.Wait()
}

// servedBatch is events that were read together. Its memory is used again and again: a large state is a hundred megabytes.
type servedBatch struct {
	events []ServedEvent
	rows   []servedRow
	texts  []byte // of all rows
	glance event.Glance
}

// batchBytes is from how many bytes on of JSON a batch is passed on: those of the usual size have less.
const batchBytes = 1 << 20

// servedColumns are what an event is served from. No JSON stands for a redacted one.
const servedColumns = "SELECT number, event_id, CASE WHEN redacted_by IS NULL THEN json END FROM events WHERE number "

// servedRow is a row of servedColumns.
type servedRow struct {
	eventID    id.EventID
	start, end int // of the JSON, in the texts
}

// batches passes on what is wanted of a place.
func (r *servedReader) batches(ctx context.Context, at place) error {
	for whole := false; !whole; {
		var batch *servedBatch
		select {
		case batch = <-r.from:
		case <-ctx.Done():
			return ctx.Err()
		}
		var err error
		if at, whole, err = r.fill(ctx, batch, at); err != nil {
			return err
		}
		select {
		case r.to <- batch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// errBatchFull ends a batch that has enough bytes.
var errBatchFull = errors.New("the batch is full")

// fill reads what is wanted of a place, or as much as a batch holds; then rest is what is left.
func (r *servedReader) fill(ctx context.Context, batch *servedBatch, at place) (rest place, whole bool, err error) {
	batch.events, batch.rows, batch.texts = batch.events[:0], batch.rows[:0], batch.texts[:0]
	var redacted []id.EventID
	last := Position(math.MinInt64)
	err = r.read(ctx, at, func(number Position, eventID id.EventID, raw []byte) error {
		last = max(last, number)
		i, ok := r.wanted[eventID]
		if !ok || r.given[i].Swap(true) {
			return nil
		}
		if raw == nil {
			redacted = append(redacted, r.ids[i])
			return nil
		}
		start := len(batch.texts)
		batch.texts = append(batch.texts, raw...)
		batch.rows = append(batch.rows, servedRow{r.ids[i], start, len(batch.texts)})
		if len(batch.texts) >= batchBytes {
			return errBatchFull
		}
		return nil
	})
	if whole = err == nil; !whole && !errors.Is(err, errBatchFull) {
		return at, false, err
	}
	for _, row := range batch.rows {
		text := batch.texts[row.start:row.end:row.end]
		auth, depth, err := batch.glance.Read(r.rules, text)
		if err != nil {
			return at, false, fmt.Errorf("store: reading: the stored event %s: %w", row.eventID, err)
		}
		batch.events = append(batch.events, ServedEvent{ID: row.eventID, JSON: text, Auth: auth, Depth: depth})
	}
	rows, err := r.store.stored(ctx, redacted)
	for eventID, row := range rows {
		served := row.served()
		batch.events = append(batch.events, ServedEvent{eventID, served.JSON(), served.AuthEvents(), served.Depth(), row.redactedBy})
	}
	return at.after(last), whole, err
}

// after is what is left of a place behind an event of it; both lists are in order.
func (p place) after(number Position) place {
	i, found := slices.BinarySearch(p.only, number)
	if found {
		i++
	}
	return place{first: number + 1, end: p.end, only: p.only[i:]}
}

// read calls scan for each event at a place, in order, until it returns an error; raw, of which scan keeps nothing, is nil for one that is redacted.
func (r *servedReader) read(ctx context.Context, at place, scan func(number Position, eventID id.EventID, raw []byte) error) error {
	var number int64 // plain types are scanned faster
	var eventID string
	var raw sql.RawBytes
	row := func(rows *sql.Rows) error {
		if err := rows.Scan(&number, &eventID, &raw); err != nil {
			return err
		}
		return scan(Position(number), id.EventID(eventID), raw)
	}
	if len(at.only) == 0 {
		return r.store.read.each(ctx, servedColumns+">= $1 AND number < $2 ORDER BY number", []any{int64(at.first), int64(at.end)}, row)
	}
	return listPositions(servedColumns+"IN (%s) ORDER BY number", nil, at.only, func(query string, args []any) error {
		return r.store.read.each(ctx, query, args, row)
	})
}
