package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
)

var (
	insertSearchWord = &insertion{
		into: "search_words (room, word, number)", columns: 3, key: 0, conflict: "ON CONFLICT DO NOTHING",
	}
	insertSearchPending = &insertion{
		into: "search_pending (number)", columns: 1, key: 0, conflict: "ON CONFLICT DO NOTHING",
	}
	insertUserWord = &insertion{
		into: "user_words (word, user_id)", columns: 2, key: 0, conflict: "ON CONFLICT DO NOTHING",
	}
	removeSearchPending = &removal{from: "search_pending", column: "number", inserts: insertSearchPending}
)

// Unsearched is a batch of events that can't be found by their words yet.
type Unsearched struct {
	More              bool // there are others
	numbers, pending  []Position
	events            map[Position]*storedEvent
	members           []*storedEvent // membership events, with a place or without
	forward, backward Position       // what the cursors become
	newest, oldest    Position       // relations of events between them are still to be noted
}

// Unsearched reads the next batch of at most limit events to make findable by their words: those that came last, history,
// and what got its place late.
func (s *Store) Unsearched(ctx context.Context, limit int) (*Unsearched, error) {
	b := &Unsearched{events: map[Position]*storedEvent{}}
	err := s.read.row(ctx, "SELECT forward, backward, newest, oldest FROM search_state", nil, &b.forward, &b.backward, &b.newest, &b.oldest)
	if err != nil {
		return nil, err
	}
	var ids []id.EventID
	read := func(query string, args ...any) (last Position, err error) {
		err = s.read.each(ctx, query, args, func(rows *sql.Rows) error {
			var e id.EventID
			if err := rows.Scan(&last, &e); err != nil {
				return err
			}
			b.numbers, ids = append(b.numbers, last), append(ids, e)
			return nil
		})
		return last, err
	}
	last, err := read("SELECT number, event_id FROM events WHERE number > $1 ORDER BY number LIMIT $2", int64(b.forward), limit)
	if err != nil {
		return nil, err
	}
	b.forward = max(b.forward, last)
	if last, err = read("SELECT number, event_id FROM events WHERE number < $1 ORDER BY number DESC LIMIT $2", int64(b.backward), limit); err != nil {
		return nil, err
	}
	b.backward = min(b.backward, last)
	if b.pending, err = readAll[Position](ctx, s, "SELECT number FROM search_pending LIMIT $1", limit); err != nil {
		return nil, err
	}
	err = listPositions("SELECT number, event_id FROM events WHERE number IN (%s)", nil, b.pending, func(query string, args []any) error {
		_, err := read(query, args...)
		return err
	})
	if err != nil {
		return nil, err
	}
	found, err := s.stored(ctx, ids)
	if err != nil {
		return nil, err
	}
	for i, number := range b.numbers {
		e := found[ids[i]]
		if e == nil || e.status != room.Accepted {
			continue
		}
		if e.event.Type() == memberType {
			b.members = append(b.members, e)
		} else if !e.outlier() {
			b.events[number] = e
		}
	}
	b.More = len(b.numbers) >= limit
	return b, nil
}

// Empty says that there is nothing to note.
func (b *Unsearched) Empty() bool { return len(b.numbers)+len(b.pending) == 0 }

// AddSearched makes the events of a batch findable by the words that words gives of each, and who is in rooms by those that
// names gives, and notes that it was done. If it fails the batch comes again.
func (s *Store) AddSearched(ctx context.Context, b *Unsearched, words func(*event.Event) []string,
	names func(*event.Event) (id.UserID, []string)) error {
	type entry struct {
		room   int64
		word   string
		number Position
	}
	var entries []entry
	for number, e := range b.events {
		if e.redacted != nil {
			continue
		}
		for _, word := range words(e.event) {
			entries = append(entries, entry{e.room.number, word, number})
		}
	}
	// In the order of the table: a page takes many at once.
	slices.SortFunc(entries, func(x, y entry) int {
		return cmp.Or(cmp.Compare(x.room, y.room), cmp.Compare(x.word, y.word), cmp.Compare(x.number, y.number))
	})
	return s.commit.write(ctx, func(t *writeTx) error {
		for _, e := range entries {
			if err := t.insert(insertSearchWord, e.room, []byte(e.word), int64(e.number)); err != nil {
				return err
			}
		}
		for _, e := range b.members {
			user, words := names(e.event)
			for _, word := range words {
				if err := t.insert(insertUserWord, []byte(word), string(user)); err != nil {
					return err
				}
			}
		}
		for number, e := range b.events {
			if number > b.newest || number < b.oldest || e.redacted != nil {
				continue
			}
			if err := s.writeRelation(t, e.room, e.event, tailEntry{position: e.position, depth: e.event.Depth(), number: number}); err != nil {
				return err
			}
		}
		for _, number := range b.pending {
			if err := t.remove(removeSearchPending, int64(number)); err != nil {
				return err
			}
		}
		_, err := t.exec("UPDATE search_state SET forward = $1, backward = $2", int64(b.forward), int64(b.backward))
		return err
	})
}

// Found is an event that was found by its words, and its place in the order of search.
type Found struct {
	EventRow
	Place Position
}

// FindWords gives the events of the rooms that have all the words (at least one), up to a place, the newest first and at
// most limit of them. What has changed since it was noted, redacted events, is for the caller to tell.
func (s *Store) FindWords(ctx context.Context, rooms []id.RoomID, words []string, upto Position, limit int) ([]Found, error) {
	var best []Position // of the rooms so far, the newest first
	lowest := Position(-1 << 62)
	for _, r := range rooms {
		ref, err := s.rooms.find(ctx, r)
		if err != nil {
			return nil, err
		}
		if ref == nil {
			continue
		}
		query, args := findWords(ref.number, words, upto, lowest, limit)
		numbers, err := readAll[Position](ctx, s, query, args...)
		if err != nil {
			return nil, err
		}
		best = append(best, numbers...)
		slices.SortFunc(best, func(a, b Position) int { return cmp.Compare(b, a) })
		if len(best) >= limit {
			best = best[:limit]
			lowest = best[limit-1]
		}
	}
	return s.numbered(ctx, best)
}

// findWords makes the statement for one room. The first word leads; the others are looked for at what it finds.
func findWords(room int64, words []string, upto, above Position, limit int) (query string, args []any) {
	query = "SELECT number FROM search_words AS found WHERE room = $1 AND word = $2 AND number <= $3 AND number > $4"
	args = []any{room, []byte(words[0]), int64(upto), int64(above)}
	for _, word := range words[1:] {
		args = append(args, []byte(word))
		query += fmt.Sprintf(` AND EXISTS (SELECT 1 FROM search_words AS also WHERE also.room = found.room AND also.word = $%d
			AND also.number = found.number)`, len(args))
	}
	args = append(args, limit)
	return query + fmt.Sprintf(" ORDER BY number DESC LIMIT $%d", len(args)), args
}

// numbered reads events by their numbers, in that order.
func (s *Store) numbered(ctx context.Context, numbers []Position) ([]Found, error) {
	names := map[Position]id.EventID{}
	err := listPositions("SELECT number, event_id FROM events WHERE number IN (%s)", nil, numbers, func(query string, args []any) error {
		return s.read.each(ctx, query, args, pairs(names))
	})
	if err != nil {
		return nil, err
	}
	stored, err := s.stored(ctx, slices.Collect(maps.Values(names)))
	if err != nil {
		return nil, err
	}
	var found []Found
	for _, number := range numbers {
		if e := stored[names[number]]; e != nil {
			found = append(found, Found{e.row(), number})
		}
	}
	return found, nil
}
