package event

import (
	"bytes"
	"fmt"

	"hanse/federation/canonicaljson"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

// readReferences reads prev_events and auth_events into one slice.
func readReferences(rules *roomversion.Rules, f *fields) (prev, auth []id.EventID, err error) {
	ids := make([]id.EventID, 0, 8)
	ids, err = appendReferences(ids, rules, "prev_events", f.prevEvents)
	if err != nil {
		return nil, nil, err
	}
	n := len(ids)
	ids, err = appendReferences(ids, rules, "auth_events", f.authEvents)
	if err != nil {
		return nil, nil, err
	}
	return ids[:n:n], ids[n:len(ids):len(ids)], nil
}

// CheckReferences tells whether the event names no more prev and auth events than new ones may.
//
// spec:rooms/v4#event-format
func (e *Event) CheckReferences() error {
	switch {
	case len(e.prev) > MaxPrevEvents:
		return wrong("prev_events", fmt.Sprintf("has more than %d entries", MaxPrevEvents))
	case len(e.auth) > MaxAuthEvents:
		return wrong("auth_events", fmt.Sprintf("has more than %d entries", MaxAuthEvents))
	}
	return nil
}

// Glance reads the auth events and the depth of events, and nothing else: all that the auth chain of a large state takes. Members cite the
// same events mostly, so a list like that of the event before is not read again. The zero value is ready. Not safe for concurrent use.
type Glance struct {
	rules *roomversion.Rules
	list  []byte // of the event before
	auth  []id.EventID
}

// Read reads what [Event.JSON] gave. Like [Load] it trusts the text, of which it keeps nothing; auth is shared and must not be changed.
func (g *Glance) Read(rules *roomversion.Rules, canonical []byte) (auth []id.EventID, depth int64, err error) {
	members, found := canonicaljson.Walk(canonical), 0
	for key, value, ok := members.Next(); ok && found < 2; key, value, ok = members.Next() {
		switch string(key) {
		case "auth_events":
			found++
			if g.rules == rules && bytes.Equal(g.list, value) {
				auth = g.auth
				continue
			}
			if auth, err = appendReferences(nil, rules, "auth_events", value); err != nil {
				return nil, 0, err
			}
			g.rules, g.list, g.auth = rules, append(g.list[:0], value...), auth[:len(auth):len(auth)]
		case "depth":
			found++
			if depth, ok = canonicaljson.Int(value); !ok {
				return nil, 0, wrong("depth", "is not an integer")
			}
		}
	}
	return auth, depth, nil
}

// appendReferences reads a list of event IDs; in room versions 1 and 2, of pairs of an ID and
// an object of hashes. Nobody uses the hashes, and some servers leave them out; but deployed
// servers drop an event in which one is not a string.
func appendReferences(ids []id.EventID, rules *roomversion.Rules, field string, list []byte) ([]id.EventID, error) {
	if !canonicaljson.IsArray(list) {
		return nil, wrong(field, "is not an array")
	}
	for value := range canonicaljson.Elements(list) {
		if rules.ReferencesWithHashes {
			first, hashes, ok := pair(value)
			if value = first; !ok || !areHashes(hashes) {
				return nil, wrong(field, "has an entry that is not a pair of an event ID and an object of strings")
			}
		}
		text, ok := canonicaljson.String(value)
		if !ok {
			return nil, wrong(field, "has an entry that is not an event ID")
		}
		eventID, err := id.ParseEventID(text)
		if err != nil {
			return nil, wrong(field, err.Error())
		}
		ids = append(ids, eventID)
	}
	return ids, nil
}

// pair takes an array of two elements apart.
func pair(array []byte) (first, second []byte, ok bool) {
	n := 0
	for value := range canonicaljson.Elements(array) {
		switch n++; n {
		case 1:
			first = value
		case 2:
			second = value
		}
	}
	return first, second, n == 2
}

// areHashes tells whether the value is an object of strings.
func areHashes(value []byte) bool {
	if !canonicaljson.IsObject(value) {
		return false
	}
	hashes := canonicaljson.Walk(value)
	for _, hash, ok := hashes.Next(); ok; _, hash, ok = hashes.Next() {
		if !canonicaljson.IsString(hash) {
			return false
		}
	}
	return true
}
