package federation

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestThirdPartyInvite(t *testing.T) {
	want := ThirdPartyInvite{RoomID: "!r:a", Sender: "@joe:a", Target: "@ann:b", DisplayName: "ann", Signed: json.RawMessage(`{"token":"x"}`)}
	raw, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got ThirdPartyInvite
	if err := json.Unmarshal(raw, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %+v, %v", raw, got, err)
	}
	for _, change := range [][2]string{
		{`"m.room.member"`, `"m.room.message"`}, {`"invite"`, `"join"`}, {`"!r:a"`, `"r"`}, {`"@joe:a"`, `"joe"`}, {`"@ann:b"`, `""`}, {`{"token":"x"}`, `[]`},
	} {
		bad := strings.Replace(string(raw), change[0], change[1], 1)
		if json.Unmarshal([]byte(bad), &got) == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func TestBoundNotice(t *testing.T) {
	var n BoundNotice
	err := json.Unmarshal([]byte(`{"medium":"email","address":"a@b.c","mxid":"@ann:b","invites":[
		{"mxid":"@ann:b","room_id":"!r:a","sender":"@joe:a","signed":{"token":"x"}},
		{"mxid":"@other:b","room_id":"!r:a","sender":"@joe:a","signed":{}},
		{"mxid":"@ann:b","room_id":"r","sender":"@joe:a","signed":{}},
		{"mxid":"@ann:b","room_id":"!r:a","sender":"@joe:a"}, 7]}`), &n)
	if err != nil || n.User != "@ann:b" || len(n.Invites) != 1 || n.Invites[0].Target != "@ann:b" || n.Invites[0].RoomID != "!r:a" {
		t.Errorf("%+v, %v", n, err)
	}
	many := `{"mxid":"@ann:b","invites":[` + strings.TrimSuffix(strings.Repeat("{},", MaxBoundInvites+1), ",") + `]}`
	for _, bad := range []string{`{"invites":[]}`, `{"mxid":"ann"}`, many, `[]`} {
		if json.Unmarshal([]byte(bad), &n) == nil {
			t.Errorf("%.80s was read", bad)
		}
	}
}
