package store

import (
	"context"
	"database/sql"

	"hanse/federation/id"
	"hanse/federation/roomstate"
)

// present keeps what is asked of a room each time that somebody sends to it: what [Store.Room] tells, and which state is the
// current one. A commit brings both up to date. What is read is kept only if no transaction ended while it was read: see
// eventCache.version.
type present struct {
	infos  *generations[id.RoomID, RoomInfo]
	states *generations[id.RoomID, roomstate.Hash]
}

func newPresent() *present {
	return &present{
		infos:  newGenerations[id.RoomID, RoomInfo](roomCache, nil),
		states: newGenerations[id.RoomID, roomstate.Hash](roomCache, nil),
	}
}

// fill keeps what was read, if the version is still what it was before.
func fill[V any](s *Store, cache *generations[id.RoomID, V], r id.RoomID, read V, version int64) {
	cache.mu.Lock()
	defer cache.mu.Unlock()
	if s.events.version.Load() == version {
		cache.add(r, read)
	}
}

// committed brings a room up to date when a commit that wrote its row is durable. How many are joined is counted anew when it is
// asked for: a commit tells the counts of those servers alone that have others than before.
func (p *present) committed(w *roomWrite) {
	c := &w.commit
	p.states.put(c.RoomID, c.Current.Hash())
	info, ok := p.infos.get(c.RoomID)
	if !ok {
		return
	}
	if len(c.Servers) > 0 {
		p.infos.drop(c.RoomID)
		return
	}
	info.Created, info.Position, info.Forward, info.Depth, info.Resident = true, w.position, c.Forward, c.Depth, c.Resident
	p.infos.put(c.RoomID, info)
}

// Room tells what is known of a room; false when nothing is. Rooms of which we know an invite only are known, but not
// Created. Forward must not be changed.
func (s *Store) Room(ctx context.Context, r id.RoomID) (RoomInfo, bool, error) {
	if info, ok := s.present.infos.get(r); ok {
		return info, true, nil
	}
	var info RoomInfo
	found, version := false, s.events.version.Load()
	err := s.read.each(ctx, "SELECT "+roomColumns+" FROM rooms WHERE room_id = $2", []any{string(s.self), string(r)},
		func(rows *sql.Rows) (err error) {
			found = true
			info, err = s.scanRoom(rows)
			return err
		})
	if !found || err != nil {
		return info, false, err
	}
	fill(s, s.present.infos, r, info, version)
	return info, true, nil
}

// CurrentState is a room's current state; empty for rooms whose state we don't have.
func (s *Store) CurrentState(ctx context.Context, r id.RoomID) (roomstate.Map, error) {
	if root, ok := s.present.states.get(r); ok {
		return s.stateOf(ctx, root)
	}
	version := s.events.version.Load()
	var root []byte
	found, err := s.read.found(ctx, "SELECT state FROM rooms WHERE room_id = $1", []any{string(r)}, &root)
	if err != nil || !found {
		return roomstate.Map{}, err
	}
	state, err := s.storedState(ctx, root)
	if err == nil {
		fill(s, s.present.states, r, state.Hash(), version)
	}
	return state, err
}
