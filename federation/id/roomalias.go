package id

// RoomAlias is a human-readable name of a room: "#localpart:domain".
//
// spec:appendices#room-aliases
type RoomAlias string

const roomAlias = "room alias"

// ParseRoomAlias checks s against the grammar: any text without ':' and NUL before the
// server name. The specification does not forbid an empty localpart.
func ParseRoomAlias(s string) (RoomAlias, error) {
	_, domain, err := split(roomAlias, '#', s)
	if err != nil {
		return "", err
	}
	if _, err := ParseServerName(domain); err != nil {
		return "", refuse(roomAlias, s, err.Error())
	}
	return RoomAlias(s), nil
}

// Localpart is the part between '#' and the first ':'.
func (a RoomAlias) Localpart() string { return localpartOf(string(a)) }

// Server is the homeserver that answers for the alias.
func (a RoomAlias) Server() ServerName { return domainOf(string(a)) }
