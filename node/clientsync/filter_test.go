package clientsync

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// FuzzParseFilter reads filters that clients send. One that is read can be used, and is the same when written and read again.
func FuzzParseFilter(f *testing.F) {
	f.Add([]byte(`{"room":{"state":{"lazy_load_members":true},"timeline":{"limit":20,"not_types":["m.room.*"],"contains_url":true}},"event_format":"client"}`))
	f.Add([]byte(`{"presence":{"types":[]},"account_data":{"senders":["@a:b"],"limit":-1},"room":{"rooms":["!a:b"],"include_leave":true}}`))
	f.Add([]byte(`{"room":{"timeline":{"types":["*a*b*","**"]}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, _ = ParseRoomEventFilter(raw) // must only not panic
		filter, err := ParseFilter(raw)
		if err != nil {
			return
		}
		filter.Room.Timeline.Match("m.room.message", "@a:b")
		filter.AccountData.Match("m.push_rules", "")
		filter.Room.State.MatchRoom("!a:b")
		again, err := json.Marshal(filter)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := ParseFilter(again); err != nil || !reflect.DeepEqual(filter, second) {
			t.Errorf("%s: %v", again, err)
		}
	})
}

// TestFiltersErrorsAreForPeople: what is wrong is named as the client wrote it.
func TestFiltersErrorsAreForPeople(t *testing.T) {
	for raw, want := range map[string]string{
		`{"room":{"timeline":{"limit":"5"}}}`:             "room.timeline.limit has a value of a wrong kind, string",
		`{"room":{"state":{"lazy_load_members":"true"}}}`: "room.state.lazy_load_members has a value of a wrong kind, string",
		`{"presence":[]}`:                    "presence has a value of a wrong kind, array",
		`{"presence":{"types":[7]}}`:         "presence.types has a value of a wrong kind, number",
		`[]`:                                 "not a JSON object of a filter's form",
		`{"room":`:                           "not a JSON object of a filter's form",
		`{"room":{"timeline":{"limit":-1}}}`: "limit -1 is negative",
		`{"room":{"rooms":["tea"]}}`:         `rooms and not_rooms must be room IDs: "tea" is none`,
		`{"room":{"state":{"not_rooms":["#tea:b"]}}}`:       `rooms and not_rooms must be room IDs: "#tea:b" is none`,
		`{"presence":{"senders":["bob"]}}`:                  `senders must be user IDs: "bob" is none`,
		`{"room":{"timeline":{"related_by_senders":[""]}}}`: `senders must be user IDs: "" is none`,
	} {
		if _, err := ParseFilter([]byte(raw)); err == nil || err.Error() != want {
			t.Errorf("%s: %v, not %s", raw, err, want)
		}
	}
	if _, err := ParseRoomEventFilter([]byte(`{"limit":true}`)); err == nil || err.Error() != "limit has a value of a wrong kind, bool" {
		t.Error(err)
	}
}

// A pattern of a hostile client doesn't cost more than its length times the type's: one that tried all ways would go on for ever.
func TestPatternsAreQuick(t *testing.T) {
	filter := EventFilter{Types: []string{strings.Repeat("*a", 5000) + "*b"}}
	if filter.Match(strings.Repeat("a", 255), "") {
		t.Error("it matches")
	}
}
