package clientsync

import (
	"context"
	"slices"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/node/store"
)

// Rest is events of a large state, that are read when they are told, some at a time: all at once they would be hundreds of megabytes.
// Safe for concurrent use.
type Rest struct {
	syncer *Syncer
	room   id.RoomID
	ids    []id.EventID
	wanted func(*event.Event) bool // nil: all
}

// Len is how many there are, wanted or not; 0 of nil.
func (r *Rest) Len() int {
	if r == nil {
		return 0
	}
	return len(r.ids)
}

// Each gives them to use, in no particular order, until it returns an error; it may read. Where they came isn't told.
func (r *Rest) Each(ctx context.Context, use func(Decorated) error) error {
	return r.syncer.rooms.EachEvent(ctx, r.room, r.ids, func(row store.EventRow) error {
		if r.wanted != nil && !r.wanted(row.Event) {
			return nil
		}
		d := Decorated{EventRow: row}
		if row.RedactedBy != "" {
			redaction, _, err := r.syncer.store.Event(ctx, row.RedactedBy)
			if err != nil {
				return err
			}
			d.RedactedBecause = redaction.Event
		}
		return use(d)
	})
}

// Since are those that came after a position, in order.
func (r *Rest) Since(ctx context.Context, after store.Position) (since []Decorated, err error) {
	for ids := range slices.Chunk(r.ids, MaxStateRows) {
		rows, err := r.syncer.stateRows(ctx, ids)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			if row.Position > after && (r.wanted == nil || r.wanted(row.Event)) {
				since = append(since, row)
			}
		}
	}
	sortRows(since)
	return since, nil
}

// sortRows puts events in the order of a room's history.
func sortRows(rows []Decorated) {
	slices.SortFunc(rows, func(x, y Decorated) int {
		if x.Topological().Before(y.Topological()) {
			return -1
		}
		return 1
	})
}
