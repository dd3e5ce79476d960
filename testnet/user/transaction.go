package user

import (
	"crypto/rand"
	"strconv"
	"sync/atomic"
)

// transactionIDs makes the transaction IDs of one user: unique across runs by a random start.
type transactionIDs struct {
	prefix string
	count  *atomic.Int64
}

func newTransactionIDs() transactionIDs {
	return transactionIDs{prefix: rand.Text(), count: new(atomic.Int64)}
}

func (t transactionIDs) next() string {
	return t.prefix + "-" + strconv.FormatInt(t.count.Add(1), 10)
}
