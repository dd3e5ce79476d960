package mutant

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"hanse/conformance/literal"
	"hanse/federation"
	"hanse/federation/id"
)

// Exchange is a request and, where the server was asked, its answer. A mutant changes the fields.
type Exchange struct {
	front *Front

	Method, URI string
	Header      http.Header
	Body        []byte
	Host, SNI   string // where the server asks
	Dropped     bool   // what the server asks does not reach the peer, and is answered with {}
	Further     []Further

	Status       int
	AnswerHeader http.Header
	Answer       []byte
}

// Further is a request that the server makes besides.
type Further struct {
	Method, URI string
	Body        []byte
}

// signs makes the server hand in an event that it should not have signed, besides its request for a template.
func (x *Exchange) signs(from, to string, change func(fields map[string]any)) {
	if !x.is(http.MethodGet, federationV1+from+"/") {
		return
	}
	parts := strings.Split(strings.SplitN(pathText(x), "?", 2)[0], "/")
	room, user := parts[len(parts)-2], parts[len(parts)-1]
	event := map[string]any{
		"type": "m.room.member", "state_key": user, "sender": user, "room_id": room, "content": map[string]any{"membership": strings.TrimPrefix(from, "make_")},
		"prev_events": []any{}, "auth_events": []any{}, "depth": 1, "origin_server_ts": 1,
	}
	x.forge(event, change)
	x.Further = append(x.Further, Further{http.MethodPut, to + url.PathEscape(room) + "/x", literal.Canonical(event)})
}

// is tells whether the request is for a path that begins so.
func (x *Exchange) is(method, path string) bool {
	return (method == "" || x.Method == method) && strings.HasPrefix(x.URI, path)
}

func decoded(raw []byte) map[string]any {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var fields map[string]any
	if decoder.Decode(&fields) != nil {
		return nil
	}
	return fields
}

// answer changes the members of an answer that came with 200.
func (x *Exchange) answer(change func(fields map[string]any)) {
	if fields := decoded(x.Answer); fields != nil && x.Status == http.StatusOK {
		change(fields)
		x.Answer = literal.Canonical(plain(fields))
	}
}

// body changes the members of a request's body.
func (x *Exchange) body(change func(fields map[string]any)) {
	if fields := decoded(x.Body); fields != nil {
		change(fields)
		x.Body = literal.Canonical(plain(fields))
		x.signRequest()
	}
}

// plain makes of Go's numbers those of JSON.
func plain(value any) any {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(err) // a mutant with a value that is no JSON
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var made any
	if err := decoder.Decode(&made); err != nil {
		panic(err)
	}
	return made
}

// say answers with a status and a text.
func (x *Exchange) say(status int, text string) { x.Status, x.Answer = status, []byte(text) }

// refuse answers with a Matrix error.
func (x *Exchange) refuse(status int, code string) {
	x.say(status, `{"errcode":"`+code+`","error":"the mutant says so"}`)
}

// pdus are the events of the transaction that the request is.
func (x *Exchange) pdus() []json.RawMessage {
	var txn struct {
		PDUs []json.RawMessage `json:"pdus"`
	}
	_ = json.Unmarshal(x.Body, &txn) // no transaction: no events
	return txn.PDUs
}

// seen tells whether a peer has sent an event in the running test.
func (x *Exchange) seen(text string) bool {
	x.front.mu.Lock()
	defer x.front.mu.Unlock()
	for _, eventID := range x.front.seen {
		if strings.Contains(text, eventID) {
			return true
		}
	}
	return false
}

// count counts something in the running test.
func (x *Exchange) count(what string) int {
	x.front.mu.Lock()
	defer x.front.mu.Unlock()
	x.front.notes[what]++
	return x.front.notes[what]
}

// signRequest signs what the server asks anew, after a change.
func (x *Exchange) signRequest() {
	old, err := federation.ParseAuthorization(x.Header.Get("Authorization"))
	if err != nil {
		return // it needs no signature
	}
	x.front.mu.Lock()
	name, key := x.front.name, x.front.key
	x.front.mu.Unlock()
	if signed, err := federation.SignRequest(key, x.Method, x.URI, id.ServerName(name), old.Destination, x.Body); err == nil {
		x.Header.Set("Authorization", signed.String())
	}
}

// forge changes an event of the server's and gives it a right hash and signature again.
func (x *Exchange) forge(fields map[string]any, change func(fields map[string]any)) {
	change(fields)
	x.front.mu.Lock()
	name, key, version := x.front.name, x.front.key, x.front.version
	x.front.mu.Unlock()
	delete(fields, "hashes")
	delete(fields, "signatures")
	for member, value := range plain(fields).(map[string]any) {
		fields[member] = value
	}
	bare := map[string]any{}
	for member, value := range fields {
		if member != "unsigned" {
			bare[member] = value
		}
	}
	hash := sha256.Sum256(literal.Canonical(bare))
	fields["hashes"] = map[string]any{"sha256": base64.RawStdEncoding.EncodeToString(hash[:])}
	e := &literal.Event{Version: version, Fields: fields}
	essential := e.Redacted()
	delete(essential, "signatures")
	delete(essential, "unsigned")
	signature := base64.RawStdEncoding.EncodeToString(ed25519.Sign(key.Private, literal.Canonical(essential)))
	fields["signatures"] = map[string]any{name: map[string]any{string(key.ID): signature}}
}

// forgeEach changes each event of a type in the transaction that the server sends.
func (x *Exchange) forgeEach(eventType string, change func(fields map[string]any)) {
	if !x.is(http.MethodPut, "/_matrix/federation/v1/send/") {
		return
	}
	x.body(func(txn map[string]any) {
		pdus, _ := txn["pdus"].([]any)
		for _, pdu := range pdus {
			if fields := pdu.(map[string]any); fields["type"] == eventType {
				x.forge(fields, change)
			}
		}
	})
}

// typist is the user of a peer who typed last in the running test.
func (x *Exchange) typist() string {
	x.front.mu.Lock()
	defer x.front.mu.Unlock()
	return x.front.typist
}
