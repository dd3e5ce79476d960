package clientapi

import (
	"context"
	"encoding/json"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/node/appservice"
	"hanse/node/clientsync"
	"hanse/node/ephemeral"
)

// TransactionForms encodes what application services are told as clients are told it: it is node/appservice's Forms.
type TransactionForms struct{ Sync *clientsync.Syncer }

// Events encodes events of any rooms, with what a user is told beside them, and with what those who are invited are shown of the
// room if they are among ours: bridges look for it there, as by Synapse.
func (f TransactionForms) Events(ctx context.Context, user id.UserID, ours func(id.UserID) bool, events []appservice.LiveEvent) ([]json.RawMessage, error) {
	now, all := time.Now(), make([]json.RawMessage, 0, len(events))
	for len(events) > 0 {
		if events[0].OutOfRoom {
			raw, err := outOfRoomEvent(events[0], now)
			if err != nil {
				return nil, err
			}
			all, events = append(all, raw), events[1:]
			continue
		}
		var rows []clientsync.EventRow
		for len(events) > 0 && !events[0].OutOfRoom && (len(rows) == 0 || events[0].RoomID == rows[0].RoomID) {
			rows, events = append(rows, events[0].EventRow), events[1:]
		}
		decorated, err := f.Sync.Decorate(ctx, user, "", rows)
		if err != nil {
			return nil, err
		}
		for i, d := range decorated {
			formatted := decoratedEvent(d, now)
			formatted.UserID = formatted.Sender // as by Synapse
			if err := f.invitation(ctx, rows[i].Event, ours, formatted.Unsigned); err != nil {
				return nil, err
			}
			raw, err := marshal(formatted)
			if err != nil {
				return nil, err
			}
			all = append(all, raw)
		}
	}
	return all, nil
}

// invitation adds what one of ours is shown of a room, if an event is their invite or knock.
func (f TransactionForms) invitation(ctx context.Context, e *event.Event, ours func(id.UserID) bool, u *unsigned) (err error) {
	if key, _ := e.StateKey(); e.Membership() == "" || !ours(id.UserID(key)) {
		return nil
	}
	switch e.Membership() {
	case "invite":
		u.InviteRoomState, err = f.Sync.Invitation(ctx, e)
	case "knock":
		u.KnockRoomState, err = f.Sync.Invitation(ctx, e)
	}
	return err
}

// outOfRoomEvent is an invite to a room that this server takes no part in, with what is known of the room, as by Synapse.
func outOfRoomEvent(e appservice.LiveEvent, now time.Time) (json.RawMessage, error) {
	formatted := plainEvent(e.Event, now)
	formatted.UserID = formatted.Sender
	return marshal(struct {
		*clientEvent
		Unsigned map[string]any `json:"unsigned"`
	}{formatted, map[string]any{
		"age": now.UnixMilli() - e.Event.OriginServerTS(), e.Event.Membership() + "_room_state": append([]json.RawMessage{}, e.Stripped...),
	}})
}

// inRoom is an ephemeral event of a room, which it names as there is nothing around it that does.
type inRoom struct {
	Type    string    `json:"type"`
	RoomID  id.RoomID `json:"room_id"`
	Content any       `json:"content"`
}

// Receipts encodes receipts of a room.
func (f TransactionForms) Receipts(room id.RoomID, receipts []appservice.Receipt) ([]json.RawMessage, error) {
	var all []json.RawMessage
	for _, content := range receiptContents(receipts) {
		raw, err := marshal(inRoom{"m.receipt", room, content})
		if err != nil {
			return nil, err
		}
		all = append(all, raw)
	}
	return all, nil
}

// Typing encodes who types in a room.
func (f TransactionForms) Typing(room id.RoomID, users []id.UserID) (json.RawMessage, error) {
	return marshal(inRoom{"m.typing", room, map[string]any{"user_ids": append([]id.UserID{}, users...)}})
}

// Presence encodes whether a user is there.
func (f TransactionForms) Presence(p ephemeral.Presence) (json.RawMessage, error) {
	return marshal(map[string]any{"type": "m.presence", "sender": p.User, "content": presenceForm(p)})
}
