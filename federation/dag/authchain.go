package dag

import (
	"hanse/federation/event"
	"hanse/federation/id"
)

// AuthChain returns the auth events of the given events, theirs, and so on.
func AuthChain(of []id.EventID, src Source) (map[id.EventID]*event.Event, error) { return nil, nil }
