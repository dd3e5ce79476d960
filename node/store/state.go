package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
)

// stateCache reads nodes of states as they are needed, and keeps those that were asked for last: it is the roomstate.Loader of all
// stored states. A state itself holds one node; so many large rooms take no more memory than one. Safe for concurrent use.
type stateCache struct {
	read  *reader
	nodes *generations[roomstate.Hash, roomstate.Node]
	known *generations[roomstate.Hash, struct{}] // nodes that are stored
}

func newStateCache(read *reader, bytes int) *stateCache {
	return &stateCache{
		read:  read,
		nodes: newGenerations[roomstate.Hash](bytes, roomstate.Node.Size),
		known: newGenerations[roomstate.Hash, struct{}](knownNodes, nil),
	}
}

// reading does a read. A state outlives the request that it was made for, so its reads are bounded by themselves: that one takes too long
// is a fault of the database's, not of who asked.
func (c *stateCache) reading(limit time.Duration, read func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	err := read(ctx)
	if err != nil && ctx.Err() != nil {
		c.read.log.Error("a room's state can't be read in time; what needs it is refused until it can", "limit", limit, "error", err)
		return &unavailable{err}
	}
	return err
}

// Node implements roomstate.Loader.
func (c *stateCache) Node(h roomstate.Hash) (roomstate.Node, error) {
	if n, ok := c.nodes.get(h); ok {
		return n, nil
	}
	return c.readNode(h)
}

// readNode is Node for one that isn't in memory. It is a function of its own as its reads take h to the heap.
func (c *stateCache) readNode(h roomstate.Hash) (roomstate.Node, error) {
	var data []byte
	var found bool
	err := c.reading(stateReadTimeout, func(ctx context.Context) (err error) {
		found, err = c.read.found(ctx, "SELECT node FROM state_nodes WHERE hash = $1", []any{h[:]}, &data)
		return err
	})
	if err != nil {
		return roomstate.Node{}, fmt.Errorf("store: reading a node of a room's state: %w", err)
	}
	if !found {
		return roomstate.Node{}, fmt.Errorf("store: %w", roomstate.Missing(h))
	}
	n, err := roomstate.Decode(h, data)
	if err != nil {
		return n, fmt.Errorf("store: %w", err)
	}
	c.nodes.put(h, n)
	c.known.put(h, struct{}{})
	return n, nil
}

// Nodes implements roomstate.Loader.
func (c *stateCache) Nodes(hashes []roomstate.Hash, into []roomstate.Node, passing bool) error {
	var missing []roomstate.Hash
	at := make(map[roomstate.Hash]int, len(hashes))
	for i, h := range hashes {
		n, ok := c.nodes.get(h)
		if into[i] = n; !ok {
			missing, at[h] = append(missing, h), i
		}
	}
	if len(missing) == 0 {
		return nil
	}
	err := c.reading(stateReadTimeout, func(ctx context.Context) error {
		return listHashes("SELECT hash, node FROM state_nodes WHERE hash IN (%s)", missing, func(query string, args []any) error {
			return c.read.each(ctx, query, args, func(rows *sql.Rows) error {
				var hash, node []byte
				if err := rows.Scan(&hash, &node); err != nil {
					return err
				}
				h := roomstate.Hash(hash)
				n, err := roomstate.Decode(h, node)
				if err != nil {
					return err
				}
				into[at[h]] = n
				delete(at, h)
				if !passing {
					c.nodes.put(h, n)
					c.known.put(h, struct{}{})
				}
				return nil
			})
		})
	})
	if err != nil {
		return fmt.Errorf("store: reading nodes of a room's state: %w", err)
	}
	for h := range at {
		return fmt.Errorf("store: %w", roomstate.Missing(h))
	}
	return nil
}

// hashBytes is a state's hash as stored.
func hashBytes(m roomstate.Map) []byte {
	h := m.Hash()
	return h[:]
}

// decodeHash reads a state's hash as stored.
func decodeHash(stored []byte) (roomstate.Hash, error) {
	if len(stored) != len(roomstate.Hash{}) {
		return roomstate.Hash{}, fmt.Errorf("store: a state's hash of %d bytes", len(stored))
	}
	return roomstate.Hash(stored), nil
}

// decodeStates reads the columns state_before and state_after. No hash after the event stands for the one before.
func decodeStates(before, after []byte) (states eventStates, err error) {
	if before == nil {
		return eventStates{}, nil
	}
	states.known = true
	if states.before, err = decodeHash(before); err != nil || after == nil {
		states.after = states.before
		return states, err
	}
	states.after, err = decodeHash(after)
	return states, err
}

// storedState reads the state with a stored hash.
func (s *Store) storedState(ctx context.Context, stored []byte) (roomstate.Map, error) {
	root, err := decodeHash(stored)
	if err != nil {
		return roomstate.Map{}, err
	}
	return s.stateOf(ctx, root)
}

// stateOf is the state with a hash. One node is read, others as they are needed.
func (s *Store) stateOf(ctx context.Context, root roomstate.Hash) (roomstate.Map, error) {
	if err := ctx.Err(); err != nil {
		return roomstate.Map{}, fmt.Errorf("store: reading state %v: %w", root, err)
	}
	m, err := roomstate.Open(root, s.state)
	if err != nil {
		return roomstate.Map{}, fmt.Errorf("reading state %v: %w", root, err)
	}
	return m, nil
}

// storedNode tells whether a node is stored already.
func (s *Store) storedNode(ctx context.Context, h roomstate.Hash) (bool, error) {
	if _, ok := s.state.known.get(h); ok {
		return true, nil
	}
	var one int
	found, err := s.read.found(ctx, "SELECT 1 FROM state_nodes WHERE hash = $1", []any{h[:]}, &one)
	if found {
		s.state.known.put(h, struct{}{})
	}
	return found, err
}

// nodeRow is a state node to be written.
type nodeRow struct {
	hash roomstate.Hash
	made roomstate.Node
	node []byte
}

// newNodes lists the nodes of the states that are not stored yet, each once, in the order of the table. Where none or nearly none is, as in a
// new room and when a state becomes whole, that isn't asked: those are written once more.
func (s *Store) newNodes(ctx context.Context, states []roomstate.Map, allNew bool) ([]nodeRow, error) {
	var rows []nodeRow
	taken := map[roomstate.Hash]bool{}
	var failed error
	known := func(h roomstate.Hash) bool {
		if taken[h] || failed != nil {
			return true
		}
		if allNew {
			return false
		}
		stored, err := s.storedNode(ctx, h)
		failed = errors.Join(failed, err)
		return stored
	}
	for _, m := range states {
		for made, node := range m.Nodes(known) {
			taken[made.Hash()] = true
			rows = append(rows, nodeRow{made.Hash(), made, node})
		}
	}
	slices.SortFunc(rows, func(a, b nodeRow) int { return bytes.Compare(a.hash[:], b.hash[:]) })
	return rows, failed
}

// stored notes nodes that were written. What lies below them is in memory for as long as somebody has their state, not for the cache.
func (c *stateCache) stored(rows []nodeRow) {
	for _, n := range rows {
		if c.known.put(n.hash, struct{}{}); len(rows) <= keptNodes {
			c.nodes.put(n.hash, n.made.Alone())
		}
	}
}

// StateBefore is the state before a stored event; false when it is an outlier or not stored.
func (s *Store) StateBefore(ctx context.Context, e id.EventID) (roomstate.Map, bool, error) {
	row, _, err := s.Event(ctx, e)
	if err != nil {
		return roomstate.Map{}, false, err
	}
	return s.StateBeforeRow(ctx, row)
}

// StateBeforeRow is the state before an event that was read; false when it was an outlier.
func (s *Store) StateBeforeRow(ctx context.Context, row EventRow) (roomstate.Map, bool, error) {
	if !row.states.known {
		return roomstate.Map{}, false, nil
	}
	m, err := s.stateOf(ctx, row.states.before)
	return m, err == nil, err
}

// StateAfter is the state after a stored event; false when it is an outlier or not stored.
func (s *Store) StateAfter(ctx context.Context, e id.EventID) (roomstate.Map, bool, error) {
	row, _, err := s.Event(ctx, e)
	if err != nil || !row.states.known {
		return roomstate.Map{}, false, err
	}
	m, err := s.stateOf(ctx, row.states.after)
	return m, err == nil, err
}

// CurrentStateAt is what the current state was when the given position was the newest.
func (s *Store) CurrentStateAt(ctx context.Context, r id.RoomID, at Position) (roomstate.Map, error) {
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return roomstate.Map{}, err
	}
	var root []byte
	found, err := s.read.found(ctx, `SELECT state FROM state_history WHERE room = $1 AND position <= $2
		ORDER BY position DESC LIMIT 1`, []any{ref.number, int64(at)}, &root)
	if err != nil || !found {
		return roomstate.Map{}, err
	}
	return s.storedState(ctx, root)
}

// StateEvents reads the events of a state, redacted ones redacted: those of the keys asked for, or, if there are none,
// all, in no particular order. Keys that the state doesn't have are left out.
func (s *Store) StateEvents(ctx context.Context, m roomstate.Map, keys ...roomstate.Key) ([]*event.Event, error) {
	var ids []id.EventID
	for _, k := range keys {
		e, err := m.Event(k.Type, k.StateKey)
		if err != nil {
			return nil, err
		}
		if e != "" {
			ids = append(ids, e)
		}
	}
	if len(keys) == 0 {
		ids = make([]id.EventID, 0, m.Len())
		for e, err := range m.Entries() {
			if err != nil {
				return nil, err
			}
			ids = append(ids, e.Event)
		}
	}
	rows, err := s.Events(ctx, ids)
	if err != nil {
		return nil, err
	}
	events := make([]*event.Event, 0, len(ids))
	for _, e := range ids {
		row, ok := rows[e]
		if !ok {
			return nil, fmt.Errorf("store: the event %s of a stored state is not stored", e)
		}
		events = append(events, row.Event)
	}
	return events, nil
}
