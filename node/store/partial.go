package store

import (
	"context"
	"encoding/json"
	"fmt"

	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/room"
)

// PartialRoom is a room that this server takes part in and whose state isn't whole: members were left out when it was joined.
type PartialRoom struct {
	RoomID id.RoomID
	Join   id.EventID // our join, before which the state isn't whole
}

// PartialRooms lists the rooms that we take part in whose state isn't whole, in order of their IDs.
func (s *Store) PartialRooms(ctx context.Context) ([]PartialRoom, error) {
	return readRows(ctx, s, `SELECT room_id, join_id FROM partial_rooms JOIN rooms ON rooms.room = partial_rooms.room
		WHERE resident = 1 ORDER BY room_id`, nil, func(p *PartialRoom) []any { return []any{&p.RoomID, &p.Join} })
}

// PartialRoom is one of [Store.PartialRooms]; false: the room isn't.
func (s *Store) PartialRoom(ctx context.Context, r id.RoomID) (PartialRoom, bool, error) {
	p := PartialRoom{RoomID: r}
	found, err := s.read.found(ctx, `SELECT join_id FROM partial_rooms JOIN rooms ON rooms.room = partial_rooms.room
		WHERE room_id = $1 AND resident = 1`, []any{string(r)}, &p.Join)
	return p, found, err
}

// Wholeness tells whether a room's state isn't whole, and where in the commit order it became so; 0: it always was, or never has been.
func (s *Store) Wholeness(ctx context.Context, r id.RoomID) (partial bool, since Position, err error) {
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return false, 0, err
	}
	err = s.read.row(ctx, `SELECT (SELECT COUNT(*) FROM partial_rooms WHERE room = $1),
		(SELECT COALESCE(MAX(position), 0) FROM whole_rooms WHERE room = $1)`, []any{ref.number}, &partial, &since)
	return partial, since, err
}

// ServersIn are the servers in a room and how many joined users of each we know: [Store.JoinedServers], and while the room's state
// isn't whole those that were said to be in it, with 0.
func (s *Store) ServersIn(ctx context.Context, r id.RoomID) (map[id.ServerName]int, error) {
	servers, err := s.JoinedServers(ctx, r)
	if err != nil {
		return nil, err
	}
	told, err := s.toldServers(ctx, r)
	for _, server := range told {
		if _, known := servers[server]; !known {
			servers[server] = 0
		}
	}
	return servers, err
}

// ServerIn tells whether a server is one of [Store.ServersIn].
func (s *Store) ServerIn(ctx context.Context, r id.RoomID, server id.ServerName) (bool, error) {
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return false, err
	}
	var one int64
	return s.read.found(ctx, `SELECT 1 FROM room_servers WHERE room = $1 AND server = $2 AND joined > 0
		UNION ALL SELECT 1 FROM partial_servers WHERE room = $1 AND server = $2 LIMIT 1`, []any{ref.number, string(server)}, &one)
}

// SaidToBeIn tells whether a server is said to be in a room that we take part in and whose state isn't whole.
func (s *Store) SaidToBeIn(ctx context.Context, server id.ServerName) (bool, error) {
	var one int64
	return s.read.found(ctx, `SELECT 1 FROM partial_servers JOIN rooms ON rooms.room = partial_servers.room
		WHERE server = $1 AND resident = 1 LIMIT 1`, []any{string(server)}, &one)
}

func (s *Store) toldServers(ctx context.Context, r id.RoomID) ([]id.ServerName, error) {
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return nil, err
	}
	return readAll[id.ServerName](ctx, s, "SELECT server FROM partial_servers WHERE room = $1 ORDER BY server", ref.number)
}

// partial reads what the machine needs of a room whose state isn't whole; nil: it is.
func (s *Store) partial(ctx context.Context, ref *roomRef) (*room.PartialState, error) {
	p := &room.PartialState{}
	found, err := s.read.found(ctx, "SELECT join_id FROM partial_rooms WHERE room = $1", []any{ref.number}, &p.Join)
	if err != nil || !found {
		return nil, err
	}
	if p.Servers, err = s.toldServers(ctx, ref.roomID); err != nil {
		return nil, err
	}
	p.Unsure, err = readRows(ctx, s, "SELECT event_id, backfilled, below, given, left_out FROM unsure_events WHERE room = $1 ORDER BY ordinal",
		[]any{ref.number}, func(u *room.Unsure) []any {
			return []any{&u.Event, &u.Backfilled, &u.Below, &u.Given, idsColumn{&u.LeftOut}}
		})
	if err != nil {
		return nil, err
	}
	for i, u := range p.Unsure {
		if !u.Given {
			continue
		}
		before, ok, err := s.StateBefore(ctx, u.Event)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, fmt.Errorf("store: the state before %s, which was given, is not stored", u.Event)
		}
		p.Unsure[i].Before = before
	}
	return p, nil
}

// idsColumn has a column scanned that holds a JSON list of event IDs; NULL is none.
type idsColumn struct{ into *[]id.EventID }

// Scan is sql.Scanner's.
func (c idsColumn) Scan(value any) error {
	list, ok := value.([]byte)
	if !ok && value != nil {
		return fmt.Errorf("a stored list of events is %T", value)
	}
	if *c.into = nil; len(list) == 0 {
		return nil
	}
	return exactjson.Unmarshal(list, c.into)
}

// writePartial writes that a room's state isn't whole, or is from now on, and which events are to be decided again.
func (w *roomWrite) writePartial(t *writeTx) error {
	if w.commit.Whole {
		if err := w.announceMissed(t); err != nil {
			return err
		}
		if err := w.doubtDevices(t); err != nil {
			return err
		}
		if err := t.insert(insertWholeRoom, w.ref.number, int64(w.position)); err != nil {
			return err
		}
	}
	if w.commit.Partial != nil || w.commit.Whole {
		t.then(func() { w.store.present.infos.drop(w.commit.RoomID) })
		for _, table := range []string{"partial_rooms", "partial_servers", "unsure_events"} {
			if _, err := t.exec("DELETE FROM "+table+" WHERE room = $1", w.ref.number); err != nil {
				return err
			}
		}
	}
	if p := w.commit.Partial; p != nil {
		if err := t.insert(insertPartialRoom, w.ref.number, string(p.Join)); err != nil {
			return err
		}
		for _, server := range p.Servers {
			if err := t.insert(insertPartialServer, w.ref.number, string(server)); err != nil {
				return err
			}
		}
	}
	for _, e := range w.commit.Events {
		if !e.Unsure {
			continue
		}
		var leftOut []byte
		if len(e.LeftOut) > 0 {
			var err error
			if leftOut, err = json.Marshal(e.LeftOut); err != nil {
				return err
			}
		}
		err := t.insert(insertUnsure, w.ref.number, int64(t.next()), string(e.Event.ID()), flag(e.Backfilled), flag(e.Below), flag(e.Given), leftOut)
		if err != nil {
			return err
		}
	}
	return nil
}

// doubtDevices has the device lists of users fetched again who were out of a room, as its whole state shows, while they were taken to be in
// it: their servers may not have told of changes then. Clients are told if a list is another.
func (w *roomWrite) doubtDevices(t *writeTx) error {
	for _, e := range w.commit.Events {
		membership := e.Event.Membership()
		if !w.shownAnew(e) || membership != "leave" && membership != "ban" {
			continue
		}
		user, _ := e.Event.StateKey()
		if _, err := t.exec("UPDATE remote_device_lists SET stale = 1 WHERE user_id = $1", user); err != nil {
			return err
		}
	}
	return nil
}

// findAgain reads those events of the commit that were decided before, as they are stored.
func (w *roomWrite) findAgain(ctx context.Context) error {
	var ids []id.EventID
	for _, e := range w.commit.Events {
		if e.Again {
			ids = append(ids, e.Event.ID())
		}
	}
	if len(ids) == 0 {
		return nil
	}
	var err error
	w.again, err = w.store.stored(ctx, ids)
	return err
}

// shownAnew tells whether an event that was decided before is to be shown from now on: it gets a place behind all that was shown.
func (w *roomWrite) shownAnew(e room.Committed) bool {
	old := w.again[e.Event.ID()]
	return e.Again && old != nil && old.status != room.Accepted && inTail(e)
}

// writeAgain replaces what was decided about a stored event.
func (w *roomWrite) writeAgain(t *writeTx, e room.Committed, number, place Position) error {
	old := w.again[e.Event.ID()]
	if old == nil {
		return fmt.Errorf("store: the event %s, decided again, is not stored", e.Event.ID())
	}
	t.then(func() { w.store.events.rows.drop(e.Event.ID()) })
	anew := w.shownAnew(e)
	if !anew {
		place = old.position
	}
	before, after, why := columns(e)
	_, err := t.exec("UPDATE events SET position = $1, status = $2, state_before = $3, state_after = $4, verdict = $5 WHERE number = $6",
		int64(place), int64(e.Status), before, after, why, int64(number))
	switch {
	case err != nil || (old.status == room.Accepted) == (e.Status == room.Accepted):
		return err
	case e.Status != room.Accepted:
		return w.hide(t, e, number, old.position)
	case anew:
		if err := t.insert(insertMoved, int64(place), int64(number)); err != nil {
			return err
		}
	}
	if err := t.insert(insertSearchPending, int64(number)); err != nil {
		return err
	}
	return w.writePlace(t, e, tailEntry{position: place, depth: e.Event.Depth(), number: number, eventID: e.Event.ID()}, nil)
}

// displace takes its place from an event: it is an outlier from now on.
func (w *roomWrite) displace(t *writeTx, e room.Committed, number Position) error {
	old := w.again[e.Event.ID()]
	if old == nil {
		return fmt.Errorf("store: the event %s, which loses its place, is not stored", e.Event.ID())
	}
	t.then(func() { w.store.events.rows.drop(e.Event.ID()) })
	_, _, why := columns(e)
	_, err := t.exec("UPDATE events SET position = 0, status = $1, backfilled = 0, state_before = NULL, state_after = NULL, verdict = $2 WHERE number = $3",
		int64(e.Status), why, int64(number))
	if err != nil || old.outlier() {
		return err
	}
	return w.hide(t, e, number, old.position)
}

// hide takes an event that isn't accepted any more, or has no place any more, out of all that is found by its place. What it redacted is as it was before.
func (w *roomWrite) hide(t *writeTx, e room.Committed, number, place Position) error {
	eventID := e.Event.ID()
	statements := []struct {
		text string
		args []any
	}{
		{"DELETE FROM timeline WHERE room = $1 AND position = $2", []any{w.ref.number, int64(place)}},
		{"DELETE FROM moved WHERE position = $1", []any{int64(place)}},
		{"DELETE FROM gaps WHERE room = $1 AND child = $2", []any{w.ref.number, string(eventID)}},
	}
	for _, s := range statements {
		if _, err := t.exec(s.text, s.args...); err != nil {
			return err
		}
	}
	if err := w.store.breakRelation(t, number); err != nil {
		return err
	}
	t.then(func() { w.store.tail.remove(w.ref.number, place) })
	target, ok := e.Event.Redacts()
	if !ok {
		return nil
	}
	if _, err := t.exec("DELETE FROM redactions WHERE target = $1 AND event_id = $2", string(target), string(eventID)); err != nil {
		return err
	}
	redacted, found, err := w.store.tail.numberInTx(t, target)
	if err != nil || !found {
		return err
	}
	t.then(func() { w.store.events.rows.drop(target) })
	_, err = t.exec("UPDATE events SET redacted_by = NULL WHERE number = $1 AND redacted_by = $2", int64(redacted), string(eventID))
	return err
}
