package dag

import (
	"errors"
	"fmt"
	"slices"

	"hanse/federation/event"
	"hanse/federation/id"
)

// ErrChainTooLong is returned for auth chains of more than MaxAuthChain events.
var ErrChainTooLong = errors.New("auth chain too long")

// AuthChain returns the auth events of the given events, their auth events, and so on. The given events are in it only
// if another one leads to them. What the source does not have is left out, with what is behind it. The source is asked
// once for each step away from the given events.
//
// spec:server-server-api#pdus
func AuthChain(of []id.EventID, src Source) (map[id.EventID]*event.Event, error) {
	return authChain(of, src, MaxAuthChain)
}

func authChain(of []id.EventID, src Source, limit int) (map[id.EventID]*event.Event, error) {
	chain := map[id.EventID]*event.Event{}
	asked := make(map[id.EventID]bool, len(of))
	next := slices.Clone(of)
	slices.Sort(next)
	next = slices.Compact(next)
	given := next
	for _, e := range given {
		asked[e] = true
	}
	reached := map[id.EventID]bool{} // given events that are auth events too
	for len(next) > 0 {
		found, err := src.Events(next)
		if err != nil {
			return nil, fmt.Errorf("auth chain: %w", err)
		}
		var after []id.EventID
		for _, eventID := range next {
			e := found[eventID]
			if e == nil {
				continue
			}
			chain[eventID] = e
			for _, auth := range e.AuthEvents() {
				reached[auth] = true
				if !asked[auth] {
					asked[auth] = true
					after = append(after, auth)
				}
			}
		}
		if len(asked) > limit+len(given) {
			return nil, fmt.Errorf("%w: more than %d events", ErrChainTooLong, limit)
		}
		next = after
	}
	for _, e := range given {
		if !reached[e] {
			delete(chain, e)
		}
	}
	return chain, nil
}
