package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"slices"
	"sync"
	"time"

	"hanse/federation/id"
)

// tail is the newest events, those that are not in the indexes timeline and client_txns yet.
//
// An index that is up to date costs each commit some pages, one a room and index, wherever in the file they are. So the
// indexes are written a few thousand events at a time, in their order: a page then takes many entries at once. What is
// not in them is here, in memory; a start reads it from the events, which are stored in the order of their positions.
// The counter indexed tells where the indexes end and the tail begins. History, which is stored many events of a room at
// a time, goes to the index at once.
type tail struct {
	store *Store

	mu      sync.RWMutex
	rooms   map[int64][]tailEntry // guarded by mu: in order of position; appended to, never changed in place
	events  int                   // guarded by mu
	indexed Position              // guarded by mu
	txns    map[txnKey]tailTxn    // guarded by mu
}

// tailEntry is an accepted live event.
type tailEntry struct {
	position Position
	depth    int64
	eventID  id.EventID
}

func (e tailEntry) topological() Topological { return Topological{e.depth, e.position} }

// tailTxn is a client's transaction that made an event of the tail.
type tailTxn struct {
	eventID  id.EventID
	position Position
}

// txnKey is a hash of what tells a client's transaction from others.
type txnKey [16]byte

func newTail(s *Store) *tail {
	return &tail{store: s, rooms: map[int64][]tailEntry{}, txns: map[txnKey]tailTxn{}}
}

// entries are a room's, and the position up to which the indexes have what is not among them. The slice must not be
// changed.
func (l *tail) entries(room int64) ([]tailEntry, Position) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.rooms[room], l.indexed
}

func (l *tail) upto() Position {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.indexed
}

// has tells whether a room has entries in (after, upto].
func (l *tail) has(room int64, after, upto Position) bool {
	entries, _ := l.entries(room)
	i, _ := slices.BinarySearchFunc(entries, after+1, func(e tailEntry, p Position) int { return cmp.Compare(e.position, p) })
	return i < len(entries) && entries[i].position <= upto
}

// txn finds a client's transaction.
func (l *tail) txn(key txnKey) (id.EventID, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	t, ok := l.txns[key]
	return t.eventID, ok
}

// add takes an event that was stored, with the key of the transaction that made it, if there was one.
func (l *tail) add(room int64, e tailEntry, key []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rooms[room] = append(l.rooms[room], e)
	l.events++
	if len(key) == len(txnKey{}) {
		l.txns[txnKey(key)] = tailTxn{e.eventID, e.position}
	}
}

// indexLong moves the tail to the indexes if it is long. Called at the beginning of each of the writer's transactions.
func (l *tail) indexLong(t *writeTx) error { return l.index(t, tailLength) }

// index moves the tail to the indexes if it has at least so many events.
func (l *tail) index(t *writeTx, least int) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.events < least {
		return nil
	}
	upto := t.position
	for _, number := range sortedKeys(l.rooms, cmp.Compare) {
		for _, e := range l.rooms[number] {
			if err := t.insert(insertTimeline, number, int64(e.position), e.depth); err != nil {
				return err
			}
		}
	}
	now := time.Now().UnixMilli()
	for _, key := range sortedKeys(l.txns, func(a, b txnKey) int { return slices.Compare(a[:], b[:]) }) {
		if err := t.insert(insertClientTxn, key[:], string(l.txns[key].eventID), now); err != nil {
			return err
		}
	}
	if _, err := t.exec("UPDATE counters SET indexed = $1", int64(upto)); err != nil {
		return err
	}
	t.then(func() { l.cut(upto) })
	return nil
}

func sortedKeys[K comparable, V any](m map[K]V, compare func(a, b K) int) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compare)
	return keys
}

// cut drops what is in the indexes.
func (l *tail) cut(upto Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.indexed, l.events = upto, 0
	rooms := map[int64][]tailEntry{} // new ones: maps and slices don't shrink
	for number, entries := range l.rooms {
		i := slices.IndexFunc(entries, func(e tailEntry) bool { return e.position > upto })
		if i >= 0 {
			rooms[number] = slices.Clone(entries[i:])
			l.events += len(rooms[number])
		}
	}
	txns := map[txnKey]tailTxn{}
	for key, txn := range l.txns {
		if txn.position > upto {
			txns[key] = txn
		}
	}
	l.rooms, l.txns = rooms, txns
}

// load reads the tail at the start.
func (l *tail) load(ctx context.Context, indexed Position) error {
	l.indexed = indexed
	return l.store.read.each(ctx, `SELECT room, position, depth, event_id, txn_key FROM events
		WHERE number > $1 AND position > 0 AND status = 0 ORDER BY number`, []any{int64(indexed)}, func(rows *sql.Rows) error {
		var e tailEntry
		var room int64
		var key []byte
		if err := rows.Scan(&room, &e.position, &e.depth, &e.eventID, &key); err != nil {
			return err
		}
		l.add(room, e, key)
		return nil
	})
}

// key is what a client's transaction is found by.
func (c ClientTxn) key() txnKey {
	h := sha256.New()
	for _, part := range []string{string(c.User), c.Device, c.Endpoint, c.TxnID} {
		var length [8]byte
		for i, n := 0, uint64(len(part)); n > 0; i, n = i+1, n>>8 {
			length[i] = byte(n)
		}
		h.Write(length[:])
		h.Write([]byte(part))
	}
	return txnKey(h.Sum(nil)[:len(txnKey{})])
}
