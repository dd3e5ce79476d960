package store

import (
	"cmp"
	"context"
	"slices"
	"time"

	"hanse/federation/id"
)

// sweep moves what the tail had when it began to the indexes, by and by: each of the writer's transactions takes a share, in the order of
// the indexes, and when all is there the tail is cut. IDs and keys are random: of an index that is much larger than the page cache an
// entry costs a page that is read, written to the log and copied to its place, unless a page takes several at once. So the more are moved
// in order the better, and no transaction is held up by all of them. Until the cut readers find all in the tail; what was moved by a
// process that ended before is moved again.
type sweep struct {
	upto   Position // what has a number up to here is moved
	events int      // how many they are
	passed int      // tail.passed when it began
	done   int      // how many of events are moved, and the same share of the others

	ids    []id.EventID
	places []sweptPlace
	txns   []txnKey
}

// sweptPlace is where an accepted event stands.
type sweptPlace struct {
	room     int64
	position Position
}

// index moves a share of the tail to the indexes if it is long. Called at the beginning of each of the writer's transactions. What is moved
// is twice what has come, so that the tail is cut long before it is long again; but nothing until it is worth the pages.
func (l *tail) index(t *writeTx) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	least, more := l.long, 0
	if l.hurried.Load() {
		least, more = 1, l.hurry
	}
	if l.sweep == nil {
		if len(l.ids)+l.passed < least {
			return nil
		}
		l.sweep = l.begin(t.position)
	}
	s := l.sweep
	came := len(l.ids) - s.events + l.passed - s.passed
	done := min(max(2*came, s.done)+more, s.events)
	if more == 0 && done < s.events && done-s.done < l.long/sweepShares {
		return nil
	}
	return l.move(t, done)
}

// begin is a sweep of all that the tail has.
func (l *tail) begin(upto Position) *sweep {
	s := &sweep{upto: upto, events: len(l.ids), passed: l.passed, ids: sortedKeys(l.ids, cmp.Compare)}
	for _, room := range sortedKeys(l.rooms, cmp.Compare) {
		for _, e := range l.rooms[room] {
			s.places = append(s.places, sweptPlace{room, e.position})
		}
	}
	s.txns = sortedKeys(l.txns, func(a, b txnKey) int {
		return cmp.Or(cmp.Compare(txnBatch(l.txns[a].number), txnBatch(l.txns[b].number)), slices.Compare(a[:], b[:]))
	})
	return s
}

// move moves the share of so many of the sweep's events, less what is moved already.
func (l *tail) move(t *writeTx, done int) error {
	s := l.sweep
	for _, p := range share(s, s.places, done) {
		e, found := l.at(p)
		if !found { // it was hidden since
			continue
		}
		if err := t.insert(insertTimeline, p.room, int64(e.position), e.depth, int64(e.number)); err != nil {
			return err
		}
	}
	ids := share(s, s.ids, done)
	for _, e := range ids {
		if err := t.insert(insertEventID, string(e), int64(l.ids[e])); err != nil {
			return err
		}
	}
	t.then(func() { l.store.unheard.written(ids) }) // long before the tail is cut
	batch := int64(-1)
	for _, key := range share(s, s.txns, done) {
		txn := l.txns[key]
		if its := txnBatch(txn.number); its != batch {
			batch = its
			if err := t.insert(insertTxnBatch, batch, time.Now().UnixMilli()); err != nil {
				return err
			}
		}
		if err := t.insert(insertSweptTxn, batch, key[:], string(txn.eventID)); err != nil {
			return err
		}
	}
	if done == s.events {
		return l.end(t)
	}
	t.then(func() { s.done = done })
	return nil
}

// end has the indexes know all up to where the sweep goes, and the tail only the rest.
func (l *tail) end(t *writeTx) error {
	s := l.sweep
	if _, err := t.exec("DELETE FROM moved WHERE position <= $1", int64(s.upto)); err != nil {
		return err
	}
	if _, err := t.exec("UPDATE counters SET indexed = $1", int64(s.upto)); err != nil {
		return err
	}
	t.then(func() {
		for _, key := range s.txns {
			l.store.usedTxns.add(key.hashes())
		}
		l.cut(s)
	})
	return nil
}

// share is what is next of one of the sweep's lists, if so many of its events are to be moved.
func share[T any](s *sweep, list []T, done int) []T {
	if done == s.events {
		return list[len(list)*s.done/max(s.events, 1):]
	}
	return list[len(list)*s.done/s.events : len(list)*done/s.events]
}

// at is the entry that stands somewhere.
func (l *tail) at(p sweptPlace) (e tailEntry, found bool) {
	entries := l.rooms[p.room]
	i, found := slices.BinarySearchFunc(entries, p.position, func(e tailEntry, at Position) int { return cmp.Compare(e.position, at) })
	if found {
		e = entries[i]
	}
	return e, found
}

// cut drops what is in the indexes.
func (l *tail) cut(s *sweep) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep, l.indexed, l.passed = nil, s.upto, l.passed-s.passed
	rooms := map[int64][]tailEntry{} // new ones: maps and slices don't shrink
	for number, entries := range l.rooms {
		i := slices.IndexFunc(entries, func(e tailEntry) bool { return e.position > s.upto })
		if i >= 0 {
			rooms[number] = slices.Clone(entries[i:])
		}
	}
	ids := map[id.EventID]Position{}
	for e, number := range l.ids {
		if number > s.upto {
			ids[e] = number
		}
	}
	txns := map[txnKey]tailTxn{}
	for key, txn := range l.txns {
		if txn.number > s.upto {
			txns[key] = txn
		}
	}
	l.ids, l.rooms, l.txns = ids, rooms, txns
}

// empty moves all that the tail has now to the indexes, in transactions of no more than others take along.
func (l *tail) empty(ctx context.Context) error {
	defer l.hurried.Store(false)
	for now := Position(l.store.position.Load()); !l.emptyUpto(now); {
		l.hurried.Store(true)
		if err := l.store.commit.write(ctx, func(*writeTx) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

// emptyUpto tells whether the tail has nothing that was there at a position.
func (l *tail) emptyUpto(now Position) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.indexed >= now || len(l.ids)+l.passed == 0
}

func sortedKeys[K comparable, V any](m map[K]V, compare func(a, b K) int) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compare)
	return keys
}
