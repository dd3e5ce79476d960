package store

import (
	"context"
	"database/sql"
	"encoding/binary"
	"sync"
)

// usedTxns tells of nearly every new client transaction, without a read, that the table hasn't got it: to look there was a tenth of
// what a send costs. It is a Bloom filter of the table's keys, read from it behind the start and again when it has become too small.
// Safe for concurrent use.
type usedTxns struct {
	store *Store
	full  chan struct{} // capacity 1: it is to be read from the table (again)

	mu       sync.RWMutex
	keys     bloom // guarded by mu: of the table; nil: not read yet, or too many
	next     bloom // guarded by mu: the one that is being read
	count    int   // guarded by mu: keys in it
	capacity int   // guarded by mu: how many it is made for
}

func newUsedTxns(s *Store) *usedTxns {
	u := &usedTxns{store: s, full: make(chan struct{}, 1)}
	u.full <- struct{}{}
	return u
}

// mayHave tells whether the table may have a key. What was written is known as soon as its transaction is durable.
func (u *usedTxns) mayHave(key txnKey) bool {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.keys == nil || u.keys.has(key)
}

// add notes a key that the table has got.
func (u *usedTxns) add(key txnKey) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.keys.add(key)
	u.next.add(key)
	if u.count++; u.count == u.capacity+1 {
		select {
		case u.full <- struct{}{}:
		default:
		}
	}
}

// read makes the filter from the table. One with too many keys goes without.
func (u *usedTxns) read(ctx context.Context) error {
	var rows int
	if err := u.store.read.row(ctx, "SELECT COUNT(*) FROM client_txns", nil, &rows); err != nil {
		return err
	}
	capacity := usedTxnsLeast
	for capacity < 2*rows {
		capacity *= 2
	}
	if rows > usedTxnsMost {
		u.begin(nil, rows, capacity)
		u.put(nil)
		return nil
	}
	next := make(bloom, capacity*bloomBits/64)
	u.begin(next, rows, capacity) // from here on it also gets what is written
	for last, more := []byte{}, true; more; {
		more = false
		err := u.store.read.each(ctx, "SELECT txn_key FROM client_txns WHERE txn_key > $1 ORDER BY txn_key LIMIT $2",
			[]any{last, usedTxnsChunk}, func(rows *sql.Rows) error {
				if err := rows.Scan(&last); err != nil || len(last) != len(txnKey{}) {
					return err
				}
				more = true
				u.mu.Lock()
				defer u.mu.Unlock()
				next.add(txnKey(last))
				return nil
			})
		if err != nil {
			return err
		}
	}
	u.put(next)
	return nil
}

func (u *usedTxns) begin(next bloom, count, capacity int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.next, u.count, u.capacity = next, count, capacity
}

func (u *usedTxns) put(keys bloom) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.keys, u.next = keys, nil
}

// bloom is a Bloom filter; its length is a power of two. Of nil nothing is known.
type bloom []uint64

// bloomBits is how many bits it has for a key, bloomHashes how many of them a key sets: one key in 400 is then taken for another.
const (
	bloomBits   = 16
	bloomHashes = 4
)

func (b bloom) add(key txnKey) {
	if b == nil {
		return
	}
	at, step := key.hashes()
	for range bloomHashes {
		b[at/64%uint64(len(b))] |= 1 << (at % 64)
		at += step
	}
}

func (b bloom) has(key txnKey) bool {
	at, step := key.hashes()
	for range bloomHashes {
		if b[at/64%uint64(len(b))]&(1<<(at%64)) == 0 {
			return false
		}
		at += step
	}
	return true
}

// hashes are two of a key, which is one itself.
func (k txnKey) hashes() (at, step uint64) {
	return binary.LittleEndian.Uint64(k[:]), binary.LittleEndian.Uint64(k[8:]) | 1
}
