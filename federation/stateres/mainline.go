package stateres

import (
	"cmp"
	"math"
	"slices"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
)

var (
	createKey = roomstate.Key{Type: typeCreate}
	powerKey  = roomstate.Key{Type: typePowerLevels}
)

// noPosition is the mainline position of an event whose power levels events are not in the mainline: infinity.
const noPosition = math.MaxInt

// mainlineOrdering sorts events by their mainline positions, from the greatest (the oldest power levels) to the
// smallest, then by origin_server_ts, then by event ID. power is P, nil if the room has no power levels: all positions
// are infinite then.
//
// spec:rooms/v2#definitions
func (r *resolution) mainlineOrdering(events []*event.Event, power *event.Event) ([]*event.Event, error) {
	mainline := map[id.EventID]int{}
	for p := power; p != nil; {
		mainline[p.ID()] = len(mainline)
		next, err := r.powerLevelsBefore(p)
		if err != nil {
			return nil, err
		}
		if next != nil {
			if _, circle := mainline[next.ID()]; circle {
				break
			}
		}
		p = next
	}
	positions := make(map[id.EventID]int, len(events))
	for _, e := range events {
		position, err := r.mainlinePosition(e, mainline)
		if err != nil {
			return nil, err
		}
		positions[e.ID()] = position
	}
	sorted := slices.Clone(events)
	slices.SortFunc(sorted, func(x, y *event.Event) int {
		return cmp.Or(cmp.Compare(positions[y.ID()], positions[x.ID()]),
			cmp.Compare(x.OriginServerTS(), y.OriginServerTS()),
			cmp.Compare(x.ID(), y.ID()))
	})
	return sorted, nil
}

// mainlinePosition returns the index in the mainline of the first power levels event that is there, of those which the
// auth events of e lead to one after the other. It notes in mainline what it finds for those that are not there.
func (r *resolution) mainlinePosition(e *event.Event, mainline map[id.EventID]int) (int, error) {
	var passed []id.EventID
	position := noPosition
	for p := e; ; {
		next, err := r.powerLevelsBefore(p)
		if err != nil {
			return 0, err
		}
		if next == nil {
			break
		}
		if found, ok := mainline[next.ID()]; ok {
			position = found
			break
		}
		mainline[next.ID()] = noPosition // until more is known; and the end of a circle
		passed = append(passed, next.ID())
		p = next
	}
	for _, p := range passed {
		mainline[p] = position
	}
	return position, nil
}

// powerLevelsBefore returns the power levels event among the auth events of e, nil if there is none.
func (r *resolution) powerLevelsBefore(e *event.Event) (*event.Event, error) {
	if err := r.pool.load(e.AuthEvents()); err != nil {
		return nil, err
	}
	for _, auth := range e.AuthEvents() {
		if a := r.pool.events[auth]; a != nil && a.Is(typePowerLevels, "") {
			return a, nil
		}
	}
	return nil, nil
}
