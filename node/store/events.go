package store

import (
	"hanse/federation/authrules"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
)

// EventRow is a stored event and what was decided about it.
type EventRow struct {
	// Event is the event as it may be served: redacted when RedactedBy is set. The original is kept in the
	// database; [Store.Source], which feeds authorisation and state resolution, reads the original.
	Event      *event.Event
	RoomID     id.RoomID
	Position   Position // 0 for outliers, negative for history
	Status     room.Status
	Rejection  *authrules.Rejection // why, when rejected or soft-failed
	Outlier    bool
	Backfilled bool
	RedactedBy id.EventID // "" = not redacted
}

// Topological is a place in a room's order of depth, the order of /messages. Depth comes from events, so from
// other servers: it orders, it proves nothing. Position decides among equal depths.
type Topological struct {
	Depth    int64
	Position Position
}

// Topological is the row's place.
func (r EventRow) Topological() Topological { return Topological{r.Event.Depth(), r.Position} }

// Before says whether t comes before o.
func (t Topological) Before(o Topological) bool {
	if t.Depth != o.Depth {
		return t.Depth < o.Depth
	}
	return t.Position < o.Position
}

// Direction is the way [Store.Page] walks.
type Direction int

const (
	// Backward goes to older events.
	Backward Direction = iota
	// Forward goes to newer events.
	Forward
)

// Gap is an event we have heard of as a parent and do not have: a backward extremity.
type Gap struct {
	Missing id.EventID
	Child   id.EventID // an event we have that names it
	Depth   int64      // Child's
}
