package clientsync

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"hanse/federation/authrules"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/node/push"
	"hanse/node/store"
)

// entry is an event with what everybody who is told of it needs: it is found out once for all of them. Immutable.
type entry struct {
	store.EventRow
	placed     bool          // the state before it is known
	before     roomstate.Map // the state before it
	visibility *event.Event  // m.room.history_visibility before it
	replaced   *event.Event  // the state event that it replaced
	redaction  *event.Event  // the redaction of a redacted event
	form       *Form
	// gap says that events before it didn't come here as they were said: not at all, or only once somebody looked back.
	gap bool

	subject *push.Subject                    // for push rules
	levels  atomic.Pointer[authrules.Levels] // before it; nil: not asked yet
}

func newEntry(row store.EventRow) *entry {
	return &entry{EventRow: row, form: &Form{}, subject: push.NewSubject(row.Event)}
}

// Form keeps what an event looks like to clients, once it was made; it is the same for all of them.
type Form struct {
	once sync.Once
	json []byte
}

// Get returns the form, which build makes the first time.
func (f *Form) Get(build func() []byte) []byte {
	f.once.Do(func() { f.json = build() })
	return f.json
}

// recentRoom is the newest events of a room and its states at the newest places, as the tables have them, for those who
// wait in /sync. It is brought up to date by who asks first after a commit; the others find it so.
type recentRoom struct {
	mu     sync.Mutex
	loaded bool
	after  store.Position // the entries are all the room's live events in (after, upto]
	upto   store.Position
	events []*entry
	states []stateSpan // in order

	receipts receiptList

	joined   int            // how many members are joined
	joinedAt store.Position // when it was asked; 0: not yet

	wholeness wholeness

	bump bump
}

// stateSpan is what the current state was while the newest position was in [first, last]. Spans leave no gaps as long as each of
// the room's commits is asked for: other rooms' commits are in them.
type stateSpan struct {
	first, last store.Position
	state       roomstate.Map
}

func (s *Syncer) recentRoom(room id.RoomID) *recentRoom {
	return s.recents.GetOrAdd(room, func() *recentRoom { return &recentRoom{} })
}

// recent are a room's live events in (from, upto], the oldest first, where from is after, or later if older ones are not
// in memory.
func (s *Syncer) recent(ctx context.Context, room id.RoomID, after, upto store.Position) (events []*entry, from store.Position, err error) {
	r := s.recentRoom(room)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := s.extend(ctx, room, r, upto); err != nil {
		return nil, 0, err
	}
	place := func(e *entry, p store.Position) int { return cmp.Compare(e.Position, p) }
	i, _ := slices.BinarySearchFunc(r.events, after+1, place)
	j, _ := slices.BinarySearchFunc(r.events, upto+1, place)
	return slices.Clone(r.events[i:max(i, j)]), max(after, r.after), nil
}

// extend brings a room up to a position. The caller holds its mu.
func (s *Syncer) extend(ctx context.Context, room id.RoomID, r *recentRoom, upto store.Position) error {
	if r.loaded && upto <= r.upto {
		return nil
	}
	changes := s.stream.RoomSince(room, r.upto)
	if !r.loaded || changes.Events {
		limit, after := maxRecent, r.upto
		if !r.loaded {
			limit, after = DefaultTimeline+1, 0
		}
		rows, more, err := s.store.Timeline(ctx, room, after, upto, limit, true)
		if err != nil {
			return err
		}
		slices.Reverse(rows)
		entries, err := s.entries(ctx, rows)
		if err != nil {
			return err
		}
		if more {
			r.events, r.after = nil, rows[0].Position-1
		}
		if r.events = append(r.events, entries...); len(r.events) > maxRecent {
			drop := len(r.events) - maxRecent
			r.after = r.events[drop-1].Position
			r.events = slices.Clone(r.events[drop:])
		}
	}
	if r.loaded && changes.Redactions {
		if err := s.refresh(ctx, r); err != nil {
			r.loaded, r.events = false, nil
			return err
		}
	}
	r.loaded, r.upto = true, upto
	return nil
}

// refresh replaces the entries of events that were redacted since they were read.
func (s *Syncer) refresh(ctx context.Context, r *recentRoom) error {
	ids := make([]id.EventID, len(r.events))
	for i, e := range r.events {
		ids[i] = e.Event.ID()
	}
	rows, err := s.events(ctx, ids)
	if err != nil {
		return err
	}
	for i, e := range r.events {
		row, there := rows[e.Event.ID()]
		replaced := e.replaced != nil && !e.replaced.IsRedacted()
		if !there || row.RedactedBy == e.RedactedBy && !replaced {
			continue
		}
		anew, err := s.entries(ctx, []store.EventRow{row})
		if err != nil {
			return err
		}
		r.events[i] = anew[0]
	}
	return nil
}

// entries finds out what belongs to events of one room.
func (s *Syncer) entries(ctx context.Context, rows []store.EventRow) ([]*entry, error) {
	entries := make([]*entry, len(rows))
	came := make(map[id.EventID]store.EventRow, len(rows))
	for _, row := range rows {
		came[row.Event.ID()] = row
	}
	related := make([][3]id.EventID, len(rows))
	var ids []id.EventID
	for i, row := range rows {
		e := newEntry(row)
		entries[i] = e
		var err error
		if e.before, e.placed, err = s.store.StateBeforeRow(ctx, row); err != nil {
			return nil, err
		}
		if related[i], err = e.related(); err != nil {
			return nil, err
		}
		ids = append(ids, related[i][:]...)
		for _, previous := range row.Event.PrevEvents() {
			if _, here := came[previous]; !here {
				ids = append(ids, previous)
			}
		}
	}
	found, err := s.events(ctx, ids)
	if err != nil {
		return nil, err
	}
	for i, e := range entries {
		e.gap = slices.ContainsFunc(e.Event.PrevEvents(), func(previous id.EventID) bool {
			row, here := came[previous]
			if !here {
				row, here = found[previous]
			}
			return !here || row.Outlier || row.Position < 0
		})
		e.visibility, e.replaced, e.redaction = found[related[i][0]].Event, found[related[i][1]].Event, found[related[i][2]].Event
	}
	return entries, nil
}

// related are the events that visibility, replaced and redaction are; "" where there is none.
func (e *entry) related() (ids [3]id.EventID, err error) {
	ids[2] = e.RedactedBy
	if ids[0], err = e.before.Event("m.room.history_visibility", ""); err != nil {
		return ids, err
	}
	if stateKey, isState := e.Event.StateKey(); isState {
		if ids[1], err = e.before.Event(e.Event.Type(), stateKey); ids[1] == e.Event.ID() {
			ids[1] = ""
		}
	}
	return ids, err
}

// member is a user's membership event before an event; nil if there is none.
func (s *Syncer) member(ctx context.Context, e *entry, user id.UserID) (*event.Event, error) {
	eventID, err := e.before.Event("m.room.member", string(user))
	if err != nil || eventID == "" {
		return nil, err
	}
	row, _, err := s.store.Event(ctx, eventID)
	return row.Event, err
}

// joinedNow is how many members of a room are joined. It is asked once after each change of them.
func (s *Syncer) joinedNow(ctx context.Context, room id.RoomID) (int, error) {
	r := s.recentRoom(room)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := s.stream.Now().Position
	if r.joinedAt == 0 || len(s.stream.MembersSince([]id.RoomID{room}, r.joinedAt)) > 0 {
		info, _, err := s.store.Room(ctx, room)
		if err != nil {
			return 0, err
		}
		r.joined, r.joinedAt = info.Joined, now
	}
	return r.joined, nil
}

// stateAt is what a room's current state was when a position was the newest.
func (s *Syncer) stateAt(ctx context.Context, room id.RoomID, at store.Position) (roomstate.Map, error) {
	r := s.recentRoom(room)
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.states) - 1; i >= 0; i-- {
		if span := r.states[i]; span.first <= at && at <= span.last {
			return span.state, nil
		}
	}
	n := len(r.states)
	newest := n == 0 || at > r.states[n-1].last
	if n > 0 && newest && !s.stream.RoomSince(room, r.states[n-1].last).Events {
		r.states[n-1].last = at
		return r.states[n-1].state, nil
	}
	state, err := s.store.CurrentStateAt(ctx, room, at)
	if err == nil && newest {
		first := at
		if n > 0 {
			if commit, only := s.stream.LastCommit(room, r.states[n-1].last); commit > 0 && commit <= at {
				if first = commit; only {
					r.states[n-1].last = commit - 1
				}
			}
		}
		r.states = append(r.states[max(0, n-maxStates):], stateSpan{first, at, state})
	}
	return state, err
}
