package store

import (
	"context"
	"encoding/json"
	"fmt"

	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
)

// roomRef is what a room is called inside the database, and what is needed to read its events. Immutable.
type roomRef struct {
	number int64
	roomID id.RoomID
	rules  *roomversion.Rules
}

// roomIndex finds rooms by ID and by number. A room's number and version never change, so what it once found is
// right for ever.
type roomIndex struct {
	read     *reader
	byID     *generations[id.RoomID, *roomRef]
	byNumber *generations[int64, *roomRef]
}

func newRoomIndex(r *reader) *roomIndex {
	return &roomIndex{
		read:     r,
		byID:     newGenerations[id.RoomID, *roomRef](roomCache, nil),
		byNumber: newGenerations[int64, *roomRef](roomCache, nil),
	}
}

func (x *roomIndex) put(ref *roomRef) {
	x.byID.put(ref.roomID, ref)
	x.byNumber.put(ref.number, ref)
}

// find returns nil when the room is unknown.
func (x *roomIndex) find(ctx context.Context, roomID id.RoomID) (*roomRef, error) {
	if ref, ok := x.byID.get(roomID); ok {
		return ref, nil
	}
	var number int64
	var version string
	found, err := x.read.found(ctx, "SELECT room, version FROM rooms WHERE room_id = $1", []any{string(roomID)}, &number, &version)
	if err != nil || !found {
		return nil, err
	}
	return x.made(number, roomID, version)
}

// numbered returns the room with that number.
func (x *roomIndex) numbered(ctx context.Context, number int64) (*roomRef, error) {
	if ref, ok := x.byNumber.get(number); ok {
		return ref, nil
	}
	var roomID id.RoomID
	var version string
	err := x.read.row(ctx, "SELECT room_id, version FROM rooms WHERE room = $1", []any{number}, &roomID, &version)
	if err != nil {
		return nil, err
	}
	return x.made(number, roomID, version)
}

func (x *roomIndex) made(number int64, roomID id.RoomID, version string) (*roomRef, error) {
	rules, ok := roomversion.Lookup(roomversion.Version(version))
	if !ok {
		return nil, fmt.Errorf("store: the room %s has version %q, which this build does not know", roomID, version)
	}
	ref := &roomRef{number: number, roomID: roomID, rules: rules}
	x.put(ref)
	return ref, nil
}

// inTx finds a room or makes its row; created rooms get their other columns with the next commit.
func (x *roomIndex) inTx(t *writeTx, roomID id.RoomID, rules *roomversion.Rules) (*roomRef, error) {
	if ref, ok := x.byID.get(roomID); ok {
		return ref, nil
	}
	var number int64
	var version string
	found, err := t.found("SELECT room, version FROM rooms WHERE room_id = $1", []any{string(roomID)}, &number, &version)
	if err != nil {
		return nil, err
	}
	if found {
		if version != string(rules.Version) {
			return nil, fmt.Errorf("store: the room %s has version %q, not %q", roomID, version, rules.Version)
		}
	} else {
		number = int64(t.next())
		err := t.insert(insertRoom, number, string(roomID), string(rules.Version), int64(0), int64(0),
			[]byte("[]"), int64(0), hashBytes(roomstate.Map{}), int64(0), int64(0))
		if err != nil {
			return nil, err
		}
	}
	ref := &roomRef{number: number, roomID: roomID, rules: rules}
	t.then(func() { x.put(ref) })
	return ref, nil
}

func encodeIDs[T ~string](ids []T) []byte {
	if len(ids) == 0 {
		return []byte("[]")
	}
	b, err := json.Marshal(ids)
	if err != nil {
		panic(err) // strings always encode
	}
	return b
}

func decodeIDs[T ~string](b []byte) (ids []T, err error) {
	if err := exactjson.Unmarshal(b, &ids); err != nil {
		return nil, fmt.Errorf("store: a stored list: %w", err)
	}
	return ids, nil
}
