package room_test

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"weak"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
)

// fresh is a store that reads each event anew, as a database does, and looks now and then how many bytes of them are in use.
type fresh struct {
	*memory
	given []weak.Pointer[event.Event]
	calls int
	most  int
}

func (f *fresh) Events(ids []id.EventID) (map[id.EventID]room.Stored, error) {
	if f.calls++; f.calls%100 == 0 {
		f.look()
	}
	found, err := f.memory.Events(ids)
	for e, stored := range found {
		if stored.Event, err = event.Load(stored.Event.Rules(), e, stored.Event.JSON()); err != nil {
			return nil, err
		}
		found[e] = stored
		f.given = append(f.given, weak.Make(stored.Event))
	}
	return found, err
}

func (f *fresh) look() {
	runtime.GC()
	f.given = slices.DeleteFunc(f.given, func(p weak.Pointer[event.Event]) bool { return p.Value() == nil })
	inUse := 0
	for _, p := range f.given {
		if e := p.Value(); e != nil {
			inUse += e.Size()
		}
	}
	f.most = max(f.most, inUse)
}

// Anybody may make an auth chain of a gigabyte, by changing their name with all that an event may hold, and then fork the room. What decides about
// that doesn't have it in memory at once.
func TestResolutionOfLargeEventsIsBoundedInMemory(t *testing.T) {
	m, store := founded(t, roomversion.V12)
	w := others(t, store, roomversion.V12)
	joined(t, m, store, w, "@bob:b")
	base := m.Forward()
	change := func(on []id.EventID, name string) *event.Event {
		d, _ := w.draft("@bob:b", "nick "+name, "")
		d.PrevEvents = on
		return w.make(d)
	}
	small := change(base, "bob")
	at, size, large := base, 0, strings.Repeat("x", 60_000)
	for range 900 {
		e := change(at, large)
		step(t, m, store, room.Receive{Origin: "b", Events: []*event.Event{e}})
		at, size = []id.EventID{e.ID()}, size+e.Size()
	}
	source := &fresh{memory: store}
	result, err := room.Load("a", store.snapshot()).Step(start, room.Receive{Origin: "b", Events: []*event.Event{small}}, source)
	if err != nil || result.Verdicts[0].Status == room.Rejected {
		t.Fatal(err, result.Verdicts)
	}
	if bound := 45 << 20; source.most > bound || size < bound {
		t.Errorf("%d of %d bytes were in memory at once", source.most, size)
	}
}
