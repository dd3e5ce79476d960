package federation

import (
	"encoding/json"

	"hanse/federation/exactjson"
	"hanse/federation/id"
)

// ProfileRequest is what GET /query/profile asks.
type ProfileRequest struct {
	UserID id.UserID
	Field  string // "" = the whole profile
}

// ProfileResponse is the answer of GET /query/profile: the profile's fields by name (displayname, avatar_url, m.tz,
// others), each any JSON value. Values come from a peer: check before use.
//
// spec:server-server-api#querying-for-information
type ProfileResponse map[string]json.RawMessage

// Text is a field's value if it is a text; "" when it is absent, null or something else.
func (p ProfileResponse) Text(field string) string {
	var text string
	if exactjson.Unmarshal(p[field], &text) != nil {
		return ""
	}
	return text
}
