package event

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"unicode/utf8"

	"hanse/federation/canonicaljson"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

// Parse reads an event that a peer sent. It checks the event format of the room version, the
// size limits and the grammar of the identifiers that the format needs, and computes the
// event ID where the version does so. It drops unsigned, in which any JSON may stand: servers
// on the way write it. Hashes, signatures and authorisation are not checked. Any error means
// that the event is to be dropped.
//
// spec:server-server-api#checks-performed-on-receipt-of-a-pdu 1
func Parse(rules *roomversion.Rules, raw []byte) (*Event, error) {
	e, err := parseOld(rules, raw)
	if err == nil {
		err = e.CheckReferences()
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// parseOld is [Parse] without the limits of the lists of prev and auth events.
func parseOld(rules *roomversion.Rules, raw []byte) (*Event, error) {
	if len(raw) > maxRaw {
		return nil, wrong("", fmt.Sprintf("has %d bytes before it is read, %d are allowed", len(raw), maxRaw))
	}
	canonical, err := canonicaljson.AppendWithout(nil, raw, "unsigned", mode(rules))
	if err != nil {
		return nil, err
	}
	if !canonicaljson.IsObject(canonical) {
		return nil, wrong("", "is not a JSON object")
	}
	return parseCanonical(rules, canonical, nil)
}

// Received is [Parse] of an event that is taken in: if its content hash is wrong, what comes is the redacted event.
//
// spec:server-server-api#checks-performed-on-receipt-of-a-pdu 1 and 3
func Received(rules *roomversion.Rules, raw []byte) (*Event, error) {
	e, err := Parse(rules, raw)
	if err != nil {
		return nil, err
	}
	return e.received()
}

// ReceivedOld is [Received] of an event of a room's past, as it comes in histories and states: servers took events with any number of
// prev and auth events before there were limits, and what was taken then counts on.
//
// spec:server-server-api#get_matrixfederationv1backfillroomid
func ReceivedOld(rules *roomversion.Rules, raw []byte) (*Event, error) {
	e, err := parseOld(rules, raw)
	if err != nil {
		return nil, err
	}
	return e.received()
}

// received is the event as it is taken in. Deployed servers drop one whose hash is no Base64; if we did not, we would build on what others
// never have.
//
// spec:appendices#binary-data
func (e *Event) received() (*Event, error) {
	given, err := e.givenContentHash()
	switch want := contentHash(e.json); {
	case err != nil:
		return nil, wrong("hashes", "has a sha256 that is no Base64")
	case string(given) != string(want[:]):
		return e.Redacted(), nil
	default:
		return e, nil
	}
}

// parseCanonical makes an event of a canonical object without unsigned, which it keeps. reference is its reference hash if that is
// known already, nil otherwise.
func parseCanonical(rules *roomversion.Rules, canonical []byte, reference *[sha256.Size]byte) (*Event, error) {
	if len(canonical) > MaxSize {
		return nil, wrong("", fmt.Sprintf("has %d bytes, %d are allowed", len(canonical), MaxSize))
	}
	if tooDeep(canonical) {
		return nil, wrong("", fmt.Sprintf("has more than %d arrays and objects in each other", maxNesting))
	}
	e := &Event{rules: rules, json: canonical}
	f, err := e.read()
	if err != nil {
		return nil, err
	}
	if rules.EventIDs == roomversion.EventIDGiven {
		if e.id, err = givenID(f.eventID); err != nil {
			return nil, err
		}
	} else {
		// The format has no such member. Deployed servers drop the event too; if we did not,
		// we could build on an event that others never get.
		if f.eventID != nil {
			return nil, wrong("event_id", "is not part of the format of this room version")
		}
		if reference == nil {
			hash := e.ReferenceHash()
			reference = &hash
		}
		e.id = hashedID(rules, *reference)
	}
	if err := e.readRoomID(f.roomID); err != nil {
		return nil, err
	}
	return e, nil
}

// tooDeep tells whether arrays and objects stand deeper in each other than maxNesting.
func tooDeep(canonical []byte) bool {
	if bytes.Count(canonical, []byte{'['})+bytes.Count(canonical, []byte{'{'}) <= maxNesting {
		return false // as nearly always, at next to no cost
	}
	nesting, inString := 0, false
	for i := 0; i < len(canonical); i++ {
		switch c := canonical[i]; {
		case c == '"':
			inString = !inString
		case inString && c == '\\':
			i++
		case inString:
		case c == '[' || c == '{':
			if nesting++; nesting > maxNesting {
				return true
			}
		case c == ']' || c == '}':
			nesting--
		}
	}
	return false
}

// Load makes an event of what [Event.JSON] gave, and its ID. It is for our own store: the
// text is trusted to be canonical and the ID to be right, and is not computed. The event
// keeps the slice.
func Load(rules *roomversion.Rules, eventID id.EventID, canonical []byte) (*Event, error) {
	e := &Event{rules: rules, json: canonical, id: eventID}
	f, err := e.read()
	if err != nil {
		return nil, err
	}
	if err := e.readRoomID(f.roomID); err != nil {
		return nil, err
	}
	return e, nil
}

func mode(rules *roomversion.Rules) canonicaljson.Mode {
	if rules.StrictCanonicalJSON {
		return canonicaljson.Strict
	}
	return canonicaljson.Lenient
}

// fields are the members of an event that the format knows, as they stand in it.
type fields struct {
	authEvents, content, depth, eventID, hashes, originServerTS, prevEvents,
	redacts, roomID, sender, signatures, stateKey, typ []byte
}

func split(object []byte) (f fields) {
	c := canonicaljson.Walk(object)
	for key, value, ok := c.Next(); ok; key, value, ok = c.Next() {
		switch string(key) {
		case "auth_events":
			f.authEvents = value
		case "content":
			f.content = value
		case "depth":
			f.depth = value
		case "event_id":
			f.eventID = value
		case "hashes":
			f.hashes = value
		case "origin_server_ts":
			f.originServerTS = value
		case "prev_events":
			f.prevEvents = value
		case "redacts":
			f.redacts = value
		case "room_id":
			f.roomID = value
		case "sender":
			f.sender = value
		case "signatures":
			f.signatures = value
		case "state_key":
			f.stateKey = value
		case "type":
			f.typ = value
		}
	}
	return f
}

// read fills the event from its JSON, all but its ID and room ID.
//
// spec:rooms/v1#event-format
// spec:rooms/v3#event-format
// spec:rooms/v6#event-format
// spec:rooms/v12#event-format
func (e *Event) read() (fields, error) {
	f := split(e.json)
	if err := e.readHead(&f); err != nil {
		return f, err
	}
	if e.content = f.content; !canonicaljson.IsObject(e.content) {
		return f, wrong("content", "is not an object")
	}
	if e.hashes = f.hashes; !areHashes(e.hashes) {
		return f, wrong("hashes", "is not an object of strings")
	}
	if hash, _ := canonicaljson.Get(e.hashes, "sha256"); !canonicaljson.IsString(hash) {
		return f, wrong("hashes", "has no string sha256")
	}
	if e.signatures = f.signatures; !areSignatures(e.signatures) {
		return f, wrong("signatures", "is not an object of objects of strings")
	}
	var err error
	if e.prev, e.auth, err = readReferences(e.rules, &f); err != nil {
		return f, err
	}
	e.readContent(&f)
	return f, nil
}

func areSignatures(value []byte) bool {
	servers := canonicaljson.Walk(value)
	for _, keys, ok := servers.Next(); ok; _, keys, ok = servers.Next() {
		if !canonicaljson.IsObject(keys) {
			return false
		}
		signatures := canonicaljson.Walk(keys)
		for _, signature, ok := signatures.Next(); ok; _, signature, ok = signatures.Next() {
			if !canonicaljson.IsString(signature) {
				return false
			}
		}
	}
	return canonicaljson.IsObject(value)
}

// readHead reads the members that are strings and numbers.
func (e *Event) readHead(f *fields) error {
	var ok bool
	if e.typ, ok = e.keyText(f.typ, ""); !ok {
		return wrong("type", "is not a string, or too long")
	}
	sender, ok := canonicaljson.String(f.sender)
	if !ok {
		return wrong("sender", "is not a string")
	}
	var err error
	if e.sender, err = id.ParseUserID(sender); err != nil {
		return wrong("sender", err.Error())
	}
	if e.isState = f.stateKey != nil; e.isState {
		if e.stateKey, ok = e.keyText(f.stateKey, sender); !ok {
			return wrong("state_key", "is not a string, or too long")
		}
	}
	if e.ts, ok = canonicaljson.Int(f.originServerTS); !ok {
		return wrong("origin_server_ts", "is not an integer")
	}
	if e.depth, ok = canonicaljson.Int(f.depth); !ok {
		return wrong("depth", "is not an integer")
	}
	if e.depth < 0 || e.depth > e.rules.MaxDepth {
		return wrong("depth", fmt.Sprintf("is not between 0 and %d", e.rules.MaxDepth))
	}
	return nil
}

// keyText decodes type or state_key. same is a text it may be equal to, to share memory.
func (e *Event) keyText(value []byte, same string) (string, bool) {
	if len(value) >= 2 && string(value[1:len(value)-1]) == same {
		return same, canonicaljson.IsString(value)
	}
	if known, ok := KnownText(value); ok {
		return known, true
	}
	text, ok := canonicaljson.String(value)
	fits := len(text) <= MaxKeyLength || e.rules.KeysInCharacters && utf8.RuneCountInString(text) <= MaxKeyLength
	return text, ok && fits
}

// readContent reads what accessors give of the content.
func (e *Event) readContent(f *fields) {
	switch e.typ {
	case "m.room.member":
		value, _ := canonicaljson.Get(e.content, "membership")
		if known, ok := KnownText(value); ok {
			e.membership = known
		} else {
			e.membership, _ = canonicaljson.String(value)
		}
	case "m.room.redaction":
		value := f.redacts
		if e.rules.RedactsInContent {
			value, _ = canonicaljson.Get(e.content, "redacts")
		}
		if text, ok := canonicaljson.String(value); ok {
			// A target that is no event ID is no reason to drop: the redaction has no effect.
			e.redacts, _ = id.ParseEventID(text)
		}
	}
}

// readRoomID comes after the ID is known, since a create event may take its room ID from it.
func (e *Event) readRoomID(value []byte) error {
	e.hasRoomID = value != nil
	// Deployed servers take a create event of another state key, or of none, for an event that lacks its room ID.
	if !e.hasRoomID && e.rules.RoomIDIsCreateEvent && e.Is("m.room.create", "") {
		e.roomID = "!" + id.RoomID(strings.TrimPrefix(string(e.id), "$"))
		return nil
	}
	text, ok := canonicaljson.String(value)
	if !ok {
		return wrong("room_id", "is not a string")
	}
	roomID, err := id.ParseRoomID(text)
	if err != nil {
		return wrong("room_id", err.Error())
	}
	if _, hasServer := roomID.Server(); hasServer == e.rules.RoomIDIsCreateEvent {
		return wrong("room_id", "has not the form of this room version")
	}
	e.roomID = roomID
	return nil
}

// givenID reads the event_id of room versions 1 and 2.
//
// spec:rooms/v1#event-ids
func givenID(value []byte) (id.EventID, error) {
	text, ok := canonicaljson.String(value)
	if !ok {
		return "", wrong("event_id", "is not a string")
	}
	eventID, err := id.ParseEventID(text)
	if err != nil {
		return "", wrong("event_id", err.Error())
	}
	if _, ok := eventID.Server(); !ok {
		return "", wrong("event_id", "has no server name")
	}
	return eventID, nil
}

// KnownText gives the strings that most events have, from their JSON, without memory of their own; false for all others.
func KnownText(value []byte) (string, bool) {
	switch string(value) {
	case `""`:
		return "", true
	case `"m.room.message"`:
		return "m.room.message", true
	case `"m.room.encrypted"`:
		return "m.room.encrypted", true
	case `"m.reaction"`:
		return "m.reaction", true
	case `"m.room.member"`:
		return "m.room.member", true
	case `"m.room.redaction"`:
		return "m.room.redaction", true
	case `"m.room.create"`:
		return "m.room.create", true
	case `"m.room.power_levels"`:
		return "m.room.power_levels", true
	case `"m.room.join_rules"`:
		return "m.room.join_rules", true
	case `"join"`:
		return "join", true
	case `"leave"`:
		return "leave", true
	case `"invite"`:
		return "invite", true
	case `"ban"`:
		return "ban", true
	case `"knock"`:
		return "knock", true
	case `"public"`:
		return "public", true
	}
	return "", false
}
