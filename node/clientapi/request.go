package clientapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"unicode/utf8"

	"hanse/federation"
	"hanse/federation/canonicaljson"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/appservice"
	"hanse/node/rooms"
)

// request is an admitted request; the fields below it are empty where the route needs no user.
type request struct {
	*http.Request
	api    *API
	writer http.ResponseWriter
	route  string // the pattern that matched

	user   id.UserID
	device string
	token  string
	admin  bool
	oauth  bool // the client logged in by the OAuth 2.0 API
	// service is the application service that asks as the user; nil: it is the user.
	service *appservice.Service

	read []byte // the body, once read

	answered func() // to be called once the answer is on its way; nil: nobody waits for it

	laters    []*later // of the answer
	laterMark string   // what the marks of laters begin with; "" if there is none
}

// detached is a context for work that goes on when the client has given up.
func (r *request) detached() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(r.Context()), backgroundLife)
}

// roomID reads the path's {roomId}.
func (r *request) roomID() (id.RoomID, error) {
	room, err := id.ParseRoomID(r.PathValue("roomId"))
	if err != nil {
		return "", invalidParam("%q is not a room ID", r.PathValue("roomId"))
	}
	return room, nil
}

// eventID reads the path's {eventId}.
func (r *request) eventID() (id.EventID, error) {
	event, err := id.ParseEventID(r.PathValue("eventId"))
	if err != nil {
		return "", invalidParam("%q is not an event ID", r.PathValue("eventId"))
	}
	return event, nil
}

// name reads a part of the path that becomes a field of an event: an event type or a state key.
func (r *request) name(part string) (string, error) {
	text := r.PathValue(part)
	if len(text) > maxNameBytes || !utf8.ValidString(text) {
		return "", invalidParam("%s must be UTF-8 of at most %d bytes", part, maxNameBytes)
	}
	return text, nil
}

// ownUser reads the path's {userId}, which must be the one who asks.
func (r *request) ownUser() error {
	switch user, err := id.ParseUserID(r.PathValue("userId")); {
	case err != nil:
		return invalidParam("%q is not a user ID", r.PathValue("userId"))
	case user != r.user:
		return forbidden("this is for %s alone", user)
	}
	return nil
}

// body reads the whole body.
func (r *request) body() ([]byte, error) {
	if r.read != nil {
		return r.read, nil
	}
	var err error
	if n := r.ContentLength; n > 0 && n <= bodyAhead {
		r.read = make([]byte, n)
		_, err = io.ReadFull(r.Request.Body, r.read)
	} else {
		r.read, err = io.ReadAll(r.Request.Body)
	}
	if err != nil {
		r.read = nil
		return nil, bodyError(err)
	}
	return r.read, nil
}

// bodyAhead is up to which length of a body room is made for all of it before it is there: that of an ordinary event.
const bodyAhead = 4096

func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	var limited *limitedError
	if errors.As(err, &tooLarge) || errors.As(err, &limited) {
		return err
	}
	return badRequest("M_NOT_JSON", "the request body could not be read")
}

// object reads the body, which must be a JSON object.
func (r *request) object() (json.RawMessage, error) {
	raw, err := r.body()
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(raw) || !json.Valid(raw) {
		return nil, badRequest("M_NOT_JSON", "the request body is not JSON")
	}
	if raw = bytes.TrimSpace(raw); raw[0] != '{' {
		return nil, badJSON("the request body is not a JSON object")
	}
	return raw, nil
}

// content reads the body as the content of an event, in canonical form, as the event will have it. Whether its numbers
// suit the room's version is the room's question.
func (r *request) content() (json.RawMessage, error) {
	raw, err := r.body()
	if err != nil {
		return nil, err
	}
	raw, err = canonicaljson.Append(nil, raw, canonicaljson.Lenient)
	if err != nil || !canonicaljson.IsObject(raw) {
		if _, wrong := r.object(); wrong != nil {
			return nil, wrong // it is no JSON at all, or no object
		}
	}
	switch {
	case err != nil:
		return nil, badJSON("the content is not JSON as Matrix has it: %v", err)
	case len(raw) > maxEventBytes:
		return nil, &federation.Error{Status: http.StatusRequestEntityTooLarge, Code: "M_TOO_LARGE",
			Message: "an event has at most 65536 bytes"}
	}
	return raw, nil
}

// sentEvent is the answer to a send.
type sentEvent struct {
	EventID id.EventID `json:"event_id"`
}

// send sends an event whose content was read by content, and says so if its content is what made it refused.
func (r *request) send(req rooms.SendRequest) (any, error) {
	if err := r.api.maySend(r.Context(), req); err != nil {
		return nil, err
	}
	if delay, err := r.delay(); err != nil || delay > 0 {
		return r.schedule(req, delay, err)
	}
	if req.TxnID != "" && r.device != "" {
		r.answered = r.api.unanswered.begin(transaction{r.user, r.device, req.Room, req.TxnID})
	}
	eventID, err := r.api.config.Rooms.Send(r.Context(), req)
	if err == nil {
		r.active()
	}
	var refused *federation.Error
	if errors.As(err, &refused) && refused.Code == federation.CodeForbidden {
		if _, strict := canonicaljson.Append(nil, req.Content, canonicaljson.Strict); strict != nil {
			return nil, badJSON("the content is not JSON as this room has it: %v", strict)
		}
	}
	return sentEvent{eventID}, err
}

// decode reads the body, a JSON object, into v.
func (r *request) decode(v any) error {
	raw, err := r.object()
	if err != nil {
		return err
	}
	return decodeObject(raw, v)
}

// decodeOptional is decode for endpoints that clients call without a body.
func (r *request) decodeOptional(v any) error {
	raw, err := r.body()
	if err != nil || len(bytes.TrimSpace(raw)) == 0 {
		return err
	}
	return r.decode(v)
}

func decodeObject(raw []byte, v any) error {
	err := exactjson.Unmarshal(raw, v)
	var wrongType *json.UnmarshalTypeError
	var matrix *federation.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &matrix):
		return matrix
	case errors.As(err, &wrongType) && wrongType.Field != "":
		return badJSON("%s has a value of a wrong kind, %s", wrongType.Field, wrongType.Value)
	}
	return badJSON("the request body has the wrong form")
}

// queryInt reads a number from the query: fallback if it is missing, an error unless it is from 0 to most (larger
// numbers become most).
func (r *request) queryInt(name string, fallback, most int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, invalidParam("%s must be a whole number, not negative", name)
	}
	return min(n, most), nil
}

// queryBool reads a truth value from the query: false if it is missing.
func (r *request) queryBool(name string) (bool, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return false, nil
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		return false, invalidParam("%s must be true or false", name)
	}
	return value, nil
}

// servers parses server names given by a client as hints; what is not one is left out.
func servers(names ...string) []id.ServerName {
	var good []id.ServerName
	for _, name := range names {
		if server, err := id.ParseServerName(name); err == nil && len(good) < maxVia {
			good = append(good, server)
		}
	}
	return good
}

// isObject tells whether a value inside a request is a JSON object.
func isObject(raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	return len(raw) > 0 && raw[0] == '{'
}

// marshal is json.Marshal without the escaping of HTML, which would make event contents longer than they are.
func marshal(v any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), nil
}
