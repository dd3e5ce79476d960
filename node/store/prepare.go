package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
)

// roomWrite is a commit made ready in the caller's goroutine, so that the committer only writes rows.
type roomWrite struct {
	store   *Store
	commit  room.Commit
	opts    CommitOptions
	nodes   []nodeRow
	members []memberRow
	gaps    []Gap
	create  id.EventID   // the room's create event
	filled  []id.EventID // gaps that this commit fills
	now     time.Time

	txnKeys []txnKey                    // of opts.ClientTxns
	txnOf   map[id.EventID]int          // the index of an event's client transaction
	indexed Position                    // where the tail began when numbers and client transactions were looked for
	numbers map[id.EventID]Position     // of the events that are stored already
	bulk    bool                        // its outliers are too many for citations
	again   map[id.EventID]*storedEvent // events that were decided before, as they are stored

	direct   []tailEntry  // set by write: events that go to event_ids past the tail
	inRow    map[int]bool // set by write: client transactions that are in the row of an event of the tail
	ref      *roomRef     // set by write
	position Position     // set by write
}

// memberRow is a change of the membership table.
type memberRow struct {
	user       id.UserID
	membership string
	eventID    id.EventID
	sender     id.UserID
	local      bool
}

func (s *Store) prepare(ctx context.Context, c room.Commit, opts CommitOptions) (*roomWrite, error) {
	w := &roomWrite{store: s, commit: c, opts: opts, now: time.Now(), indexed: s.tail.upto()}
	if err := w.unusedTxns(ctx); err != nil {
		return nil, err
	}
	var err error
	if w.create, err = c.Current.Event(createType, ""); err != nil {
		return nil, err
	}
	var states []roomstate.Map
	seen := map[roomstate.Hash]bool{{}: true}
	add := func(m roomstate.Map) {
		if h := m.Hash(); !seen[h] {
			seen[h] = true
			states = append(states, m)
		}
	}
	for _, e := range c.Events {
		if !e.Outlier {
			add(e.Before)
			add(e.After)
		}
	}
	add(c.Current)
	ref, err := s.rooms.find(ctx, c.RoomID)
	if err != nil {
		return nil, err
	}
	if w.nodes, err = s.newNodes(ctx, states, ref == nil || c.Whole); err != nil {
		return nil, err
	}
	if w.members, err = s.memberRows(ctx, c); err != nil {
		return nil, err
	}
	if err = w.findGaps(ctx); err != nil {
		return nil, err
	}
	if err := w.findAgain(ctx); err != nil {
		return nil, err
	}
	w.bulk = outliers(c) > citedOutliers
	if ref != nil { // else none is stored
		w.numbers, err = s.numbers(ctx, w.foreignIDs())
	}
	return w, err
}

// memberRows reads the membership changes out of the change of the current state. All members of a large room may have changed at once:
// their events aren't kept.
func (s *Store) memberRows(ctx context.Context, c room.Commit) ([]memberRow, error) {
	if len(c.Changes) == 0 {
		return nil, nil
	}
	made := map[id.EventID]*event.Event{} // member events of the commit
	for _, e := range c.Events {
		if e.Event.Type() == memberType {
			made[e.Event.ID()] = e.Event
		}
	}
	var rows []memberRow
	older := map[id.EventID][]int{} // rows of events that are stored already
	var missing []id.EventID
	for _, change := range c.Changes {
		user, err := id.ParseUserID(change.Key.StateKey)
		if change.Key.Type != memberType || err != nil {
			continue // a member event whose state key is no user is nobody's membership
		}
		row := memberRow{user: user, local: user.Server() == s.self, membership: "leave"}
		e, said := made[change.New], c.Members[change.New]
		switch {
		case e != nil:
			row.of(e)
		case said != room.Member{}:
			row.membership, row.eventID, row.sender = said.Membership, change.New, said.Sender
		case change.New != "":
			older[change.New] = append(older[change.New], len(rows))
			missing = append(missing, change.New)
		}
		rows = append(rows, row)
	}
	slices.Sort(missing) // as they are found next to each other
	for chunk := range slices.Chunk(missing, memberChunk) {
		stored, err := s.stored(ctx, chunk)
		if err != nil {
			return nil, err
		}
		for _, eventID := range chunk {
			e := stored[eventID]
			if e == nil {
				return nil, fmt.Errorf("store: the member event %s is neither stored nor part of the commit", eventID)
			}
			for _, i := range older[eventID] {
				rows[i].of(e.event)
			}
		}
	}
	return rows, nil
}

// memberChunk is how many member events are read at a time.
const memberChunk = 1000

// of fills in what a member event says.
func (m *memberRow) of(e *event.Event) {
	m.membership, m.eventID, m.sender = e.Membership(), e.ID(), e.Sender()
}

// findGaps lists the prev events that are not stored, and the known gaps that this commit fills.
func (w *roomWrite) findGaps(ctx context.Context) error {
	placed, displaced := map[id.EventID]bool{}, map[id.EventID]bool{}
	var wanted, placedIDs []id.EventID
	for _, e := range w.commit.Events {
		if !e.Outlier {
			placed[e.Event.ID()] = true
			placedIDs = append(placedIDs, e.Event.ID())
		} else if e.Again {
			displaced[e.Event.ID()] = true
		}
	}
	for _, e := range w.commit.Events {
		if e.Gap && placeable(e) {
			wanted = append(wanted, e.Event.PrevEvents()...)
		}
	}
	rows, err := w.store.stored(ctx, wanted)
	if err != nil {
		return err
	}
	for _, e := range w.commit.Events {
		if !e.Gap || !placeable(e) {
			continue
		}
		for _, prev := range e.Event.PrevEvents() {
			if row := rows[prev]; !placed[prev] && (row == nil || row.outlier() || displaced[prev]) {
				w.gaps = append(w.gaps, Gap{Missing: prev, Child: e.Event.ID(), Depth: e.Event.Depth()})
			}
		}
	}
	for _, lack := range w.commit.Lacking {
		if !placed[lack.Event] {
			w.gaps = append(w.gaps, Gap{Missing: lack.Event, Child: lack.Child, Depth: lack.Depth})
		}
	}
	w.filled, err = w.store.knownGaps(ctx, w.commit.RoomID, placedIDs)
	return err
}

// placeable says whether an event counts in the room's graph: what it names as prev events is then referenced, and
// missed if it is not there.
func placeable(e room.Committed) bool { return !e.Outlier && e.Status == room.Accepted }

// inTail says whether an event is found by its place through the tail, at first.
func inTail(e room.Committed) bool { return placeable(e) && !e.Backfilled }

// foreignIDs are the events that may be stored already: all but those that a client's transaction has just made.
func (w *roomWrite) foreignIDs() []id.EventID {
	var ids []id.EventID
	for _, e := range w.commit.Events {
		if _, made := w.txnOf[e.Event.ID()]; !made {
			ids = append(ids, e.Event.ID())
		}
	}
	return ids
}
