package clientapi

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"reflect"
	"testing"

	"hanse/federation"
	"hanse/federation/canonicaljson"
)

// forms are the bodies that clients send as objects, one each.
func forms() []any {
	return []any{
		new(createRoomRequest), new(loginRequest), new(registerRequest), new(joinRequest), new(aliasesForm),
		new(uiaAuth), new(newLevels),
	}
}

// FuzzBodies reads request bodies into every form. What is refused is refused in the words of the specification; what is
// read is the same when it is written and read again.
func FuzzBodies(f *testing.F) {
	f.Add([]byte(`{"preset":"public_chat","room_alias_name":"tea","invite":["@a:b"],"initial_state":[{"type":"m.x","state_key":"","content":{}}],"creation_content":{"m.federate":false},"power_level_content_override":{"users":{"@a:b":100}}}`))
	f.Add([]byte(`{"type":"m.login.password","identifier":{"type":"m.id.user","user":"alice"},"password":"x","device_id":"D"}`))
	f.Add([]byte(`{"auth":{"type":"m.login.dummy","session":"s"},"username":"alice","password":"x","inhibit_login":true}`))
	f.Add([]byte(`{"third_party_signed":{"mxid":"@a:b","token":"t","sender":"@c:d","signatures":{}},"reason":"r"}`))
	f.Add([]byte(`{"room":{"timeline":{"limit":20}},"event_fields":["content.body"],"alias":"#a:b","alt_aliases":["#c:d"]}`))
	f.Add([]byte(`{"invite":7}`))
	f.Add([]byte("{\"a\":\"\xff\"}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, form := range forms() {
			r := &request{Request: httptest.NewRequest("POST", "/", bytes.NewReader(body))}
			if err := r.decode(form); err != nil {
				refusedWell(t, err)
				continue
			}
			written, err := json.Marshal(form)
			if err != nil {
				t.Fatalf("%T: %v", form, err)
			}
			again := reflect.New(reflect.TypeOf(form).Elem()).Interface()
			if err := json.Unmarshal(written, again); err != nil {
				t.Fatalf("%T: %s: %v", form, written, err)
			}
			if second, _ := json.Marshal(again); !bytes.Equal(written, second) {
				t.Fatalf("%T: %s became %s", form, written, second)
			}
		}
	})
}

// FuzzContent reads what clients send as the content of an event: what is taken is canonical and within an event's size.
func FuzzContent(f *testing.F) {
	f.Add([]byte(`{"msgtype":"m.text","body":"hello"}`))
	f.Add([]byte(`{"b":1,"a":[1.5,-0,1e3,{"\ud83d\ude00":null}]}`))
	f.Add([]byte(`{"a":1e400}`))
	f.Add([]byte(`{"a":1,"a":2}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r := &request{Request: httptest.NewRequest("PUT", "/", bytes.NewReader(body))}
		content, err := r.content()
		if err != nil {
			refusedWell(t, err)
			return
		}
		again, err := canonicaljson.Append(nil, content, canonicaljson.Lenient)
		if err != nil || !bytes.Equal(again, content) || len(content) > maxEventBytes || content[0] != '{' {
			t.Fatalf("%q became %q, %v", content, again, err)
		}
	})
}

// refusedWell looks whether a refusal is an error of the API, about the client.
func refusedWell(t *testing.T, err error) {
	t.Helper()
	wire, ok := err.(*federation.Error) //nolint:errorlint // it goes out as it is
	if !ok || wire.Status < 400 || wire.Status >= 500 || wire.Code == "" || wire.Message == "" {
		t.Fatalf("refused with %#v", err)
	}
}
