package store

import (
	"fmt"
	"testing"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

// TestALateReadIsNotKept: a row that was read before a transaction ended may be what the row was before.
func TestALateReadIsNotKept(t *testing.T) {
	rules, _ := roomversion.Lookup(roomversion.V10)
	e, err := event.Load(rules, "$e", []byte(`{"type":"m.room.message","room_id":"!r:a.example","sender":"@a:a.example","content":{},"depth":1,"origin_server_ts":1,"prev_events":[],"auth_events":[],"hashes":{"sha256":"x"},"signatures":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	c := newEventCache(1 << 20)
	before := c.version.Load()
	c.version.Add(1)
	c.fill(&storedEvent{event: e}, before)
	if _, kept := c.rows.get("$e"); kept {
		t.Error("it is kept")
	}
	c.fill(&storedEvent{event: e}, c.version.Load())
	if _, kept := c.rows.get("$e"); !kept {
		t.Error("one that is not late isn't")
	}
}

// TestLateAnswersAreNotKept: that nothing names an event is remembered only if nothing can have come to name it since it was asked.
func TestLateAnswersAreNotKept(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(*unheard)
		kept      bool
	}{
		"nothing happened":    {func(*unheard) {}, true},
		"something was named": {func(u *unheard) { u.version.Add(1) }, false},
		"the tail was moved":  {func(u *unheard) { u.tail.indexed++ }, false},
		"it came":             {func(u *unheard) { u.tail.ids["$e"] = 1 }, false},
		"another one came":    {func(u *unheard) { u.tail.ids["$other"] = 1 }, true},
	} {
		s := &Store{}
		s.tail = newTail(s)
		u := newUnheard(s)
		version, indexed := u.version.Load(), u.tail.upto()
		c.meanwhile(u)
		u.keep([]id.EventID{"$e"}, version, indexed)
		if u.has("$e") != c.kept {
			t.Errorf("%s: remembered %v", name, !c.kept)
		}
	}
}

// TestAWalkIsBounded: whatever a peer asks for, a walk along prev events looks at no more than walkEvents.
func TestAWalkIsBounded(t *testing.T) {
	w := walk{store: &Store{}, seen: map[id.EventID]bool{}}
	for i := range walkEvents {
		w.seen[id.EventID(fmt.Sprint("$", i))] = true
	}
	if err := w.add(t.Context(), []id.EventID{"$more"}); err != nil || w.seen["$more"] {
		t.Errorf("it goes on: %v", err)
	}
}
