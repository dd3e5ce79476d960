package store

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"sync"
)

// keyFilter tells of nearly every new key, without a read, that the tables haven't got it: to look there was a tenth of what a send costs,
// and of what a received event does. It is a Bloom filter of the tables' keys, read from them behind the start and again when it has become
// too small; what it doesn't exclude is looked for in the tables. Whoever writes a key tells it. Safe for concurrent use.
type keyFilter struct {
	store   *Store
	columns func(context.Context) ([]keyColumn, error) // immutable
	hash    func(key any) twoHashes                    // immutable; of a key as it is in the database
	full    chan struct{}                              // capacity 1: it is to be read from the tables (again)

	mu       sync.RWMutex
	keys     bloom // guarded by mu: of the tables; nil: not read yet, or too many
	next     bloom // guarded by mu: the one that is being read
	count    int   // guarded by mu: keys in it
	capacity int   // guarded by mu: how many it is made for
}

// keyColumn is where keys stand.
type keyColumn struct {
	table, column string
	before        any    // less than all keys, of their type
	where         string // a condition before that of the key, and " AND"; "" if there is none
	args          []any  // what $3 and so on are in it
}

// newUsedTxns is of the client transactions that the table has.
func newUsedTxns(s *Store) *keyFilter {
	return newKeyFilter(s, func(key any) (hashes twoHashes) {
		if k, _ := key.([]byte); len(k) == len(txnKey{}) {
			hashes = txnKey(k).hashes()
		}
		return hashes
	}, func(ctx context.Context) (batches []keyColumn, err error) {
		numbers, err := readAll[int64](ctx, s, "SELECT batch FROM client_txn_batches ORDER BY batch")
		for _, batch := range numbers {
			batches = append(batches, keyColumn{"client_txns", "txn_key", []byte{}, "batch = $3 AND", []any{batch}})
		}
		return batches, err
	})
}

func newKeyFilter(s *Store, hash func(key any) twoHashes, columns func(context.Context) ([]keyColumn, error)) *keyFilter {
	f := &keyFilter{store: s, columns: columns, hash: hash, full: make(chan struct{}, 1)}
	f.full <- struct{}{}
	return f
}

// mayHave tells whether the tables may have a key. What was written is known as soon as its transaction is durable.
func (f *keyFilter) mayHave(key twoHashes) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.keys == nil || f.keys.has(key)
}

// add notes a key that the tables have got.
func (f *keyFilter) add(key twoHashes) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys.add(key)
	f.next.add(key)
	if f.count++; f.count == f.capacity+1 {
		select {
		case f.full <- struct{}{}:
		default:
		}
	}
}

// read makes the filter from the tables. One with too many keys goes without.
func (f *keyFilter) read(ctx context.Context) error {
	columns, err := f.columns(ctx)
	if err != nil {
		return err
	}
	rows := 0 // not counted further than they may be
	for _, c := range columns {
		var some int
		query := fmt.Sprintf("SELECT COUNT(*) FROM (SELECT %[1]s FROM %[2]s WHERE %[3]s %[1]s > $1 LIMIT $2) AS keys", c.column, c.table, c.where)
		if err := f.store.read.row(ctx, query, append([]any{c.before, filterMost + 1 - rows}, c.args...), &some); err != nil {
			return err
		}
		rows += some
	}
	capacity := capacityFor(rows)
	if rows > filterMost {
		f.begin(nil, rows, capacity)
		f.put(nil)
		return nil
	}
	next := make(bloom, capacity*bloomBits/64)
	f.begin(next, rows, capacity)                  // from here on it also gets what is written
	if columns, err = f.columns(ctx); err != nil { // what is new since is in next already, but not what came while the rows were counted
		return err
	}
	for _, c := range columns {
		if err := f.readColumn(ctx, next, c); err != nil {
			return err
		}
	}
	f.put(next)
	return nil
}

// capacityFor is for how many keys a filter is made that has so many at first.
func capacityFor(keys int) int {
	capacity := filterLeast
	for capacity < 2*keys && capacity < filterLargest {
		capacity *= 2
	}
	return capacity
}

func (f *keyFilter) readColumn(ctx context.Context, into bloom, c keyColumn) error {
	query := fmt.Sprintf("SELECT %[1]s FROM %[2]s WHERE %[3]s %[1]s > $1 ORDER BY %[1]s LIMIT $2", c.column, c.table, c.where)
	for last, more := c.before, true; more; {
		more = false
		err := f.store.read.each(ctx, query, append([]any{last, filterChunk}, c.args...), func(rows *sql.Rows) error {
			if err := rows.Scan(&last); err != nil {
				return err
			}
			more = true
			f.mu.Lock()
			defer f.mu.Unlock()
			into.add(f.hash(last))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *keyFilter) begin(next bloom, count, capacity int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next, f.count, f.capacity = next, count, capacity
}

func (f *keyFilter) put(keys bloom) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys, f.next = keys, nil
}

// bloom is a Bloom filter; its length is a power of two. Of nil nothing is known.
type bloom []uint64

// bloomBits is how many bits it has for a key, bloomHashes how many of them a key sets: one key in 400 is then taken for another.
const (
	bloomBits   = 16
	bloomHashes = 4
)

func (b bloom) add(key twoHashes) {
	if b == nil {
		return
	}
	at := key.at
	for range bloomHashes {
		b[at/64%uint64(len(b))] |= 1 << (at % 64)
		at += key.step
	}
}

func (b bloom) has(key twoHashes) bool {
	at := key.at
	for range bloomHashes {
		if b[at/64%uint64(len(b))]&(1<<(at%64)) == 0 {
			return false
		}
		at += key.step
	}
	return true
}

// twoHashes are where a key's bits are: step is odd.
type twoHashes struct{ at, step uint64 }

// hashes are two of a key, which is one itself.
func (k txnKey) hashes() twoHashes {
	return twoHashes{binary.LittleEndian.Uint64(k[:]), binary.LittleEndian.Uint64(k[8:]) | 1}
}
