// Package stateres resolves the states of the branches of a room into one.
package stateres

import (
	"hanse/federation/dag"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
)

// Source answers from what is stored.
type Source = dag.Source

// Resolve returns the resolution of a set of states.
func Resolve(rules *roomversion.Rules, states []roomstate.Map, src Source) (roomstate.Map, error) {
	return roomstate.Map{}, nil
}
