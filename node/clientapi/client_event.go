package clientapi

import (
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"hanse/federation/event"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/clientsync"
)

// clientEvent is an event as clients get it. spec:client-server-api#room-event-format
type clientEvent struct {
	Content        json.RawMessage `json:"content"`
	EventID        id.EventID      `json:"event_id"`
	OriginServerTS int64           `json:"origin_server_ts"`
	Redacts        id.EventID      `json:"redacts,omitempty"`
	RoomID         id.RoomID       `json:"room_id,omitempty"`
	Sender         id.UserID       `json:"sender"`
	StateKey       *string         `json:"state_key,omitempty"`
	Type           string          `json:"type"`
	Unsigned       *unsigned       `json:"unsigned,omitempty"`
	UserID         id.UserID       `json:"user_id,omitempty"` // not in the specification: what the sender was called, where old clients look
}

// unsigned is what the server tells beside an event.
type unsigned struct {
	Age             int64           `json:"age"`
	Membership      string          `json:"membership,omitempty"`
	PrevContent     json.RawMessage `json:"prev_content,omitempty"`
	PrevSender      id.UserID       `json:"prev_sender,omitempty"` // not in the specification; deployed clients read it
	RedactedBecause *clientEvent    `json:"redacted_because,omitempty"`
	RedactedBy      id.EventID      `json:"redacted_by,omitempty"` // likewise
	Relations       *relationsForm  `json:"m.relations,omitempty"`
	ReplacesState   id.EventID      `json:"replaces_state,omitempty"`
	TransactionID   string          `json:"transaction_id,omitempty"`
	// InviteRoomState and KnockRoomState are for application services.
	InviteRoomState []json.RawMessage `json:"invite_room_state,omitempty"`
	KnockRoomState  []json.RawMessage `json:"knock_room_state,omitempty"`
}

// plainEvent is an event without anything beside it but its age.
func plainEvent(e *event.Event, now time.Time) *clientEvent {
	formatted := &clientEvent{
		Content: e.Content(), EventID: e.ID(), OriginServerTS: e.OriginServerTS(), RoomID: e.RoomID(), Sender: e.Sender(), Type: e.Type(),
		Unsigned: &unsigned{Age: now.UnixMilli() - e.OriginServerTS()},
	}
	if stateKey, isState := e.StateKey(); isState {
		formatted.StateKey = &stateKey
	}
	if target, ok := e.Redacts(); ok && e.Type() == "m.room.redaction" {
		// Clients of before and after room version 11 look in different places: they find it in both.
		// spec:client-server-api#mroomredaction
		formatted.Redacts = target
		formatted.Content = withRedacts(e.Content(), target)
	}
	return formatted
}

func withRedacts(content []byte, target id.EventID) json.RawMessage {
	var members map[string]json.RawMessage
	if exactjson.Unmarshal(content, &members) != nil {
		return content
	}
	quoted, err := json.Marshal(target)
	if err != nil {
		return content
	}
	members["redacts"] = quoted
	if changed, err := marshal(members); err == nil {
		return changed
	}
	return content
}

// decoratedEvent is an event with what the asking device is told beside it.
func decoratedEvent(d clientsync.Decorated, now time.Time) *clientEvent {
	formatted := plainEvent(d.Event, now)
	formatted.Unsigned = unsignedOf(d, now)
	return formatted
}

func unsignedOf(d clientsync.Decorated, now time.Time) *unsigned {
	u := &unsigned{
		Age: now.UnixMilli() - d.Event.OriginServerTS(), Membership: d.Membership, TransactionID: d.TransactionID,
	}
	if d.Previous != nil {
		u.PrevContent, u.PrevSender, u.ReplacesState = d.Previous.Content(), d.Previous.Sender(), d.Previous.ID()
	}
	if d.RedactedBecause != nil {
		u.RedactedBecause, u.RedactedBy = plainEvent(d.RedactedBecause, now), d.RedactedBecause.ID()
	}
	if d.Aggregations != nil {
		u.Relations = formatRelations(*d.Aggregations, now)
	}
	return u
}

// syncEvent encodes an event as it stands in an answer of /sync, which tells the room's ID elsewhere. All but unsigned is
// encoded once for everybody who is told of the event.
func syncEvent(d clientsync.Decorated, now time.Time) (json.RawMessage, error) {
	build := func() []byte {
		formatted := plainEvent(d.Event, now)
		formatted.RoomID, formatted.Unsigned = "", nil
		raw, err := marshal(formatted)
		if err != nil {
			return nil // an event's parts encode, since they were decoded
		}
		return raw
	}
	var common []byte
	if d.Form != nil {
		common = d.Form.Get(build)
	} else {
		common = build()
	}
	beside, err := appendUnsigned(nil, d, now)
	if err != nil || len(common) == 0 {
		return nil, errors.Join(err, errUnencodable(common))
	}
	raw := make([]byte, 0, len(common)+len(beside)+len(`,"unsigned":`))
	raw = append(raw, common[:len(common)-1]...)
	raw = append(append(append(raw, `,"unsigned":`...), beside...), '}')
	return raw, nil
}

func errUnencodable(raw []byte) error {
	if len(raw) == 0 {
		return errors.New("clientapi: an event does not encode")
	}
	return nil
}

// appendUnsigned encodes unsigned. Most events have so little of it that it is written out here.
func appendUnsigned(dst []byte, d clientsync.Decorated, now time.Time) ([]byte, error) {
	if d.Previous != nil || d.RedactedBecause != nil || d.TransactionID != "" || d.Aggregations != nil {
		raw, err := marshal(unsignedOf(d, now))
		return append(dst, raw...), err
	}
	dst = strconv.AppendInt(append(dst, `{"age":`...), now.UnixMilli()-d.Event.OriginServerTS(), 10)
	switch d.Membership {
	case "":
	case "join", "invite", "knock", "leave", "ban":
		dst = append(append(append(dst, `,"membership":"`...), d.Membership...), '"')
	default:
		raw, err := marshal(d.Membership)
		if err != nil {
			return nil, err
		}
		dst = append(append(dst, `,"membership":`...), raw...)
	}
	return append(dst, '}'), nil
}

func plainEvents(events []*event.Event) []*clientEvent {
	now, list := time.Now(), make([]*clientEvent, 0, len(events))
	for _, e := range events {
		list = append(list, plainEvent(e, now))
	}
	return list
}

// decorated formats events for the request's device.
func (r *request) decorated(rows []clientsync.EventRow) ([]*clientEvent, error) {
	decorated, err := r.api.config.Sync.Decorate(r.Context(), r.user, r.device, rows)
	return decoratedEvents(decorated, time.Now()), err
}

func decoratedEvents(decorated []clientsync.Decorated, now time.Time) []*clientEvent {
	list := make([]*clientEvent, 0, len(decorated))
	for _, d := range decorated {
		list = append(list, decoratedEvent(d, now))
	}
	return list
}
