package sim

import (
	"cmp"
	"maps"
	"slices"

	"hanse/federation/authrules"
	"hanse/federation/canonicaljson"
	"hanse/federation/dag"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/testnet/wholestate"
)

// answer is what a server answers to a fetch from what it has stored; false: it can't help.
func (s *server) answer(f room.Fetch) (room.Provide, bool) {
	in := room.Provide{Fetch: f, From: s.name}
	if !s.resident() {
		return in, false
	}
	switch f.Kind {
	case room.FetchMissing:
		in.Events = s.missing(f.Latest, f.Earliest, min(f.Limit, 5))
		return in, true
	case room.FetchAuth:
		if _, ok := s.store.events[f.At]; !ok {
			in.Events = s.some(f.Events)
			return in, len(in.Events) > 0
		}
		in.Events = s.authChain([]id.EventID{f.At})
		return in, true
	case room.FetchState:
		at, ok := s.store.events[f.At]
		if !ok || at.Outlier || !s.whole() {
			return in, false
		}
		state := stateIDs(at.Before)
		in.State = &room.StateAt{At: f.At, State: state}
		in.Events = append(s.authChain(state), s.some(state)...)
		for _, e := range in.Events {
			in.State.AuthChain = append(in.State.AuthChain, e.ID())
		}
		in.Events = append(in.Events, s.shown(at.Event))
		return in, true
	}
	return in, false
}

// missing is /get_missing_events: breadth first from latest, down to earliest.
func (s *server) missing(latest, earliest []id.EventID, limit int) []*event.Event {
	seen := make(map[id.EventID]bool)
	for _, e := range slices.Concat(latest, earliest) {
		seen[e] = true
	}
	var found []*event.Event
	for queue := slices.Clone(latest); len(queue) > 0; queue = queue[1:] {
		for _, p := range s.prev(queue[0]) {
			c, ok := s.store.events[p]
			if seen[p] || !ok || c.Outlier || len(found) == limit {
				continue
			}
			seen[p] = true
			found = append(found, s.shown(c.Event))
			queue = append(queue, p)
		}
	}
	return found
}

// authChain is the auth chain of events, with the create event where that is implied.
func (s *server) authChain(of []id.EventID) []*event.Event {
	chain, err := dag.AuthChain(of, authSource{s.store})
	if err != nil {
		return nil
	}
	if create, ok := s.store.roomID.CreateEvent(); ok {
		chain[create] = s.store.events[create].Event
	}
	for e, whole := range chain {
		chain[e] = s.shown(whole)
	}
	return sorted(slices.Collect(maps.Values(chain)))
}

// shown is an event as others are given it: redacted, where a redaction that the server has accepted says so.
//
// In room version 8 a join that was authorised by a user isn't valid any more once it is redacted, and servers differ: that isn't for us to mend.
//
// spec:rooms/v9#redactions
func (s *server) shown(e *event.Event) *event.Event {
	if _, authorised := canonicaljson.Get(e.Content(), "join_authorised_via_users_server"); authorised && s.n.rules.Version == roomversion.V8 {
		return e
	}
	for _, by := range s.store.redactions[e.ID()] {
		c := s.store.events[by]
		if may, err := authrules.MayRedact(c.Event, e, before{s.store, c.Before}); err == nil && may && c.Status == room.Accepted {
			s.n.report.Redacted++
			return e.Redacted()
		}
	}
	return e
}

// before is the state before an event, for authrules.
type before struct {
	store *store
	state roomstate.Map
}

// StateEvent is for authrules.
func (b before) StateEvent(typ, stateKey string) (*event.Event, error) {
	e, _ := wholestate.Get(b.state, typ, stateKey)
	return b.store.events[e].Event, nil
}

func (s *server) some(ids []id.EventID) []*event.Event {
	var list []*event.Event
	for _, e := range ids {
		if c, ok := s.store.events[e]; ok {
			list = append(list, s.shown(c.Event))
		}
	}
	return sorted(list)
}

func sorted(list []*event.Event) []*event.Event {
	slices.SortFunc(list, func(a, b *event.Event) int { return cmp.Compare(a.ID(), b.ID()) })
	return list
}

func stateIDs(state roomstate.Map) []id.EventID {
	var ids []id.EventID
	for _, e := range wholestate.All(state) {
		ids = append(ids, e)
	}
	slices.Sort(ids)
	return ids
}

func (s *server) prev(e id.EventID) []id.EventID {
	if c, ok := s.store.events[e]; ok {
		return c.Event.PrevEvents()
	}
	return nil
}
