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
		raw := `{"auth_events":` + auth + `,"content":{},"depth":1,"hashes":{"sha256":"x"},"origin_server_ts":1,"prev_events":["$p","$q"],` +
			`"room_id":"!r:domain","sender":"@u:domain","signatures":{},"type":"t"}`
		if _, err := Parse(rules, []byte(raw)); err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
}
