package id

import "strings"

// EventID names an event. Room versions 1 and 2 write "$opaque:domain", version 3 the hash of
// the event in Base64, later ones in URL-safe Base64.
//
// spec:appendices#event-ids
type EventID string

const eventID = "event ID"

// ParseEventID accepts the IDs of all room versions. A text with a colon must have a server
// name after it; one without is opaque, and not checked to be a hash: an ID that names no
// event is found out by looking it up.
func ParseEventID(s string) (EventID, error) {
	if err := opaque(eventID, '$', s); err != nil {
		return "", err
	}
	if len(s) == 1 {
		return "", refuse(eventID, s, "nothing follows the '$'")
	}
	_, domain, found := strings.Cut(s[1:], ":")
	if !found {
		return EventID(s), nil
	}
	if _, err := ParseServerName(domain); err != nil {
		return "", refuse(eventID, s, err.Error())
	}
	return EventID(s), nil
}

// Server is the server that made the ID, in room versions 1 and 2; false in later ones.
//
// spec:rooms/v1#event-ids
func (e EventID) Server() (ServerName, bool) {
	domain := domainOf(string(e))
	return domain, domain != ""
}
