package store

import (
	"context"
	"database/sql"
	"fmt"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
)

// CommitOptions are things that must become durable with a room's commit or not at all.
type CommitOptions struct {
	// ClientTxns are client transactions that made events of this commit. If one was used before, nothing is
	// written and the commit fails with [ErrClientTxnUsed].
	ClientTxns []ClientTxn
	// Redactions are those to apply with this commit, in both orders of arrival: the target may be part of
	// this commit, stored before, or unknown (then the row waits; see [Store.PendingRedactions]).
	Redactions []Redaction
	// Aliases are created with the commit (createRoom). One that exists fails all with [ErrExists].
	Aliases []Alias
	// Publish sets whether the room is listed in the directory; nil leaves it.
	Publish *bool
	// Queued is what Announce gave for this commit; nil if it wasn't announced.
	Queued func()
	// Arrivals are how the events of the commit, the staged ones too, came here. Those left out are not known.
	Arrivals map[id.EventID]Arrival
}

func (o CommitOptions) queued() {
	if o.Queued != nil {
		o.Queued()
	}
}

// Redaction says that an accepted redaction event may redact its target (spec: the sender's power or server).
type Redaction struct{ Target, By id.EventID }

// RoomInfo is what is known of a room without its state.
type RoomInfo struct {
	RoomID  id.RoomID
	Rules   *roomversion.Rules
	Created bool // we have the room's state: it was created or joined here once
	Joined  int  // joined members
	Local   int  // joined members of this server
	// Resident says whether this server takes part in the room.
	Resident bool
	Forward  []id.EventID // forward extremities
	Depth    int64        // greatest depth of Forward
	// Position is of the newest commit. Public says whether the room is in the directory.
	Position Position
	Public   bool
	// Partial says that the state isn't whole yet: see room.PartialState.
	Partial bool
}

// PublishedRoom is a row of the room directory.
type PublishedRoom struct {
	RoomID   id.RoomID
	Joined   int
	Position Position // of the room's newest commit
}

const roomColumns = `rooms.room, room_id, version, created, position, forward, depth, resident,
	(SELECT COALESCE(SUM(joined), 0) FROM room_servers WHERE room_servers.room = rooms.room),
	(SELECT COALESCE(SUM(joined), 0) FROM room_servers WHERE room_servers.room = rooms.room AND server = $1),
	(SELECT COUNT(*) FROM directory WHERE directory.room = rooms.room),
	(SELECT COUNT(*) FROM partial_rooms WHERE partial_rooms.room = rooms.room)`

func (s *Store) scanRoom(rows *sql.Rows) (RoomInfo, error) {
	var info RoomInfo
	var number int64
	var version string
	var forward []byte
	err := rows.Scan(&number, &info.RoomID, &version, &info.Created, &info.Position, &forward, &info.Depth, &info.Resident,
		&info.Joined, &info.Local, &info.Public, &info.Partial)
	if err != nil {
		return info, err
	}
	ref, err := s.rooms.made(number, info.RoomID, version)
	if err != nil {
		return info, err
	}
	info.Rules = ref.rules
	info.Forward, err = decodeIDs[id.EventID](forward)
	return info, err
}

// Rooms lists rooms with state in order of their IDs, those after the given one, at most limit.
func (s *Store) Rooms(ctx context.Context, after id.RoomID, limit int) ([]RoomInfo, error) {
	var all []RoomInfo
	err := s.read.each(ctx, "SELECT "+roomColumns+` FROM rooms WHERE created = 1 AND room_id > $2
		ORDER BY room_id LIMIT $3`, []any{string(s.self), string(after), limit},
		func(rows *sql.Rows) error {
			info, err := s.scanRoom(rows)
			all = append(all, info)
			return err
		})
	return all, err
}

// LoadRoom reads what a room's machine is made of; false when we don't have the room's state. While it is unknown whether a commit
// counts it reads nothing: what it would read may change yet.
func (s *Store) LoadRoom(ctx context.Context, r id.RoomID) (room.Snapshot, bool, error) {
	var snap room.Snapshot
	var forward, state []byte
	var created bool
	if err := s.commit.certain(ctx); err != nil {
		return snap, false, err
	}
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return snap, false, err
	}
	err = s.read.row(ctx, "SELECT created, forward, depth, state, resident FROM rooms WHERE room = $1", []any{ref.number},
		&created, &forward, &snap.Depth, &state, &snap.Resident)
	if err != nil || !created {
		return snap, false, err
	}
	snap.RoomID, snap.Rules = r, ref.rules
	if snap.Forward, err = decodeIDs[id.EventID](forward); err != nil {
		return snap, false, err
	}
	if snap.Current, err = s.storedState(ctx, state); err != nil {
		return snap, false, err
	}
	if snap.Servers, err = s.JoinedServers(ctx, r); err != nil {
		return snap, false, err
	}
	if snap.Partial, err = s.partial(ctx, ref); err != nil {
		return snap, false, err
	}
	snap.Staged, err = s.staged(ctx, ref)
	return snap, err == nil, err
}

func (s *Store) staged(ctx context.Context, ref *roomRef) ([]*event.Event, error) {
	var events []*event.Event
	err := s.read.each(ctx, "SELECT event_id, json FROM staged WHERE room = $1 ORDER BY position", []any{ref.number},
		func(rows *sql.Rows) error {
			var eventID id.EventID
			var json []byte
			if err := rows.Scan(&eventID, &json); err != nil {
				return err
			}
			e, err := event.Load(ref.rules, eventID, json)
			if err != nil {
				return fmt.Errorf("the staged event %s: %w", eventID, err)
			}
			events = append(events, e)
			return nil
		})
	return events, err
}

// RoomsWithStaged lists rooms that have events received but undecided, for the start of a node.
func (s *Store) RoomsWithStaged(ctx context.Context) ([]id.RoomID, error) {
	return readAll[id.RoomID](ctx, s, "SELECT DISTINCT room_id FROM rooms JOIN staged ON staged.room = rooms.room ORDER BY room_id")
}
