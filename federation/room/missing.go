package room

import (
	"slices"

	"hanse/federation/id"
)

// Missing is what a waiting event waits for.
type Missing struct {
	Origin id.ServerName // who gave the event: asked first for what it needs
	Prev   []id.EventID  // prev events without a place here
	Auth   []id.EventID  // auth events that are unknown, or rejected for what may be a bad copy
	// Asking is the fetch that is under way for the events of this origin; nil: none.
	Asking *Fetch
	Asked  int // fetches made for the events of this origin so far
}

// Missing tells what an event waits for; false if it doesn't wait.
func (m *Machine) Missing(e id.EventID) (Missing, bool) {
	w := m.waiting.byID[e]
	if w == nil {
		return Missing{}, false
	}
	missing := Missing{Origin: w.origin, Prev: slices.Clone(w.prev), Auth: slices.Clone(w.auth)}
	if c := m.waiting.chases[w.chase()]; c != nil {
		missing.Asked = c.fetches
		if c.fetch != nil {
			asking := *c.fetch
			missing.Asking = &asking
		}
	}
	return missing, true
}
