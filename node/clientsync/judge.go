package clientsync

import (
	"context"

	"hanse/federation/authrules"
	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/node/push"
	"hanse/node/rooms"
	"hanse/node/store"
)

// judge decides what notifies a user, and what they are not to be shown. Immutable: when the user's rules change, another one takes its place.
type judge struct {
	user    id.UserID
	rules   *push.Rules
	ignored map[id.UserID]bool
	// blocksInvites says that the user takes no invites.
	blocksInvites bool
	at            store.Position // of the newest of the account data that it was made of
}

// judge makes a user's, or gives the old one if nothing has changed.
func (s *Syncer) judge(ctx context.Context, user id.UserID, old *judge) (*judge, error) {
	rules, _, err := s.store.AccountData(ctx, user, "", push.AccountDataType)
	if err != nil {
		return nil, err
	}
	ignored, _, err := s.store.AccountData(ctx, user, "", ignoredUsersType)
	if err != nil {
		return nil, err
	}
	blocks, since, err := s.store.BlocksInvites(ctx, user)
	if err != nil {
		return nil, err
	}
	at := max(rules.Position, ignored.Position, since)
	if old != nil && old.at == at {
		return old, nil
	}
	return &judge{
		user: user, rules: push.Compile(user, push.Read(user, rules.Content)), ignored: ignoredUsers(user, ignored.Content),
		blocksInvites: blocks, at: at,
	}, nil
}

// verdict tells what the user's rules make of an event; nil if it doesn't notify. What a user said notifies them not, nor
// what was redacted, nor what those said whom they ignore.
//
// spec:client-server-api/modules/push#server-behaviour
func (s *Syncer) verdict(ctx context.Context, j *judge, e *entry) (*push.Outcome, error) {
	sender := e.Event.Sender()
	if sender == j.user || e.RedactedBy != "" || j.ignored[sender] && !e.Event.IsState() {
		return nil, nil
	}
	outcome, err := j.rules.Match(e.subject, &roomOfEvent{ctx: ctx, syncer: s, entry: e})
	if err != nil || outcome == nil || !outcome.Notify {
		return nil, err
	}
	return outcome, nil
}

// sees tells whether a user who is in a room now may see an event. What others said beside the join, as their servers didn't know of it
// yet, is not theirs where it is for members alone.
func (s *Syncer) sees(ctx context.Context, user id.UserID, e *entry) (bool, error) {
	before, visibility := &roomOfEvent{ctx: ctx, syncer: s, entry: e}, e.visibility
	if !e.placed {
		var err error
		if visibility, err = before.StateEvent("m.room.history_visibility", ""); err != nil {
			return false, err
		}
	}
	if rooms.MaySee(e.Event, user, visibility, nil, true) {
		return true, nil // whoever they were: as nearly always
	}
	member, err := before.StateEvent("m.room.member", string(user))
	return rooms.MaySee(e.Event, user, visibility, member, true), err
}

// roomOfEvent is a push.Room: the room as it was before an event.
type roomOfEvent struct {
	ctx    context.Context
	syncer *Syncer
	entry  *entry
}

// Members is how many are joined now, as the specification has it.
func (r *roomOfEvent) Members() (int, error) {
	return r.syncer.joinedNow(r.ctx, r.entry.Event.RoomID())
}

func (r *roomOfEvent) state() (roomstate.Map, error) {
	if r.entry.placed {
		return r.entry.before, nil
	}
	state, _, err := r.syncer.store.StateBeforeRow(r.ctx, r.entry.EventRow)
	return state, err
}

// StateEvent is for authrules.LevelsOf.
func (r *roomOfEvent) StateEvent(typ, stateKey string) (*event.Event, error) {
	state, err := r.state()
	if err != nil {
		return nil, err
	}
	eventID, err := state.Event(typ, stateKey)
	if err != nil || eventID == "" {
		return nil, err
	}
	row, _, err := r.syncer.store.Event(r.ctx, eventID)
	return row.Event, err
}

func (r *roomOfEvent) DisplayName(user id.UserID) (string, error) {
	member, err := r.StateEvent("m.room.member", string(user))
	if member == nil || err != nil {
		return "", err
	}
	raw, _ := canonicaljson.Get(member.Content(), "displayname")
	name, _ := canonicaljson.String(raw)
	return name, nil
}

func (r *roomOfEvent) MayNotify(key string) (bool, error) {
	levels := r.entry.levels.Load()
	if levels == nil { // the same for all who are told of the event
		read, err := authrules.LevelsOf(r)
		if err != nil {
			return false, err
		}
		levels = &read
		r.entry.levels.Store(levels)
	}
	return levels.User(r.entry.Event.Sender()) >= levels.Notifications(key), nil
}

// MainThread is the thread of what is in none.
const MainThread = "main"

// thread is the thread of an event: its root's ID, or "main".
//
// spec:client-server-api/modules/receipts#threaded-read-receipts
func (s *Syncer) thread(ctx context.Context, e *event.Event) (string, error) {
	room := e.RoomID()
	for hops := 0; ; hops++ {
		relation, relates := store.RelationOf(e)
		if relates && relation.Type == store.RelationThread {
			return string(relation.Target), nil
		}
		if !relates || hops == maxThreadHops {
			return MainThread, nil
		}
		row, found, err := s.store.Event(ctx, relation.Target)
		if err != nil || !found || row.Event.RoomID() != room {
			return MainThread, err
		}
		e = row.Event
	}
}

// InThread tells whether a receipt for an event may be of a thread: an event's ID, or "main". A thread's root is in the
// main timeline, but may be read in the thread too.
//
// spec:client-server-api/modules/receipts#threaded-read-receipts
func (s *Syncer) InThread(ctx context.Context, e *event.Event, thread string) (bool, error) {
	of, err := s.thread(ctx, e)
	if err != nil || of == thread || thread == MainThread {
		return of == thread, err
	}
	for hops := 0; ; hops++ { // the root, or what relates to it
		if string(e.ID()) == thread {
			return true, nil
		}
		relation, relates := store.RelationOf(e)
		if !relates || hops == maxThreadHops {
			return false, nil
		}
		row, found, err := s.store.Event(ctx, relation.Target)
		if err != nil || !found || row.Event.RoomID() != e.RoomID() {
			return false, err
		}
		e = row.Event
	}
}
