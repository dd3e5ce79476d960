package oauth

import "fmt"

// Error is an error as OAuth 2.0 has them.
//
// RFC 6749, sections 4.1.2.1 and 5.2; RFC 7591, section 3.2.2; RFC 8628, section 3.5.
type Error struct {
	Code        string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

func (e *Error) Error() string { return e.Code + ": " + e.Description }

// Refuse makes an Error. What it says goes to whoever asked: it has no quotation mark and no backslash, which RFC 6749 doesn't allow.
func Refuse(code, format string, args ...any) *Error {
	return &Error{Code: code, Description: clean(fmt.Sprintf(format, args...))}
}

// clean leaves only the characters that an error_description may have.
func clean(text string) string {
	out := make([]byte, 0, len(text))
	for _, c := range []byte(text) {
		switch {
		case c == '"':
			out = append(out, '\'')
		case c >= ' ' && c <= '~' && c != '\\':
			out = append(out, c)
		}
	}
	return string(out)
}

// The codes of errors.
const (
	InvalidRequest          = "invalid_request"
	InvalidClient           = "invalid_client"
	InvalidGrant            = "invalid_grant"
	InvalidScope            = "invalid_scope"
	InvalidRedirectURI      = "invalid_redirect_uri"
	InvalidClientMetadata   = "invalid_client_metadata"
	UnauthorizedClient      = "unauthorized_client"
	UnsupportedGrantType    = "unsupported_grant_type"
	UnsupportedResponseType = "unsupported_response_type"
	AccessDenied            = "access_denied"
	InteractionRequired     = "interaction_required"
	TemporarilyUnavailable  = "temporarily_unavailable"
	AuthorizationPending    = "authorization_pending"
	SlowDown                = "slow_down"
	ExpiredToken            = "expired_token"
)
