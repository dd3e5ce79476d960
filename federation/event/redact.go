package event

import (
	"bytes"

	"hanse/federation/canonicaljson"
	"hanse/federation/roomversion"
)

// Redacted is the event without what a redaction takes away, by the rules of its room
// version. It has the same ID. If nothing is taken away it is the event itself.
//
// spec:client-server-api#redactions
func (e *Event) Redacted() *Event {
	form := appendRedacted(make([]byte, 0, len(e.json)), e.rules, e.typ, e.json, true)
	if len(form) == len(e.json) {
		return e
	}
	redacted, err := Load(e.rules, e.id, bytes.Clone(form))
	if err != nil {
		// Redaction keeps every member that the format needs, as they are.
		panic("event: the redacted form of an event is not an event: " + err.Error())
	}
	redacted.redacted = true
	return redacted
}

// IsRedacted tells whether the event lacks parts that its content hash covers: it was made by
// [Event.Redacted], or came redacted.
func (e *Event) IsRedacted() bool {
	if e.redacted {
		return true
	}
	var stack [stackBuffer]byte
	form := appendRedacted(stack[:0], e.rules, e.typ, e.json, true)
	return len(form) == len(e.json) && !e.ContentHashMatches()
}

// stackBuffer is the size of buffers that hold most events without allocating.
const stackBuffer = 2048

// appendRedacted appends the redacted form of a canonical event without unsigned. Without
// signatures it is what signatures and the reference hash cover.
//
// spec:rooms/v1#redactions
// spec:rooms/v6#redactions
// spec:rooms/v8#redactions
// spec:rooms/v9#redactions
// spec:rooms/v11#redactions
func appendRedacted(dst []byte, rules *roomversion.Rules, typ string, object []byte, signatures bool) []byte {
	dst = append(dst, '{')
	c := canonicaljson.Walk(object)
	for key, value, ok := c.Next(); ok; key, value, ok = c.Next() {
		switch {
		case string(key) == "content":
			dst = appendRedactedContent(canonicaljson.AppendKey(dst, key), &rules.Redaction, typ, value)
		case string(key) == "signatures" && !signatures:
		case keepsField(&rules.Redaction, key):
			dst = canonicaljson.AppendMember(dst, key, value)
		}
	}
	return append(dst, '}')
}

// keepsField tells whether a member of the event survives, content apart.
func keepsField(r *roomversion.Redaction, key []byte) bool {
	switch string(key) {
	case "event_id", "type", "room_id", "sender", "state_key", "hashes", "signatures",
		"depth", "prev_events", "auth_events", "origin_server_ts":
		return true
	case "origin":
		return r.Origin
	case "membership":
		return r.Membership
	case "prev_state":
		return r.PrevState
	}
	return false
}

func appendRedactedContent(dst []byte, r *roomversion.Redaction, typ string, content []byte) []byte {
	if typ == "m.room.create" && r.CreateContent {
		return append(dst, content...)
	}
	dst = append(dst, '{')
	c := canonicaljson.Walk(content)
	for key, value, ok := c.Next(); ok; key, value, ok = c.Next() {
		switch {
		case keepsContent(r, typ, key):
			dst = canonicaljson.AppendMember(dst, key, value)
		case typ == "m.room.member" && r.MemberSignedInvite && string(key) == "third_party_invite" &&
			canonicaljson.IsObject(value):
			// Only its signed survives. Where there is none, an empty object does, as in
			// Synapse: event IDs depend on it.
			dst = canonicaljson.Filter(canonicaljson.AppendKey(dst, key), value, isSigned)
		}
	}
	return append(dst, '}')
}

func isSigned(key []byte) bool { return string(key) == "signed" }

// keepsContent tells whether a member of the content survives whole.
func keepsContent(r *roomversion.Redaction, typ string, key []byte) bool {
	switch typ {
	case "m.room.member":
		switch string(key) {
		case "membership":
			return true
		case "join_authorised_via_users_server":
			return r.MemberAuthorisedVia
		}
	case "m.room.create":
		return string(key) == "creator"
	case "m.room.join_rules":
		return string(key) == "join_rule" || r.JoinRulesAllow && string(key) == "allow"
	case "m.room.power_levels":
		switch string(key) {
		case "ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default":
			return true
		case "invite":
			return r.PowerLevelsInvite
		}
	case "m.room.aliases":
		return r.Aliases && string(key) == "aliases"
	case "m.room.history_visibility":
		return string(key) == "history_visibility"
	case "m.room.redaction":
		return r.RedactionRedacts && string(key) == "redacts"
	}
	return false
}
