package virtual

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hanse/testnet/user"
)

// bridge is an application service of a server of a world, which makes its users and rooms as they are looked for, and has its users
// take invites.
type bridge struct {
	world  *world
	client *user.User // with the as_token
	http   *http.Server
	ended  chan struct{}

	mu    sync.Mutex
	taken []map[string]json.RawMessage // guarded by mu: bodies of transactions
	asked []string                     // guarded by mu: paths of questions
	wrong error                        // guarded by mu: the first
}

// bridge starts one for a server, which is started anew to know it.
func (s *server) bridge() *bridge {
	w := s.world
	w.t.Helper()
	const at = "10.0.2.1:80"
	listener, err := w.net.Host("bridge.test", netip.MustParseAddr("10.0.2.1")).Listen("tcp", at)
	if err != nil {
		w.t.Fatal(err)
	}
	s.config.ApplicationServices = []string{w.write("bridge.yaml", []byte(`
id: bridge
url: http://`+at+`
as_token: the-as-token
hs_token: the-hs-token
sender_localpart: _irc_bot
rate_limited: false
namespaces:
  users: [{exclusive: true, regex: '@_irc_.*'}]
  aliases: [{exclusive: true, regex: '#_irc_.*'}]
receive_ephemeral: true
org.matrix.msc3202: true
`))}
	b := &bridge{world: w, client: s.stranger(), ended: make(chan struct{})}
	b.client.Token = "the-as-token"
	b.http = &http.Server{Handler: b}
	go func() {
		defer close(b.ended)
		_ = b.http.Serve(listener) // it ends by end
	}()
	s.stop()
	s.start()
	return b
}

// end has it be gone.
func (b *bridge) end() {
	_ = b.http.Close() // whoever is connected isn't any more
	<-b.ended
	b.client.Close()
}

// as asks the server as one of its users, "" for itself, on one of their devices if device isn't "".
func (b *bridge) as(user, device, method, path string, body, answer any) error {
	query := url.Values{}
	if user != "" {
		query.Set("user_id", user)
	}
	if device != "" {
		query.Set("device_id", device)
	}
	return b.client.Call(b.world.t.Context(), method, "/_matrix/client/v3/"+path, query, body, answer)
}

func (b *bridge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, err := strings.TrimPrefix(r.URL.Path, "/_matrix/app/v1"), error(nil)
	switch {
	case strings.HasPrefix(path, "/users/@"):
		b.note(path, nil)
		name, _, _ := strings.Cut(strings.TrimPrefix(path, "/users/@"), ":")
		err = b.register(name)
	case strings.HasPrefix(path, "/rooms/#"):
		b.note(path, nil)
		name, _, _ := strings.Cut(strings.TrimPrefix(path, "/rooms/#"), ":")
		err = b.as("", "", http.MethodPost, "createRoom", map[string]any{"preset": "public_chat", "room_alias_name": name}, nil)
	default:
		var body map[string]json.RawMessage
		if err = json.NewDecoder(r.Body).Decode(&body); err == nil && body["events"] != nil {
			b.note("", body)
			err = b.takeInvites(body["events"])
		}
	}
	if err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.wrong == nil {
			b.wrong = fmt.Errorf("%s: %w", path, err)
		}
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	_, _ = w.Write([]byte("{}")) // who asked has gone
}

func (b *bridge) note(question string, body map[string]json.RawMessage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if body != nil {
		b.taken = append(b.taken, body)
	} else {
		b.asked = append(b.asked, question)
	}
}

func (b *bridge) register(name string) error {
	return b.as("", "", http.MethodPost, "register", map[string]any{"type": "m.login.application_service", "username": name, "inhibit_login": true}, nil)
}

// takeInvites has its users join the rooms that they are invited to, if these are said to be named.
func (b *bridge) takeInvites(raw json.RawMessage) error {
	for _, e := range b.events(raw) {
		if e.Content.Membership != "invite" || !strings.HasPrefix(e.StateKey, "@_irc_") {
			continue
		}
		named := false
		for _, state := range e.Unsigned.InviteRoomState {
			named = named || state.Type == "m.room.name"
		}
		if !named {
			return fmt.Errorf("an invite to a room that is not named: %s", raw)
		}
		if err := b.as(e.StateKey, "", http.MethodPost, "rooms/"+url.PathEscape(e.RoomID)+"/join", nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// transacted is an event of a transaction.
type transacted struct {
	Type     string
	Sender   string
	RoomID   string `json:"room_id"`
	StateKey string `json:"state_key"`
	To       string `json:"to_user_id"`
	Device   string `json:"to_device_id"`
	Content  struct{ Membership, Body string }
	Unsigned struct {
		InviteRoomState []struct{ Type string } `json:"invite_room_state"`
	}
}

func (b *bridge) events(raw json.RawMessage) (events []transacted) {
	if err := json.Unmarshal(raw, &events); err != nil {
		b.world.t.Errorf("%v: %s", err, raw)
	}
	return events
}

// got are the events under a key that were taken.
func (b *bridge) got(key string) (events []transacted) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, body := range b.taken {
		if body[key] != nil {
			events = append(events, b.events(body[key])...)
		}
	}
	return events
}

// told tells whether a transaction has words under a key, and forgets it.
func (b *bridge) told(key, words string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, body := range b.taken {
		if strings.Contains(string(body[key]), words) {
			delete(body, key)
			return true
		}
	}
	return false
}

// The users and rooms of a bridge are there for other servers as for its own: they are made when somebody there looks for them, are
// invited, talk, and have devices with keys, whose messages the bridge gets.
func TestABridgeAndOtherServers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.servers(2)
		b := s[0].bridge()
		bob := s[1].user("bob")
		defer func() {
			b.end()
			end(s, bob)
		}()
		settle := func() { time.Sleep(5 * time.Second) }

		// A profile is asked for, and a room is joined by its alias: both are made.
		var profile struct{ Displayname string }
		w.ask(bob, http.MethodGet, "profile/@_irc_first:s1.test", nil, &profile)
		if profile.Displayname != "_irc_first" {
			t.Errorf("the profile is %+v", profile)
		}
		w.ask(bob, http.MethodGet, "profile/@_irc_first:s1.test", nil, nil)
		room := must[string](t)(bob.Join(t.Context(), "#_irc_tea:s1.test"))
		must[string](t)(bob.Say(t.Context(), room, "tea?"))
		if fmt.Sprint(b.asked) != "[/users/@_irc_first:s1.test /rooms/#_irc_tea:s1.test]" {
			t.Errorf("the bridge was asked for %v", b.asked)
		}

		// An invite to another server's room, for a user who is there and one who is not yet, with what is known of the room.
		second := "@_irc_second:s1.test"
		private := must[string](t)(bob.CreateRoom(t.Context(), map[string]any{"preset": "private_chat", "name": "cellar"}))
		for _, ghost := range []string{"@_irc_first:s1.test", second} {
			if err := bob.Invite(t.Context(), private, ghost); err != nil {
				t.Fatal(err)
			}
		}
		settle()
		must[string](t)(bob.Say(t.Context(), private, "who is here?"))
		settle()
		if err := b.as(second, "", http.MethodPut, "rooms/"+url.PathEscape(private)+"/send/m.room.message/1", map[string]string{"msgtype": "m.text", "body": "me"}, nil); err != nil {
			t.Fatal(err)
		}
		settle()
		var said []string
		for _, e := range b.got("events") {
			if e.Type == "m.room.message" {
				said = append(said, e.Sender+" "+e.Content.Body)
			}
		}
		if fmt.Sprint(said) != "[@bob:s2.test tea? @bob:s2.test who is here? "+second+" me]" {
			t.Errorf("the bridge heard %v", said)
		}
		heard := ""
		for _, e := range must[[]user.Event](t)(bob.History(t.Context(), private)) {
			heard += string(e.Content)
		}
		if !strings.Contains(heard, `"me"`) {
			t.Errorf("bob heard %s", heard)
		}

		// Encryption: the ghost's device is found, its keys are claimed, a message comes for it, and it learns of bob's devices.
		for _, step := range []struct {
			method, path string
			body         any
		}{
			{http.MethodPut, "devices/GHOST", map[string]string{}},
			{http.MethodPost, "keys/upload", map[string]any{
				"device_keys": map[string]any{"user_id": second, "device_id": "GHOST", "algorithms": []string{}, "keys": map[string]string{"ed25519:GHOST": "x"},
					"signatures": map[string]any{}},
				"one_time_keys": map[string]any{"signed_curve25519:A": map[string]any{"key": "a"}, "signed_curve25519:B": map[string]any{"key": "b"}},
			}},
		} {
			device := ""
			if step.method == http.MethodPost {
				device = "GHOST"
			}
			if err := b.as(second, device, step.method, step.path, step.body, nil); err != nil {
				t.Fatal(err)
			}
		}
		settle()
		var keys json.RawMessage
		w.ask(bob, http.MethodPost, "keys/query", map[string]any{"device_keys": map[string]any{second: []string{}}}, &keys)
		if !strings.Contains(string(keys), "ed25519:GHOST") {
			t.Errorf("bob finds the keys %s", keys)
		}
		w.ask(bob, http.MethodPost, "keys/claim", map[string]any{"one_time_keys": map[string]any{second: map[string]string{"GHOST": "signed_curve25519"}}}, nil)
		if err := bob.SendToDevice(t.Context(), "m.test", second, "GHOST", map[string]string{"body": "for your eyes"}); err != nil {
			t.Fatal(err)
		}
		settle()
		messages := b.got("de.sorunome.msc2409.to_device")
		if len(messages) != 1 || messages[0].To != second || messages[0].Device != "GHOST" || messages[0].Content.Body != "for your eyes" || messages[0].Sender != bob.ID {
			t.Errorf("the ghost's device got %+v", messages)
		}
		if !b.told("org.matrix.msc3202.device_one_time_keys_count", `{"`+second+`":{"GHOST":{"signed_curve25519":1}}}`) {
			t.Error("the bridge is not told of the keys that are left")
		}
		for b.told("org.matrix.msc3202.device_lists", bob.ID) { // as the ghosts came to his rooms
		}
		w.ask(bob, http.MethodPut, "devices/"+bob.DeviceID, map[string]string{"display_name": "new name"}, nil)
		settle()
		if !b.told("org.matrix.msc3202.device_lists", `"changed":["`+bob.ID+`"]`) {
			t.Error("the bridge is not told that bob's devices have changed")
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.wrong != nil {
			t.Error(b.wrong)
		}
	})
}
