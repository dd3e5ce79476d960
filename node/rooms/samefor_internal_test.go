package rooms

import (
	"testing"

	"hanse/federation/id"
	"hanse/federation/roomstate"
)

// What a server sees is the same before and after all but the changes of its own users and of the visibility.
func TestSameFor(t *testing.T) {
	state := func(entries ...string) roomstate.Map {
		return roomstate.Build(func(yield func(roomstate.Key, id.EventID) bool) {
			for i := 0; i < len(entries); i += 3 {
				if !yield(roomstate.Key{Type: entries[i], StateKey: entries[i+1]}, id.EventID(entries[i+2])) {
					return
				}
			}
		})
	}
	first := []string{typeMember, "@ada:one.example", "$1", typeHistoryVisibility, "", "$2", typeName, "", "$3"}
	for what, c := range map[string]struct {
		last, state roomstate.Map
		want        bool
	}{
		"the first state":       {roomstate.Map{}, state(first...), false},
		"the same":              {state(first...), state(first...), true},
		"another name":          {state(first...), state(append(first, typeName, "", "$4")...), true},
		"another server's user": {state(first...), state(append(first, typeMember, "@bob:two.example", "$4")...), true},
		"a user of theirs":      {state(first...), state(append(first, typeMember, "@bob:one.example", "$4")...), false},
		"their user again":      {state(append(first, typeMember, "@ada:one.example", "$4")...), state(first...), false},
		"another visibility":    {state(first...), state(append(first, typeHistoryVisibility, "", "$4")...), false},
	} {
		if got, err := sameFor("one.example", c.last, c.state); err != nil || got != c.want {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
}
