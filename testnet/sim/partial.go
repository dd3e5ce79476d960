package sim

import (
	"slices"

	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/testnet/wholestate"
)

// withoutMembers is a state as the answer to send_join gives it with omit_members: of the members it has the one who joins.
func withoutMembers(state roomstate.Map, user id.UserID) []id.EventID {
	var ids []id.EventID
	for key, e := range wholestate.All(state) {
		if key.Type != "m.room.member" || key.StateKey == string(user) {
			ids = append(ids, e)
		}
	}
	slices.Sort(ids)
	return ids
}

// whole asks another server for the state before the join that a server made with a partial state.
func (n *network) whole(s, from *server) error {
	if s.m == nil || s.store.partial == nil || from == s || !from.whole() || !n.reach(s, from) || n.chance(n.cfg.Faults.Fetch) {
		return nil
	}
	join := s.store.partial.Join
	at, ok := from.store.events[join]
	if !ok || at.Outlier {
		return nil
	}
	state := stateIDs(at.Before)
	events := append(from.authChain(state), from.some(state)...)
	if n.rand.IntN(2) == 0 { // a large state comes in parts, the last of which may never come
		part := n.rand.IntN(len(events))
		if _, durable, err := s.step(room.Outliers{Events: events[:part]}); err != nil || !durable || s.m == nil || n.chance(n.cfg.Faults.Lost) {
			return err
		}
		if s.store.partial == nil { // what waited for that part has told more
			return nil
		}
	}
	in := room.Complete{Join: join, States: [][]id.EventID{state}, Events: events, Strict: n.rand.IntN(2) == 0}
	n.trace("%s gets the whole state before %s from %s", s.name, join, from.name)
	result, durable, err := s.step(in)
	if err != nil || !durable {
		return err
	}
	if v, ok := result.Verdict(join); !ok || v.Status != room.Accepted {
		return n.failAt(s, "the whole state is refused", "%s: %+v", s.name, v)
	}
	return nil
}

// completeAll has all servers get the whole state.
func (n *network) completeAll() error {
	for _, s := range n.servers {
		for _, from := range n.servers {
			if err := n.whole(s, from); err != nil {
				return err
			}
		}
	}
	return n.deliverAll()
}

// whole tells whether a server is in the room and knows its whole state.
func (s *server) whole() bool { return s.resident() && s.store.partial == nil }
