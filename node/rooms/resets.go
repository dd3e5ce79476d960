package rooms

import (
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
)

// Stats are what a Rooms counts, since its start.
type Stats struct {
	// Resets are current state events that were replaced by older ones, or by nothing, when branches of a room met.
	// After a partition that is what resolution is for; in a room that was whole it is what operators call a state reset.
	Resets int64
	// Merged are the dummy events sent to bring forward extremities down.
	Merged int64
	// Recovered are the events found by asking after an outage of ours.
	Recovered int64
}

// Stats gives the counts.
func (r *Rooms) Stats() Stats {
	return Stats{Resets: r.resets.Load(), Merged: r.merged.Load(), Recovered: r.recovered.Load()}
}

// maxResetKeys is how many keys of a reset are logged: enough to see what it is about.
const maxResetKeys = 5

// noteResets counts and logs what of the current state went back.
func (a *actor) noteResets(in room.Input, c room.Commit) {
	if _, anew := in.(room.Adopt); anew {
		return // what we knew before we left is no state of the room
	}
	keys := resets(c)
	if len(keys) == 0 {
		return
	}
	a.r.resets.Add(int64(len(keys)))
	a.resets.Add(int64(len(keys)))
	a.r.log.Warn("state reset: resolution brought older state back", "room", a.room, "count", len(keys),
		"first", keys[:min(len(keys), maxResetKeys)], "extremities", len(c.Forward))
}

// resets are the keys of the current state whose event gave way to none, or to one that was known before.
func resets(c room.Commit) []roomstate.Key {
	var keys []roomstate.Key
	var fresh map[id.EventID]bool // made only if it is needed
	for _, change := range c.Changes {
		if change.Old == "" {
			continue
		}
		if fresh == nil {
			fresh = make(map[id.EventID]bool, len(c.Events))
			for _, e := range c.Events {
				fresh[e.Event.ID()] = true
			}
		}
		if change.New == "" || !fresh[change.New] {
			keys = append(keys, change.Key)
		}
	}
	return keys
}
