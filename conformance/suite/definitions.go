package suite

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/conformance/spec"
)

// tour is a room of alice's in which something has happened, for requests that need one.
type tour struct {
	room    string // escaped, as all that follow
	message string
	user    string
	raw     struct{ room, message string }
}

func newTour(ctx context.Context) tour {
	GinkgoHelper()
	var t tour
	t.raw.room = string(roomOfAlice(ctx, mainVersion, map[string]any{"name": "A tour", "topic": "of the definitions"}))
	var err error
	t.raw.message, err = alice.Say(ctx, t.raw.room, "see here")
	Expect(err).NotTo(HaveOccurred())
	t.room, t.message, t.user = url.PathEscape(t.raw.room), url.PathEscape(t.raw.message), url.PathEscape(alice.ID)
	return t
}

// fill puts the tour's names into a path: {room}, {message}, {user}.
func (t tour) fill(path string) string {
	return strings.NewReplacer("{room}", t.room, "{message}", t.message, "{user}", t.user, "{device}", url.PathEscape(alice.DeviceID)).Replace(path)
}

// request is a request whose answer is held against its definition. Those before it are made first.
type request struct {
	method, path string
	body         any
	before       []request
}

func asks(path string, before ...request) request { return request{http.MethodGet, path, nil, before} }

func tells(method, path string, body any, before ...request) request {
	return request{method, path, body, before}
}

var _ = Describe("Answers of the client-server API", Label("c2s", "c2s:definitions", LabelDeployed), func() {
	const c, room = "/_matrix/client/v3/", "/_matrix/client/v3/rooms/{room}/"
	displayName := tells(http.MethodPut, c+"profile/{user}/displayname", map[string]any{"displayname": "Alice"})
	tag := tells(http.MethodPut, c+"user/{user}/rooms/{room}/tags/u.work", map[string]any{"order": 0.5})
	data := tells(http.MethodPut, c+"user/{user}/account_data/org.example.data", map[string]any{"a": 1})
	roomData := tells(http.MethodPut, c+"user/{user}/rooms/{room}/account_data/org.example.data", map[string]any{"a": 1})
	reaction := tells(http.MethodPut, room+"send/m.reaction/tour", map[string]any{"m.relates_to": map[string]any{"rel_type": "m.annotation", "event_id": "{message}", "key": "👍"}})
	for _, r := range []request{
		asks("/_matrix/client/versions"), asks(c + "login"), asks(c + "capabilities"), asks(c + "account/whoami"), asks(c + "joined_rooms"),
		asks(c + "publicRooms"), tells(http.MethodPost, c+"publicRooms", map[string]any{"limit": 5}),
		asks(c + "sync?timeout=0"), asks(c + `sync?timeout=0&filter={"room":{"timeline":{"limit":2}}}`), asks(c + "sync?timeout=0&full_state=true"),
		asks(c + "pushrules/"), asks(c + "pushrules/global/"), asks(c + "pushers"), asks(c + "devices"), asks(c + "devices/{device}"),
		asks(c+"profile/{user}", displayName), asks(c+"profile/{user}/displayname", displayName), displayName,
		tells(http.MethodPut, c+"profile/{user}/avatar_url", map[string]any{"avatar_url": "mxc://example.org/avatar"}),
		data, asks(c+"user/{user}/account_data/org.example.data", data), roomData, asks(c+"user/{user}/rooms/{room}/account_data/org.example.data", roomData),
		tag, asks(c+"user/{user}/rooms/{room}/tags", tag), tells(http.MethodDelete, c+"user/{user}/rooms/{room}/tags/u.work", nil, tag),
		tells(http.MethodPost, c+"user/{user}/filter", map[string]any{"room": map[string]any{"timeline": map[string]any{"limit": 10}}}),
		asks(room + "state"), asks(room + "state/m.room.name/"), asks(room + "members"), asks(room + "members?membership=join"), asks(room + "joined_members"),
		asks(room + "messages?dir=b&limit=5"), asks(room + "messages?dir=f&limit=2"), asks(room + "event/{message}"), asks(room + "context/{message}?limit=4"),
		asks("/_matrix/client/v1/rooms/{room}/relations/{message}", reaction), asks("/_matrix/client/v1/rooms/{room}/threads"),
		asks("/_matrix/client/v1/rooms/{room}/hierarchy"), asks("/_matrix/client/v1/rooms/{room}/timestamp_to_event?ts=0&dir=f"),
		asks("/_matrix/client/v1/room_summary/{room}"), asks(room + "aliases"), asks(c + "directory/list/room/{room}"),
		tells(http.MethodPut, c+"directory/list/room/{room}", map[string]any{"visibility": "private"}),
		tells(http.MethodPut, room+"send/m.room.message/tour2", map[string]any{"msgtype": "m.text", "body": "another"}), reaction,
		tells(http.MethodPut, room+"state/m.room.topic/", map[string]any{"topic": "another"}),
		tells(http.MethodPut, room+"typing/{user}", map[string]any{"typing": true, "timeout": 1000}),
		tells(http.MethodPost, room+"receipt/m.read/{message}", map[string]any{}),
		tells(http.MethodPost, room+"read_markers", map[string]any{"m.fully_read": "{message}"}),
		tells(http.MethodPut, room+"redact/{message}/tour3", map[string]any{"reason": "over"}),
		tells(http.MethodPost, room+"leave", map[string]any{}), tells(http.MethodPost, room+"forget", map[string]any{}, tells(http.MethodPost, room+"leave", map[string]any{})),
		tells(http.MethodPost, room+"upgrade", map[string]any{"new_version": "11"}),
		tells(http.MethodPost, c+"createRoom", map[string]any{"preset": "private_chat"}), tells(http.MethodPost, c+"join/{room}", map[string]any{}),
		tells(http.MethodPost, c+"keys/upload", map[string]any{}), tells(http.MethodPost, c+"keys/query", map[string]any{"device_keys": map[string]any{}}),
		tells(http.MethodPost, c+"keys/claim", map[string]any{"one_time_keys": map[string]any{}}), asks(c + "keys/changes?from={next}&to={next}"),
		tells(http.MethodPut, c+"sendToDevice/org.example.nothing/tour4", map[string]any{"messages": map[string]any{}}),
		tells(http.MethodPost, c+"search", map[string]any{"search_categories": map[string]any{"room_events": map[string]any{"search_term": "here"}}}),
		tells(http.MethodPost, c+"user_directory/search", map[string]any{"search_term": "alice"}), asks(c + "notifications"),
		tells(http.MethodPost, c+"user/{user}/openid/request_token", map[string]any{}), asks("/_matrix/client/v1/media/config"),
	} {
		operation, ok := spec.Answer(r.method, r.path)
		if !ok {
			panic("no definition for " + r.method + " " + r.path) // a request of this list that is mistyped
		}
		It("have the form of their definitions: "+r.method+" "+r.path, says(operation.Anchor, "The answer's definition."), func(ctx SpecContext) {
			t := newTour(ctx)
			for _, earlier := range r.before {
				Expect(t.make(ctx, earlier)).NotTo(BeNil())
			}
			body := t.make(ctx, r)
			Expect(spec.CheckAnswer(r.method, r.path, http.StatusOK, body)).To(Succeed(), string(body))
		})
	}
})

// make makes a request and gives its answer.
func (t tour) make(ctx context.Context, r request) json.RawMessage {
	GinkgoHelper()
	path, rest, _ := strings.Cut(r.path, "?")
	parameters, err := url.ParseQuery(rest)
	Expect(err).NotTo(HaveOccurred())
	for name, values := range parameters {
		if values[0] == "{next}" {
			answer, err := alice.Sync(ctx, 0)
			Expect(err).NotTo(HaveOccurred())
			parameters.Set(name, answer.NextBatch)
		}
	}
	var body any
	if r.body != nil {
		Expect(json.Unmarshal([]byte(strings.ReplaceAll(string(encode(r.body)), "{message}", t.raw.message)), &body)).To(Succeed())
	}
	var answer json.RawMessage
	Expect(alice.Call(ctx, r.method, t.fill(path), parameters, body, &answer)).To(Succeed())
	return answer
}
