package oauth

import "strings"

// maxDeviceBytes is that of devices by /login.
const maxDeviceBytes = 255

// The scopes, with what deployed clients call them from before they were in the specification (MSC2967).
//
// spec:client-server-api#allocated-scope-tokens
var (
	apiScopes    = []string{"urn:matrix:client:api:*", "urn:matrix:org.matrix.msc2967.client:api:*"}
	deviceScopes = []string{"urn:matrix:client:device:", "urn:matrix:org.matrix.msc2967.client:device:"}
)

// ReadScope reads the scope that a login asks for: all of the client-server API, and the ID of a device. granted is what this server
// grants of it, in the client's words: others, such as openid, are left out. The error is an *Error.
//
// spec:client-server-api#scope
func ReadScope(scope string) (device, granted string, err error) {
	var api bool
	var tokens []string
	for token := range strings.FieldsFuncSeq(scope, func(r rune) bool { return r == ' ' }) {
		name, isDevice := cutAny(token, deviceScopes)
		switch {
		case isDevice && device != "":
			return "", "", Refuse(InvalidScope, "the scope has more than one device")
		case isDevice && (name == "" || len(name) > maxDeviceBytes || !isScopeToken(name)):
			return "", "", Refuse(InvalidScope, "the device ID in the scope is empty, too long, or has characters that scopes don't have")
		case isDevice:
			device = name
		case token == apiScopes[0] || token == apiScopes[1]:
			api = true
		default:
			continue
		}
		tokens = append(tokens, token)
	}
	switch {
	case !api:
		return "", "", Refuse(InvalidScope, "the scope lacks %s", apiScopes[0])
	case device == "":
		return "", "", Refuse(InvalidScope, "the scope lacks %s with a device ID", deviceScopes[0])
	}
	return device, strings.Join(tokens, " "), nil
}

func cutAny(text string, prefixes []string) (rest string, found bool) {
	for _, prefix := range prefixes {
		if rest, found = strings.CutPrefix(text, prefix); found {
			return rest, true
		}
	}
	return "", false
}

// isScopeToken is the grammar of RFC 6749, section 3.3.
func isScopeToken(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < '!' || r > '~' || r == '"' || r == '\\' })
}
