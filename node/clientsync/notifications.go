package clientsync

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"hanse/federation/id"
	"hanse/node/push"
	"hanse/node/store"
)

// Notified is an event that a user was, or would have been, notified of.
type Notified struct {
	Decorated
	Outcome *push.Outcome
	Read    bool
}

// Notifications lists what a user was notified of in the rooms that they are in, the newest first, before a place (0 is
// now). next is where the following page begins, "" at the end: pages may be short, or empty, where much was said that
// notifies nobody.
//
// spec:client-server-api#get_matrixclientv3notifications
func (s *Syncer) Notifications(ctx context.Context, user id.UserID, device string, from store.Position, limit int, highlights bool) (list []Notified, next string, err error) {
	now := s.stream.Now().Position
	facts, err := s.facts(ctx, user, now)
	if err != nil {
		return nil, "", err
	}
	upto := now
	if from > 0 {
		upto = min(upto, from-1)
	}
	walk := s.notificationWalk(facts, now)
	for _, room := range facts.joined {
		walk.rooms = append(walk.rooms, &roomWalk{room: room, upto: upto, more: true})
	}
	for scanned := 0; len(list) < limit && scanned < maxNotificationScan; scanned++ {
		e, err := walk.next(ctx)
		if err != nil {
			return nil, "", err
		}
		if e == nil {
			return list, "", nil
		}
		next = notificationPlace(e.Position)
		found, err := walk.judged(ctx, e)
		if err != nil {
			return nil, "", err
		}
		if found != nil && (!highlights || found.Outcome.Highlight) {
			one, err := s.Decorate(ctx, user, device, []store.EventRow{e.EventRow})
			if err != nil {
				return nil, "", err
			}
			list = append(list, Notified{Decorated: one[0], Outcome: found.Outcome, Read: found.Read})
		}
	}
	return list, next, nil
}

func notificationPlace(p store.Position) string { return fmt.Sprintf("n%d", p) }

// ParseNotificationPlace reads a place that Notifications gave; "" is 0.
func ParseNotificationPlace(text string) (store.Position, error) {
	if text == "" {
		return 0, nil
	}
	digits, isPlace := strings.CutPrefix(text, "n")
	at, err := strconv.ParseInt(digits, 10, 64)
	if !isPlace || err != nil || at <= 0 {
		return 0, fmt.Errorf("%q is not a place in the notifications", text)
	}
	return store.Position(at), nil
}

// notificationWalk goes back through several rooms at a time.
type notificationWalk struct {
	syncer *Syncer
	facts  userFacts
	now    store.Position
	rooms  []*roomWalk
	unread map[id.RoomID][]unreadEvent  // of the rooms that were asked for
	began  map[id.RoomID]store.Position // the same: since when the user is there
}

func (s *Syncer) notificationWalk(facts userFacts, now store.Position) *notificationWalk {
	return &notificationWalk{syncer: s, facts: facts, now: now, unread: map[id.RoomID][]unreadEvent{}, began: map[id.RoomID]store.Position{}}
}

// roomWalk is where the walk is in one room.
type roomWalk struct {
	room id.RoomID
	rows []store.EventRow // what comes next, the newest first
	upto store.Position   // of what is read next
	more bool
}

// next is the newest event that was not met yet; nil: there is none.
func (w *notificationWalk) next(ctx context.Context) (*entry, error) {
	var newest *roomWalk
	for _, room := range w.rooms {
		if len(room.rows) == 0 && room.more {
			var err error
			room.rows, room.more, err = w.syncer.store.Timeline(ctx, room.room, 0, room.upto, notificationChunk, true)
			if err != nil {
				return nil, err
			}
			if n := len(room.rows); n > 0 {
				room.upto = room.rows[n-1].Position - 1
			}
		}
		if len(room.rows) > 0 && (newest == nil || room.rows[0].Position > newest.rows[0].Position) {
			newest = room
		}
	}
	if newest == nil {
		return nil, nil
	}
	e := newEntry(newest.rows[0])
	newest.rows = newest.rows[1:]
	return e, nil
}

// judged tells what an event is to the user; nil if it doesn't notify. Where it came before the user did, the walk leaves its room.
func (w *notificationWalk) judged(ctx context.Context, e *entry) (*push.Notification, error) {
	room, user := e.Event.RoomID(), w.facts.judge.user
	outcome, err := w.syncer.verdict(ctx, w.facts.judge, e)
	if outcome == nil || err != nil {
		return nil, err
	}
	began, known := w.began[room]
	if !known {
		if began, err = w.syncer.store.StayBegan(ctx, room, user); err != nil {
			return nil, err
		}
		w.began[room] = began
	}
	if e.Position < began {
		w.rooms = slices.DeleteFunc(w.rooms, func(r *roomWalk) bool { return r.room == room })
		return nil, nil
	}
	if seen, err := w.syncer.sees(ctx, user, e); !seen || err != nil {
		return nil, err
	}
	read, err := w.read(ctx, e)
	return &push.Notification{Position: e.Position, Event: e.Event, Outcome: outcome, Read: read}, err
}

// read tells whether the user has read an event: whether it isn't counted as unread, as the newest maxUnread of a room are.
func (w *notificationWalk) read(ctx context.Context, e *entry) (bool, error) {
	room := e.Event.RoomID()
	unread, known := w.unread[room]
	if !known {
		var err error
		i := slices.IndexFunc(w.facts.memberships, func(m store.Membership) bool { return m.RoomID == room })
		if unread, err = w.syncer.unreadEvents(ctx, w.facts.judge, w.facts.memberships[i], w.now); err != nil {
			return false, err
		}
		w.unread[room] = unread
	}
	_, counted := slices.BinarySearchFunc(unread, e.Position, func(u unreadEvent, p store.Position) int { return cmp.Compare(u.position, p) })
	return !counted, nil
}

// Since gives what came after a position and notifies a user, invitations too: the oldest first, of many the newest at
// most, and up to where everything was looked at. It is a push.Source.
func (s *Syncer) Since(ctx context.Context, user id.UserID, after store.Position, most int) ([]push.Notification, store.Position, error) {
	now := s.stream.Now().Position
	facts, err := s.facts(ctx, user, now)
	if err != nil {
		return nil, after, err
	}
	walk := s.notificationWalk(facts, now)
	var list []push.Notification
	for _, room := range s.stream.RoomsSince(facts.joined, after) {
		entries, err := s.newestSince(ctx, room, after, now)
		if err != nil {
			return nil, after, err
		}
		walk.rooms = []*roomWalk{{room: room}}
		for _, e := range entries {
			found, err := walk.judged(ctx, e)
			if err != nil {
				return nil, after, err
			}
			if len(walk.rooms) == 0 {
				break
			}
			if found != nil {
				list = append(list, *found)
			}
		}
	}
	for _, m := range facts.memberships {
		if m.Membership != "invite" || m.Position <= after || facts.hides(m) {
			continue
		}
		row, found, err := s.store.Event(ctx, m.EventID)
		if err != nil || !found {
			return nil, after, err
		}
		outcome, err := s.verdict(ctx, facts.judge, newEntry(row))
		if err != nil {
			return nil, after, err
		}
		if outcome != nil {
			list = append(list, push.Notification{Position: m.Position, Event: row.Event, Outcome: outcome})
		}
	}
	slices.SortFunc(list, func(a, b push.Notification) int { return cmp.Compare(a.Position, b.Position) })
	return list[max(0, len(list)-most):], now, nil
}

// newestSince are a room's events in (after, upto], the newest first, maxSince at most: those that are in memory as they are for
// all who are notified of them.
func (s *Syncer) newestSince(ctx context.Context, room id.RoomID, after, upto store.Position) ([]*entry, error) {
	entries, from, err := s.recent(ctx, room, after, upto)
	if err != nil {
		return nil, err
	}
	slices.Reverse(entries)
	if from <= after {
		return entries, nil
	}
	rows, _, err := s.store.Timeline(ctx, room, after, from, maxSince-len(entries), true)
	for _, row := range rows {
		entries = append(entries, newEntry(row))
	}
	return entries, err
}

var _ push.Source = (*Syncer)(nil)
