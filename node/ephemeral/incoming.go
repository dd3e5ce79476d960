package ephemeral

import (
	"context"
	"encoding/json"
	"sync"
	"unicode/utf8"

	"hanse/federation"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/store"
)

// incoming gathers receipts of other servers' users, so that they are written together, not one by one. What is lost of it
// with the process was promised to nobody. Safe for concurrent use.
type incoming struct {
	kick chan struct{}

	mu       sync.Mutex
	receipts map[receiptKey]store.Receipt // guarded by mu: the last that came
}

func newIncoming() *incoming {
	return &incoming{kick: make(chan struct{}, 1), receipts: map[receiptKey]store.Receipt{}}
}

func (i *incoming) add(r store.Receipt) {
	i.mu.Lock()
	defer i.mu.Unlock()
	key := receiptKey{r.Room, r.User, r.Thread}
	if _, waits := i.receipts[key]; !waits && len(i.receipts) >= maxIncoming {
		return
	}
	i.receipts[key] = r
	i.wake()
}

func (i *incoming) wake() {
	select {
	case i.kick <- struct{}{}:
	default:
	}
}

// giveBack has what was taken wait again, but for what is newer by now.
func (i *incoming) giveBack(taken map[receiptKey]store.Receipt) {
	i.mu.Lock()
	newer := i.receipts
	i.receipts = taken
	i.mu.Unlock()
	for _, r := range newer { // as if it came now: there may be too many
		i.add(r)
	}
	i.wake()
}

func (i *incoming) take() map[receiptKey]store.Receipt {
	i.mu.Lock()
	defer i.mu.Unlock()
	taken := i.receipts
	i.receipts = map[receiptKey]store.Receipt{}
	return taken
}

// receiveReceipts takes an m.receipt EDU.
//
// spec:server-server-api#receipts
func (e *Ephemeral) receiveReceipts(ctx context.Context, origin id.ServerName, content json.RawMessage) error {
	var edu map[string]json.RawMessage // what is of rooms that the server isn't in isn't read
	if exactjson.Unmarshal(content, &edu) != nil {
		return nil
	}
	seen := 0
	for roomText, raw := range edu {
		if seen++; seen > maxReceiptsInEDU { // each room costs a look into the store, with receipts or without
			return nil
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
		// Where the database can't be read it is seen later who takes part.
		if in, err := e.config.Store.ServerIn(ctx, room, origin); err == nil && !in {
			continue
		}
		var types map[string]map[string]federation.Receipt
		if exactjson.Unmarshal(raw, &types) != nil {
			continue
		}
		// m.read is the only type that crosses servers.
		for userText, r := range types[Read] {
			if seen++; seen > maxReceiptsInEDU {
				return nil
			}
			if receipt, ok := remoteReceipt(origin, room, userText, r); ok {
				e.incoming.add(receipt)
			}
		}
	}
	return nil
}

// remoteReceipt reads one receipt of another server's user.
func remoteReceipt(origin id.ServerName, room id.RoomID, userText string, r federation.Receipt) (receipt store.Receipt, ok bool) {
	user, err := id.ParseUserID(userText)
	if err != nil || user.Server() != origin || len(r.EventIDs) == 0 {
		return receipt, false
	}
	event, err := id.ParseEventID(string(r.EventIDs[len(r.EventIDs)-1]))
	if err != nil || len(r.Data.ThreadID) > maxThreadBytes || !utf8.ValidString(r.Data.ThreadID) {
		return receipt, false
	}
	return store.Receipt{Room: room, Type: Read, User: user, Event: event, Thread: r.Data.ThreadID, TS: max(r.Data.TS, 0)}, true
}

// flushIncoming stores what came. Where the database can't be used it waits until it can be.
func (e *Ephemeral) flushIncoming(ctx context.Context) {
	taken := e.incoming.take()
	err := e.saveIncoming(ctx, taken)
	switch {
	case store.Unavailable(err):
		e.incoming.giveBack(taken)
	case err != nil:
		e.log.Warn("receipts of other servers were lost", "receipts", len(taken), "error", err)
	}
}

// saveIncoming stores receipts of users who are in the rooms, and go forward.
func (e *Ephemeral) saveIncoming(ctx context.Context, receipts map[receiptKey]store.Receipt) error {
	var good []store.Receipt
	for _, r := range receipts {
		ok, err := e.takesPart(ctx, r.Room, r.User)
		if ok && err == nil {
			ok, err = e.ahead(ctx, r)
		}
		if err != nil {
			return err
		}
		if ok {
			good = append(good, r)
		}
	}
	if len(good) == 0 {
		return nil
	}
	_, err := e.config.Store.SaveReceipts(ctx, good)
	return err
}
