package clientapi

import (
	"testing"

	"hanse/federation/event"
	"hanse/federation/roomversion"
)

// Before version 10 a power level may be a text or have a fraction. A room with such levels can be upgraded, and they are what they were.
func TestLevelsOfOldRoomsBecomeIntegers(t *testing.T) {
	old, _ := roomversion.Lookup("5")
	fresh, _ := roomversion.Lookup("11")
	levels, err := event.Parse(old, []byte(`{"type":"m.room.power_levels","state_key":"","sender":"@a:b","room_id":"!r:b","content":{`+
		`"ban":"60","events":{"m.room.name":" 70 ","x":5.9},"events_default":"100","invite":1e3,"notifications":{"room":"20"},"other":"1","users":{"@a:b":"100","@c:b":7}},`+
		`"origin_server_ts":1,"depth":1,"auth_events":[],"prev_events":[],"hashes":{"sha256":"x"},"signatures":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := levelsFor(fresh, "@a:b", nil, nil, levels)
	want := `{"ban":60,"events":{"m.room.name":70,"x":5},"events_default":100,"invite":1000,"notifications":{"room":20},"other":"1","users":{"@a:b":100,"@c:b":7}}`
	if err != nil || string(got.first) != want || got.final != nil {
		t.Errorf("in the new room: %s, then %s, %v, want %s", got.first, got.final, err, want)
	}
	muted, err := mutedLevels(levels)
	want = `{"ban":60,"events":{"m.room.name":70,"x":5},"events_default":100,"invite":1000,"notifications":{"room":20},"other":"1","users":{"@a:b":100,"@c:b":7}}`
	if err != nil || string(muted) != want {
		t.Errorf("in the old room: %s, %v, want %s", muted, err, want)
	}
}
