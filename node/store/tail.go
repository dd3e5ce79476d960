package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"

	"hanse/federation/id"
)

// tail is the newest events, those that are not in the indexes event_ids, timeline and client_txns yet.
//
// An index that is up to date costs each commit some pages, one an entry at worst, wherever in the file they are. So the
// indexes are written many thousand events at a time, in their order (see sweep): a page then takes many entries at once. What is
// not in them is here, in memory; a start reads it from the events, which are stored in the order of their positions.
// The counter indexed tells where the indexes end and the tail begins. History, which is stored many events of a room at
// a time, goes to the index at once.
type tail struct {
	store *Store

	mu      sync.RWMutex
	rooms   map[int64][]tailEntry   // guarded by mu: in order of position; appended to, never changed in place
	ids     map[id.EventID]Position // guarded by mu: their numbers; outliers' and rejected ones' too
	passed  int                     // guarded by mu: events that went past the tail since it was emptied; a start reads them too
	indexed Position                // guarded by mu
	txns    map[txnKey]tailTxn      // guarded by mu

	sweep   *sweep      // owned by the writer; nil: none is under way
	long    int         // owned by the writer: how many events are moved to the indexes together
	hurry   int         // owned by the writer: how many of them a transaction moves at least while the indexes are to have all soon
	hurried atomic.Bool // they are
}

// tailEntry is an accepted live event.
type tailEntry struct {
	position Position
	depth    int64
	number   Position // the position, unless it was an outlier first
	eventID  id.EventID
}

func (e tailEntry) topological() Topological { return Topological{e.depth, e.position} }

// tailTxn is a client's transaction that made an event of the tail.
type tailTxn struct {
	eventID id.EventID
	number  Position // of the event
}

// txnKey is a hash of what tells a client's transaction from others.
type txnKey [16]byte

func newTail(s *Store) *tail {
	return &tail{store: s, long: tailLength, hurry: sweepRows, ids: map[id.EventID]Position{}, rooms: map[int64][]tailEntry{}, txns: map[txnKey]tailTxn{}}
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

// txn finds a client's transaction.
func (l *tail) txn(key txnKey) (id.EventID, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	t, ok := l.txns[key]
	return t.eventID, ok
}

// tailNews is what a transaction adds to the tail once it is durable.
type tailNews struct {
	numbers []tailEntry  // of all events that were written; only their IDs and numbers
	placed  []tailPlaced // accepted live events
}

// tailPlaced is an event of a room, with the key of the transaction that made it, if there was one.
type tailPlaced struct {
	tailEntry
	room int64
	key  []byte
}

// news gathers what a transaction adds. It is added under one lock: a room's actor that looks for one event after the other would
// get in between, and those who wait for the transaction would wait for what the actor does.
func (l *tail) news(t *writeTx) *tailNews {
	if t.tail == nil {
		n := &tailNews{}
		t.tail = n
		t.then(func() { l.learn(n) })
	}
	return t.tail
}

// learn adds what a transaction has written.
func (l *tail) learn(n *tailNews) {
	l.mu.Lock()
	for _, e := range n.numbers {
		l.ids[e.eventID] = e.number
	}
	for _, e := range n.placed {
		l.addLocked(e)
	}
	l.mu.Unlock()
	for _, e := range n.numbers {
		l.store.unheard.ids.drop(e.eventID) // after it is found here: see unheard.keep
	}
}

func (l *tail) addLocked(e tailPlaced) {
	l.rooms[e.room] = append(l.rooms[e.room], e.tailEntry)
	l.madeLocked(e)
}

// madeLocked notes the client's transaction that made an event, if there was one.
func (l *tail) madeLocked(e tailPlaced) {
	if len(e.key) == len(txnKey{}) {
		l.txns[txnKey(e.key)] = tailTxn{e.eventID, e.number}
	}
}

// wrote notes an event that is written with this transaction.
func (l *tail) wrote(t *writeTx, e id.EventID, number Position) {
	t.ids[e] = number
	n := l.news(t)
	n.numbers = append(n.numbers, tailEntry{eventID: e, number: number})
}

// add notes an accepted live event that is written with this transaction.
func (l *tail) add(t *writeTx, e tailPlaced) {
	n := l.news(t)
	n.placed = append(n.placed, e)
}

// remove takes an event out that isn't accepted any more.
func (l *tail) remove(room int64, place Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rooms[room] = slices.DeleteFunc(slices.Clone(l.rooms[room]), func(e tailEntry) bool { return e.position == place })
}

// loadTail reads what is beyond the indexes. In two parts, since PostgreSQL reads the whole table for either of two conditions.
const loadTail = `SELECT number, room, position, depth, status, event_id, txn_key FROM events WHERE number > $1
	UNION ALL SELECT number, room, position, depth, status, event_id, txn_key FROM events
	WHERE number <= $1 AND number IN (SELECT number FROM moved) ORDER BY position`

// load reads the tail at the start.
func (l *tail) load(ctx context.Context, indexed Position) error {
	l.indexed = indexed
	return l.store.read.each(ctx, loadTail, []any{int64(indexed)}, func(rows *sql.Rows) error {
		var e tailPlaced
		var status int64
		if err := rows.Scan(&e.number, &e.room, &e.position, &e.depth, &status, &e.eventID, &e.key); err != nil {
			return err
		}
		l.ids[e.eventID] = e.number
		if e.position > indexed && status == 0 {
			l.addLocked(e)
		} else { // it was refused since, or lost its place: its client was told that it is sent
			l.madeLocked(e)
		}
		return nil
	})
}

// pass counts events that are in event_ids already.
func (l *tail) pass(events int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passed += events
}

// number finds an event of the tail.
func (l *tail) number(e id.EventID) (Position, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	number, ok := l.ids[e]
	return number, ok
}

// numbers finds events of the tail; rest are the others.
func (l *tail) numbers(ids []id.EventID) (numbers []Position, rest []id.EventID) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, e := range ids {
		if number, ok := l.ids[e]; ok {
			numbers = append(numbers, number)
		} else {
			rest = append(rest, e)
		}
	}
	return numbers, rest
}

// findNumber is where an event is found that the tail doesn't have.
const findNumber = "SELECT number FROM event_ids WHERE event_id = $1"

// numberInTx finds an event that is stored, or was written by this transaction.
func (l *tail) numberInTx(t *writeTx, e id.EventID) (number Position, found bool, err error) {
	if number, found = t.ids[e]; found {
		return number, true, nil
	}
	if number, found = l.number(e); found {
		return number, true, nil
	}
	found, err = t.found(findNumber, []any{string(e)}, &number)
	return number, found, err
}

// number is numberInTx for an event of the commit: what was looked for when the commit was prepared isn't looked for again,
// unless it may have come and left the tail since.
func (w *roomWrite) number(t *writeTx, e id.EventID) (number Position, found bool, err error) {
	if number, found = w.numbers[e]; found {
		return number, true, nil
	}
	if w.store.tail.upto() != w.indexed {
		return w.store.tail.numberInTx(t, e)
	}
	if number, found = t.ids[e]; !found {
		number, found = w.store.tail.number(e)
	}
	return number, found, nil
}

// numbers finds those events that are stored.
func (s *Store) numbers(ctx context.Context, ids []id.EventID) (map[id.EventID]Position, error) {
	found := map[id.EventID]Position{}
	var rest []id.EventID
	for _, e := range ids {
		if number, ok := s.tail.number(e); ok {
			found[e] = number
		} else if s.unheard.mayBeNamed(e) {
			rest = append(rest, e)
		}
	}
	err := list("SELECT event_id, number FROM event_ids WHERE event_id IN (%s)", nil, rest, func(query string, args []any) error {
		return s.read.each(ctx, query, args, pairs(found))
	})
	return found, err
}

// key is what a client's transaction is found by.
func (c ClientTxn) key() txnKey {
	var stack [512]byte
	text := stack[:0]
	for _, part := range [...]string{string(c.User), c.Device, c.Endpoint, c.TxnID} {
		text = append(binary.LittleEndian.AppendUint64(text, uint64(len(part))), part...)
	}
	hash := sha256.Sum256(text)
	return txnKey(hash[:len(txnKey{})])
}
