package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"hanse/federation/authrules"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/room"
)

// memberType is the type of events that make memberships.
const memberType = "m.room.member"

// verdict is why an event was not accepted, as stored.
type verdict struct {
	Rule, Spec, Reason string // of the rejection
	Text               string // room.Committed.Reason
	Deep, Given        bool   `json:",omitempty"`
}

// Commit writes what a room's machine decided, in one transaction: events, states, extremities, memberships, staged
// events, outbox rows, and what opts adds. It joins the group that is gathering and returns when all is durable, with
// the position up to which readers see it. If ctx ends first, nothing was written and nothing will be.
//
// Commits of one room must not overlap: the room's owner waits for each before it makes the next.
func (s *Store) Commit(ctx context.Context, c room.Commit, opts CommitOptions) (Position, error) {
	w, err := s.prepare(ctx, c, opts)
	if err != nil {
		opts.queued()
		return 0, err
	}
	if err := s.commit.writeThen(ctx, w.write, opts.queued); err != nil {
		return 0, s.refused(ctx, opts, err)
	}
	return w.position, nil
}

// Announce tells that a commit will follow in a moment, so that others which are ready wait for it and share a transaction
// with it: what another server sends for many rooms is then written at once. done must be called once: it goes with the
// commit as [CommitOptions].Queued, or is called where none follows.
func (s *Store) Announce() (done func()) { return s.commit.announce() }

// refused finds out which of the unique things of opts was there already.
func (s *Store) refused(ctx context.Context, opts CommitOptions, err error) error {
	if s.dialect.Classify(err) != DuplicateError {
		return err
	}
	for _, c := range opts.ClientTxns {
		if _, used, e := s.ClientTxn(ctx, c.User, c.Device, c.Endpoint, c.TxnID); e == nil && used {
			return fmt.Errorf("%w: %s", ErrClientTxnUsed, c.TxnID)
		}
	}
	for _, a := range opts.Aliases {
		if _, taken, e := s.Alias(ctx, a.Alias); e == nil && taken {
			return fmt.Errorf("the alias %s %w", a.Alias, ErrExists)
		}
	}
	return err
}

// write is the operation.
func (w *roomWrite) write(t *writeTx) error {
	var err error
	if err = w.txnsStillUnused(t); err != nil {
		return err
	}
	if w.ref, err = w.store.rooms.inTx(t, w.commit.RoomID, w.commit.Rules); err != nil {
		return err
	}
	for _, n := range w.nodes {
		if err := t.insert(insertNode, n.hash[:], n.node); err != nil {
			return err
		}
	}
	steps := []func(*writeTx) error{w.writeEvents, w.writeFilled, w.writePartial, w.writeRoom, w.writeMembers, w.writeStaged, w.writeOptions, w.writeOutbox}
	for _, step := range steps {
		if err := step(t); err != nil {
			return err
		}
	}
	t.then(w.remember)
	return nil
}

// positions gives each event its place: live ones in order after all others, history before all others, newest last.
func (w *roomWrite) positions(t *writeTx) []Position {
	places := make([]Position, len(w.commit.Events))
	for i, e := range w.commit.Events {
		if !e.Outlier && !e.Backfilled && (!e.Again || w.shownAnew(e)) {
			places[i] = t.next()
		}
	}
	for i := len(places) - 1; i >= 0; i-- {
		if e := w.commit.Events[i]; e.Backfilled && !e.Outlier && !e.Again {
			places[i] = t.nextHistory()
		}
	}
	w.position = t.next()
	return places
}

func (w *roomWrite) writeEvents(t *writeTx) error {
	places := w.positions(t)
	w.direct, w.inRow = nil, map[int]bool{}
	for i, e := range w.commit.Events {
		if err := w.writeEvent(t, e, places[i]); err != nil {
			return err
		}
	}
	if err := w.writeDirect(t); err != nil {
		return err
	}
	for _, g := range w.gaps {
		if err := t.insert(insertGap, string(g.Missing), string(g.Child), w.ref.number, g.Depth); err != nil {
			return err
		}
		w.store.unheard.hear(t, g.Missing)
	}
	for _, e := range w.filled {
		if err := t.remove(removeGap, string(e)); err != nil {
			return err
		}
	}
	return nil
}

// writeEvent writes an event that isn't stored, or gives one its place that is stored without; one that has its place
// keeps what it is, unless it is decided again.
func (w *roomWrite) writeEvent(t *writeTx, e room.Committed, place Position) error {
	number, stored, err := w.number(t, e.Event.ID())
	if err != nil {
		return err
	}
	row := &storedEvent{
		event: e.Event, room: w.ref, position: place, status: e.Status, rejection: e.Rejection, reason: e.Reason,
		deep: e.Deep, given: e.Given && e.Status != room.Accepted, backfilled: e.Backfilled,
	}
	if !e.Outlier {
		row.states = eventStates{true, e.Before.Hash(), e.After.Hash()}
	}
	var key []byte
	switch {
	case stored && e.Again && e.Outlier:
		return w.displace(t, e, number)
	case stored && e.Again:
		return w.writeAgain(t, e, number, place)
	case stored && e.Outlier:
		return w.mendOutlier(t, e, number)
	case stored:
		if moved, err := w.moveEvent(t, e, number, place); err != nil || !moved {
			return err
		}
		t.then(func() { w.store.events.rows.drop(e.Event.ID()) }) // it may be redacted
	default:
		if number = place; e.Outlier {
			number = t.next()
		}
		if key, err = w.insertEvent(t, e, number, row); err != nil {
			return err
		}
		if !w.bulk || !e.Outlier { // a whole state would push out all else
			t.then(func() { w.store.events.put(row) })
		}
		if err := w.writeCitations(t, e, number); err != nil {
			return err
		}
	}
	return w.writePlace(t, e, tailEntry{position: place, depth: e.Event.Depth(), number: number, eventID: e.Event.ID()}, key)
}

// columns are the root hashes of the states before and after an event, and why it was not accepted.
func columns(e room.Committed) (before, after, why []byte) {
	if !e.Outlier {
		before = hashBytes(e.Before)
		if !e.After.Equal(e.Before) {
			after = hashBytes(e.After)
		}
	}
	if e.Status != room.Accepted {
		why = encodeVerdict(e)
	}
	return before, after, why
}

// insertEvent writes a new row. It returns the key of the client transaction that made the event, if there was one.
func (w *roomWrite) insertEvent(t *writeTx, e room.Committed, number Position, row *storedEvent) (key []byte, err error) {
	before, after, why := columns(e)
	var device, txnID []byte
	if i, ok := w.txnOf[e.Event.ID()]; ok {
		txn := w.opts.ClientTxns[i]
		row.txnDevice, row.txnID = txn.Device, txn.TxnID
		key, device, txnID = w.txnKeys[i][:], []byte(txn.Device), []byte(txn.TxnID)
	}
	err = t.insert(insertEvent, int64(number), string(e.Event.ID()), w.ref.number, int64(row.position), int64(t.position), e.Event.Depth(),
		int64(e.Status), flag(e.Backfilled), before, after, why, key, device, txnID, e.Event.JSON(), w.came(e))
	if err != nil {
		return nil, err
	}
	if w.bulk || number < 0 {
		t.ids[e.Event.ID()] = number
		w.direct = append(w.direct, tailEntry{number: number, eventID: e.Event.ID()})
		return key, nil
	}
	w.store.tail.wrote(t, e.Event.ID(), number)
	if i, ok := w.txnOf[e.Event.ID()]; ok && inTail(e) {
		w.inRow[i] = true
	}
	return key, nil
}

// came is how an event came, as stored. Of the state of a room that was joined it isn't kept: it came with the join.
func (w *roomWrite) came(e room.Committed) []byte {
	if w.bulk && e.Outlier {
		return nil
	}
	return encodeArrival(w.opts.Arrivals[e.Event.ID()])
}

// writeDirect makes events findable by ID that are so many, or so old, that the tail has no use for them.
func (w *roomWrite) writeDirect(t *writeTx) error {
	if len(w.direct) == 0 {
		return nil
	}
	slices.SortFunc(w.direct, func(a, b tailEntry) int { return cmp.Compare(a.eventID, b.eventID) })
	ids := make([]id.EventID, len(w.direct))
	for i, e := range w.direct {
		if err := t.insert(insertEventID, string(e.eventID), int64(e.number)); err != nil {
			return err
		}
		ids[i] = e.eventID
	}
	w.store.unheard.hear(t, ids...)
	passed := len(w.direct)
	t.then(func() { w.store.tail.pass(passed) })
	return nil
}

// mendOutlier has an accepted copy of an event replace a rejected one. An outlier that wasn't rejected, or has its place by now, stays.
func (w *roomWrite) mendOutlier(t *writeTx, e room.Committed, number Position) error {
	if e.Status != room.Accepted {
		return nil
	}
	_, err := t.exec(`UPDATE events SET status = $1, verdict = NULL, json = $2 WHERE number = $3 AND position = 0 AND status = $4`,
		int64(e.Status), e.Event.JSON(), int64(number), int64(room.Rejected))
	if err == nil {
		t.then(func() { w.store.events.rows.drop(e.Event.ID()) })
	}
	return err
}

// moveEvent gives an outlier its place; false if it has one.
func (w *roomWrite) moveEvent(t *writeTx, e room.Committed, number, place Position) (bool, error) {
	before, after, why := columns(e)
	n, err := t.exec(`UPDATE events SET position = $1, depth = $2, status = $3, backfilled = $4, state_before = $5, state_after = $6,
		verdict = $7, json = $8, came = COALESCE(came, $9) WHERE number = $10 AND position = 0`, int64(place), e.Event.Depth(), int64(e.Status), flag(e.Backfilled),
		before, after, why, e.Event.JSON(), w.came(e), int64(number))
	if err != nil || n == 0 {
		return false, err
	}
	if err := t.insert(insertSearchPending, int64(number)); err != nil {
		return true, err
	}
	if place > 0 {
		return true, t.insert(insertMoved, int64(place), int64(number))
	}
	return true, nil
}

// writePlace makes an event findable by its place, and by what it redacts.
func (w *roomWrite) writePlace(t *writeTx, e room.Committed, entry tailEntry, key []byte) error {
	if !placeable(e) {
		return nil
	}
	if inTail(e) {
		w.store.tail.add(t, tailPlaced{entry, w.ref.number, key})
	} else if err := t.insert(insertTimeline, w.ref.number, int64(entry.position), entry.depth, int64(entry.number)); err != nil {
		return err
	}
	if target, ok := e.Event.Redacts(); ok {
		w.store.unheard.hear(t, target)
		return t.insert(insertRedaction, string(target), string(e.Event.ID()))
	}
	return w.store.writeRelation(t, w.ref, e.Event, entry)
}

// writeFilled replaces copies of events that came redacted. What was found by their place is found by their content too.
func (w *roomWrite) writeFilled(t *writeTx) error {
	for _, e := range w.commit.Filled {
		number, found, err := w.store.tail.numberInTx(t, e.ID())
		if err != nil || !found {
			return cmp.Or(err, fmt.Errorf("store: the event %s, which is to be whole, is not stored", e.ID()))
		}
		t.then(func() { w.store.events.rows.drop(e.ID()) })
		if _, err := t.exec("UPDATE events SET json = $1 WHERE number = $2", e.JSON(), int64(number)); err != nil {
			return err
		}
		if err := t.insert(insertSearchPending, int64(number)); err != nil {
			return err
		}
		entry := tailEntry{number: number, eventID: e.ID(), depth: e.Depth()}
		var place int64
		shown, err := t.found("SELECT position FROM events WHERE number = $1 AND position <> 0 AND redacted_by IS NULL", []any{int64(number)}, &place)
		if err != nil {
			return err
		}
		if entry.position = Position(place); shown {
			if err := w.store.writeRelation(t, w.ref, e, entry); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeRoom writes the room's row and, if the state has changed, its history.
func (w *roomWrite) writeRoom(t *writeTx) error {
	c := w.commit
	if len(c.Events) == 0 && len(c.Changes) == 0 {
		return nil
	}
	state, cited := hashBytes(c.Current), int64(0)
	if w.bulk {
		cited = int64(t.position)
	}
	err := t.insert(insertRoom, w.ref.number, string(c.RoomID), string(c.Rules.Version), int64(1), int64(w.position),
		encodeIDs(c.Forward), c.Depth, state, flag(c.Resident), cited)
	if err != nil {
		return err
	}
	t.then(func() { w.store.present.committed(w) })
	for server, joined := range c.Servers {
		if err := t.insert(insertRoomServer, w.ref.number, string(server), int64(joined)); err != nil {
			return err
		}
	}
	if len(c.Changes) == 0 {
		return nil
	}
	return t.insert(insertStateHistory, w.ref.number, int64(w.position), state)
}

func (w *roomWrite) writeMembers(t *writeTx) error {
	for _, m := range w.members {
		err := t.insert(insertMember, w.ref.number, string(m.user), m.membership, string(m.eventID), string(m.sender),
			int64(w.position), flag(m.local), int64(0), int64(0), []byte(nil), int64(w.position))
		if err != nil {
			return err
		}
		if !m.local {
			continue
		}
		err = t.insert(insertMemberHistory, string(m.user), int64(w.position), w.ref.number, m.membership,
			string(m.eventID), string(m.sender), int64(0), []byte(nil))
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *roomWrite) writeStaged(t *writeTx) error {
	for _, e := range w.commit.Stage {
		if err := t.insert(insertStaged, string(e.ID()), w.ref.number, int64(t.next()), e.JSON(), encodeArrival(w.opts.Arrivals[e.ID()])); err != nil {
			return err
		}
	}
	for _, e := range w.commit.Unstage {
		if err := t.remove(removeStaged, string(e)); err != nil {
			return err
		}
	}
	return nil
}

func (w *roomWrite) writeOptions(t *writeTx) error {
	if err := w.writeTxns(t); err != nil {
		return err
	}
	for _, a := range w.opts.Aliases {
		if err := t.insert(insertAlias, string(a.Alias), string(a.RoomID), string(a.Creator)); err != nil {
			return err
		}
	}
	if w.opts.Publish != nil {
		if err := w.store.publish(t, w.ref, *w.opts.Publish); err != nil {
			return err
		}
	}
	return w.store.redact(t, w.opts.Redactions)
}

func (w *roomWrite) writeOutbox(t *writeTx) error {
	var users []id.UserID
	for _, m := range w.members {
		if m.local {
			users = append(users, m.user)
		}
	}
	for _, send := range w.commit.Send {
		err := w.store.outbox.add(t, outboxRow{room: w.ref.number, eventID: send.Event.ID()}, send.Servers)
		if err != nil {
			return err
		}
	}
	if len(w.commit.Events) == 0 && len(w.commit.Changes) == 0 {
		return nil
	}
	t.notify(Notice{
		Position: w.position, Kind: KindEvents, Room: w.commit.RoomID, Users: users, Servers: receivers(w.commit.Send),
		Redacts: len(w.opts.Redactions) > 0, Members: len(w.members) > 0,
	})
	return nil
}

// sameSlice says whether two slices are one and the same.
func sameSlice[T any](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// receivers are the servers that get something. Nearly always all of it goes to the same ones, and their slice is given as it is: to look at a
// thousand names takes longer than all that is written.
func receivers(sends []room.Send) []id.ServerName {
	var lists [][]id.ServerName
	for _, send := range sends {
		if n := len(lists); n == 0 || !sameSlice(send.Servers, lists[n-1]) {
			lists = append(lists, send.Servers)
		}
	}
	if len(lists) == 1 {
		return lists[0]
	}
	all := slices.Concat(lists...)
	slices.Sort(all)
	return slices.Compact(all)
}

// remember puts what was written into the caches.
func (w *roomWrite) remember() {
	w.store.state.stored(w.nodes)
	if len(w.gaps) > 0 {
		w.store.gapless.drop(w.commit.RoomID)
	}
}

func encodeVerdict(e room.Committed) []byte {
	v := verdict{Text: e.Reason, Deep: e.Deep, Given: e.Given}
	if r := e.Rejection; r != nil {
		v.Rule, v.Spec, v.Reason = r.Rule, r.Spec, r.Reason
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(errors.Join(errors.New("store: a verdict of strings does not encode"), err))
	}
	return b
}

// decodeVerdict fills in why an event was not accepted.
func (e *storedEvent) decodeVerdict(b []byte) error {
	if b == nil {
		return nil
	}
	var v verdict
	if err := exactjson.Unmarshal(b, &v); err != nil {
		return fmt.Errorf("store: a stored verdict: %w", err)
	}
	if v.Rule != "" {
		e.rejection = &authrules.Rejection{Rule: v.Rule, Spec: v.Spec, Reason: v.Reason}
	}
	e.reason, e.deep, e.given = v.Text, v.Deep, v.Given
	return nil
}
