package appservice

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"hanse/federation/id"
	"hanse/node/ephemeral"
	"hanse/node/store"
)

// news is the ephemeral data that a service has not got yet. Owned by the service's worker.
//
// It is sent when no event waits. Receipts wait while the service is away, but not beyond the end of the process; who typed and who
// was there is worth nothing later and is dropped.
//
// spec:application-service-api#pushing-ephemeral-data
type news struct {
	worker    *worker
	ephemeral *ephemeral.Ephemeral
	watch     *ephemeral.TypingWatch
	changes   <-chan id.RoomID // of the watch; nil: it has ended
	ticker    *time.Ticker
	receipts  map[id.RoomID]store.Position // what came after in a room is not told yet
	typed     map[id.RoomID]bool
	presence  ephemeral.Serial // who changed after it is not told yet
	last      int64            // of the last transaction's ID
}

func newNews(w *worker) *news {
	e := w.config.Ephemeral
	n := &news{
		worker: w, ephemeral: e, watch: e.WatchTyping(typingBuffer), ticker: time.NewTicker(presenceTick),
		receipts: map[id.RoomID]store.Position{}, typed: map[id.RoomID]bool{}, presence: e.TypingSerial(),
	}
	n.changes = n.watch.C
	if !e.HasPresence() {
		n.ticker.Stop()
	}
	return n
}

func (n *news) close() {
	n.ticker.Stop()
	n.watch.Close()
}

// receipt notes a receipt.
func (n *news) receipt(notice store.Notice) {
	if _, known := n.receipts[notice.Room]; !known && len(n.receipts) < maxReceiptRooms {
		n.receipts[notice.Room] = notice.Position - 1
	}
}

// typing notes that typing has changed in a room; ended says that there are no more such changes.
func (n *news) typing(room id.RoomID, ended bool) {
	switch {
	case ended:
		n.changes = nil
	case len(n.typed) < maxTypingRooms:
		n.typed[room] = true
	}
}

// send sends what there is; more says that there is something else.
func (n *news) send(ctx context.Context) (more bool, err error) {
	for waiting := true; waiting; {
		select {
		case room, open := <-n.changes:
			n.typing(room, !open)
		default:
			waiting = false
		}
	}
	events, told, err := n.ofReceipts(ctx)
	if err != nil {
		return false, err
	}
	for _, read := range []func(context.Context) ([]json.RawMessage, error){n.ofTyping, n.ofPresence} {
		more, err := read(ctx)
		if err != nil {
			return false, err
		}
		events = append(events, more...)
	}
	if len(events) > 0 {
		if err := n.put(ctx, events); err != nil {
			return false, err
		}
	}
	for _, room := range told {
		delete(n.receipts, room)
	}
	return len(n.receipts) > 0, nil
}

// put sends events in a transaction without durable ones. If it isn't taken there will be others, in one of another ID.
func (n *news) put(ctx context.Context, events []json.RawMessage) error {
	body := map[string]any{"events": []string{}}
	if n.worker.Ephemeral {
		body["ephemeral"] = events
	}
	if n.worker.UnstableEphemeral {
		body["de.sorunome.msc2409.ephemeral"] = events
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	n.last = max(n.last+1, time.Now().UnixMicro())
	if err := n.worker.put(ctx, "e"+strconv.FormatInt(n.last, 36), raw); err != nil {
		return err
	}
	n.worker.counts.ephemeral.Add(int64(len(events)))
	return nil
}

// ofReceipts are the receipts of some rooms, which are told with them. Private ones are for those alone whose they are.
func (n *news) ofReceipts(ctx context.Context) (events []json.RawMessage, told []id.RoomID, err error) {
	w := n.worker
	for room, after := range n.receipts {
		if len(told) == maxEphemeral {
			break
		}
		told = append(told, room)
		wanted, err := w.interest.room(ctx, room, w.upto)
		if err != nil {
			return nil, nil, err
		}
		if !wanted {
			continue
		}
		receipts, err := w.store.Receipts(ctx, room, after, w.upto)
		if err != nil {
			return nil, nil, err
		}
		receipts = slices.DeleteFunc(receipts, func(r store.Receipt) bool { return r.Type == "m.read.private" && !w.Covers(r.User) })
		if len(receipts) == 0 {
			continue
		}
		more, err := w.config.Forms.Receipts(room, receipts[max(0, len(receipts)-maxReceipts):])
		if err != nil {
			return nil, nil, err
		}
		events = append(events, more...)
	}
	return events, told, nil
}

// ofTyping is who types where that has changed.
func (n *news) ofTyping(ctx context.Context) (events []json.RawMessage, err error) {
	rooms := n.typed
	n.typed = map[id.RoomID]bool{}
	for room := range rooms {
		wanted, err := n.worker.interest.room(ctx, room, n.worker.upto)
		if err != nil || !wanted {
			if err != nil {
				return nil, err
			}
			continue
		}
		users, _ := n.ephemeral.Typing(room)
		event, err := n.worker.config.Forms.Typing(room, users)
		if err != nil {
			return nil, err
		}
		events = append(events, event)
	}
	return events, nil
}

// ofPresence is of whom the service's users would be told, of those whose presence has changed; of very many the last ones.
func (n *news) ofPresence(ctx context.Context) (events []json.RawMessage, err error) {
	if !n.ephemeral.HasPresence() {
		return nil, nil
	}
	since := n.presence
	n.presence = n.ephemeral.TypingSerial()
	users := n.ephemeral.PresenceSince(since)
	for _, user := range users[:min(len(users), maxEphemeral)] {
		wanted, err := n.worker.interest.user(ctx, user, n.worker.upto)
		if err != nil {
			return nil, err
		}
		if !wanted {
			continue
		}
		event, err := n.worker.config.Forms.Presence(n.ephemeral.PresenceOf(user))
		if err != nil {
			return nil, err
		}
		events = append(events, event)
	}
	return events, nil
}
