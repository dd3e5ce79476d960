package store

import (
	"encoding/binary"
	"testing"

	"hanse/federation/roomstate"
)

// A large room's past states share few nodes when they are read: of them few are kept, of those that were made here many.
func TestLargeStatesAreNotHoarded(t *testing.T) {
	kept := func(read int) int {
		c := newStateCache(1 << 20)
		for i := range uint64(4 * recentStates) {
			var h roomstate.Hash
			binary.BigEndian.PutUint64(h[:], i)
			c.maps.put(h, recentState{read: read})
		}
		return len(c.maps.young) + len(c.maps.old)
	}
	if n := kept(recentNodes / 4); n > 4 {
		t.Errorf("%d are kept of which four are as many nodes as may be", n)
	}
	if n := kept(recentNodes); n > 2 {
		t.Errorf("%d are kept of which one is as many nodes as may be", n)
	}
	if n := kept(0); n < recentStates/2 || n > recentStates {
		t.Errorf("%d small ones are kept", n)
	}
}
