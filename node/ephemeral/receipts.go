package ephemeral

import (
	"context"
	"encoding/json"
	"time"
	"unicode/utf8"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/store"
)

// The receipt types. Private ones are seen by their owner alone.
const (
	Read        = "m.read"
	ReadPrivate = "m.read.private"
)

// SetReceipt says how far a user of ours has read: up to the event, in a thread (an event ID, or "main"), or in the
// whole room ("" = unthreaded). The event must be of the room, which the caller has checked. A receipt that would go
// back is left as it is. M_FORBIDDEN if the user is not joined.
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
	var edus []store.QueuedEDU
	if typ == Read {
		edu, err := e.receiptEDU(ctx, receipt)
		if err != nil {
			return err
		}
		edus = edu
	}
	if _, err := e.config.Store.SaveReceipts(ctx, []store.Receipt{receipt}, edus...); err != nil {
		return err
	}
	if e.config.Wake != nil {
		for _, edu := range edus {
			e.config.Wake(edu.Destinations...)
		}
	}
	return nil
}

// receiptEDU makes the EDU for the other servers in the room, if there are any.
//
// spec:server-server-api#receipts
func (e *Ephemeral) receiptEDU(ctx context.Context, r store.Receipt) ([]store.QueuedEDU, error) {
	servers, err := e.others(ctx, r.Room)
	if err != nil || len(servers) == 0 {
		return nil, err
	}
	content, err := json.Marshal(federation.ReceiptEDU{string(r.Room): {r.Type: {string(r.User): {
		EventIDs: []id.EventID{r.Event},
		Data:     federation.ReceiptData{TS: r.TS, ThreadID: r.Thread},
	}}}})
	if err != nil {
		return nil, err
	}
	return []store.QueuedEDU{{Type: federation.EDUReceipt, Content: content, Destinations: servers}}, nil
}

// ahead tells whether a receipt is beyond the one there is: receipts mark everything before them as read, so one
// for an older event says nothing new. Events that are not known here can't be compared, and pass.
func (e *Ephemeral) ahead(ctx context.Context, r store.Receipt) (bool, error) {
	old, err := e.config.Store.UserReceipts(ctx, r.Room, r.User)
	if err != nil {
		return false, err
	}
	for _, o := range old {
		if o.Type != r.Type || o.Thread != r.Thread {
			continue
		}
		if o.Event == r.Event {
			return false, nil
		}
		rows, err := e.config.Store.Events(ctx, []id.EventID{o.Event, r.Event})
		if err != nil {
			return false, err
		}
		before, ok := rows[o.Event]
		after, ok2 := rows[r.Event]
		if ok && ok2 && before.Event != nil && after.Event != nil {
			return before.Topological().Before(after.Topological()), nil
		}
	}
	return true, nil
}

// receiveReceipts takes an m.receipt EDU.
//
// spec:server-server-api#receipts
func (e *Ephemeral) receiveReceipts(ctx context.Context, origin id.ServerName, content json.RawMessage) error {
	var edu federation.ReceiptEDU
	if json.Unmarshal(content, &edu) != nil {
		return nil
	}
	var good []store.Receipt
	seen := 0
	for roomText, types := range edu {
		if seen++; seen > maxReceiptsInEDU { // each room costs a look into the store, with receipts or without
			break
		}
		room, err := id.ParseRoomID(roomText)
		if err != nil {
			continue
		}
		if ok, err := e.allowed(ctx, room, origin); err != nil {
			return err
		} else if !ok {
			continue
		}
		// m.read is the only type that crosses servers.
		for userText, r := range types[Read] {
			if seen++; seen > maxReceiptsInEDU {
				break
			}
			receipt, ok, err := e.remoteReceipt(ctx, origin, room, userText, r)
			if err != nil {
				return err
			}
			if ok {
				good = append(good, receipt)
			}
		}
	}
	if len(good) == 0 {
		return nil
	}
	_, err := e.config.Store.SaveReceipts(ctx, good)
	return err
}

// remoteReceipt checks one receipt of another server's user.
func (e *Ephemeral) remoteReceipt(ctx context.Context, origin id.ServerName, room id.RoomID, userText string, r federation.Receipt) (receipt store.Receipt, ok bool, err error) {
	user, err := id.ParseUserID(userText)
	if err != nil || user.Server() != origin || len(r.EventIDs) == 0 {
		return receipt, false, nil
	}
	event, err := id.ParseEventID(string(r.EventIDs[len(r.EventIDs)-1]))
	if err != nil || len(r.Data.ThreadID) > maxThreadBytes || !utf8.ValidString(r.Data.ThreadID) {
		return receipt, false, nil
	}
	if joined, err := e.joined(ctx, room, user); err != nil || !joined {
		return receipt, false, err
	}
	receipt = store.Receipt{Room: room, Type: Read, User: user, Event: event, Thread: r.Data.ThreadID, TS: max(r.Data.TS, 0)}
	ok, err = e.ahead(ctx, receipt)
	return receipt, ok, err
}
