package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
)

// Arrival tells how a stored event came here first; the zero value where that isn't known.
func (s *Store) Arrival(ctx context.Context, e id.EventID) (Arrival, error) {
	var came []byte
	_, err := s.eventColumns(ctx, e, "events.came", &came)
	return decodeArrival(came), err
}

// StagedEvent is an event that was received and can't be judged yet.
type StagedEvent struct {
	Event   *event.Event
	RoomID  id.RoomID
	Arrival Arrival
}

// Staged reads a staged event; false if there is none of this ID.
func (s *Store) Staged(ctx context.Context, e id.EventID) (StagedEvent, bool, error) {
	var number int64
	var json, came []byte
	found, err := s.read.found(ctx, "SELECT room, json, came FROM staged WHERE event_id = $1", []any{string(e)}, &number, &json, &came)
	if err != nil || !found {
		return StagedEvent{}, false, err
	}
	ref, err := s.rooms.numbered(ctx, number)
	if err != nil {
		return StagedEvent{}, false, err
	}
	loaded, err := event.Load(ref.rules, e, json)
	if err != nil {
		return StagedEvent{}, false, fmt.Errorf("the staged event %s: %w", e, err)
	}
	return StagedEvent{Event: loaded, RoomID: ref.roomID, Arrival: decodeArrival(came)}, true, nil
}

// StagedArrivals tells how the staged events of a room came here.
func (s *Store) StagedArrivals(ctx context.Context, r id.RoomID) (map[id.EventID]Arrival, error) {
	all := map[id.EventID]Arrival{}
	err := s.read.each(ctx, "SELECT event_id, came FROM staged JOIN rooms ON rooms.room = staged.room WHERE room_id = $1",
		[]any{string(r)}, func(rows *sql.Rows) error {
			var e id.EventID
			var came []byte
			err := rows.Scan(&e, &came)
			if arrival := decodeArrival(came); arrival.How != UnknownWay {
				all[e] = arrival
			}
			return err
		})
	return all, err
}

// Children lists stored events that name a missing one as their parent, at most so many.
func (s *Store) Children(ctx context.Context, missing id.EventID, limit int) ([]id.EventID, error) {
	return readAll[id.EventID](ctx, s, "SELECT child FROM gaps WHERE missing = $1 ORDER BY child LIMIT $2", string(missing), limit)
}

// Undecided counts, by room, the events that were received and can't be judged yet.
func (s *Store) Undecided(ctx context.Context) (map[id.RoomID]int, error) {
	return readMap[id.RoomID, int](ctx, s, "SELECT room_id, COUNT(*) FROM staged JOIN rooms ON rooms.room = staged.room GROUP BY room_id")
}

// Gaps counts, by room, the events that we have heard of as parents and don't have.
func (s *Store) Gaps(ctx context.Context) (map[id.RoomID]int, error) {
	return readMap[id.RoomID, int](ctx, s, "SELECT room_id, COUNT(DISTINCT missing) FROM gaps JOIN rooms ON rooms.room = gaps.room GROUP BY room_id")
}

// RoomCounts are what an operator asks of a room.
type RoomCounts struct {
	Events     int // that have their place
	Outliers   int
	SoftFailed int
	Rejected   int
	Staged     int // received, not judged yet
	Gaps       int // events that we have heard of as parents and don't have
}

// CountRoom counts a room's events. It reads all of the room's rows: for people, not for every request.
func (s *Store) CountRoom(ctx context.Context, r id.RoomID) (RoomCounts, error) {
	var c RoomCounts
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return c, err
	}
	err = s.read.row(ctx, `SELECT COALESCE(SUM(CASE WHEN position <> 0 THEN 1 ELSE 0 END), 0),
		COALESCE(SUM(CASE WHEN position = 0 THEN 1 ELSE 0 END), 0), COALESCE(SUM(CASE WHEN status = 1 THEN 1 ELSE 0 END), 0),
		COALESCE(SUM(CASE WHEN status = 2 THEN 1 ELSE 0 END), 0) FROM events WHERE room = $1`,
		[]any{ref.number}, &c.Events, &c.Outliers, &c.SoftFailed, &c.Rejected)
	if err != nil {
		return c, err
	}
	if err := s.read.row(ctx, "SELECT COUNT(*) FROM staged WHERE room = $1", []any{ref.number}, &c.Staged); err != nil {
		return c, err
	}
	return c, s.read.row(ctx, "SELECT COUNT(DISTINCT missing) FROM gaps WHERE room = $1", []any{ref.number}, &c.Gaps)
}

// Superseded finds out when a state event stopped being in force: the first known current state of its room after the
// given position that holds another event, or none, in its place. false if it is in force, or that can't be found.
func (s *Store) Superseded(ctx context.Context, r id.RoomID, after Position, key roomstate.Key, e id.EventID) (Position, roomstate.Map, bool, error) {
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return 0, roomstate.Map{}, false, err
	}
	positions, err := readAll[Position](ctx, s, "SELECT position FROM state_history WHERE room = $1 AND position >= $2 ORDER BY position",
		ref.number, int64(after))
	if err != nil {
		return 0, roomstate.Map{}, false, err
	}
	// What went out of force mostly stays out, so that halving finds the change.
	var failed error
	at := func(i int) roomstate.Map {
		state, err := s.CurrentStateAt(ctx, r, positions[i])
		failed = errors.Join(failed, err)
		return state
	}
	i := sort.Search(len(positions), func(i int) bool {
		now, err := at(i).Event(key.Type, key.StateKey)
		failed = errors.Join(failed, err)
		return now != e
	})
	if failed != nil || i == len(positions) {
		return 0, roomstate.Map{}, false, failed
	}
	return positions[i], at(i), failed == nil, failed
}

// Shipment says whether an event went out to a server.
type Shipment struct {
	Server   id.ServerName
	Position int64 // of the event in the outbox, as Batch.Upto has it
	Done     bool  // it went out, or was given up
	Behind   bool  // the server was away for so long that it gets the room's newest events first, and asks for this one then
}

// Shipments tells to which servers an event of the outbox goes, in order of their names. Of events that all servers have
// taken only the last are remembered, since the start: then there are none.
func (s *Store) Shipments(ctx context.Context, e id.EventID) ([]Shipment, error) {
	all, room := s.outbox.shipments(e)
	if len(all) == 0 {
		return nil, nil
	}
	waiting, err := readAll[id.ServerName](ctx, s, "SELECT destination FROM outbox_catchup WHERE room = $1 AND position >= $2", room, all[0].Position)
	if err != nil {
		return nil, err
	}
	for i := range all {
		all[i].Behind = slices.Contains(waiting, all[i].Server)
	}
	return all, nil
}

// recentRows is how many rows that left the log are remembered, for Shipments.
const recentRows = 4096

// remember keeps rows that leave the log; mu is held.
func (o *outbox) remember(rows []outboxRow) {
	for _, row := range rows {
		if row.eventID != "" {
			o.recent = append(o.recent, row)
		}
	}
	if len(o.recent) > 2*recentRows {
		o.recent = slices.Clone(o.recent[len(o.recent)-recentRows:])
	}
}

func (o *outbox) shipments(e id.EventID) (all []Shipment, room int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, rows := range [][]outboxRow{o.recent, o.log} {
		for _, row := range rows {
			if row.eventID != e {
				continue
			}
			room = row.room
			for _, server := range o.servers.of(row.set) {
				all = append(all, Shipment{Server: server, Position: int64(row.position), Done: o.cursors[server] >= row.position})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Shipment) int { return cmp.Compare(a.Server, b.Server) })
	return all, room
}

// Backlog is what waits for a server.
type Backlog struct {
	PDUs, EDUs int
	Rooms      int  // of which it gets the newest events first, as it was away for long
	More       bool // there is more than was counted
}

// backlogCounted bounds what is counted for one server.
const backlogCounted = 10_000

// Backlog counts what waits for a server.
func (s *Store) Backlog(ctx context.Context, server id.ServerName) (Backlog, error) {
	var b Backlog
	rows := s.outbox.waiting(server, backlogCounted, backlogCounted)
	for _, row := range rows {
		if row.eventID != "" {
			b.PDUs++
		} else {
			b.EDUs++
		}
	}
	b.More = b.PDUs == backlogCounted || b.EDUs == backlogCounted
	var kept int
	err := s.read.row(ctx, "SELECT COUNT(*) FROM outbox_catchup WHERE destination = $1", []any{string(server)}, &b.Rooms)
	if err == nil {
		err = s.read.row(ctx, "SELECT COUNT(*) FROM outbox_kept WHERE destination = $1", []any{string(server)}, &kept)
	}
	b.EDUs += kept
	return b, err
}

// SharedServers lists the other servers with which we share rooms, each with the number of rooms; most rooms first.
func (s *Store) SharedServers(ctx context.Context, limit int) (map[id.ServerName]int, error) {
	return readMap[id.ServerName, int](ctx, s, `SELECT server, COUNT(*) AS shared FROM room_servers JOIN rooms ON rooms.room = room_servers.room
		WHERE joined > 0 AND resident = 1 AND server <> $1 GROUP BY server ORDER BY shared DESC, server LIMIT $2`,
		string(s.self), limit)
}

// RoomsWith lists the rooms that we take part in and in which a server has joined users.
func (s *Store) RoomsWith(ctx context.Context, server id.ServerName) ([]id.RoomID, error) {
	return readAll[id.RoomID](ctx, s, `SELECT room_id FROM room_servers JOIN rooms ON rooms.room = room_servers.room
		WHERE server = $1 AND joined > 0 AND resident = 1 ORDER BY room_id`, string(server))
}

// OldestOutbox is for how long the oldest of what waits in the outbox's log has waited; what was there at the start counts
// from then. 0 if nothing waits.
func (s *Store) OldestOutbox() time.Duration {
	o := s.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	lowest := map[*destinations]Position{}
	for _, row := range o.log {
		upto, known := lowest[row.set]
		if !known {
			upto = o.lowest(row.set)
			lowest[row.set] = upto
		}
		if row.position > upto {
			return time.Since(row.queued)
		}
	}
	return 0
}
