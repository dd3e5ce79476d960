package stateres

import (
	"cmp"
	"math"
	"slices"

	"hanse/federation/event"
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
func (r *resolution) mainlineOrdering(events []int, power *event.Event) ([]int, error) {
	mainline := map[int]int{}
	if power != nil {
		for p := r.pool.number(power.ID()); p != nothing; {
			mainline[p] = len(mainline)
			next, err := r.powerLevelsBefore(p)
			if err != nil {
				return nil, err
			}
			if _, circle := mainline[next]; circle {
				break
			}
			p = next
		}
	}
	sorted := slices.Clone(events)
	for _, v := range sorted {
		position, err := r.mainlinePosition(v, mainline)
		if err != nil {
			return nil, err
		}
		r.pool.vertices[v].place = position
	}
	slices.SortFunc(sorted, func(v, w int) int {
		x, y := &r.pool.vertices[v], &r.pool.vertices[w]
		return cmp.Or(cmp.Compare(y.place, x.place),
			cmp.Compare(x.event.OriginServerTS(), y.event.OriginServerTS()),
			cmp.Compare(x.id, y.id))
	})
	return sorted, nil
}

// mainlinePosition returns the index in the mainline of the first power levels event that is there, of those which the
// auth events of an event lead to one after the other. It notes in mainline what it finds for those that are not there.
func (r *resolution) mainlinePosition(v int, mainline map[int]int) (int, error) {
	var passed []int
	position := noPosition
	for {
		next, err := r.powerLevelsBefore(v)
		if err != nil {
			return 0, err
		}
		if next == nothing {
			break
		}
		if found, ok := mainline[next]; ok {
			position = found
			break
		}
		mainline[next] = noPosition // until more is known; and the end of a circle
		passed = append(passed, next)
		v = next
	}
	for _, p := range passed {
		mainline[p] = position
	}
	return position, nil
}

// powerLevelsBefore returns the power levels event among the auth events of an event, or nothing.
func (r *resolution) powerLevelsBefore(v int) (int, error) {
	auth, err := r.pool.loadAuth(v)
	if err != nil {
		return nothing, err
	}
	for _, a := range auth {
		if e := r.pool.vertices[a].event; e != nil && e.Is(typePowerLevels, "") {
			return a, nil
		}
	}
	return nothing, nil
}
