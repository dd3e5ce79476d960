package ephemeral

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/store"
)

// outgoing gathers what other servers are to be told, so that each gets at most one transaction of it in flushGap,
// whatever the number of users, rooms and servers. It is in memory alone: who misses something of it learns the next, and the
// receipts set last are told again after a start (retell).
// Safe for concurrent use.
type outgoing struct {
	kick chan struct{} // something waits

	mu       sync.Mutex
	typing   map[typingKey]bool           // guarded by mu: whether they type
	receipts map[receiptKey]store.Receipt // guarded by mu
}

type typingKey struct {
	room id.RoomID
	user id.UserID
}

type receiptKey struct {
	room   id.RoomID
	user   id.UserID
	thread string
}

func newOutgoing() *outgoing {
	return &outgoing{kick: make(chan struct{}, 1), typing: map[typingKey]bool{}, receipts: map[receiptKey]store.Receipt{}}
}

func (o *outgoing) wake() {
	select {
	case o.kick <- struct{}{}:
	default:
	}
}

// addTyping has other servers told that a user begins or ends to type. Who ended before it was told needn't be told of.
func (o *outgoing) addTyping(room id.RoomID, user id.UserID, typing, news bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := typingKey{room, user}
	began, waits := o.typing[key]
	switch {
	case waits && began && !typing && news:
		delete(o.typing, key)
	case waits || len(o.typing) < maxOutgoing:
		o.typing[key] = typing
		o.wake()
	}
}

// addReceipt has other servers told of a public receipt, in place of one of the same thread that waits.
func (o *outgoing) addReceipt(r store.Receipt) {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := receiptKey{r.Room, r.User, r.Thread}
	if _, waits := o.receipts[key]; waits || len(o.receipts) < maxOutgoing {
		o.receipts[key] = r
		o.wake()
	}
}

// addOldReceipt is addReceipt for one that may be older than what waits, which then stays.
func (o *outgoing) addOldReceipt(r store.Receipt) {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := receiptKey{r.Room, r.User, r.Thread}
	if _, waits := o.receipts[key]; !waits && len(o.receipts) < maxOutgoing {
		o.receipts[key] = r
		o.wake()
	}
}

// take gives what waits, by room.
func (o *outgoing) take() map[id.RoomID]*roomNews {
	o.mu.Lock()
	defer o.mu.Unlock()
	rooms := map[id.RoomID]*roomNews{}
	of := func(room id.RoomID) *roomNews {
		if rooms[room] == nil {
			rooms[room] = &roomNews{}
		}
		return rooms[room]
	}
	for key, typing := range o.typing {
		room := of(key.room)
		room.typing = append(room.typing, federation.TypingEDU{RoomID: string(key.room), UserID: string(key.user), Typing: typing})
	}
	for _, r := range o.receipts {
		room := of(r.Room)
		room.receipts = append(room.receipts, r)
	}
	clear(o.typing)
	clear(o.receipts)
	return rooms
}

// roomNews is what waits of one room.
type roomNews struct {
	typing   []federation.TypingEDU
	receipts []store.Receipt
}

// Flush tells clients and other servers what waits, and stores what came from them; Run does it.
func (e *Ephemeral) Flush(ctx context.Context) {
	e.flush(ctx)
	if e.presence != nil {
		e.presence.tell(ctx)
		e.presence.send(ctx)
	}
}

// flush is Flush of typing and receipts.
func (e *Ephemeral) flush(ctx context.Context) {
	e.flushOutgoing(ctx)
	e.flushIncoming(ctx)
}

// flushOutgoing sends what waits. Servers that get the same share the EDUs.
func (e *Ephemeral) flushOutgoing(ctx context.Context) {
	rooms := e.outgoing.take()
	if e.config.Send == nil || len(rooms) == 0 {
		return
	}
	roomsOf := map[id.ServerName][]id.RoomID{}
	for _, room := range sortedKeys(rooms) {
		servers, err := e.others(ctx, room)
		if store.Unavailable(err) { // receipts were promised: they wait until it is back
			for _, r := range rooms[room].receipts {
				e.outgoing.addOldReceipt(r)
			}
			continue
		}
		if err != nil {
			e.log.Warn("typing and receipts of a room were not sent", "room", room, "error", err)
		}
		for _, server := range servers {
			roomsOf[server] = append(roomsOf[server], room)
		}
	}
	groups := map[string][]id.ServerName{}
	for _, server := range sortedKeys(roomsOf) {
		var name strings.Builder
		for _, room := range roomsOf[server] {
			name.WriteString(string(room) + " ")
		}
		groups[name.String()] = append(groups[name.String()], server)
	}
	for _, name := range sortedKeys(groups) {
		servers := groups[name]
		e.config.Send(servers, edusOf(rooms, roomsOf[servers[0]])...)
	}
}

// edusOf makes the EDUs for who is in these rooms: one for all receipts, as long as no user has two of different threads in
// a room, which one can't hold.
//
// spec:server-server-api#receipts
func edusOf(rooms map[id.RoomID]*roomNews, of []id.RoomID) []federation.EDU {
	var edus []federation.EDU
	var receipts []store.Receipt
	for _, room := range of {
		for _, typing := range rooms[room].typing {
			if content, err := json.Marshal(typing); err == nil {
				edus = append(edus, federation.EDU{Type: federation.EDUTyping, Content: content})
			}
		}
		receipts = append(receipts, rooms[room].receipts...)
	}
	for len(receipts) > 0 {
		content, rest := federation.ReceiptEDU{}, receipts[:0:0]
		for i, r := range receipts {
			room, user := string(r.Room), string(r.User)
			if content[room] == nil {
				content[room] = map[string]map[string]federation.Receipt{r.Type: {}}
			}
			if _, taken := content[room][r.Type][user]; taken || i >= maxReceiptsInEDU {
				rest = append(rest, r)
				continue
			}
			content[room][r.Type][user] = federation.Receipt{
				EventIDs: []id.EventID{r.Event}, Data: federation.ReceiptData{TS: r.TS, ThreadID: r.Thread},
			}
		}
		raw, err := json.Marshal(content)
		if err != nil {
			return edus
		}
		edus, receipts = append(edus, federation.EDU{Type: federation.EDUReceipt, Content: raw}), rest
	}
	return edus
}

// sortedKeys are the keys of a map in order.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// flushTimer fires when it is time to flush: at once where nothing was flushed for the gap.
type flushTimer struct {
	timer *time.Timer
	last  time.Time
	armed bool
}

func newFlushTimer() *flushTimer { return &flushTimer{timer: time.NewTimer(time.Hour)} }

func (f *flushTimer) arm(gap time.Duration) {
	if !f.armed {
		f.armed = true
		f.timer.Reset(max(time.Until(f.last.Add(gap)), 0))
	}
}

func (f *flushTimer) fired() { f.armed, f.last = false, time.Now() }
