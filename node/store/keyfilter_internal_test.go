package store

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
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

// TestTheLargestFilterTakesMore: an old server's events, of which there are more than the largest filter is made for, are told from new ones.
func TestTheLargestFilterTakesMore(t *testing.T) {
	const fiveMillion, asked = 5_000_000, 100_000
	random := rand.New(rand.NewPCG(1, 2))
	hashes := func() twoHashes { return twoHashes{random.Uint64(), random.Uint64() | 1} }
	b := make(bloom, capacityFor(fiveMillion)*bloomBits/64)
	if len(b) != filterLargest*bloomBits/64 || len(b) != capacityFor(filterMost)*bloomBits/64 {
		t.Fatalf("it has %d words", len(b))
	}
	for keys := 0; keys <= filterMost; keys++ {
		most := 0
		switch keys {
		case fiveMillion:
			most = asked / 180
		case filterMost:
			most = asked / 38
		}
		wrong := 0
		for i := 0; most > 0 && i < asked; i++ {
			if b.has(hashes()) {
				wrong++
			}
		}
		if wrong > most {
			t.Errorf("with %d keys, %d of %d that aren't there may be, not %d", keys, wrong, asked, most)
		}
		b.add(hashes())
	}
}
