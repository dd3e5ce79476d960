package clientapi

import (
	"encoding/json"
	"time"

	"hanse/federation/event"
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
}

// unsigned is what the server tells beside an event.
type unsigned struct {
	Age             int64           `json:"age"`
	Membership      string          `json:"membership,omitempty"`
	PrevContent     json.RawMessage `json:"prev_content,omitempty"`
	PrevSender      id.UserID       `json:"prev_sender,omitempty"` // not in the specification; deployed clients read it
	RedactedBecause *clientEvent    `json:"redacted_because,omitempty"`
	ReplacesState   id.EventID      `json:"replaces_state,omitempty"` // likewise
	TransactionID   string          `json:"transaction_id,omitempty"`
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
	if json.Unmarshal(content, &members) != nil {
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
	formatted.Unsigned.Membership = d.Membership
	formatted.Unsigned.TransactionID = d.TransactionID
	if d.Previous != nil {
		formatted.Unsigned.PrevContent = d.Previous.Content()
		formatted.Unsigned.PrevSender = d.Previous.Sender()
		formatted.Unsigned.ReplacesState = d.Previous.ID()
	}
	if d.RedactedBecause != nil {
		formatted.Unsigned.RedactedBecause = plainEvent(d.RedactedBecause, now)
	}
	return formatted
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
	now, list := time.Now(), make([]*clientEvent, 0, len(rows))
	for _, d := range decorated {
		list = append(list, decoratedEvent(d, now))
	}
	return list, err
}
