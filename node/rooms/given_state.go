package rooms

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/node/store"
)

// givenState is a state as other servers get it, with its auth chain. The events are read while they are written: of a large room only
// the IDs are in memory.
type givenState struct {
	r      *Rooms
	roomID id.RoomID
	state  []id.EventID
	// without is what is left out of the auth chain: the state, where members are omitted. Those who ask for that know it.
	without map[id.EventID]bool

	chain []chained           // auth events of what was read; complete after walk
	seen  map[id.EventID]bool // of chain
	last  []id.EventID        // cited by the event before, as by most members
}

// chained is an event of an auth chain.
type chained struct {
	eventID id.EventID
	depth   int64
}

// giveState prepares a state of a room.
func (r *Rooms) giveState(roomID id.RoomID, state roomstate.Map) (*givenState, error) {
	ids := make([]id.EventID, 0, state.Len())
	for e, err := range state.Entries() {
		if err != nil {
			return nil, err
		}
		ids = append(ids, e.Event)
	}
	return &givenState{r: r, roomID: roomID, state: ids, seen: map[id.EventID]bool{}}, nil
}

// givePart prepares a part of a state of a room, for who doesn't want it in the auth chain again.
func (r *Rooms) givePart(roomID id.RoomID, part []id.EventID) *givenState {
	g := &givenState{r: r, roomID: roomID, state: part, without: make(map[id.EventID]bool, len(part)), seen: map[id.EventID]bool{}}
	for _, eventID := range part {
		g.without[eventID] = true
	}
	return g
}

// cites notes auth events of one that was read.
func (g *givenState) cites(auth []id.EventID) {
	if slices.Equal(auth, g.last) {
		return
	}
	g.last = auth
	for _, a := range auth {
		if !g.seen[a] {
			g.seen[a] = true
			g.chain = append(g.chain, chained{eventID: a})
		}
	}
}

// events gives the state's events. It must come before authChain.
func (g *givenState) events(ctx context.Context) federation.Stream {
	return func(yield func(json.RawMessage) error) error {
		given := 0
		err := g.r.store.EachEvent(ctx, g.roomID, g.state, func(e store.ServedEvent) error {
			given++
			g.cites(e.Auth)
			return yield(e.JSON)
		})
		return allGiven(given, g.state, err)
	}
}

// authChain gives the auth chain of the events that were read, auth events of an event mostly before it.
func (g *givenState) authChain(ctx context.Context) federation.Stream {
	return func(yield func(json.RawMessage) error) error {
		if err := g.walk(ctx); err != nil {
			return err
		}
		for chunk := range slices.Chunk(g.chainIDs(), chainChunk) {
			if err := g.inOrder(ctx, chunk, yield); err != nil {
				return err
			}
		}
		return nil
	}
}

// chainChunk is how many events of an auth chain are held to be given in order.
const chainChunk = 256

// inOrder gives events in the given order.
func (g *givenState) inOrder(ctx context.Context, ids []id.EventID, yield func(json.RawMessage) error) error {
	read := make(map[id.EventID]json.RawMessage, len(ids))
	err := g.r.store.EachEvent(ctx, g.roomID, ids, func(e store.ServedEvent) error {
		read[e.ID] = slices.Clone(e.JSON)
		return nil
	})
	for _, eventID := range ids {
		if raw, ok := read[eventID]; ok && err == nil {
			err = yield(raw)
		}
	}
	return err
}

// walk completes the chain and sorts it by depth.
func (g *givenState) walk(ctx context.Context) error {
	for next := 0; next < len(g.chain); {
		index := make(map[id.EventID]int, len(g.chain)-next)
		ids := make([]id.EventID, 0, len(g.chain)-next)
		for ; next < len(g.chain); next++ {
			index[g.chain[next].eventID] = next
			ids = append(ids, g.chain[next].eventID)
		}
		err := g.r.store.EachEvent(ctx, g.roomID, ids, func(e store.ServedEvent) error {
			g.chain[index[e.ID]].depth = e.Depth
			g.cites(e.Auth)
			return nil
		})
		if err != nil {
			return err
		}
	}
	slices.SortFunc(g.chain, func(a, b chained) int {
		return cmp.Or(cmp.Compare(a.depth, b.depth), cmp.Compare(a.eventID, b.eventID))
	})
	return nil
}

// chainIDs are the events of the chain, after walk.
func (g *givenState) chainIDs() []id.EventID {
	ids := make([]id.EventID, 0, len(g.chain))
	for _, c := range g.chain {
		if !g.without[c.eventID] {
			ids = append(ids, c.eventID)
		}
	}
	return ids
}

// chainOnly is the chain's IDs, without the events.
func (g *givenState) chainOnly(ctx context.Context) ([]id.EventID, error) {
	err := g.r.store.EachEvent(ctx, g.roomID, g.state, func(e store.ServedEvent) error {
		g.cites(e.Auth)
		return nil
	})
	if err == nil {
		err = g.walk(ctx)
	}
	return g.chainIDs(), err
}
