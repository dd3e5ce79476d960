package federation

import (
	"fmt"
	"time"
	"unicode/utf8"

	"hanse/federation/exactjson"
)

// Error codes of the standard error response that this server sends or acts upon.
//
// spec:client-server-api#standard-error-response
const (
	CodeForbidden               = "M_FORBIDDEN"
	CodeUnauthorized            = "M_UNAUTHORIZED"
	CodeUnknownToken            = "M_UNKNOWN_TOKEN"
	CodeMissingToken            = "M_MISSING_TOKEN"
	CodeBadJSON                 = "M_BAD_JSON"
	CodeNotJSON                 = "M_NOT_JSON"
	CodeNotFound                = "M_NOT_FOUND"
	CodeLimitExceeded           = "M_LIMIT_EXCEEDED"
	CodeUnrecognized            = "M_UNRECOGNIZED"
	CodeUnknown                 = "M_UNKNOWN"
	CodeMissingParam            = "M_MISSING_PARAM"
	CodeInvalidParam            = "M_INVALID_PARAM"
	CodeTooLarge                = "M_TOO_LARGE"
	CodeUnsupportedRoomVersion  = "M_UNSUPPORTED_ROOM_VERSION"
	CodeIncompatibleRoomVersion = "M_INCOMPATIBLE_ROOM_VERSION"
	CodeUnableToAuthoriseJoin   = "M_UNABLE_TO_AUTHORISE_JOIN"
	CodeUnableToGrantJoin       = "M_UNABLE_TO_GRANT_JOIN"
	CodeInviteBlocked           = "M_INVITE_BLOCKED"
	CodeUserLocked              = "M_USER_LOCKED"
	CodeUserSuspended           = "M_USER_SUSPENDED"
	CodeGuestAccessForbidden    = "M_GUEST_ACCESS_FORBIDDEN"
	CodePartialState            = "ORG.MATRIX.MSC3895_UNABLE_DUE_TO_PARTIAL_STATE" // the specification has none yet
	CodeNotYetUploaded          = "M_NOT_YET_UPLOADED"
	CodeCannotOverwriteMedia    = "M_CANNOT_OVERWRITE_MEDIA"
)

// Error is the standard error response of every Matrix API: what a server tells a peer or a client. Its message is
// sent, so it holds nothing that is not for the other side.
//
// spec:client-server-api#standard-error-response
type Error struct {
	Status  int    `json:"-"`       // the HTTP status
	Code    string `json:"errcode"` // M_…
	Message string `json:"error"`   // for people

	// RoomVersion is the room's version, with M_INCOMPATIBLE_ROOM_VERSION.
	RoomVersion string `json:"room_version,omitempty"`
	// RetryAfterMS is in how many milliseconds to try again, with M_LIMIT_EXCEEDED; 0 = not said.
	RetryAfterMS int64 `json:"retry_after_ms,omitempty"`
	// CurrentVersion is the version of the newest key backup, with M_WRONG_ROOM_KEYS_VERSION.
	CurrentVersion string `json:"current_version,omitempty"`
	// SoftLogout tells a client to keep its data, with M_UNKNOWN_TOKEN and M_USER_LOCKED.
	SoftLogout bool `json:"soft_logout,omitempty"`
}

// NewError makes an error of any code; message goes to the other side.
func NewError(status int, code, message string) *Error {
	return &Error{Status: status, Code: code, Message: message}
}

// Error says what is wrong, for logs.
func (e *Error) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("%s (HTTP %d)", e.Code, e.Status)
	}
	return fmt.Sprintf("%s (HTTP %d): %s", e.Code, e.Status, e.Message)
}

// RetryAfter is how long the sender of the error asks us to wait; 0 when it doesn't say. Never negative.
func (e *Error) RetryAfter() time.Duration {
	const most = 365 * 24 * time.Hour // a peer's number: don't overflow
	return time.Duration(min(max(e.RetryAfterMS, 0), most.Milliseconds())) * time.Millisecond
}

// Forbidden is 403 M_FORBIDDEN.
func Forbidden(message string) *Error { return NewError(403, CodeForbidden, message) }

// Unauthorized is 401 M_UNAUTHORIZED: the request's signature is missing or not good.
func Unauthorized(message string) *Error { return NewError(401, CodeUnauthorized, message) }

// NotFound is 404 M_NOT_FOUND.
func NotFound(message string) *Error { return NewError(404, CodeNotFound, message) }

// BadJSON is 400 M_BAD_JSON: JSON, but not of the form that is expected.
func BadJSON(message string) *Error { return NewError(400, CodeBadJSON, message) }

// NotJSON is 400 M_NOT_JSON.
func NotJSON(message string) *Error { return NewError(400, CodeNotJSON, message) }

// InvalidParam is 400 M_INVALID_PARAM.
func InvalidParam(message string) *Error { return NewError(400, CodeInvalidParam, message) }

// MissingParam is 400 M_MISSING_PARAM.
func MissingParam(message string) *Error { return NewError(400, CodeMissingParam, message) }

// TooLarge is 413 M_TOO_LARGE.
func TooLarge(message string) *Error { return NewError(413, CodeTooLarge, message) }

// Unrecognized is 404 M_UNRECOGNIZED: an endpoint that doesn't exist.
//
// spec:server-server-api#unsupported-endpoints
func Unrecognized() *Error { return NewError(404, CodeUnrecognized, "no such endpoint") }

// MethodNotAllowed is 405 M_UNRECOGNIZED: a known endpoint, but not with this method.
//
// spec:server-server-api#unsupported-endpoints
func MethodNotAllowed() *Error {
	return NewError(405, CodeUnrecognized, "this endpoint does not have this method")
}

// LimitExceeded is 429 M_LIMIT_EXCEEDED; retryAfter is rounded up to whole milliseconds.
func LimitExceeded(retryAfter time.Duration) *Error {
	e := NewError(429, CodeLimitExceeded, "too many requests, try again later")
	e.RetryAfterMS = int64((retryAfter + time.Millisecond - 1) / time.Millisecond)
	return e
}

// Unknown is 500 M_UNKNOWN: something went wrong inside, the log says what.
func Unknown() *Error { return NewError(500, CodeUnknown, "internal server error") }

// UnableToAuthoriseJoin is 400 M_UNABLE_TO_AUTHORISE_JOIN: we can't tell whether the user meets one of a restricted
// room's conditions.
//
// spec:server-server-api#restricted-rooms
func UnableToAuthoriseJoin(message string) *Error {
	return NewError(400, CodeUnableToAuthoriseJoin, message)
}

// UnableToGrantJoin is 400 M_UNABLE_TO_GRANT_JOIN: another server should be asked, no user of ours may invite.
//
// spec:server-server-api#restricted-rooms
func UnableToGrantJoin(message string) *Error { return NewError(400, CodeUnableToGrantJoin, message) }

// PartialState is a refusal because the room's state isn't whole here yet (see send_join's omit_members): another server may answer.
func PartialState() *Error {
	return NewError(403, CodePartialState, "this server does not have all members of the room yet")
}

// IncompatibleRoomVersion is 400 M_INCOMPATIBLE_ROOM_VERSION: the asking server doesn't support the room's version.
func IncompatibleRoomVersion(version string) *Error {
	e := NewError(400, CodeIncompatibleRoomVersion, "your server does not support version "+version+" of this room")
	e.RoomVersion = version
	return e
}

// UnsupportedRoomVersion is 400 M_UNSUPPORTED_ROOM_VERSION: this server doesn't know the room version.
func UnsupportedRoomVersion(version string) *Error {
	return NewError(400, CodeUnsupportedRoomVersion, fmt.Sprintf("this server does not know room version %q", version))
}

// DecodeError reads a peer's error answer. It never fails: an answer that is not the standard error gives one with
// code M_UNKNOWN and no message (an HTML page of a proxy is no message). Texts are cut to MaxErrorText bytes.
func DecodeError(status int, body []byte) *Error {
	var wire struct {
		Code         any `json:"errcode"`
		Message      any `json:"error"`
		RoomVersion  any `json:"room_version"`
		RetryAfterMS any `json:"retry_after_ms"`
	}
	e := NewError(status, CodeUnknown, "")
	if exactjson.Unmarshal(body, &wire) != nil {
		return e
	}
	if code, ok := wire.Code.(string); ok && code != "" {
		e.Code = clip(code)
	}
	if message, ok := wire.Message.(string); ok {
		e.Message = clip(message)
	}
	if version, ok := wire.RoomVersion.(string); ok {
		e.RoomVersion = clip(version)
	}
	if ms, ok := wire.RetryAfterMS.(float64); ok && ms > 0 && ms < 1<<53 {
		e.RetryAfterMS = int64(ms)
	}
	return e
}

// clip cuts a text to MaxErrorText bytes at a character's end.
func clip(s string) string {
	if len(s) <= MaxErrorText {
		return s
	}
	end := MaxErrorText
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}
