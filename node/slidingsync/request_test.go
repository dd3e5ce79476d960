package slidingsync

import (
	"errors"
	"slices"
	"testing"
	"unicode/utf8"

	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/testnet/wholestate"
)

const alice = id.UserID("@alice:here")

// FuzzParse feeds anything to the reader of requests: it refuses with words for people, or gives what is within bounds.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"conn_id":"room-list","lists":{"all":{"ranges":[[0,19]],"timeline_limit":1,"required_state":[["m.room.member","$LAZY"],["*","*"]],
		"filters":{"not_room_types":["m.space",null],"spaces":["!a:b"],"room_name_like":"ä","is_dm":true}}},
		"room_subscriptions":{"!a:b":{"timeline_limit":20,"required_state":[["*","x"]],"include_heroes":false}},
		"extensions":{"to_device":{"enabled":true,"since":"12","limit":7},"receipts":{"enabled":true,"rooms":["*"],"lists":["all"]}}}`))
	f.Add([]byte(`{"lists":{"a":{"range":[0,9223372036854775807],"slow_get_all_rooms":true}}}`))
	f.Add([]byte(`{"lists":{"a":{"ranges":[[1,0]]}}}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := Parse(body, alice)
		if err != nil {
			var wrong *Invalid
			if !errors.As(err, &wrong) || !utf8.ValidString(err.Error()) || len(err.Error()) > 2000 {
				t.Errorf("%v", err)
			}
			return
		}
		for name, l := range r.lists {
			if len(name) > maxListName || l.timeline < 0 || l.timeline > maxTimeline || len(l.ranges) > maxRanges {
				t.Errorf("the list %q is beyond its bounds: %+v", name, l)
			}
			for _, w := range l.ranges {
				if w[0] < 0 || w[1] < w[0] {
					t.Errorf("a range from %d to %d", w[0], w[1])
				}
			}
			for key := range l.required[0].of(roomstate.Map{}) {
				t.Errorf("%v is in an empty state", key)
			}
		}
		if d := r.extensions.toDevice; d != nil && (d.limit < 1 || d.since < 0) {
			t.Errorf("messages from %d, at most %d", d.since, d.limit)
		}
	})
}

func state(keys ...element) roomstate.Map {
	var m roomstate.Map
	for _, k := range keys {
		m = wholestate.With(m, k.typ, k.stateKey, id.EventID("$"+k.typ+k.stateKey))
	}
	return m
}

func TestRequiredStateIsTheSameByKeyAndByState(t *testing.T) {
	whole := []element{
		{"m.room.name", ""}, {"m.room.member", "@alice:here"}, {"m.room.member", "@bob:there"}, {"m.thing", "a"}, {"m.thing", "@alice:here"},
	}
	for _, c := range []struct {
		required   []element
		want       []element
		allMembers bool
	}{
		{nil, nil, false},
		{[]element{{"*", "*"}}, whole, true},
		{[]element{{"*", "*"}, {"m.room.member", "$LAZY"}}, []element{whole[0], whole[3], whole[4]}, false},
		{[]element{{"*", "*"}, {"m.room.member", "$ME"}}, []element{whole[0], whole[1], whole[3], whole[4]}, false},
		{[]element{{"*", "*"}, {"m.thing", "*"}}, whole, true},
		{[]element{{"m.room.member", "*"}}, whole[1:3], true},
		{[]element{{"m.room.member", "@bob:there"}}, whole[2:3], true},
		{[]element{{"*", "@bob:there"}}, whole[2:3], true},
		{[]element{{"m.thing", "$LAZY"}, {"m.room.member", "@alice:here"}}, whole[1:2], false},
		{[]element{{"*", "$ME"}, {"m.thing", "a"}}, []element{whole[1], whole[3], whole[4]}, false},
	} {
		r := newRequired(c.required, alice)
		for _, e := range whole {
			if got := r.matches(roomstate.Key{Type: e.typ, StateKey: e.stateKey}); got != slices.Contains(c.want, e) {
				t.Errorf("%v: matches %v: %v", c.required, e, got)
			}
		}
		var got []element
		for key, err := range r.of(state(whole...)) {
			if err != nil {
				t.Fatal(err)
			}
			if key.Type == "m.room.member" && !r.matches(key.Key) {
				t.Errorf("%v: reads %v, which isn't wanted", c.required, key.Key)
			}
			if r.matches(key.Key) && !slices.Contains(got, element{key.Type, key.StateKey}) {
				got = append(got, element{key.Type, key.StateKey})
			}
		}
		if len(got) != len(c.want) {
			t.Errorf("%v: of a state %v, not %v", c.required, got, c.want)
		}
		if r.allMembers("here") != c.allMembers {
			t.Errorf("%v: all members %v", c.required, !c.allMembers)
		}
	}
}
