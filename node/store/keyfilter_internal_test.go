package store

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"
)

func keyOfNumber(n int) txnKey {
	hash := sha256.Sum256(binary.AppendUvarint(nil, uint64(n)))
	return txnKey(hash[:len(txnKey{})])
}

// TestTheFilterKnowsEveryKey: a key that was added may be there, before the filter was read, while and after; of others few may.
func TestTheFilterKnowsEveryKey(t *testing.T) {
	const keys = 50_000
	u := newUsedTxns(nil)
	<-u.full
	all := func(n int) {
		t.Helper()
		for i := range n {
			if !u.mayHave(keyOfNumber(i).hashes()) {
				t.Fatalf("the key %d of %d can't be there", i, n)
			}
		}
	}
	all(keys) // not read yet
	u.begin(make(bloom, 1<<13), 0, keys/2)
	for i := range keys / 4 {
		u.add(keyOfNumber(i).hashes())
	}
	all(keys) // being read
	u.put(u.next)
	for i := keys / 4; i < keys/2; i++ {
		u.add(keyOfNumber(i).hashes())
	}
	all(keys / 2)
	select {
	case <-u.full:
		t.Error("it is full before it is")
	default:
	}
	u.add(keyOfNumber(keys / 2).hashes())
	select {
	case <-u.full:
	default:
		t.Error("it doesn't tell that it is full")
	}
	wrong := 0
	for i := keys; i < 2*keys; i++ {
		if u.mayHave(keyOfNumber(i).hashes()) {
			wrong++
		}
	}
	if wrong == 0 || wrong > keys/100 {
		t.Errorf("%d of %d keys that aren't there may be", wrong, keys)
	}
}
