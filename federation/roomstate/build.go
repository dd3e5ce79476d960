package roomstate

import (
	"iter"
	"slices"

	"hanse/federation/id"
)

// Build makes the state of all entries at once, which is much cheaper than one With after the other. Of entries with
// the same key the last counts.
func Build(entries iter.Seq2[Key, id.EventID]) Map {
	var all []entry
	for key, event := range entries {
		all = append(all, entry{path: pathOf(key.Type, key.StateKey), key: key, event: event})
	}
	if len(all) == 0 {
		return Map{}
	}
	slices.SortStableFunc(all, func(a, b entry) int { return a.path.compare(a.key, &b) })
	kept := all[:1]
	for _, e := range all[1:] {
		if last := &kept[len(kept)-1]; last.path == e.path && last.key == e.key {
			*last = e
			continue
		}
		kept = append(kept, e)
	}
	return Map{root: newNode(kept)}
}
