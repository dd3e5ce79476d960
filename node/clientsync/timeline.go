package clientsync

import (
	"context"
	"math"
	"slices"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/node/rooms"
	"hanse/node/store"
	"hanse/node/stream"
)

// always is the bound of who has not left.
const always = store.Position(math.MaxInt64)

// span is what a timeline is to be made of.
type span struct {
	room        id.RoomID
	after, upto store.Position
	joinedUntil store.Position // the user was joined at some time after the events before it
	own         id.EventID     // the user's own leave, which they are told of in any case
	final       roomstate.Map  // the state at the end; empty if it is not the user's business
}

// timeline is the newest wanted and visible events of a span, the oldest first.
func (b *builder) timeline(ctx context.Context, sp span) ([]*entry, Timeline, error) {
	filter := b.request.Filter.Room.Timeline
	limit := filter.AtMost(maxTimeline, DefaultTimeline)
	nothing := Timeline{PrevBatch: stream.PlaceBelow(sp.upto + 1)}
	if !filter.MatchRoom(sp.room) || filter.wantsNothing() {
		return nil, nothing, nil
	}
	kept, limited, err := b.newest(ctx, sp, limit)
	if err != nil {
		return nil, nothing, err
	}
	for _, e := range kept {
		b.held += e.Event.Size()
	}
	t := nothing
	t.Limited = limited
	if len(kept) > 0 {
		t.PrevBatch = stream.PlaceBelow(kept[0].Position)
		if sp.after == 0 {
			t.PrevBatch.Told = sp.upto
		}
	}
	if !b.request.StateAfter && sp.final.Len() > 0 {
		at, err := b.misleading(ctx, kept, sp)
		if err != nil {
			return nil, nothing, err
		}
		if at >= 0 {
			t.Limited, t.PrevBatch = true, stream.PlaceBelow(kept[at].Position+1)
			kept = kept[at+1:]
		}
	}
	if t.Events, err = b.decorate(ctx, b.request.User, b.request.Device, kept); err != nil {
		return nil, nothing, err
	}
	if t.Limited || sp.after == 0 {
		// A client that gets everything adds up what relates to what itself. spec:client-server-api#aggregations-of-child-events
		err = b.Aggregate(ctx, b.request.User, b.request.Device, t.Events)
	}
	return kept, t, err
}

// newest are the last events of a span that the user may see and the client wants, at most limit, and whether there
// are, or may be, others before them. They go back to a gap at most: who looks back over it gets what is in it.
func (b *builder) newest(ctx context.Context, sp span, limit int) (kept []*entry, limited bool, err error) {
	entries, from, err := b.recent(ctx, sp.room, sp.after, sp.upto)
	if err != nil {
		return nil, false, err
	}
	more := from > sp.after
	for bytes, scanned := 0, 0; ; {
		inEffect, err := rooms.InEffect(ctx, b.store, rowsOf(entries))
		if err != nil {
			return nil, false, err
		}
		for i, e := range slices.Backward(entries) {
			wanted, err := b.wants(ctx, sp, e)
			if err != nil {
				return nil, false, err
			}
			wanted = wanted && (e.Event.ID() == sp.own || inEffect(e.EventRow))
			if wanted && (len(kept) == limit || len(kept) > 0 && bytes+e.Event.Size() > b.timelineBytes()) {
				slices.Reverse(kept)
				return kept, true, nil
			}
			if wanted {
				kept = append(kept, e)
				bytes += e.Event.Size()
			}
			if e.gap && (i > 0 || more || sp.after > 0) {
				slices.Reverse(kept)
				return kept, true, nil
			}
		}
		if scanned += len(entries); !more || scanned >= maxScan {
			slices.Reverse(kept)
			return kept, more, nil
		}
		var rows []store.EventRow
		if rows, more, err = b.store.Timeline(ctx, sp.room, sp.after, from, min(limit+1, timelineRead), true); err != nil {
			return nil, false, err
		}
		if slices.Reverse(rows); len(rows) > 0 {
			from = rows[0].Position - 1
		}
		if entries, err = b.entries(ctx, rows); err != nil {
			return nil, false, err
		}
	}
}

// timelineBytes is how much the next room's timeline may have beyond an event.
func (b *builder) timelineBytes() int {
	if b.held > b.answerBytes {
		return 0
	}
	return roomBytes
}

func rowsOf(entries []*entry) []store.EventRow {
	rows := make([]store.EventRow, len(entries))
	for i, e := range entries {
		rows[i] = e.EventRow
	}
	return rows
}

// wants tells whether an event belongs to the timeline, if it is in effect.
func (b *builder) wants(ctx context.Context, sp span, e *entry) (bool, error) {
	if !b.request.Filter.Room.Timeline.MatchEvent(e.Event) || !e.Event.IsState() && b.facts.ignored[e.Event.Sender()] {
		return false, nil
	}
	if related, err := b.Related(ctx, b.request.Filter.Room.Timeline, e.EventRow); err != nil || !related {
		return false, err
	}
	if e.Event.ID() == sp.own {
		return true, nil
	}
	if !e.placed {
		return false, nil
	}
	member, err := b.member(ctx, e, b.request.User)
	if err != nil {
		return false, err
	}
	return rooms.MaySee(e.Event, b.request.User, e.visibility, member, e.Position < sp.joinedUntil), nil
}

// misleading finds the last state event of a timeline that would leave the client with a state that is not the room's:
// the last of its kind there, but not what state resolution took, or followed by one that the user may not see. -1: none.
// A timeline that begins after it is right, with the rest told as state before it.
//
// A member's other name that lost against one from before is no reason to hide what was said before: state resolution takes any of
// several that are of the same millisecond.
func (b *builder) misleading(ctx context.Context, timeline []*entry, sp span) (int, error) {
	later := map[roomstate.Key]bool{}
	for i, e := range slices.Backward(timeline) {
		key, isState := stateKey(e.Event)
		if !isState || later[key] || e.Event.ID() == sp.own {
			continue
		}
		later[key] = true
		current, err := sp.final.Event(key.Type, key.StateKey)
		if err != nil {
			return -1, err
		}
		if current == e.Event.ID() {
			continue
		}
		if current != "" && key.Type == "m.room.member" {
			row, known, err := b.store.Event(ctx, current)
			if err != nil {
				return -1, err
			}
			if known && row.Position < e.Position && row.Event.Membership() == e.Event.Membership() {
				continue
			}
		}
		return i, nil
	}
	return -1, nil
}

// stateKey is what a state event sets.
func stateKey(e *event.Event) (roomstate.Key, bool) {
	key, isState := e.StateKey()
	return roomstate.Key{Type: e.Type(), StateKey: key}, isState
}
