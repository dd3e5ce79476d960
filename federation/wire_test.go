package federation

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"hanse/federation/canonicaljson"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

// raws are raw values.
func raws(texts ...string) []json.RawMessage {
	list := make([]json.RawMessage, len(texts))
	for i, text := range texts {
		list[i] = json.RawMessage(text)
	}
	return list
}

func TestTransactionReads(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want Transaction
	}{
		"all of it": {
			`{"origin":"o.example","origin_server_ts":12,"pdus":[{"a":[1,2]} , {"b":"],{\""}],"edus":[{"edu_type":"m.typing","content":{"x":1},"y":2}]}`,
			Transaction{Origin: "o.example", OriginServerTS: 12, PDUs: raws(`{"a":[1,2]}`, `{"b":"],{\""}`),
				EDUs: []EDU{{Type: "m.typing", Content: json.RawMessage(`{"x":1}`)}}},
		},
		"lists that are null or missing": {`{"origin":"o.example","origin_server_ts":1,"pdus":null}`, Transaction{Origin: "o.example", OriginServerTS: 1}},
		"empty lists":                    {`{"pdus":[ ],"edus":[]}`, Transaction{}},
		"odd origin and time":            {`{"origin":7,"origin_server_ts":1.5,"pdus":[1]}`, Transaction{PDUs: raws("1")}},
		"EDUs that can't be read": {`{"pdus":[],"edus":[1,{"edu_type":5},{},null,{"edu_type":"m.x","content":{}}]}`,
			Transaction{EDUs: []EDU{{Type: "m.x", Content: json.RawMessage("{}")}}}},
	} {
		t.Run(name, func(t *testing.T) {
			var got Transaction
			if err := json.Unmarshal([]byte(c.body), &got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			canonical, err := canonicaljson.Append(nil, []byte(c.body), canonicaljson.Lenient)
			if err != nil {
				t.Fatal(err)
			}
			fast, err := DecodeTransaction(canonical)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(fast.AppendJSON(nil), c.want.AppendJSON(nil)) {
				t.Errorf("from canonical JSON: got %+v, want %+v", fast, c.want)
			}
		})
	}
}

// What servers send counts by its exact name. What has another one isn't there, whatever it is; of two the last counts, alone.
func TestNamesAreExact(t *testing.T) {
	for _, c := range []struct {
		text string
		into any
		want any // nil: an error
	}{
		{`{"Origin":"o.example","PDUS":[1],"pduſ":[2],"edus":[{"Edu_type":"m.x","content":{}}]}`, new(Transaction), &Transaction{}},
		{`{"pdus":[1],"PDUS":7,"edus":[{"edu_type":"m.x","Edu_Type":"m.y","Content":{"a":1}}]}`, new(Transaction),
			&Transaction{PDUs: raws("1"), EDUs: []EDU{{Type: "m.x"}}}},
		{`{"Event":{"a":1},"room_version":"9"}`, new(MakeResponse), nil},
		{`{"event":{"a":1},"EVENT":{"b":1},"Room_version":"9"}`, new(MakeResponse), &MakeResponse{RoomVersion: "1", Event: json.RawMessage(`{"a":1}`)}},
		{`{"Room_version":"9","event":{}}`, new(InviteRequestV2), nil},
		{`{"unsigned":{"Invite_room_state":[1]},"Unsigned":7}`, new(InviteRequestV1),
			&InviteRequestV1{Event: json.RawMessage(`{"unsigned":{"Invite_room_state":[1]},"Unsigned":7}`)}},
		{`{"Event":{}}`, new(InviteResponse), nil},
		{`{"Pdu_ids":["$a"]}`, new(StateIDsResponse), nil},
		{`{"pdu_ids":["$a"],"PDU_IDS":["$b"],"auth_chain_ids":["$c","$d"],"auth_chain_ids":["$e"]}`, new(StateIDsResponse),
			&StateIDsResponse{PDUIDs: []id.EventID{"$a"}, AuthChainIDs: []id.EventID{"$e"}}},
		{`{"Server_keys":[{}]}`, new(KeysQueryResponse), &KeysQueryResponse{}},
		{`{"room_id":"!a:b","Servers":["c.example"]}`, new(DirectoryResponse), &DirectoryResponse{RoomID: "!a:b", Servers: []id.ServerName{}}},
		{`{"event_id":"$a","Origin_server_ts":1}`, new(TimestampResponse), nil},
		{`{"event_id":"$a","origin_server_ts":1.0}`, new(TimestampResponse), nil},
		{`{"Limit":1,"limit":2,"MIN_DEPTH":5,"latest_events":["$a"]}`, new(MissingEventsRequest),
			&MissingEventsRequest{Limit: 2, EarliestEvents: []id.EventID{}, LatestEvents: []id.EventID{"$a"}}},
		{`{"type":"m.room.member","room_id":"!a:b","sender":"@a:b","state_key":"@c:d","content":{"Membership":"invite","third_party_invite":{"signed":{}}}}`,
			new(ThirdPartyInvite), nil},
		{"{\"room_id\":\"!a:b\",\"servers\":[\"\xff\"]}", new(DirectoryResponse), nil},
	} {
		err := json.Unmarshal([]byte(c.text), c.into)
		if c.want == nil && err == nil || c.want != nil && (err != nil || !reflect.DeepEqual(c.into, c.want)) {
			t.Errorf("%s: got %+v, %v, want %+v", c.text, c.into, err, c.want)
		}
	}
	if e := DecodeError(403, []byte(`{"Errcode":"M_FORBIDDEN","Error":"x","error":"y"}`)); e.Code != CodeUnknown || e.Message != "y" {
		t.Errorf("got %+v", e)
	}
}

func TestTransactionBounds(t *testing.T) {
	list := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("{},", n), ",") + "]" }
	for _, c := range []struct {
		pdus, edus int
		good       bool
	}{{50, 100, true}, {51, 0, false}, {0, 101, false}} {
		var got Transaction
		err := json.Unmarshal([]byte(`{"pdus":`+list(c.pdus)+`,"edus":`+list(c.edus)+`}`), &got)
		_, fast := DecodeTransaction([]byte(`{"edus":` + list(c.edus) + `,"pdus":` + list(c.pdus) + `}`))
		if (err == nil) != c.good || (fast == nil) != c.good {
			t.Errorf("%d PDUs and %d EDUs: got %v; from canonical JSON: %v", c.pdus, c.edus, err, fast)
		}
	}
	for _, body := range []string{`{"pdus":{}}`, `{"pdus":"[]"}`, `{"edus":5}`, `[]`, `7`} {
		if err := json.Unmarshal([]byte(body), new(Transaction)); err == nil {
			t.Errorf("%s was read", body)
		}
	}
	var history BackfillResponse
	if err := json.Unmarshal([]byte(`{"pdus":`+list(51)+`}`), &history); err != nil || len(history.PDUs) != 51 {
		t.Errorf("a backfill answer of 51 events: got %d, %v", len(history.PDUs), err)
	}
}

func TestTransactionWritesCanonicalJSON(t *testing.T) {
	txn := Transaction{Origin: "o.example", OriginServerTS: 12, PDUs: raws(`{"a":1}`, `{"b":"<>"}`),
		EDUs: []EDU{{Type: "m.typing", Content: json.RawMessage(`{"x":1}`)}, {Type: "m.bare"}}}
	const want = `{"edus":[{"content":{"x":1},"edu_type":"m.typing"},{"content":{},"edu_type":"m.bare"}],"origin":"o.example","origin_server_ts":12,"pdus":[{"a":1},{"b":"<>"}]}`
	if got := string(txn.AppendJSON(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := string(Transaction{Origin: "o.example"}.AppendJSON(nil)); got != `{"origin":"o.example","origin_server_ts":0,"pdus":[]}` {
		t.Errorf("an empty one: got %s", got)
	}
}

func TestSendResponse(t *testing.T) {
	var got SendResponse
	body := `{"pdus":{"$a":{},"$b":{"error":"no"},"bad key":{"error":"x"},"$c":{"error":7},"$d":null}}`
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	want := PDUResults{"$a": {}, "$b": {Error: "no"}, "$c": {}, "$d": {}}
	if !reflect.DeepEqual(got.PDUs, want) {
		t.Errorf("got %v, want %v", got.PDUs, want)
	}
	if err := json.Unmarshal([]byte(`{}`), &got); err != nil || len(got.PDUs) != 0 {
		t.Errorf("an answer without results: got %v, %v", got, err)
	}
	if text, _ := json.Marshal(SendResponse{}); string(text) != `{"pdus":{}}` {
		t.Errorf("no results are written as %s", text)
	}
	if text, _ := json.Marshal(SendResponse{PDUs: PDUResults{"$a": {Error: "no"}}}); string(text) != `{"pdus":{"$a":{"error":"no"}}}` {
		t.Errorf("got %s", text)
	}
}

func TestSendJoinResponse(t *testing.T) {
	want := SendJoinResponse{AuthChain: raws(`{"a":1}`), State: raws(`{"s":1}`, `{"s":2}`), Event: json.RawMessage(`{"e":1}`),
		MembersOmitted: true, ServersInRoom: []id.ServerName{"a.example", "b.example"}, Origin: "o.example"}
	var text bytes.Buffer
	if err := want.EncodeJSON(&text); err != nil {
		t.Fatal(err)
	}
	if !json.Valid(text.Bytes()) {
		t.Fatalf("not JSON: %s", text.Bytes())
	}
	for old, body := range map[bool]string{false: text.String(), true: "[200," + text.String() + "]"} {
		got, err := DecodeSendJoin(strings.NewReader(body), old)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("v1 %v: got %+v, %v", old, got, err)
		}
	}
	for name, body := range map[string]string{
		"cut off":         text.String()[:text.Len()-3],
		"no state":        `{"auth_chain":[]}`,
		"state no array":  `{"state":{}}`,
		"no object":       `[]`,
		"a broken event":  `{"state":[{"a":]}`,
		"a wrong boolean": `{"state":[],"members_omitted":"yes"}`,
	} {
		if got, err := DecodeSendJoin(strings.NewReader(body), false); err == nil {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	got, err := DecodeSendJoin(strings.NewReader(`{"x":{"y":[1]},"state":null,"event":null,"servers_in_room":["a.example","not a name"]}`), false)
	if err != nil || got.Event != nil || len(got.State) != 0 || len(got.ServersInRoom) != 1 {
		t.Errorf("a sparse answer: got %+v, %v", got, err)
	}
}

func TestStateResponses(t *testing.T) {
	state := StateResponse{AuthChain: raws("{}"), PDUs: raws(`{"a":"b"}`)}
	var text bytes.Buffer
	if err := state.EncodeJSON(&text); err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeState(&text); err != nil || !reflect.DeepEqual(got, state) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := DecodeState(strings.NewReader(`{"auth_chain":[]}`)); err == nil {
		t.Error("a state without pdus was read")
	}
	chain := EventAuthResponse{AuthChain: raws("{}", `{"b":1}`)}
	text.Reset()
	if err := chain.EncodeJSON(&text); err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeEventAuth(&text); err != nil || !reflect.DeepEqual(got, chain) {
		t.Errorf("got %+v, %v", got, err)
	}
	for body, good := range map[string]bool{
		`{"auth_chain_ids":["$a"],"pdu_ids":["$b","$c"]}`: true,
		`{"pdu_ids":[]}`:             true,
		`{"auth_chain_ids":[]}`:      false,
		`{"pdu_ids":["$a","bogus"]}`: false,
		`{"pdu_ids":"$a"}`:           false,
	} {
		if err := json.Unmarshal([]byte(body), new(StateIDsResponse)); (err == nil) != good {
			t.Errorf("%s: got %v", body, err)
		}
	}
	if text, _ := json.Marshal(StateIDsResponse{}); string(text) != `{"auth_chain_ids":[],"pdu_ids":[]}` {
		t.Errorf("got %s", text)
	}
}

func TestMakeResponse(t *testing.T) {
	var got MakeResponse
	if err := json.Unmarshal([]byte(`{"event":{"a":1}}`), &got); err != nil || got.RoomVersion != roomversion.V1 {
		t.Errorf("without a version: got %+v, %v", got, err)
	}
	if err := json.Unmarshal([]byte(`{"event":{"a":1},"room_version":"x"}`), &got); err != nil || got.RoomVersion != "x" {
		t.Errorf("with a version: got %+v, %v", got, err)
	}
	for _, body := range []string{`{}`, `{"event":[]}`, `{"event":null}`, `{"event":{},"room_version":5}`} {
		if err := json.Unmarshal([]byte(body), &got); err == nil {
			t.Errorf("%s was read", body)
		}
	}
}

func TestInvites(t *testing.T) {
	v2 := InviteRequestV2{RoomVersion: "10", Event: json.RawMessage(`{"a":1}`), InviteRoomState: raws(`{"type":"m.room.create"}`)}
	text, err := json.Marshal(v2)
	if err != nil {
		t.Fatal(err)
	}
	var again InviteRequestV2
	if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(v2, again) {
		t.Errorf("v2: %s was read as %+v, %v", text, again, err)
	}
	v1 := InviteRequestV1{Event: json.RawMessage(`{"a":1,"unsigned":{"age":1}}`), InviteRoomState: v2.InviteRoomState}
	if text, err = json.Marshal(v1); err != nil {
		t.Fatal(err)
	}
	if string(text) != `{"a":1,"unsigned":{"invite_room_state":[{"type":"m.room.create"}]}}` {
		t.Errorf("v1: got %s", text)
	}
	var read InviteRequestV1
	if err := json.Unmarshal(text, &read); err != nil || string(read.Event) != string(text) || !reflect.DeepEqual(read.InviteRoomState, v1.InviteRoomState) {
		t.Errorf("v1: %s was read as %+v, %v", text, read, err)
	}
	if err := json.Unmarshal([]byte(`{"a":1}`), &read); err != nil || read.InviteRoomState != nil {
		t.Errorf("v1 without state: got %+v, %v", read, err)
	}
	many := "[" + strings.Repeat("{},", MaxStrippedState) + "{}]"
	for _, body := range []string{`{"event":{}}`, `{"room_version":"1"}`, `{"room_version":"1","event":{},"invite_room_state":` + many + `}`} {
		if err := json.Unmarshal([]byte(body), &again); err == nil {
			t.Errorf("%.60s was read", body)
		}
	}
}

func TestPairs(t *testing.T) {
	for body, want := range map[string]string{
		string(EncodePair([]byte(`{"a":1}`))): `{"a":1}`,
		` {"bare":1} `:                        `{"bare":1}`,
	} {
		if got, err := DecodePair([]byte(body)); err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v", body, got, err)
		}
	}
	for _, body := range []string{`[200]`, `[200,{},1]`, `5`, ``} {
		if got, err := DecodePair([]byte(body)); err == nil {
			t.Errorf("%s: got %s", body, got)
		}
	}
}

func TestTimestampResponse(t *testing.T) {
	var r TimestampResponse
	if err := json.Unmarshal([]byte(`{"event_id":"$e:a","origin_server_ts":5}`), &r); err != nil || r.EventID != "$e:a" || r.OriginServerTS != 5 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, bad := range []string{`{"event_id":"$e:a"}`, `{"origin_server_ts":5}`, `{"event_id":"e","origin_server_ts":5}`, `{"event_id":"$e","origin_server_ts":"5"}`, `[]`} {
		if json.Unmarshal([]byte(bad), &r) == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func TestMissingEvents(t *testing.T) {
	var got MissingEventsRequest
	if err := json.Unmarshal([]byte(`{"earliest_events":[],"latest_events":["$a"]}`), &got); err != nil || got.Limit != DefaultMissingEvents {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := json.Unmarshal([]byte(`{"latest_events":["$a"],"limit":-5,"min_depth":3}`), &got); err != nil || got.Limit != 0 || got.MinDepth != 3 {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := json.Unmarshal([]byte(`{"latest_events":["a"]}`), &got); err == nil {
		t.Error("an event ID that is none was read")
	}
	if text, _ := json.Marshal(MissingEventsRequest{Limit: 5}); string(text) != `{"earliest_events":[],"latest_events":[],"limit":5,"min_depth":0}` {
		t.Errorf("got %s", text)
	}
	if text, _ := json.Marshal(MissingEventsResponse{}); string(text) != `{"events":[]}` {
		t.Errorf("got %s", text)
	}
}

func TestPublicRoomsRequest(t *testing.T) {
	for text, want := range map[string]bool{`true`: true, `"true"`: true, `false`: false, `"false"`: false, `null`: false} {
		var q PublicRoomsRequest
		err := json.Unmarshal([]byte(`{"limit":5,"since":"here","include_all_networks":`+text+`}`), &q)
		if err != nil || q.IncludeAllNetworks != want || q.Limit != 5 || q.Since != "here" {
			t.Errorf("%s: %+v, %v", text, q, err)
		}
	}
	for _, bad := range []string{`{"include_all_networks":"yes"}`, `{"include_all_networks":{}}`, `{"include_all_networks":1}`, `{"limit":"5"}`, `[]`} {
		if json.Unmarshal([]byte(bad), new(PublicRoomsRequest)) == nil {
			t.Errorf("%s is read", bad)
		}
	}
}

func TestDirectoryAndPublicRooms(t *testing.T) {
	var where DirectoryResponse
	if err := json.Unmarshal([]byte(`{"room_id":"!r:x.example","servers":["a.example","-- --"]}`), &where); err != nil || len(where.Servers) != 1 {
		t.Errorf("got %+v, %v", where, err)
	}
	if err := json.Unmarshal([]byte(`{"room_id":"r"}`), &where); err == nil {
		t.Error("a room ID that is none was read")
	}
	var rooms PublicRoomsResponse
	body := `{"chunk":[{"room_id":"!r:x","canonical_alias":"nonsense","num_joined_members":2},{"room_id":"r"},{"room_id":"!s:x","name":7}],"total_room_count_estimate":9}`
	if err := json.Unmarshal([]byte(body), &rooms); err != nil || len(rooms.Chunk) != 1 || rooms.Chunk[0].CanonicalAlias != "" || rooms.TotalRoomCountEstimate != 9 {
		t.Errorf("got %+v, %v", rooms, err)
	}
	if text, _ := json.Marshal(PublicRoomsResponse{}); string(text) != `{"chunk":[],"total_room_count_estimate":0}` {
		t.Errorf("got %s", text)
	}
}

// TestRetryAfterIsBounded: whatever number a peer gives, it is a time from now on.
func TestRetryAfterIsBounded(t *testing.T) {
	for ms, want := range map[int64]time.Duration{
		-1: 0, 0: 0, 1500: 1500 * time.Millisecond, 1<<53 - 1: 365 * 24 * time.Hour, 1 << 43: 365 * 24 * time.Hour, 1<<63 - 1: 365 * 24 * time.Hour,
	} {
		if got := (&Error{RetryAfterMS: ms}).RetryAfter(); got != want {
			t.Errorf("%d ms are %v, want %v", ms, got, want)
		}
	}
}

func TestDecodeError(t *testing.T) {
	got := DecodeError(403, []byte(`{"errcode":"M_FORBIDDEN","error":"no","room_version":"9","retry_after_ms":1500.7}`))
	if want := (&Error{Status: 403, Code: "M_FORBIDDEN", Message: "no", RoomVersion: "9", RetryAfterMS: 1500}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	for _, body := range []string{"", "<html>", "[]", `{"errcode":5,"error":[],"retry_after_ms":-4}`, `{"retry_after_ms":1e300}`} {
		if got := DecodeError(502, []byte(body)); !reflect.DeepEqual(got, &Error{Status: 502, Code: "M_UNKNOWN"}) {
			t.Errorf("%q: got %+v", body, got)
		}
	}
	long := DecodeError(400, []byte(`{"errcode":"M_X","error":`+strconv.Quote(strings.Repeat("é", MaxErrorText))+`}`))
	if len(long.Message) > MaxErrorText || !strings.HasPrefix(long.Message, "éé") || strings.Contains(long.Message, "\uFFFD") {
		t.Errorf("a long text became one of %d bytes", len(long.Message))
	}
}

func FuzzSplitList(f *testing.F) {
	f.Add([]byte(`[1, {"a":["x]",{}]} ,"\",[", null]`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var want []json.RawMessage
		if json.Unmarshal(text, &want) != nil {
			return // only valid JSON is split
		}
		got, err := splitList(text, 1<<30, "it")
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %d elements, want %d", text, len(got), len(want))
		}
		for i := range want {
			if !bytes.Equal(got[i], bytes.TrimSpace(want[i])) {
				t.Fatalf("%s: element %d is %s, want %s", text, i, got[i], want[i])
			}
		}
	})
}

// FuzzAnswers reads answers a hostile server may give; what is read must be written and read the same.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"origin":"o.example","origin_server_ts":1,"pdus":[{}],"edus":[{"edu_type":"a","content":{}}]}`))
	f.Add([]byte(`{"state":[{}],"auth_chain":[1],"event":{},"members_omitted":true,"servers_in_room":["a.example"]}`))
	f.Add([]byte(`{"room_id":"!a:b","servers":["c"],"chunk":[{"room_id":"!a:b"}],"pdu_ids":["$a"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, value := range []any{new(Transaction), new(SendResponse), new(MakeResponse), new(InviteRequestV2),
			new(StateIDsResponse), new(BackfillResponse), new(DirectoryResponse), new(PublicRoomsResponse), new(MissingEventsRequest)} {
			if json.Unmarshal(text, value) != nil {
				continue
			}
			first, err := json.Marshal(value)
			if err != nil {
				t.Fatalf("%T from %q can't be written: %v", value, text, err)
			}
			again := reflect.New(reflect.TypeOf(value).Elem()).Interface()
			if err := json.Unmarshal(first, again); err != nil {
				t.Fatalf("%T: %s can't be read: %v", value, first, err)
			}
			if second, _ := json.Marshal(again); !bytes.Equal(first, second) {
				t.Fatalf("%T: %s became %s", value, first, second)
			}
		}
		answer, err := DecodeSendJoin(bytes.NewReader(text), false)
		if err != nil {
			return
		}
		var written bytes.Buffer
		if err := answer.EncodeJSON(&written); err != nil || !json.Valid(written.Bytes()) {
			t.Fatalf("%q was written as %q, %v", text, written.Bytes(), err)
		}
	})
}

func BenchmarkTransaction(b *testing.B) {
	pdu := json.RawMessage(`{"auth_events":["$a","$b"],"content":{"body":"` + strings.Repeat("x", 500) + `"},"prev_events":["$c"],"type":"m.room.message"}`)
	txn := Transaction{Origin: "o.example"}
	for range MaxTransactionPDUs {
		txn.PDUs = append(txn.PDUs, pdu)
	}
	body := txn.AppendJSON(nil)
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			if err := json.Unmarshal(body, new(Transaction)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("read canonical", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			if _, err := DecodeTransaction(body); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			_ = txn.AppendJSON(make([]byte, 0, len(body)))
		}
	})
	b.Run("sign bytes", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			if _, err := RequestBytes("PUT", "/x", "o.example", "d.example", body); err != nil {
				b.Fatal(err)
			}
		}
	})
}
