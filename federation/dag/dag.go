// Package dag knows how the events of a room hang together: topological order, auth chains. It is about
// the shape of the graph alone and decides nothing about the events; depths are never trusted, only used to make an
// order definite.
package dag

import (
	"hanse/federation/event"
	"hanse/federation/id"
)

// Source answers from what is stored.
type Source interface {
	// Events returns the stored events of those IDs. Those that are not stored are absent from the map, which is
	// not an error. The caller neither changes nor keeps the map.
	Events(ids []id.EventID) (map[id.EventID]*event.Event, error)
}
