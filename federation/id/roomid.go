package id

import "strings"

// RoomID names a room: "!opaque:domain", or, where the room version makes it the hash of the
// create event, "!" and 43 characters of URL-safe Base64.
//
// spec:appendices#room-ids
type RoomID string

const roomID = "room ID"

// ParseRoomID accepts both forms; which of them a room has is a fact of its version. A domain
// in a room ID says nothing about where the room is.
func ParseRoomID(s string) (RoomID, error) {
	if err := opaque(roomID, '!', s); err != nil {
		return "", err
	}
	_, domain, found := strings.Cut(s[1:], ":")
	if !found {
		if !isURLSafeHash(s[1:]) {
			return "", refuse(roomID, s, "it has neither a server name nor the form of a hash")
		}
		return RoomID(s), nil
	}
	if _, err := ParseServerName(domain); err != nil {
		return "", refuse(roomID, s, err.Error())
	}
	return RoomID(s), nil
}

// Server is the domain of the ID; false if it has none.
func (r RoomID) Server() (ServerName, bool) {
	domain := domainOf(string(r))
	return domain, domain != ""
}

// CreateEvent is the ID of the room's create event, if the room ID is its hash.
//
// spec:rooms/v12#event-format
func (r RoomID) CreateEvent() (EventID, bool) {
	if len(r) < 1 || !isURLSafeHash(string(r[1:])) {
		return "", false
	}
	return "$" + EventID(r[1:]), true
}

// isURLSafeHash tells whether s has the form of a SHA-256 hash in URL-safe unpadded Base64.
func isURLSafeHash(s string) bool {
	if len(s) != hashLength {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isDigit(c) && !isLetter(c) && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
