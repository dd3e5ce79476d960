package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
)

// stateCache keeps states and their nodes, so that equal parts of states are read once and shared in memory.
type stateCache struct {
	maps  *generations[roomstate.Hash, recentState]
	nodes *lockedNodes
	known *generations[roomstate.Hash, struct{}] // nodes that are stored
}

// recentStates is how many whole states are found by their hash alone, at most; those that were made here share nearly all nodes with one
// another. recentNodes bounds the nodes that were read for them, some 200 MB where rooms are so large: one of a room's past states that
// is read shares few.
const (
	recentStates = 1024
	recentNodes  = 1 << 17
)

// recentState is a state, and how many nodes were read for it.
type recentState struct {
	state roomstate.Map
	read  int
}

func (r recentState) nodes() int { return max(r.read, recentNodes/recentStates) }

// nodeBytes is about what a node of the store takes in memory: six entries and their texts.
const nodeBytes = 1500

func newStateCache(bytes int) *stateCache {
	return &stateCache{
		maps:  newGenerations[roomstate.Hash](recentNodes, recentState.nodes),
		nodes: &lockedNodes{nodes: roomstate.NewGenerations(bytes / nodeBytes)},
		known: newGenerations[roomstate.Hash, struct{}](knownNodes, nil),
	}
}

// lockedNodes is a roomstate.Cache for many readers.
type lockedNodes struct {
	mu    sync.Mutex
	nodes *roomstate.Generations // guarded by mu
}

func (l *lockedNodes) Node(h roomstate.Hash) (roomstate.Node, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nodes.Node(h)
}

func (l *lockedNodes) Add(h roomstate.Hash, n roomstate.Node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodes.Add(h, n)
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

// stateOf reads the state with a hash.
func (s *Store) stateOf(ctx context.Context, root roomstate.Hash) (roomstate.Map, error) {
	if recent, ok := s.state.maps.get(root); ok {
		return recent.state, nil
	}
	read := 0
	m, err := roomstate.ReadBatches(root, func(hashes []roomstate.Hash) (map[roomstate.Hash][]byte, error) {
		read += len(hashes)
		return s.readNodes(ctx, hashes)
	}, s.state.nodes)
	if err != nil {
		return roomstate.Map{}, fmt.Errorf("store: reading state %v: %w", root, err)
	}
	s.state.maps.put(root, recentState{m, read})
	return m, nil
}

func (s *Store) readNodes(ctx context.Context, hashes []roomstate.Hash) (map[roomstate.Hash][]byte, error) {
	found := make(map[roomstate.Hash][]byte, len(hashes))
	err := listHashes("SELECT hash, node FROM state_nodes WHERE hash IN (%s)", hashes, func(query string, args []any) error {
		return s.read.each(ctx, query, args, func(rows *sql.Rows) error {
			var hash, node []byte
			if err := rows.Scan(&hash, &node); err != nil {
				return err
			}
			h := roomstate.Hash(hash)
			found[h] = node
			s.state.known.put(h, struct{}{})
			return nil
		})
	})
	return found, err
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
		for hash, node := range m.Nodes(known) {
			taken[hash] = true
			rows = append(rows, nodeRow{hash, node})
		}
	}
	slices.SortFunc(rows, func(a, b nodeRow) int { return bytes.Compare(a.hash[:], b.hash[:]) })
	return rows, failed
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
		if e, ok := m.Get(k.Type, k.StateKey); ok {
			ids = append(ids, e)
		}
	}
	if len(keys) == 0 {
		ids = make([]id.EventID, 0, m.Len())
		for _, e := range m.All() {
			ids = append(ids, e)
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
