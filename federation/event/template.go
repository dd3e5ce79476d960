package event

import (
	"encoding/json"
	"fmt"

	"hanse/federation/canonicaljson"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
)

// ParseDraft reads the template of a make_join, make_leave or make_knock answer, which comes
// from a server that is not trusted: format, limits and grammar are checked, members it does
// not know are left out. The caller compares room, sender, type and state key with what it
// asked for, and sets OriginServerTS.
//
// spec:server-server-api#joining-rooms
func ParseDraft(rules *roomversion.Rules, raw []byte) (Draft, error) {
	if len(raw) > maxRaw {
		return Draft{}, wrong("", fmt.Sprintf("has %d bytes, %d are allowed", len(raw), maxRaw))
	}
	canonical, err := canonicaljson.AppendWithout(nil, raw, "unsigned", mode(rules))
	if err != nil {
		return Draft{}, err
	}
	if !canonicaljson.IsObject(canonical) {
		return Draft{}, wrong("", "is not a JSON object")
	}
	f := split(canonical)
	return readDraft(rules, &f)
}

func readDraft(rules *roomversion.Rules, f *fields) (Draft, error) {
	// origin_server_ts is the joining server's to say; templates may lack it.
	if f.originServerTS == nil {
		f.originServerTS = []byte("0")
	}
	e := Event{rules: rules, content: f.content}
	if err := e.readHead(f); err != nil {
		return Draft{}, err
	}
	if !canonicaljson.IsObject(f.content) {
		return Draft{}, wrong("content", "is not an object")
	}
	// A template has no ID. A room whose ID is the create event's is never joined by it.
	if err := e.readRoomID(nonNil(f.roomID)); err != nil {
		return Draft{}, err
	}
	e.readContent(f)
	prev, auth, err := readReferences(rules, f)
	if err != nil {
		return Draft{}, err
	}
	d := Draft{
		RoomID: e.roomID, Type: e.typ, Sender: e.sender, Content: json.RawMessage(f.content),
		Redacts: e.redacts, PrevEvents: prev, AuthEvents: auth, Depth: e.depth, OriginServerTS: e.ts,
	}
	if e.isState {
		d.StateKey = &e.stateKey
	}
	if rules.ReferencesWithHashes {
		d.ReferenceHashes = readReferenceHashes(f.prevEvents, f.authEvents)
	}
	return d, nil
}

func nonNil(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}

// readReferenceHashes reads what hashes there are beside the IDs of room versions 1 and 2.
func readReferenceHashes(lists ...[]byte) map[id.EventID][]byte {
	hashes := make(map[id.EventID][]byte)
	for _, list := range lists {
		for entry := range canonicaljson.Elements(list) {
			first, second, _ := pair(entry)
			value, _ := canonicaljson.Get(second, "sha256")
			text, ok := canonicaljson.String(value)
			eventID, isID := canonicaljson.String(first)
			if !ok || !isID {
				continue
			}
			if hash, err := signedjson.DecodeBase64(text); err == nil {
				hashes[id.EventID(eventID)] = hash
			}
		}
	}
	return hashes
}
