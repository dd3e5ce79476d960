package clientapi

import "iter"

// LaneLoad is how much of a kind of work there is now.
type LaneLoad struct {
	Working int // requests being worked on
	Waiting int // requests that wait for their turn
}

// Loads gives the load of each kind of work, by its name. The set of names is closed.
func (a *API) Loads() iter.Seq2[string, func() LaneLoad] {
	return func(yield func(string, func() LaneLoad) bool) {
		for _, l := range [...]struct {
			name string
			lane *lane
		}{
			{"sends", a.lanes.sends}, {"large", a.lanes.large}, {"ordinary", a.lanes.ordinary}, {"asking", a.lanes.asking}, {"logins", a.lanes.logins}, {"remote", a.lanes.remote},
			{"waiting", a.lanes.waiting}, {"uploads", a.lanes.uploads}, {"files", a.lanes.files},
		} {
			load := func() LaneLoad {
				return LaneLoad{Working: len(l.lane.slots), Waiting: int(max(l.lane.waiting.Load(), 0))}
			}
			if !yield(l.name, load) {
				return
			}
		}
	}
}

// HeldBodies is how many bytes of request bodies are held.
func (a *API) HeldBodies() int64 { return a.bodies.total() }
