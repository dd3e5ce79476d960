package event

import (
	"strings"
	"testing"

	"hanse/federation/roomversion"
)

// An event with good prev events and bad auth events is refused like any other bad one.
func TestBadAuthEventsAfterGoodPrevEvents(t *testing.T) {
	rules, _ := roomversion.Lookup(roomversion.V10)
	many := `["` + strings.Repeat(`$a","`, MaxAuthEvents) + `$a"]`
	for name, auth := range map[string]string{"too many": many, "not a list": `{}`, "not an ID": `["x"]`, "a number": `[1]`} {
		raw := `{"auth_events":` + auth + `,"content":{},"depth":1,"hashes":{"sha256":"eA"},"origin_server_ts":1,"prev_events":["$p","$q"],` +
			`"room_id":"!r:domain","sender":"@u:domain","signatures":{},"type":"t"}`
		if _, err := Parse(rules, []byte(raw)); err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
}

// Before there were limits servers took events with more references, and rooms of then have them.
func TestOldEventsMayNameMoreEvents(t *testing.T) {
	list := func(n int) string { return `["` + strings.Repeat(`$a","`, n-1) + `$a"]` }
	rules, _ := roomversion.Lookup(roomversion.V10)
	for _, c := range []struct {
		prev, auth int
		recent     bool
	}{{MaxPrevEvents, MaxAuthEvents, true}, {MaxPrevEvents + 1, 1, false}, {1, MaxAuthEvents + 1, false}, {1000, 1000, false}} {
		raw := []byte(`{"auth_events":` + list(c.auth) + `,"content":{},"depth":1,"hashes":{"sha256":"eA"},"origin_server_ts":1,"prev_events":` +
			list(c.prev) + `,"room_id":"!r:domain","sender":"@u:domain","signatures":{},"type":"t"}`)
		old, err := ReceivedOld(rules, raw)
		if err != nil || len(old.PrevEvents()) != c.prev || len(old.AuthEvents()) != c.auth || !old.IsRedacted() {
			t.Fatalf("%+v: %v", c, err)
		}
		if (old.CheckReferences() == nil) != c.recent {
			t.Errorf("%+v: %v", c, old.CheckReferences())
		}
		if _, err := Received(rules, raw); (err == nil) != c.recent {
			t.Errorf("%+v, as a new one: %v", c, err)
		}
		if _, err := Load(rules, old.ID(), old.JSON()); err != nil {
			t.Errorf("%+v, from the store: %v", c, err)
		}
		var glance Glance
		if auth, _, err := glance.Read(rules, old.JSON()); err != nil || len(auth) != c.auth {
			t.Errorf("%+v, at a glance: %d, %v", c, len(auth), err)
		}
	}
}
