package id

// UserID names a user: "@localpart:domain".
//
// spec:appendices#user-identifiers
type UserID string

const userID = "user ID"

// ParseUserID accepts the historical grammar, as servers must: the localpart is any text
// without ':' and NUL, the empty one included. [UserID.Compliant] and [UserID.Strict] tell
// how narrow a given ID is.
//
// spec:appendices#historical-user-ids
func ParseUserID(s string) (UserID, error) {
	_, domain, err := split(userID, '@', s)
	if err != nil {
		return "", err
	}
	if _, err := ParseServerName(domain); err != nil {
		return "", refuse(userID, s, err.Error())
	}
	return UserID(s), nil
}

// NewUserID makes the ID of a new user of server: the localpart must obey the current
// grammar, and the whole must not exceed 255 bytes.
func NewUserID(localpart string, server ServerName) (UserID, error) {
	s := "@" + localpart + ":" + string(server)
	if localpart == "" {
		return "", refuse(userID, s, "its localpart is empty")
	}
	if !strictLocalpart(localpart) {
		return "", refuse(userID, s, "its localpart contains other characters than a-z, 0-9 and ._=-/+")
	}
	return ParseUserID(s)
}

// Localpart is the part between '@' and the first ':'.
func (u UserID) Localpart() string { return localpartOf(string(u)) }

// Server is the homeserver the ID belongs to.
func (u UserID) Server() ServerName { return domainOf(string(u)) }

// Strict tells whether the localpart obeys the current grammar, not only the historical one.
func (u UserID) Strict() bool {
	localpart := u.Localpart()
	return localpart != "" && strictLocalpart(localpart)
}

// Compliant tells whether the localpart is not empty and has only characters from U+0021 to
// U+007E. Others are accepted in events, but should not be shown to clients outside of them.
//
// spec:appendices#historical-user-ids
func (u UserID) Compliant() bool {
	localpart := u.Localpart()
	for i := range len(localpart) {
		if localpart[i] < 0x21 || localpart[i] > 0x7E {
			return false
		}
	}
	return localpart != ""
}

func strictLocalpart(localpart string) bool {
	for i := range len(localpart) {
		switch c := localpart[i]; {
		case isDigit(c), 'a' <= c && c <= 'z':
		case c == '-', c == '.', c == '=', c == '_', c == '/', c == '+':
		default:
			return false
		}
	}
	return true
}
