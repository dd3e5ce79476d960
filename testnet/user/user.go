// Package user is a scripted user of any homeserver: the calls of the client-server API that a testnet's scenarios and
// the conformance suite make. It is not a client library: it keeps no room state and retries nothing.
package user

import (
	"context"
	"crypto/hmac"
	"crypto/sha1" // the shared-secret registration is defined with it
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-resty/resty/v2"
)

// requestTimeout bounds every call but a waiting /sync: a join of a slow remote room is the longest.
const requestTimeout = 90 * time.Second

// User is somebody with an account and an access token. Safe for concurrent use, but for Sync.
type User struct {
	ID       string // @alice:example.org
	Token    string
	DeviceID string
	URL      string // the client-server API of the user's homeserver

	// Trace is told of each call, with its query in the path, and its outcome, if set. It is called from many goroutines.
	Trace func(method, path string, sent, answer []byte, err error)

	client *resty.Client
	next   string // where the next Sync goes on; owned by the one who calls Sync
	txn    transactionIDs
}

// Error is a refusal: the request, the status and the Matrix error.
type Error struct {
	Method, URL string
	Status      int
	Code        string `json:"errcode"`
	Message     string `json:"error"`
}

// Error tells the request and the answer.
func (e *Error) Error() string {
	return fmt.Sprintf("%s %s: %d %s: %s", e.Method, e.URL, e.Status, e.Code, e.Message)
}

// New is a user who has no account yet, of the homeserver whose client-server API is at url.
func New(url string) *User {
	return &User{URL: url, client: resty.New().SetBaseURL(url), txn: newTransactionIDs()}
}

// NewOver is New over a given transport instead of the machine's network.
func NewOver(url string, transport http.RoundTripper) *User {
	u := New(url)
	u.client.SetTransport(transport)
	return u
}

// Close drops the user's idle connections.
func (u *User) Close() { u.client.GetClient().CloseIdleConnections() }

// Call makes one request: body (if not nil) is sent as JSON, the answer is read into result (if not nil).
// The error is an *Error where the server refused.
func (u *User) Call(ctx context.Context, method, path string, query url.Values, body, result any) error {
	answer, err := u.call(ctx, method, path, query, body)
	if u.Trace != nil {
		var sent []byte
		if body != nil {
			sent, _ = json.Marshal(body) // for people: what can't be shown is not
		}
		if len(query) > 0 {
			path += "?" + query.Encode()
		}
		u.Trace(method, path, sent, answer, err)
	}
	if err != nil || result == nil {
		return err
	}
	if err := json.Unmarshal(answer, result); err != nil {
		return fmt.Errorf("%s %s%s: the answer is not what was expected: %w", method, u.URL, path, err)
	}
	return nil
}

// call makes one request and reads its answer.
func (u *User) call(ctx context.Context, method, path string, query url.Values, body any) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request := u.client.R().SetContext(ctx).SetQueryParamsFromValues(query).SetDoNotParseResponse(true)
	if u.Token != "" {
		request.SetAuthToken(u.Token)
	}
	if body != nil {
		request.SetHeader("Content-Type", "application/json").SetBody(body)
	} else if method == http.MethodPost || method == http.MethodPut {
		request.SetHeader("Content-Type", "application/json").SetBody([]byte("{}"))
	}
	response, err := request.Execute(method, path)
	if err != nil {
		return nil, fmt.Errorf("%s %s%s: %w", method, u.URL, path, err)
	}
	defer response.RawBody().Close()
	answer, err := io.ReadAll(response.RawBody())
	if err != nil {
		return nil, fmt.Errorf("%s %s%s: %w", method, u.URL, path, err)
	}
	if response.IsError() || response.StatusCode() >= 300 {
		refusal := &Error{}
		if json.Unmarshal(answer, refusal) != nil || refusal.Code == "" {
			refusal.Code, refusal.Message = "(no Matrix error)", string(answer[:min(len(answer), 300)])
		}
		refusal.Method, refusal.URL, refusal.Status = method, u.URL+path, response.StatusCode()
		return nil, refusal
	}
	return answer, nil
}

type session struct {
	UserID      string `json:"user_id"`
	AccessToken string `json:"access_token"`
	DeviceID    string `json:"device_id"`
}

func (u *User) adopt(s session) { u.ID, u.Token, u.DeviceID = s.UserID, s.AccessToken, s.DeviceID }

// Register makes an account by the shared-secret registration that homeservers' tools use.
func (u *User) Register(ctx context.Context, name, password, sharedSecret string) error {
	const path = "/_synapse/admin/v1/register"
	var nonce struct {
		Nonce string `json:"nonce"`
	}
	if err := u.Call(ctx, http.MethodGet, path, nil, nil, &nonce); err != nil {
		return err
	}
	mac := hmac.New(sha1.New, []byte(sharedSecret))
	fmt.Fprintf(mac, "%s\x00%s\x00%s\x00notadmin", nonce.Nonce, name, password)
	var s session
	err := u.Call(ctx, http.MethodPost, path, nil, map[string]any{
		"nonce": nonce.Nonce, "username": name, "password": password, "admin": false, "mac": hex.EncodeToString(mac.Sum(nil)),
	}, &s)
	u.adopt(s)
	return err
}

// RegisterOpenly makes an account where registration is open (m.login.dummy).
func (u *User) RegisterOpenly(ctx context.Context, name, password string) error {
	var s session
	err := u.Call(ctx, http.MethodPost, "/_matrix/client/v3/register", nil, map[string]any{
		"username": name, "password": password, "auth": map[string]any{"type": "m.login.dummy"},
	}, &s)
	u.adopt(s)
	return err
}

// Login logs in by password.
func (u *User) Login(ctx context.Context, name, password string) error {
	var s session
	err := u.Call(ctx, http.MethodPost, "/_matrix/client/v3/login", nil, map[string]any{
		"type": "m.login.password", "password": password,
		"identifier": map[string]any{"type": "m.id.user", "user": name},
	}, &s)
	u.adopt(s)
	return err
}

// CreateRoom makes a room by the options of the specification's /createRoom.
func (u *User) CreateRoom(ctx context.Context, options map[string]any) (roomID string, err error) {
	var answer roomAnswer
	err = u.Call(ctx, http.MethodPost, "/_matrix/client/v3/createRoom", nil, options, &answer)
	return answer.RoomID, err
}

type roomAnswer struct {
	RoomID string `json:"room_id"`
}

// Join joins a room by its ID or alias, by way of the servers given.
func (u *User) Join(ctx context.Context, room string, via ...string) (roomID string, err error) {
	var answer roomAnswer
	query := url.Values{"via": via, "server_name": via} // server_name is the older name of the same
	err = u.Call(ctx, http.MethodPost, "/_matrix/client/v3/join/"+url.PathEscape(room), query, nil, &answer)
	return answer.RoomID, err
}

// Leave leaves a room or rejects an invite.
func (u *User) Leave(ctx context.Context, roomID string) error {
	return u.Call(ctx, http.MethodPost, roomPath(roomID, "leave"), nil, nil, nil)
}

// Invite invites a user.
func (u *User) Invite(ctx context.Context, roomID, userID string) error {
	return u.Call(ctx, http.MethodPost, roomPath(roomID, "invite"), nil, map[string]any{"user_id": userID}, nil)
}

// Send sends an event; Say sends text.
func (u *User) Send(ctx context.Context, roomID, eventType string, content any) (eventID string, err error) {
	var answer eventAnswer
	err = u.Call(ctx, http.MethodPut, roomPath(roomID, "send", eventType, u.txn.next()), nil, content, &answer)
	return answer.EventID, err
}

// Say sends a text message.
func (u *User) Say(ctx context.Context, roomID, text string) (eventID string, err error) {
	return u.Send(ctx, roomID, "m.room.message", map[string]any{"msgtype": "m.text", "body": text})
}

// SendToDevice sends a message to one device.
func (u *User) SendToDevice(ctx context.Context, eventType, userID, deviceID string, content any) error {
	messages := map[string]map[string]any{userID: {deviceID: content}}
	path := "/_matrix/client/v3/sendToDevice/" + url.PathEscape(eventType) + "/" + u.txn.next()
	return u.Call(ctx, http.MethodPut, path, nil, map[string]any{"messages": messages}, nil)
}

type eventAnswer struct {
	EventID string `json:"event_id"`
}

// SetState sends a state event.
func (u *User) SetState(ctx context.Context, roomID, eventType, stateKey string, content any) (eventID string, err error) {
	var answer eventAnswer
	err = u.Call(ctx, http.MethodPut, roomPath(roomID, "state", eventType, stateKey), nil, content, &answer)
	return answer.EventID, err
}

// Event is an event as clients get it.
type Event struct {
	ID       string          `json:"event_id"`
	Type     string          `json:"type"`
	Sender   string          `json:"sender"`
	StateKey *string         `json:"state_key"`
	Content  json.RawMessage `json:"content"`
	OriginTS int64           `json:"origin_server_ts"`
	Unsigned json.RawMessage `json:"unsigned"`
}

// Body is the text of a message.
func (e Event) Body() string {
	var content struct {
		Body string `json:"body"`
	}
	_ = json.Unmarshal(e.Content, &content) // not a message: no text
	return content.Body
}

// State is the current state of a room.
func (u *User) State(ctx context.Context, roomID string) ([]Event, error) {
	var events []Event
	err := u.Call(ctx, http.MethodGet, roomPath(roomID, "state"), nil, nil, &events)
	return events, err
}

// History is every event of a room that the user may see, the newest first, in pages.
func (u *User) History(ctx context.Context, roomID string) ([]Event, error) {
	var events []Event
	from := ""
	for {
		var page struct {
			Chunk []Event `json:"chunk"`
			End   string  `json:"end"`
		}
		query := url.Values{"dir": {"b"}, "limit": {"100"}}
		if from != "" {
			query.Set("from", from)
		}
		if err := u.Call(ctx, http.MethodGet, roomPath(roomID, "messages"), query, nil, &page); err != nil {
			return nil, err
		}
		events = append(events, page.Chunk...)
		if page.End == "" || page.End == from {
			return events, nil
		}
		from = page.End
	}
}

// SyncAnswer is what the scenarios read of a /sync answer.
type SyncAnswer struct {
	NextBatch string `json:"next_batch"`
	ToDevice  struct {
		Events []Event `json:"events"`
	} `json:"to_device"`
	Presence struct {
		Events []Event `json:"events"`
	} `json:"presence"`
	DeviceLists struct {
		Changed []string `json:"changed"`
	} `json:"device_lists"`
	Rooms struct {
		Join map[string]struct {
			Unread struct {
				Notifications int `json:"notification_count"`
				Highlights    int `json:"highlight_count"`
			} `json:"unread_notifications"`
			State struct {
				Events []Event `json:"events"`
			} `json:"state"`
			Timeline struct {
				Events    []Event `json:"events"`
				Limited   bool    `json:"limited"`
				PrevBatch string  `json:"prev_batch"`
			} `json:"timeline"`
			Ephemeral struct {
				Events []Event `json:"events"`
			} `json:"ephemeral"`
		} `json:"join"`
		Invite map[string]struct {
			InviteState struct {
				Events []Event `json:"events"`
			} `json:"invite_state"`
		} `json:"invite"`
		Leave map[string]struct {
			Timeline struct {
				Events []Event `json:"events"`
			} `json:"timeline"`
		} `json:"leave"`
	} `json:"rooms"`
}

// Sync goes on from where the last Sync ended and waits up to timeout for something new.
func (u *User) Sync(ctx context.Context, timeout time.Duration) (SyncAnswer, error) {
	query := url.Values{"timeout": {strconv.FormatInt(timeout.Milliseconds(), 10)}}
	if u.next != "" {
		query.Set("since", u.next)
	}
	var answer SyncAnswer
	err := u.Call(ctx, http.MethodGet, "/_matrix/client/v3/sync", query, nil, &answer)
	if err == nil {
		u.next = answer.NextBatch
	}
	return answer, err
}

func roomPath(roomID string, parts ...string) string {
	path := "/_matrix/client/v3/rooms/" + url.PathEscape(roomID)
	for _, part := range parts {
		path += "/" + url.PathEscape(part)
	}
	return path
}
