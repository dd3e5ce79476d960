// Package event holds the immutable event, a PDU: [Parse] makes it from what a peer sent,
// [Load] from our own store, [Draft.Sign] from a draft of our own. It knows the event
// formats, size limits, redaction, content and reference hashes, event IDs and signatures of
// all room versions.
//
// An event is parsed once and keeps its canonical JSON in one buffer; accessors do not parse
// again. The package does not decide whether an event is allowed, and finds no keys: packages
// authrules and keys do.
//
// spec:server-server-api#pdus
package event

import (
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

// Event is an event in the federation format. It is immutable, and may be used by several
// goroutines at once; slices it gives are its own and must not be changed.
type Event struct {
	rules *roomversion.Rules
	id    id.EventID

	// json is canonical, with hashes and signatures and without unsigned. The slices below
	// are parts of it.
	json       []byte
	content    []byte // an object
	hashes     []byte // an object
	signatures []byte // an object

	roomID     id.RoomID
	sender     id.UserID
	typ        string
	stateKey   string
	membership string
	redacts    id.EventID
	depth      int64
	ts         int64
	prev       []id.EventID
	auth       []id.EventID

	isState   bool
	hasRoomID bool
	redacted  bool
}

// Rules are the rules of the event's room version.
func (e *Event) Rules() *roomversion.Rules { return e.rules }

// ID is the event's ID: given in room versions 1 and 2, otherwise its reference hash.
func (e *Event) ID() id.EventID { return e.id }

// RoomID is the room the event is in. For a create event without room_id it is the event ID
// with the sigil '!'.
//
// spec:rooms/v12#event-format
func (e *Event) RoomID() id.RoomID { return e.roomID }

// HasRoomID tells whether the event has a room_id of its own, which the create event of a
// room whose ID is the create event's must not have.
func (e *Event) HasRoomID() bool { return e.hasRoomID }

// Type is the event's type.
func (e *Event) Type() string { return e.typ }

// StateKey is the event's state key; false if it is not a state event.
func (e *Event) StateKey() (string, bool) { return e.stateKey, e.isState }

// IsState tells whether the event is a state event.
func (e *Event) IsState() bool { return e.isState }

// Is tells whether the event is a state event of that type and state key.
func (e *Event) Is(typ, stateKey string) bool {
	return e.isState && e.typ == typ && e.stateKey == stateKey
}

// Sender is the user who sent the event.
func (e *Event) Sender() id.UserID { return e.sender }

// Depth is what the sender says is the greatest depth of the event's prev events plus one,
// 0 to rules.MaxDepth.
func (e *Event) Depth() int64 { return e.depth }

// OriginServerTS is when the event was made, as its sender says: milliseconds since the Unix
// epoch. It may be negative.
func (e *Event) OriginServerTS() int64 { return e.ts }

// PrevEvents are the events before this one in the room's graph, in a new event
// at most [MaxPrevEvents], as they stand in it.
func (e *Event) PrevEvents() []id.EventID { return e.prev }

// AuthEvents are the events that allow this one, as its sender says, in a new event at most
// [MaxAuthEvents].
func (e *Event) AuthEvents() []id.EventID { return e.auth }

// Content is the event's content, a canonical JSON object.
func (e *Event) Content() []byte { return e.content }

// Redacts is the event that an m.room.redaction event redacts; false if the event is of
// another type or names no valid event ID.
func (e *Event) Redacts() (id.EventID, bool) { return e.redacts, e.redacts != "" }

// Membership is content.membership of an m.room.member event; "" for other events, and if it
// is not a string.
func (e *Event) Membership() string { return e.membership }

// JSON is the event in the federation format: canonical, with hashes and signatures, without
// unsigned. event_id is in it in room versions 1 and 2 only.
func (e *Event) JSON() []byte { return e.json }

// Outline is a copy of the event without what takes much memory: [Event.JSON], [Event.Content], [Event.PrevEvents] and [Event.AuthEvents] of it are
// empty. It is for who goes through many events, and gets those again that it has to look into.
func (e *Event) Outline() *Event {
	outline := *e
	outline.json, outline.content, outline.hashes, outline.signatures, outline.prev, outline.auth = nil, nil, nil, nil, nil, nil
	return &outline
}

// IsOutline tells whether the event is what [Event.Outline] gave.
func (e *Event) IsOutline() bool { return e.json == nil }

// Size is the size that the limit of [MaxSize] is about, in bytes.
func (e *Event) Size() int { return len(e.json) }
