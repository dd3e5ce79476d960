package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"hanse/federation/id"
	"hanse/federation/roomstate"
)

// TestTheStateCacheIsBounded: whatever rooms commit, and however long the state keys are, the nodes that are kept take no more bytes than
// they may, and those of a state that comes as a whole aren't kept.
func TestTheStateCacheIsBounded(t *testing.T) {
	const most = 1 << 20
	c := newStateCache(nil, most)
	kept := func() (bytes, largest int) {
		for _, generation := range []map[roomstate.Hash]roomstate.Node{c.nodes.young, c.nodes.old} {
			for _, n := range generation {
				bytes += n.Size()
				largest = max(largest, n.Size())
			}
		}
		return bytes, largest
	}
	rowsOf := func(room, entries int) (rows []nodeRow) {
		state := roomstate.Build(func(yield func(roomstate.Key, id.EventID) bool) {
			for i := range entries {
				key := roomstate.Key{Type: "m.room.member", StateKey: fmt.Sprintf("@%0200d:r%d.example", i, room)}
				if !yield(key, "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA") {
					return
				}
			}
		})
		for made := range state.Nodes(func(roomstate.Hash) bool { return false }) {
			rows = append(rows, nodeRow{hash: made.Hash(), made: made})
		}
		return rows
	}
	whole := rowsOf(0, 40*keptNodes)
	if len(whole) <= keptNodes {
		t.Fatalf("a state of %d nodes is no large one", len(whole))
	}
	if c.stored(whole); c.nodes.used != 0 {
		t.Errorf("of a state that came as a whole, %d bytes are kept", c.nodes.used)
	}
	full := 0
	for room := range 40 {
		c.stored(rowsOf(room, 1000))
		bytes, largest := kept()
		if full = max(full, bytes); bytes > most+2*largest {
			t.Fatalf("after %d rooms the cache holds %d bytes, and may hold %d", room+1, bytes, most)
		}
	}
	if full < most/2 {
		t.Errorf("the cache never held more than %d bytes of %d", full, most)
	}
}

// TestAStateThatIsNotReadInTimeIsAFaultOfOurs: who asks is told to come again, and rooms go on once states can be read.
func TestAStateThatIsNotReadInTimeIsAFaultOfOurs(t *testing.T) {
	c := newStateCache(&reader{log: slog.New(slog.DiscardHandler)}, 1<<20)
	err := c.reading(time.Nanosecond, func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
	if !Unavailable(err) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := c.reading(time.Minute, func(context.Context) error { return errNoReads }); err != errNoReads {
		t.Error(err)
	}
}
