package peer

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"

	"golang.org/x/crypto/ed25519"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
)

// Forgery says what is right about a forged event. The zero value hashes and signs as it should be, whatever the
// event's fields are.
type Forgery struct {
	KeepHash bool           // leave the content hash as it is
	Key      signedjson.Key // sign with this key instead of the peer's
	Server   id.ServerName  // sign in this name instead of the peer's
	Unsigned bool           // don't sign
}

// Forge changes fields of an event, and makes of it an event that package event may refuse to read: format, sizes and
// numbers are the script's. The ID is that of the result (room versions 1 and 2: what event_id says).
func (r *Room) Forge(e *event.Event, alter func(fields map[string]any), f Forgery) (json.RawMessage, id.EventID) {
	fields := map[string]any{}
	decoder := json.NewDecoder(bytes.NewReader(e.JSON()))
	decoder.UseNumber()
	if err := decoder.Decode(&fields); err != nil {
		panic(err) // an event is JSON
	}
	alter(fields)
	delete(fields, "signatures")
	if !f.KeepHash {
		delete(fields, "hashes")
		hash := sha256.Sum256(canonical(without(fields, "unsigned")))
		fields["hashes"] = map[string]any{"sha256": base64.RawStdEncoding.EncodeToString(hash[:])}
	}
	essential := canonical(redact(r.Rules, without(fields, "unsigned")))
	eventID := referenceID(r.Rules, essential)
	if given, ok := fields["event_id"].(string); ok && r.Rules.EventIDs == roomversion.EventIDGiven {
		eventID = id.EventID(given)
	}
	if f.Unsigned {
		return canonical(fields), eventID
	}
	key, server := r.peer.Key(), r.peer.Name
	if f.Key.ID != "" {
		key = f.Key
	}
	if f.Server != "" {
		server = f.Server
	}
	signature := base64.RawStdEncoding.EncodeToString(ed25519.Sign(key.Private, essential))
	fields["signatures"] = map[string]any{string(server): map[string]any{string(key.ID): signature}}
	return canonical(fields), eventID
}

func referenceID(rules *roomversion.Rules, essential []byte) id.EventID {
	hash := sha256.Sum256(essential)
	if rules.EventIDs == roomversion.EventIDURLSafeHash {
		return id.EventID("$" + base64.RawURLEncoding.EncodeToString(hash[:]))
	}
	return id.EventID("$" + base64.RawStdEncoding.EncodeToString(hash[:]))
}

// canonical is for what scripts write: numbers stand as they are given.
func canonical(fields map[string]any) []byte {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(fields); err != nil {
		panic(err) // a script with a value that is no JSON
	}
	return bytes.TrimRight(text.Bytes(), "\n")
}

func without(fields map[string]any, names ...string) map[string]any {
	rest := make(map[string]any, len(fields))
	for name, value := range fields {
		if !slices.Contains(names, name) {
			rest[name] = value
		}
	}
	return rest
}

func only(fields map[string]any, names ...string) map[string]any {
	rest := make(map[string]any, len(names))
	for name, value := range fields {
		if slices.Contains(names, name) {
			rest[name] = value
		}
	}
	return rest
}

// redact is the redaction algorithm as it stands in the specification, on fields of any form.
//
// spec:client-server-api#redactions
func redact(rules *roomversion.Rules, fields map[string]any) map[string]any {
	keep := []string{
		"event_id", "type", "room_id", "sender", "state_key", "content", "hashes", "signatures", "depth",
		"prev_events", "auth_events", "origin_server_ts",
	}
	facts := rules.Redaction
	for name, kept := range map[string]bool{"origin": facts.Origin, "membership": facts.Membership, "prev_state": facts.PrevState} {
		if kept {
			keep = append(keep, name)
		}
	}
	redacted := only(fields, keep...)
	content, ok := fields["content"].(map[string]any)
	if !ok {
		return redacted
	}
	redacted["content"] = redactContent(facts, fields["type"], content)
	return redacted
}

func redactContent(facts roomversion.Redaction, eventType any, content map[string]any) map[string]any {
	var keep []string
	also := func(fact bool, name string) {
		if fact {
			keep = append(keep, name)
		}
	}
	switch eventType {
	case "m.room.member":
		keep = []string{"membership"}
		also(facts.MemberAuthorisedVia, "join_authorised_via_users_server")
	case "m.room.create":
		if facts.CreateContent {
			return content
		}
		keep = []string{"creator"}
	case "m.room.join_rules":
		keep = []string{"join_rule"}
		also(facts.JoinRulesAllow, "allow")
	case "m.room.power_levels":
		keep = []string{"ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default"}
		also(facts.PowerLevelsInvite, "invite")
	case "m.room.history_visibility":
		keep = []string{"history_visibility"}
	case "m.room.aliases":
		also(facts.Aliases, "aliases")
	case "m.room.redaction":
		also(facts.RedactionRedacts, "redacts")
	}
	rest := only(content, keep...)
	if invite, ok := content["third_party_invite"].(map[string]any); ok && eventType == "m.room.member" && facts.MemberSignedInvite {
		rest["third_party_invite"] = only(invite, "signed")
	}
	return rest
}
