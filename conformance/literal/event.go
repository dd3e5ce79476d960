// Package literal is the conformance suite's own reading of the specification: hashes, signatures, redaction,
// authorisation rules and state resolution of each room version, written down as the text says it, one sentence after
// another. It is slow, checks no sizes, and shares no code with any server, so that a misreading can't hide on both
// sides. Where the servers of the federation all depart from the text, which state resolution does in three places, it is
// said there, and what they do counts: a room whose servers differ falls apart.
package literal

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Event is an event as it stands.
type Event struct {
	ID      string
	Version int // of the room: 1 to 12
	Fields  map[string]any
}

// Read reads an event of a room of the given version, and finds its ID.
//
// spec:rooms/v4#event-ids
func Read(version int, raw []byte) (*Event, error) {
	fields, err := object(raw)
	if err != nil {
		return nil, err
	}
	e := &Event{Version: version, Fields: fields}
	if version <= 2 {
		e.ID, _ = fields["event_id"].(string)
		return e, nil
	}
	hash := e.ReferenceHash()
	e.ID = "$" + base64.RawURLEncoding.EncodeToString(hash)
	if version == 3 {
		e.ID = "$" + base64.RawStdEncoding.EncodeToString(hash)
	}
	return e, nil
}

func object(raw []byte) (map[string]any, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var fields map[string]any
	if err := decoder.Decode(&fields); err != nil {
		return nil, err
	}
	if fields == nil {
		return nil, errors.New("it is no object")
	}
	return fields, nil
}

func (e *Event) text(name string) string {
	value, _ := e.Fields[name].(string)
	return value
}

// Type is the event's type.
func (e *Event) Type() string { return e.text("type") }

// Sender is the user who sent the event.
func (e *Event) Sender() string { return e.text("sender") }

// RoomID is the event's room; of a create event of version 12, by its ID.
func (e *Event) RoomID() string {
	if e.Version >= 12 && e.Type() == "m.room.create" {
		return "!" + strings.TrimPrefix(e.ID, "$")
	}
	return e.text("room_id")
}

// StateKey is the event's state key, if it has one.
func (e *Event) StateKey() (string, bool) {
	value, ok := e.Fields["state_key"].(string)
	return value, ok
}

// Content is the event's content.
func (e *Event) Content() map[string]any {
	content, _ := e.Fields["content"].(map[string]any)
	return content
}

// Membership is the membership that a member event says.
func (e *Event) Membership() string {
	membership, _ := e.Content()["membership"].(string)
	return membership
}

// Prev are the IDs of the events before it.
func (e *Event) Prev() []string { return e.references("prev_events") }

// Auth are the IDs of the events that allow it.
func (e *Event) Auth() []string { return e.references("auth_events") }

func (e *Event) references(name string) []string {
	list, _ := e.Fields[name].([]any)
	ids := []string{}
	for _, reference := range list {
		if pair, ok := reference.([]any); ok && len(pair) == 2 { // room versions 1 and 2: with a hash
			reference = pair[0]
		}
		if id, ok := reference.(string); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

func (e *Event) number(name string) int64 {
	value, _ := e.Fields[name].(json.Number)
	n, _ := value.Int64()
	return n
}

// Domain is the server of a user ID.
func Domain(user string) string {
	_, domain, _ := strings.Cut(user, ":")
	return domain
}

// Canonical is canonical JSON: no blanks, members in the order of their names' code points, the shortest form of texts,
// numbers as they stand.
//
// spec:appendices#canonical-json
func Canonical(value any) []byte {
	switch value := value.(type) {
	case nil:
		return []byte("null")
	case bool:
		return []byte(strconv.FormatBool(value))
	case json.Number:
		return []byte(value.String())
	case string:
		return quote(value)
	case []any:
		var parts [][]byte
		for _, one := range value {
			parts = append(parts, Canonical(one))
		}
		return slices.Concat([]byte("["), bytes.Join(parts, []byte(",")), []byte("]"))
	case map[string]any:
		var names []string
		for name := range value {
			names = append(names, name)
		}
		sort.Strings(names) // the order of UTF-8 is the order of code points
		var parts [][]byte
		for _, name := range names {
			parts = append(parts, slices.Concat(quote(name), []byte(":"), Canonical(value[name])))
		}
		return slices.Concat([]byte("{"), bytes.Join(parts, []byte(",")), []byte("}"))
	}
	panic(fmt.Sprintf("%T is no JSON", value)) // what is read has no other types
}

func quote(text string) []byte {
	var out bytes.Buffer
	out.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r == '\b':
			out.WriteString(`\b`)
		case r == '\t':
			out.WriteString(`\t`)
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\f':
			out.WriteString(`\f`)
		case r == '\r':
			out.WriteString(`\r`)
		case r < 0x20:
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			out.WriteRune(r)
		}
	}
	out.WriteByte('"')
	return out.Bytes()
}

func without(fields map[string]any, names ...string) map[string]any {
	rest := map[string]any{}
	for name, value := range fields {
		if !slices.Contains(names, name) {
			rest[name] = value
		}
	}
	return rest
}

func only(fields map[string]any, names ...string) map[string]any {
	rest := map[string]any{}
	for name, value := range fields {
		if slices.Contains(names, name) {
			rest[name] = value
		}
	}
	return rest
}

// CheckHash holds the event against its own content hash.
//
// spec:server-server-api#calculating-the-content-hash-for-an-event
func (e *Event) CheckHash() error {
	sum := sha256.Sum256(Canonical(without(e.Fields, "unsigned", "signatures", "hashes")))
	right := base64.RawStdEncoding.EncodeToString(sum[:])
	hashes, _ := e.Fields["hashes"].(map[string]any)
	if hashes["sha256"] != right {
		return fmt.Errorf("the content hash is %v, and should be %s", hashes["sha256"], right)
	}
	return nil
}

// ReferenceHash is the hash by which others refer to the event.
//
// spec:server-server-api#calculating-the-reference-hash-for-an-event
func (e *Event) ReferenceHash() []byte {
	sum := sha256.Sum256(Canonical(without(e.Redacted(), "signatures", "age_ts", "unsigned")))
	return sum[:]
}

// CheckSignature checks that a server has signed the event with one of its keys (key ID → public key).
//
// spec:server-server-api#validating-hashes-and-signatures-on-received-events
func (e *Event) CheckSignature(server string, keys map[string]ed25519.PublicKey) error {
	signatures, _ := e.Fields["signatures"].(map[string]any)
	by, _ := signatures[server].(map[string]any)
	signed := Canonical(without(e.Redacted(), "signatures", "unsigned"))
	for keyID, text := range by {
		signature, _ := text.(string)
		if raw, err := base64.RawStdEncoding.DecodeString(signature); err == nil && keys[keyID] != nil && ed25519.Verify(keys[keyID], signed, raw) {
			return nil
		}
	}
	return fmt.Errorf("no published key of %s has signed %s", server, Canonical(e.Fields))
}

// Redacted is the event after redaction.
//
// spec:rooms/v11#redactions
func (e *Event) Redacted() map[string]any {
	keep := []string{"event_id", "type", "room_id", "sender", "state_key", "content", "hashes", "signatures", "depth", "prev_events", "auth_events", "origin_server_ts"}
	if e.Version <= 10 {
		keep = append(keep, "origin", "membership", "prev_state")
	}
	redacted := only(e.Fields, keep...)
	if content, ok := e.Fields["content"].(map[string]any); ok {
		redacted["content"] = e.redactedContent(content)
	}
	return redacted
}

func (e *Event) redactedContent(content map[string]any) map[string]any {
	v := e.Version
	switch e.Type() {
	case "m.room.member":
		rest := only(content, "membership")
		if v >= 9 {
			rest = only(content, "membership", "join_authorised_via_users_server")
		}
		if invite, ok := content["third_party_invite"].(map[string]any); ok && v >= 11 {
			rest["third_party_invite"] = only(invite, "signed")
		}
		return rest
	case "m.room.create":
		if v >= 11 {
			return content
		}
		return only(content, "creator")
	case "m.room.join_rules":
		if v >= 8 {
			return only(content, "join_rule", "allow")
		}
		return only(content, "join_rule")
	case "m.room.power_levels":
		rest := only(content, "ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default")
		if invite, ok := content["invite"]; ok && v >= 11 {
			rest["invite"] = invite
		}
		return rest
	case "m.room.history_visibility":
		return only(content, "history_visibility")
	case "m.room.aliases":
		if v <= 5 {
			return only(content, "aliases")
		}
	case "m.room.redaction":
		if v >= 11 {
			return only(content, "redacts")
		}
	}
	return map[string]any{}
}
