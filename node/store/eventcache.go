package store

import (
	"sync/atomic"

	"hanse/federation/authrules"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
)

// storedEvent is a row of the events table. Immutable.
type storedEvent struct {
	event      *event.Event // as received
	redacted   *event.Event // nil unless redactedBy is set
	room       *roomRef
	position   Position // 0: outlier
	status     room.Status
	rejection  *authrules.Rejection
	reason     string
	deep       bool
	given      bool // of what isn't accepted: another server gave the state before it
	backfilled bool
	redactedBy id.EventID
	txnDevice  string
	txnID      string
	states     eventStates
}

// eventStates are the root hashes of the states before and after an event.
type eventStates struct {
	known         bool // false of an outlier
	before, after roomstate.Hash
}

func (e *storedEvent) outlier() bool { return e.position == 0 }

// served is the event as it may be shown.
func (e *storedEvent) served() *event.Event {
	if e.redacted != nil {
		return e.redacted
	}
	return e.event
}

func (e *storedEvent) row() EventRow {
	return EventRow{
		Event: e.served(), RoomID: e.room.roomID, Position: e.position, Status: e.status, Rejection: e.rejection,
		Reason: e.reason, Outlier: e.outlier(), Backfilled: e.backfilled, RedactedBy: e.redactedBy,
		TxnDevice: e.txnDevice, TxnID: e.txnID, states: e.states,
	}
}

// eventOverhead is about what an event takes in memory beside its JSON.
const eventOverhead = 770

// eventCache keeps events that were written or read lately.
type eventCache struct {
	rows *generations[id.EventID, *storedEvent]
	// version counts transactions. A row that was read is kept only if no transaction ended while it was read: it
	// could be what the row was before.
	version atomic.Int64
}

func newEventCache(bytes int) *eventCache {
	return &eventCache{rows: newGenerations[id.EventID](bytes, func(e *storedEvent) int {
		return e.event.Size() + eventOverhead
	})}
}

// put keeps a row just written; called after the version was raised.
func (c *eventCache) put(e *storedEvent) { c.rows.put(e.event.ID(), e) }

// fill keeps a row that was read, if the version is still what it was before.
func (c *eventCache) fill(e *storedEvent, version int64) {
	c.rows.mu.Lock()
	defer c.rows.mu.Unlock()
	if c.version.Load() == version {
		c.rows.add(e.event.ID(), e)
	}
}
