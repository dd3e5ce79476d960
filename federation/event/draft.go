package event

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"unicode/utf8"

	"hanse/federation/canonicaljson"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
)

// Draft is an event that is not signed yet: one we are about to send, or the template a
// resident server answers make_join with.
type Draft struct {
	// RoomID is empty for the create event of a room whose ID is the create event's.
	RoomID id.RoomID
	Type   string
	// StateKey is nil if the event is not a state event.
	StateKey *string
	Sender   id.UserID
	// Content is a JSON object of any form; nil stands for {}.
	Content json.RawMessage
	// Redacts is the target of an m.room.redaction. It goes to the top level or into the
	// content, as the room version says, and replaces what stands there.
	Redacts id.EventID

	PrevEvents, AuthEvents []id.EventID
	// ReferenceHashes are the reference hashes of prev and auth events, which events of room
	// versions 1 and 2 name beside the IDs. Nobody checks them; they may be missing.
	ReferenceHashes map[id.EventID][]byte

	Depth          int64 // 0 to rules.MaxDepth
	OriginServerTS int64 // milliseconds since the Unix epoch
}

// Sign makes the event: content hash, ID, signature of server. It fails, as [Parse] would, if
// the event is not valid in the room version or too large.
//
// In room versions 1 and 2 the opaque part of the event ID is a hash of the event, so that
// the same draft has the same ID.
//
// spec:server-server-api#adding-hashes-and-signatures-to-outgoing-events
func (d Draft) Sign(rules *roomversion.Rules, server id.ServerName, key signedjson.Key) (*Event, error) {
	object, err := d.object(rules, "")
	if err != nil {
		return nil, err
	}
	if rules.EventIDs == roomversion.EventIDGiven {
		hash := contentHash(object)
		eventID := "$" + base64.RawURLEncoding.EncodeToString(hash[:opaqueBytes]) + ":" + string(server)
		object = canonicaljson.SetMember(nil, object, "event_id", canonicaljson.AppendString(nil, eventID))
	}
	signed, reference, err := hashAndSign(rules, d.Type, object, server, key)
	if err != nil {
		return nil, err
	}
	e, err := parseCanonical(rules, signed, &reference)
	if err == nil {
		err = e.CheckReferences()
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// opaqueBytes is how much of a hash makes an event ID of room versions 1 and 2: enough that
// no two are ever equal by chance.
const opaqueBytes = 18

// hashAndSign adds content hash and signature to a canonical event that has neither, and that it may change. It also gives the reference hash, which is
// of the bytes that were signed.
func hashAndSign(rules *roomversion.Rules, typ string, object []byte, server id.ServerName, key signedjson.Key) (
	signed []byte, reference [sha256.Size]byte, err error) {
	hash := sha256.Sum256(object) // without hashes, signatures and unsigned, as it is
	object = canonicaljson.InsertMember(object, "hashes", hashObject(hash[:]))
	var stack [stackBuffer]byte
	covered := appendRedacted(stack[:0], rules, typ, object, false)
	signatures, err := signature(nil, covered, server, key)
	if err != nil {
		return nil, reference, err
	}
	signed = canonicaljson.InsertMember(object, "signatures", signatures)
	return slices.Clip(signed), sha256.Sum256(covered), nil // nobody gets the room behind it
}

func hashObject(hash []byte) []byte {
	dst := append(make([]byte, 0, len(`{"sha256":""}`)+44), `{"sha256":`...)
	return append(signedjson.AppendBase64(dst, hash), '}')
}

// Template is the event as it answers make_join, make_leave and make_knock: without ID,
// hashes and signatures. origin is the server that answers; "" leaves it out.
//
// spec:server-server-api#joining-rooms
func (d Draft) Template(rules *roomversion.Rules, origin id.ServerName) ([]byte, error) {
	return d.object(rules, origin)
}

// object is the canonical event without ID, hashes and signatures.
func (d Draft) object(rules *roomversion.Rules, origin id.ServerName) ([]byte, error) {
	var stack [stackBuffer]byte
	content, err := d.content(stack[:0], rules)
	if err != nil {
		return nil, err
	}
	// Elsewhere text that is not UTF-8 is mended; here that would be another event.
	if !utf8.ValidString(d.Type) || d.StateKey != nil && !utf8.ValidString(*d.StateKey) {
		return nil, wrong("", "has a type or a state_key that is not valid UTF-8")
	}
	if len(d.Type) > MaxKeyLength || d.StateKey != nil && len(*d.StateKey) > MaxKeyLength {
		return nil, wrong("", "has a type or a state_key of more than 255 bytes")
	}
	// Room for what is added to it: hash, signature.
	dst := append(make([]byte, 0, 640+len(content)+48*(len(d.AuthEvents)+len(d.PrevEvents))), '{')
	key := func(key string) { dst = canonicaljson.AppendKey(dst, []byte(key)) }
	text := func(name, value string) {
		key(name)
		dst = canonicaljson.AppendString(dst, value)
	}
	integer := func(name string, value int64) {
		key(name)
		dst = strconv.AppendInt(dst, value, 10)
	}

	key("auth_events")
	dst = d.appendReferences(dst, rules, d.AuthEvents)
	key("content")
	dst = append(dst, content...)
	integer("depth", d.Depth)
	if origin != "" {
		text("origin", string(origin))
	}
	integer("origin_server_ts", d.OriginServerTS)
	key("prev_events")
	dst = d.appendReferences(dst, rules, d.PrevEvents)
	if d.Redacts != "" && !rules.RedactsInContent {
		text("redacts", string(d.Redacts))
	}
	if d.RoomID != "" {
		text("room_id", string(d.RoomID))
	}
	text("sender", string(d.Sender))
	if d.StateKey != nil {
		text("state_key", *d.StateKey)
	}
	text("type", d.Type)
	return append(dst, '}'), nil
}

// content appends it, as the event has it.
func (d Draft) content(dst []byte, rules *roomversion.Rules) ([]byte, error) {
	raw := d.Content
	if len(bytes.TrimSpace(raw)) == 0 {
		raw = json.RawMessage("{}")
	}
	if len(raw) > maxRaw {
		return nil, wrong("content", "is too large")
	}
	content, err := canonicaljson.Append(dst, raw, mode(rules))
	if err != nil {
		return nil, err
	}
	if !canonicaljson.IsObject(content) {
		return nil, wrong("content", "is not an object")
	}
	if d.Redacts != "" && rules.RedactsInContent {
		target := canonicaljson.AppendString(nil, string(d.Redacts))
		content = canonicaljson.SetMember(nil, content, "redacts", target)
	}
	return content, nil
}

// appendReferences appends the list of event IDs as it stands in the event.
func (d Draft) appendReferences(dst []byte, rules *roomversion.Rules, ids []id.EventID) []byte {
	dst = append(dst, '[')
	for i, eventID := range ids {
		if i > 0 {
			dst = append(dst, ',')
		}
		if !rules.ReferencesWithHashes {
			dst = canonicaljson.AppendString(dst, string(eventID))
			continue
		}
		dst = canonicaljson.AppendString(append(dst, '['), string(eventID))
		dst = append(dst, ',')
		if hash := d.ReferenceHashes[eventID]; len(hash) == sha256.Size {
			dst = append(dst, hashObject(hash)...)
		} else {
			dst = append(dst, "{}"...)
		}
		dst = append(dst, ']')
	}
	return append(dst, ']')
}
