package ephemeral

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"hanse/federation"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/store"
)

// The receipt types. Private ones are seen by their owner alone. FullyRead is the read marker: account data of a room.
const (
	Read        = "m.read"
	ReadPrivate = "m.read.private"
	FullyRead   = "m.fully_read"
)

// SetReceipt says how far a user of ours has read: up to the event, in a thread (an event ID, or "main"), or in the
// whole room ("" = unthreaded). The event must be of the room and thread, which the caller has checked. A receipt that
// would go back is left as it is. It is stored when this returns. M_FORBIDDEN if the user is not joined.
//
// spec:client-server-api/modules/receipts#server-behaviour
func (e *Ephemeral) SetReceipt(ctx context.Context, room id.RoomID, user id.UserID, typ string, event id.EventID, thread string) error {
	if err := e.mustBeJoined(ctx, room, user); err != nil {
		return err
	}
	receipt := store.Receipt{Room: room, Type: typ, User: user, Event: event, Thread: thread, TS: time.Now().UnixMilli()}
	if ahead, err := e.ahead(ctx, receipt); err != nil || !ahead {
		return err
	}
	if _, err := e.config.Store.SaveReceipts(ctx, []store.Receipt{receipt}); err != nil {
		return err
	}
	if typ == Read {
		e.outgoing.addReceipt(receipt)
	}
	return nil
}

// retell has other servers told of the receipts that users of ours set last before the start: the process before this one may
// have ended between their acknowledgement and their way out. Nothing is written for it; who has heard of one already knows it
// as old.
func (e *Ephemeral) retell(ctx context.Context) error {
	receipts, err := e.config.Store.OwnReceipts(ctx, Read, e.config.Store.Found()-retoldPositions, maxOutgoing)
	if err != nil {
		return err
	}
	for _, r := range receipts {
		if r.TS < receipts[0].TS-retoldFor.Milliseconds() {
			break
		}
		joined, err := e.joined(ctx, r.Room, r.User)
		if err != nil {
			return err
		}
		if joined {
			e.outgoing.addOldReceipt(r)
		}
	}
	return nil
}

// SetFullyRead moves a user's read marker to an event of the room; it doesn't go back. M_FORBIDDEN if the user is not
// joined, M_TOO_LARGE if they have as much account data as there may be.
//
// spec:client-server-api/modules/read_markers#server-behaviour
func (e *Ephemeral) SetFullyRead(ctx context.Context, room id.RoomID, user id.UserID, event id.EventID) error {
	if err := e.mustBeJoined(ctx, room, user); err != nil {
		return err
	}
	old, found, err := e.config.Store.AccountData(ctx, user, room, FullyRead)
	if err != nil {
		return err
	}
	var marker struct {
		Event id.EventID `json:"event_id"`
	}
	if found && exactjson.Unmarshal(old.Content, &marker) == nil && marker.Event != "" {
		if further, err := e.further(ctx, marker.Event, event); err != nil || !further {
			return err
		}
	}
	marker.Event = event
	content, err := json.Marshal(marker)
	if err != nil {
		return err
	}
	_, err = e.config.Store.SetAccountData(ctx, user, room, FullyRead, content)
	if errors.Is(err, store.ErrFull) {
		return federation.NewError(http.StatusRequestEntityTooLarge, federation.CodeTooLarge, "you have as much account data as you may have: there is no place for the read marker")
	}
	return err
}

// ahead tells whether a receipt is beyond those there are: receipts mark everything before them as read, so one
// for an older event says nothing new. Nor does one of a thread where the event was read with no thread named (MSC4102, as Synapse
// has it): clients that keep one receipt an event and user would take it for less than was read.
func (e *Ephemeral) ahead(ctx context.Context, r store.Receipt) (bool, error) {
	old, err := e.config.Store.UserReceipts(ctx, r.Room, r.User)
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(old, func(o store.Receipt) bool { return o.Type == r.Type && o.Thread == "" && o.Event == r.Event }) {
		return false, nil
	}
	for _, o := range old {
		if o.Type == r.Type && o.Thread == r.Thread {
			return e.further(ctx, o.Event, r.Event)
		}
	}
	return true, nil
}

// further tells whether an event comes after another. Events that are not known here can't be compared, and pass.
func (e *Ephemeral) further(ctx context.Context, old, event id.EventID) (bool, error) {
	if old == event {
		return false, nil
	}
	rows, err := e.config.Store.Events(ctx, []id.EventID{old, event})
	if err != nil {
		return false, err
	}
	before, ok := rows[old]
	after, ok2 := rows[event]
	return !ok || !ok2 || before.Topological().Before(after.Topological()), nil
}
