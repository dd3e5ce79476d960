package store

import (
	"context"
	"fmt"
	"time"

	"hanse/federation/id"
)

// ClientTxn is a client's transaction: the same user, device, endpoint and TxnID is the same request.
type ClientTxn struct {
	User     id.UserID
	Device   string
	Endpoint string // what the client called, without the transaction ID: "send/!room:x/m.room.message"
	TxnID    string
	EventID  id.EventID
}

// findTxn is where a client's transaction is found that the tail doesn't have: in any batch, as its key doesn't tell when it was. That is
// asked seldom, since a filter knows nearly all that are new. Batch by batch: for a join PostgreSQL reads the whole table where it hasn't
// counted the batches, which are too few for it to do so by itself.
const findTxn = `SELECT event_id FROM (SELECT (SELECT event_id FROM client_txns WHERE batch = b.batch AND txn_key = $1) AS event_id
	FROM client_txn_batches b) AS found WHERE event_id IS NOT NULL`

// txnBatch is in which batch a client's transaction is, by the position of its event, or that at which it was written. Keys are random,
// so that in a table of all an entry would change a page of its own, which is written to the log and copied to its place.
func txnBatch(at Position) int64 { return int64(at) >> txnBatchBits }

// ClientTxn tells which event a client's transaction made; false when the transaction is not known.
//
// spec:client-server-api#transaction-identifiers
func (s *Store) ClientTxn(ctx context.Context, user id.UserID, device, endpoint, txnID string) (id.EventID, bool, error) {
	return s.clientTxn(ctx, ClientTxn{User: user, Device: device, Endpoint: endpoint, TxnID: txnID}.key())
}

func (s *Store) clientTxn(ctx context.Context, key txnKey) (id.EventID, bool, error) {
	// The tail first: what leaves it meanwhile is in the table.
	if e, ok := s.tail.txn(key); ok {
		return e, true, nil
	}
	if !s.usedTxns.mayHave(key.hashes()) {
		return "", false, nil
	}
	var e id.EventID
	found, err := s.read.found(ctx, findTxn, []any{key[:]}, &e)
	return e, found, err
}

// unusedTxns checks that no client transaction of a commit was used before, as far as it can be seen before the
// commit's turn; txnsStillUnused has the last word.
func (w *roomWrite) unusedTxns(ctx context.Context) error {
	w.txnOf = map[id.EventID]int{}
	for i, c := range w.opts.ClientTxns {
		key := c.key()
		w.txnKeys, w.txnOf[c.EventID] = append(w.txnKeys, key), i
		if _, used, err := w.store.clientTxn(ctx, key); err != nil || used {
			return txnUsed(c, err)
		}
	}
	return nil
}

func txnUsed(c ClientTxn, err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: %s", ErrClientTxnUsed, c.TxnID)
}

// txnsStillUnused looks for the transactions among those that were written since the commit was prepared, before the
// commit writes anything.
func (w *roomWrite) txnsStillUnused(t *writeTx) error {
	for i, key := range w.txnKeys {
		_, used := t.txns[key]
		if !used {
			_, used = w.store.tail.txn(key)
		}
		if !used && w.store.usedTxns.mayHave(key.hashes()) { // it may have been in the tail and have left it
			var e id.EventID
			var err error
			if used, err = t.found(findTxn, []any{key[:]}, &e); err != nil {
				return err
			}
		}
		if used {
			return txnUsed(w.opts.ClientTxns[i], nil)
		}
		t.txns[key] = struct{}{}
	}
	return nil
}

// cleanTxns deletes the batches of client transactions that are all of before a time.
func (s *Store) cleanTxns(ctx context.Context, before time.Time) error {
	for more := true; more; {
		err := s.commit.write(ctx, func(t *writeTx) (err error) {
			var batch int64
			more, err = t.found("SELECT batch FROM client_txn_batches WHERE newest < $1 ORDER BY batch LIMIT 1", []any{before.UnixMilli()}, &batch)
			if err != nil || !more {
				return err
			}
			n, err := t.exec(`DELETE FROM client_txns WHERE batch = $1 AND txn_key IN
				(SELECT txn_key FROM client_txns WHERE batch = $1 ORDER BY txn_key LIMIT $2)`, batch, cleaningRows)
			if err == nil && n == 0 {
				_, err = t.exec("DELETE FROM client_txn_batches WHERE batch = $1", batch)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// writeTxns writes the client transactions that are in no row of an event of the tail.
func (w *roomWrite) writeTxns(t *writeTx) error {
	for i, c := range w.opts.ClientTxns {
		if w.inRow[i] {
			continue
		}
		batch := txnBatch(t.position)
		if err := t.insert(insertTxnBatch, batch, w.now.UnixMilli()); err != nil {
			return err
		}
		if err := t.insert(insertClientTxn, batch, w.txnKeys[i][:], string(c.EventID)); err != nil {
			return err
		}
		t.then(func() { w.store.usedTxns.add(w.txnKeys[i].hashes()) })
	}
	return nil
}
