package room_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
)

// old makes an event of before there were limits of the lists of prev and auth events.
func old(w *world, d event.Draft, prev, auth []id.EventID) *event.Event {
	w.t.Helper()
	d.PrevEvents = prev[:1]
	e := w.make(d)
	var fields map[string]any
	if err := json.Unmarshal(e.JSON(), &fields); err != nil {
		w.t.Fatal(err)
	}
	fields["prev_events"] = prev
	if auth != nil {
		fields["auth_events"] = auth
	}
	raw, err := json.Marshal(fields)
	if err != nil {
		w.t.Fatal(err)
	}
	if e, err = event.ReceivedOld(w.rules, raw); err != nil {
		w.t.Fatal(err)
	}
	w.add(e, w.after[prev[0]])
	return e
}

// unknown are n names of events that nobody has.
func unknown(n int) []id.EventID {
	list := make([]id.EventID, n)
	for i := range list {
		list[i] = id.EventID(fmt.Sprintf("$%043d", i))
	}
	return list
}

// Old events may have as many prev events as fit into them. What is too much for one step is left for the next, which begins where this one has
// ended.
func TestAPageOfOldEventsIsBounded(t *testing.T) {
	m, store := founded(t, roomversion.V10)
	w := others(t, store, roomversion.V10)
	joined(t, m, store, w, "@bob:b")
	at := m.Forward()[0]
	var page []*event.Event // the oldest first
	for i := range 20 {
		e := old(w, message("@bob:b", fmt.Sprint(i)), append([]id.EventID{at}, unknown(1000)...), nil)
		page, at = append(page, e), e.ID()
	}
	store.above[at] = true
	reads := store.reads
	waiting := make(map[id.EventID]bool)
	for _, v := range step(t, m, store, room.Backfill{Origin: "b", Events: page}).Verdicts {
		waiting[v.EventID] = v.Status == room.Waiting
	}
	for i, e := range page {
		if waiting[e.ID()] != (i >= 17) {
			t.Errorf("event %d waits: %v", i, waiting[e.ID()])
		}
	}
	if reads = store.reads - reads; reads > 5000 {
		t.Errorf("%d events were looked up", reads)
	}
}

// An event that names more auth events than any selection has is rejected: none of them is asked for, or looked up.
func TestTooManyAuthEventsAreNotLookedUp(t *testing.T) {
	for _, version := range []roomversion.Version{roomversion.V10, roomversion.V12} {
		m, store := founded(t, version)
		w := others(t, store, version)
		joined(t, m, store, w, "@bob:b")
		e := old(w, message("@bob:b", "old"), m.Forward(), unknown(1000))
		topic := old(w, event.Draft{Type: "m.room.topic", StateKey: new(""), Sender: "@bob:b", Content: []byte("{}")}, m.Forward(), unknown(1000))
		store.above[e.ID()] = true
		for _, in := range []room.Input{room.Backfill{Origin: "b", Events: []*event.Event{e}}, room.Outliers{Events: []*event.Event{topic}}} {
			reads := store.reads
			result := step(t, m, store, in)
			if len(result.Verdicts) != 1 || result.Verdicts[0].Status != room.Rejected || len(result.Fetch) > 0 {
				t.Errorf("version %s, %T: %+v, %d fetches", version, in, result.Verdicts, len(result.Fetch))
			}
			if reads = store.reads - reads; reads > 20 {
				t.Errorf("version %s, %T: %d events were looked up", version, in, reads)
			}
		}
	}
}
