package clientsync

import (
	"cmp"
	"context"
	"encoding/binary"
	"maps"
	"slices"
	"sync"
	"time"

	"hanse/federation/id"
	"hanse/node/push"
	"hanse/node/store"
)

// Unread is how many events a user has not read that notify them, and how many of those with a highlight.
type Unread struct{ Notifications, Highlights int }

// unreadRoom is what a user has not read of a room. It is what the room's events since the user's receipts amount to, by
// the user's rules as they are now: nothing is written when an event is sent, who asks brings it up to date. So what
// is counted is never lost, and the answer that tells of an event counts it.
type unreadRoom struct {
	mu     sync.Mutex
	judge  *judge         // by whose rules; nil: nothing is known yet
	upto   store.Position // up to where events are looked at
	asked  store.Position // up to where receipts are
	events []unreadEvent  // the newest, in order of position; at most maxUnread
	counts map[string]Unread
	since  int // how many events were looked at since it was saved
}

// unreadEvent is an event that notifies.
type unreadEvent struct {
	position  store.Position
	thread    string
	highlight bool
}

type unreadKey struct {
	user id.UserID
	room id.RoomID
}

// unread counts what a user has not read of a room that they are joined to, by thread; threads without anything may be
// left out.
//
// spec:client-server-api/modules/push#marking-notifications-as-read
func (s *Syncer) unread(ctx context.Context, j *judge, m store.Membership, now store.Position) (counts map[string]Unread, err error) {
	err = s.withUnread(ctx, j, m, now, func(u *unreadRoom) { counts = maps.Clone(u.counts) })
	return counts, err
}

// unreadEvents lists the events that unread counts, in order of position.
func (s *Syncer) unreadEvents(ctx context.Context, j *judge, m store.Membership, now store.Position) (events []unreadEvent, err error) {
	err = s.withUnread(ctx, j, m, now, func(u *unreadRoom) { events = slices.Clone(u.events) })
	return events, err
}

// withUnread calls do with a room that is brought up to a position, while nobody else changes it.
func (s *Syncer) withUnread(ctx context.Context, j *judge, m store.Membership, now store.Position, do func(*unreadRoom)) error {
	u := s.unreads.GetOrAdd(unreadKey{j.user, m.RoomID}, func() *unreadRoom { return &unreadRoom{} })
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := s.bringUp(ctx, u, j, m, now); err != nil {
		u.judge = nil // begin anew
		return err
	}
	do(u)
	return nil
}

// count adds or takes away an event.
func (u *unreadRoom) count(e unreadEvent, n int) {
	if u.counts == nil {
		u.counts = map[string]Unread{}
	}
	c := u.counts[e.thread]
	c.Notifications += n
	if e.highlight {
		c.Highlights += n
	}
	if u.counts[e.thread] = c; c.Notifications == 0 {
		delete(u.counts, e.thread)
	}
}

// add takes in an event that notifies; of too many the oldest is left out.
func (u *unreadRoom) add(e unreadEvent) {
	if len(u.events) >= maxUnread {
		u.count(u.events[0], -1)
		u.events = u.events[1:] // append moves them to a new place now and then
	}
	u.events = append(u.events, e)
	u.count(e, 1)
}

// remove leaves out the events that are.
func (u *unreadRoom) remove(are func(unreadEvent) bool) {
	u.events = slices.DeleteFunc(u.events, func(e unreadEvent) bool {
		gone := are(e)
		if gone {
			u.count(e, -1)
		}
		return gone
	})
}

// bringUp brings a room up to a position. The caller holds its mu.
func (s *Syncer) bringUp(ctx context.Context, u *unreadRoom, j *judge, m store.Membership, now store.Position) error {
	known, read := u.judge != nil && u.judge.at == j.at, reading{} // else the rules have changed
	var err error
	reads := !known
	if known {
		if reads, err = s.hasRead(ctx, j.user, m.RoomID, u.asked, now); err != nil {
			return err
		}
	}
	if reads {
		if read, err = s.read(ctx, j.user, m.RoomID); err != nil {
			return err
		}
	}
	u.asked = max(u.asked, now)
	if !known {
		u.events, u.counts, u.upto, u.since = nil, nil, 0, 0
		if known, err = s.loadUnread(ctx, u, j, m.RoomID); err != nil {
			return err
		}
		u.judge = j
	}
	if known && (u.upto >= now || !s.stream.RoomSince(m.RoomID, u.upto).Events) {
		u.upto = max(u.upto, now)
		u.drop(read)
		return nil
	}
	from := max(u.upto, read[""])
	if m.Position > u.upto { // they may have come since
		began, err := s.store.StayBegan(ctx, m.RoomID, j.user)
		if err != nil {
			return err
		}
		u.remove(func(e unreadEvent) bool { return e.position < began })
		from = max(from, began)
	}
	if err := s.lookAt(ctx, u, m.RoomID, from, now, read[MainThread]); err != nil {
		return err
	}
	u.upto = now
	u.drop(read)
	s.offerUnread(u, m.RoomID)
	return nil
}

// lookAt takes in the events of (after, upto], the newest maxUnreadScan of them. Up to main the user has read all but
// threads: of that, maxThreadScan.
func (s *Syncer) lookAt(ctx context.Context, u *unreadRoom, room id.RoomID, after, upto, main store.Position) error {
	entries, from, err := s.recent(ctx, room, after, upto)
	if err != nil {
		return err
	}
	var older []*entry // the newest first
	left := maxUnreadScan - len(entries)
	for from > after && left > 0 {
		rows, more, err := s.store.Timeline(ctx, room, after, from, unreadChunk, true)
		if err != nil {
			return err
		}
		for _, row := range rows {
			older = append(older, newEntry(row))
		}
		if left -= len(rows); from <= main {
			left = min(left, maxThreadScan-len(rows))
			main = 0
		}
		if !more {
			break
		}
		from = rows[len(rows)-1].Position - 1
	}
	slices.Reverse(older)
	for _, e := range slices.Concat(older, entries) {
		if err := s.take(ctx, u, e); err != nil {
			return err
		}
	}
	u.since += len(older) + len(entries)
	return nil
}

// take takes in one event.
func (s *Syncer) take(ctx context.Context, u *unreadRoom, e *entry) error {
	if target, redacts := e.Event.Redacts(); redacts && len(u.events) > 0 {
		row, found, err := s.store.Event(ctx, target)
		if err != nil {
			return err
		}
		if found && row.RedactedBy != "" {
			u.remove(func(e unreadEvent) bool { return e.position == row.Position })
		}
	}
	if len(u.events) > 0 && showsReading(e, u.judge.user) {
		thread, err := s.thread(ctx, e.Event)
		if err != nil {
			return err
		}
		u.remove(func(e unreadEvent) bool { return e.thread == thread })
	}
	outcome, err := s.verdict(ctx, u.judge, e)
	if outcome == nil || err != nil {
		return err
	}
	if seen, err := s.sees(ctx, u.judge.user, e); !seen || err != nil {
		return err
	}
	thread, err := s.thread(ctx, e.Event)
	if err != nil {
		return err
	}
	u.add(unreadEvent{e.Position, thread, outcome.Highlight})
	return nil
}

// showsReading tells whether an event shows that a user has read its thread up to there: "by sending an event". A change of
// their own membership is mostly a new name or avatar, which the server sends to all their rooms; and who takes back what they said a
// year ago need not have read what came since. Of what was taken back it is no longer known in which thread it was.
//
// spec:client-server-api/modules/push#marking-notifications-as-read
func showsReading(e *entry, user id.UserID) bool {
	_, redacts := e.Event.Redacts()
	return e.Event.Sender() == user && e.RedactedBy == "" && !redacts && !e.Event.Is("m.room.member", string(user))
}

// reading is up to where a user has read, by thread; "" is the whole room.
type reading map[string]store.Position

// read finds out how far a user has read a room: by the receipt that is ahead, public or private.
func (s *Syncer) read(ctx context.Context, user id.UserID, room id.RoomID) (reading, error) {
	receipts, err := s.store.UserReceipts(ctx, room, user)
	if err != nil || len(receipts) == 0 {
		return nil, err
	}
	ids := make([]id.EventID, len(receipts))
	for i, r := range receipts {
		ids[i] = r.Event
	}
	rows, err := s.store.Events(ctx, ids)
	read := reading{}
	for _, r := range receipts {
		if row, known := rows[r.Event]; known && row.RoomID == room {
			read[r.Thread] = max(read[r.Thread], row.Position)
		}
	}
	return read, err
}

// hasRead tells whether a user has set a receipt in (after, upto]: then less is unread, also for a client that wants no
// receipts.
func (s *Syncer) hasRead(ctx context.Context, user id.UserID, room id.RoomID, after, upto store.Position) (bool, error) {
	receipts, err := s.receipts(ctx, room, after, upto)
	return slices.ContainsFunc(receipts, func(r store.Receipt) bool { return r.User == user }), err
}

// has tells whether something in a thread is read.
func (r reading) has(position store.Position, thread string) bool {
	return position <= max(r[""], r[thread])
}

// drop leaves out what is read.
func (u *unreadRoom) drop(read reading) {
	if len(read) > 0 {
		u.remove(func(e unreadEvent) bool { return read.has(e.position, e.thread) })
	}
}

// loadUnread takes what was saved, if it was decided by the rules that are.
func (s *Syncer) loadUnread(ctx context.Context, u *unreadRoom, j *judge, room id.RoomID) (bool, error) {
	saved, found, err := s.store.Unread(ctx, j.user, room)
	if err != nil || !found || saved.Rules != j.at {
		return false, err
	}
	events, ok := decodeUnread(saved.Content)
	if !ok {
		return false, nil // of another version of this server
	}
	for _, e := range events {
		u.add(e)
	}
	u.upto = saved.Upto
	return true, nil
}

// offerUnread has it saved if much was looked at. The caller holds mu.
func (s *Syncer) offerUnread(u *unreadRoom, room id.RoomID) {
	if u.since < s.saveAfter || len(s.saving) == cap(s.saving) { // there will be another time
		return
	}
	select {
	case s.saving <- u.saved(room):
		u.since = 0
	default: // somebody else was faster
	}
}

// saved is what is to be saved. The caller holds mu; judge is there.
func (u *unreadRoom) saved(room id.RoomID) store.Unread {
	return store.Unread{User: u.judge.user, Room: room, Upto: u.upto, Rules: u.judge.at, Content: encodeUnread(u.events)}
}

// Run saves what was counted, until ctx ends: a few at a time with pauses, as in a busy room the counts of all who are in it are due
// at once, and what users send would wait behind them. At the end it saves what it took some work to count: after the next start the first
// message that notifies many users would have all of it counted anew. The store must run longer.
func (s *Syncer) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			s.saveAll(context.WithoutCancel(ctx))
			return nil
		case first := <-s.saving:
			batch := []store.Unread{first}
			for more := true; more && len(batch) < cap(s.saving); {
				select {
				case next := <-s.saving:
					batch = append(batch, next)
				default:
					more = false
				}
			}
			_ = s.store.SaveUnread(ctx, batch) // what isn't saved is counted anew
			select {
			case <-ctx.Done():
			case <-time.After(savingPause):
			}
		}
	}
}

// saveAll saves what took some work to count, as far as there is time.
func (s *Syncer) saveAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, saveAllTime)
	defer cancel()
	var all []store.Unread
	for len(s.saving) > 0 {
		all = append(all, <-s.saving)
	}
	for key, u := range s.unreads.All() {
		if !u.mu.TryLock() {
			continue
		}
		if u.judge != nil && u.since > s.saveAfter/saveAllPart {
			all = append(all, u.saved(key.room))
			u.since = 0
		}
		u.mu.Unlock()
	}
	for batch := range slices.Chunk(all, saveAllBatch) {
		if s.store.SaveUnread(ctx, batch) != nil {
			return
		}
	}
}

// encodeUnread writes the threads' names, then the events with their distances.
func encodeUnread(events []unreadEvent) []byte {
	var threads []string
	for _, e := range events {
		if !slices.Contains(threads, e.thread) {
			threads = append(threads, e.thread)
		}
	}
	b := binary.AppendUvarint([]byte{unreadFormat}, uint64(len(threads)))
	for _, thread := range threads {
		b = append(binary.AppendUvarint(b, uint64(len(thread))), thread...)
	}
	last := store.Position(0)
	for _, e := range events {
		b = binary.AppendUvarint(b, uint64(e.position-last))
		last = e.position
		kind := uint64(slices.Index(threads, e.thread)) << 1
		if e.highlight {
			kind |= 1
		}
		b = binary.AppendUvarint(b, kind)
	}
	return b
}

// unreadFormat is the first byte of what encodeUnread writes.
const unreadFormat = 1

// decodeUnread reads it back; false if it can't be that.
func decodeUnread(b []byte) (events []unreadEvent, ok bool) {
	if len(b) == 0 || b[0] != unreadFormat {
		return nil, false
	}
	b = b[1:]
	number := func() uint64 {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			ok = false
			b = nil
			return 0
		}
		b = b[size:]
		return n
	}
	ok = true
	var threads []string
	for left := number(); left > 0 && ok; left-- {
		length := number()
		if length > uint64(len(b)) {
			return nil, false
		}
		threads, b = append(threads, string(b[:length])), b[length:]
	}
	last := store.Position(0)
	for len(b) > 0 && ok {
		last += store.Position(number())
		kind := number()
		if kind>>1 >= uint64(len(threads)) {
			return nil, false
		}
		events = append(events, unreadEvent{last, threads[kind>>1], kind&1 != 0})
	}
	return events, ok && slices.IsSortedFunc(events, func(a, b unreadEvent) int { return cmp.Compare(a.position, b.position) })
}

// Total is how many notifications a user has not read in all rooms, for the badge of an app.
func (s *Syncer) Total(ctx context.Context, user id.UserID) (int, error) {
	now := s.stream.Now().Position
	facts, err := s.facts(ctx, user, now)
	if err != nil {
		return 0, err
	}
	total := 0
	for _, m := range facts.memberships {
		if m.Membership != "join" || m.OutOfRoom {
			continue
		}
		counts, err := s.unread(ctx, facts.judge, m, now)
		if err != nil {
			return 0, err
		}
		for _, c := range counts {
			total += c.Notifications
		}
	}
	return total, nil
}

var _ push.Room = (*roomOfEvent)(nil)
