package admin_test

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"hanse/federation/id"
	"hanse/node/admin"
	"hanse/testnet/user"
)

func TestUsersAreListedLockedAndSuspended(t *testing.T) {
	w := newWorld(t)
	defer func() { w.stop() }()
	user := func(do string) admin.User {
		t.Helper()
		var u admin.User
		ask, query := w.ask.Get, url.Values{"id": {w.alice.ID}}
		if do != "" {
			ask = w.ask.Post
			query.Set("do", do)
		}
		if err := ask(t.Context(), "/users", query, &u); err != nil {
			t.Fatal(do, err)
		}
		return u
	}
	if u := user(""); len(u.Devices) == 0 || u.Locked != nil || u.Suspended != nil || u.Deactivated {
		t.Errorf("%+v", u)
	}
	if u := user("lock"); u.Locked == nil || u.Suspended != nil {
		t.Errorf("%+v", u)
	}
	if _, err := w.alice.CreateRoom(t.Context(), map[string]any{}); err == nil || !strings.Contains(err.Error(), "M_USER_LOCKED") {
		t.Error(err)
	}
	if u := user("suspend"); u.Locked == nil || u.Suspended == nil {
		t.Errorf("%+v", u)
	}
	w.stop()
	w.start()
	var list, rest []admin.User
	if err := w.ask.Get(t.Context(), "/users", nil, &list); err != nil || len(list) != 1 || list[0].Locked == nil || list[0].Suspended == nil {
		t.Errorf("%v %+v", err, list)
	}
	if err := w.ask.Get(t.Context(), "/users", url.Values{"after": {w.alice.ID}}, &rest); err != nil || len(rest) != 0 {
		t.Errorf("%v %+v", err, rest)
	}
	var text bytes.Buffer
	writer := admin.Text{Out: &text, Now: time.Now()}
	writer.Users(list)
	writer.User(user(""))
	writer.Users(nil)
	for _, want := range []string{w.alice.ID, "locked ", "suspended ", "Devices", "no accounts"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing:\n%s", want, text.String())
		}
	}
	if u := user("unlock"); u.Locked != nil || u.Suspended == nil {
		t.Errorf("%+v", u)
	}
	if _, err := w.alice.CreateRoom(t.Context(), map[string]any{}); err == nil || !strings.Contains(err.Error(), "M_USER_SUSPENDED") {
		t.Error(err)
	}
	user("unsuspend")
	if _, err := w.alice.CreateRoom(t.Context(), map[string]any{}); err != nil {
		t.Error(err)
	}
	for want, query := range map[string]url.Values{
		"there is no account": {"id": {"@nobody:" + string(w.name)}, "do": {"lock"}}, "unsuspend": {"id": {w.alice.ID}, "do": {"praise"}},
		"@nonsense": {"id": {"@nonsense"}, "do": {"lock"}},
	} {
		if err := w.ask.Post(t.Context(), "/users", query, &admin.User{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", query, err)
		}
	}
	if err := w.ask.Get(t.Context(), "/users", url.Values{"id": {"@nobody:" + string(w.name)}}, &admin.User{}); err == nil || !strings.Contains(err.Error(), "hanse users") {
		t.Error(err)
	}
}

func TestUsersAreMadeAndGetNewPasswords(t *testing.T) {
	w := newWorld(t)
	defer func() {
		w.stop()
		said := w.log.String()
		for _, want := range []string{`made an account" user=@bob:` + string(w.name) + " admin=true", "devices_kept=true", "devices_kept=false"} {
			if !strings.Contains(said, want) {
				t.Errorf("%q is not in the log:\n%s", want, said)
			}
		}
		for _, secret := range []string{"first & only", "2nd secret", "3rd secret"} {
			if strings.Contains(said, secret) {
				t.Errorf("the password %q is in the log:\n%s", secret, said)
			}
		}
	}()
	post := func(form url.Values) (admin.User, error) {
		var u admin.User
		return u, w.ask.Post(t.Context(), "/users", form, &u)
	}
	login := func(name, password string) (*user.User, error) {
		u := user.New("http://" + w.config.Client.Listen[0])
		t.Cleanup(u.Close)
		return u, u.Login(t.Context(), name, password)
	}
	var free admin.User
	if err := w.ask.Get(t.Context(), "/users", url.Values{"free": {"bob"}}, &free); err != nil || free.User != id.UserID("@bob:"+string(w.name)) {
		t.Errorf("%+v %v", free, err)
	}
	if u, err := post(url.Values{"do": {"add"}, "id": {"bob"}, "password": {"first & only=?"}, "admin": {"true"}}); err != nil || u.User != free.User || !u.Admin {
		t.Errorf("%+v %v", u, err)
	}
	bob, err := login("bob", "first & only=?")
	if err != nil {
		t.Fatal(err)
	}
	for want, form := range map[string]url.Values{
		"this user name is taken":      {"do": {"add"}, "id": {"bob"}, "password": {"x"}},
		"a user name has the letters":  {"do": {"add"}, "id": {"b ob"}, "password": {"x"}},
		"both are needed":              {"do": {"add"}, "id": {"carol"}},
		"would be a user of other.org": {"do": {"add"}, "id": {"@carol:other.org"}, "password": {"x"}},
		"the password is empty":        {"do": {"password"}, "id": {"bob"}},
		"there is no account @carol:":  {"do": {"password"}, "id": {"carol"}, "password": {"x"}},
		"there is no account @dora:":   {"do": {"lock"}, "id": {"dora"}},
		"unsuspend or deactivate":      {"id": {"bob"}},
	} {
		if _, err := post(form); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", form, err)
		}
	}
	// A device that is kept works on; the old password is good for nothing.
	if _, err := post(url.Values{"do": {"password"}, "id": {string(free.User)}, "password": {"2nd secret"}, "keep_devices": {"true"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.CreateRoom(t.Context(), map[string]any{}); err != nil {
		t.Error(err)
	}
	if _, err := login("bob", "first & only=?"); err == nil {
		t.Error("the old password is still good")
	}
	second, err := login("bob", "2nd secret")
	if err != nil {
		t.Fatal(err)
	}
	// Without that, all are logged out.
	if u, err := post(url.Values{"do": {"password"}, "id": {"bob"}, "password": {"3rd secret"}}); err != nil || len(u.Devices) != 0 {
		t.Errorf("%+v %v", u, err)
	}
	for _, device := range []*user.User{bob, second} {
		if _, err := device.CreateRoom(t.Context(), map[string]any{}); err == nil || !strings.Contains(err.Error(), "M_UNKNOWN_TOKEN") {
			t.Error(err)
		}
	}
	if _, err := login("bob", "3rd secret"); err != nil {
		t.Error(err)
	}
}

// TestGuestsAreShown: among the users, as such.
func TestGuestsAreShown(t *testing.T) {
	w := newWorld(t)
	w.stop()
	w.config.Registration.Guests = true
	w.start()
	defer func() { w.stop() }()
	answer, err := http.Post("http://"+w.config.Client.Listen[0]+"/_matrix/client/v3/register?kind=guest", "application/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatal(answer.Status)
	}
	var list []admin.User
	if err := w.ask.Get(t.Context(), "/users", nil, &list); err != nil || len(list) != 2 {
		t.Fatal(err, list)
	}
	for _, u := range list {
		var text bytes.Buffer
		admin.Text{Out: &text, Now: time.Now()}.Users([]admin.User{u})
		if guest := string(u.User) != w.alice.ID; u.Guest != guest || strings.Contains(text.String(), "guest") != guest {
			t.Errorf("%+v\n%s", u, text.String())
		}
	}
}

// TestUsersAreDeactivated: the account can't be used, its rooms are left, other servers are told, and its name stays taken. It may be done
// again, to erase.
func TestUsersAreDeactivated(t *testing.T) {
	w := newWorld(t)
	room := w.meet()
	other, err := w.alice.CreateRoom(t.Context(), map[string]any{})
	if err != nil {
		t.Fatal(err)
	}
	deactivate := func(id, erase string) (admin.User, error) {
		var u admin.User
		return u, w.ask.Post(t.Context(), "/users", url.Values{"do": {"deactivate"}, "id": {id}, "erase": {erase}}, &u)
	}
	for range 2 {
		if u, err := deactivate(w.alice.ID, "false"); err != nil || !u.Deactivated || len(u.Devices) != 0 {
			t.Fatalf("%+v %v", u, err)
		}
	}
	for _, id := range []string{room, other} {
		var shown admin.Room
		if err := w.ask.Get(t.Context(), "/rooms", url.Values{"id": {id}}, &shown); err != nil || shown.Local != 0 {
			t.Errorf("%+v %v", shown, err)
		}
	}
	if _, err := w.alice.CreateRoom(t.Context(), map[string]any{}); err == nil || !strings.Contains(err.Error(), "M_UNKNOWN_TOKEN") {
		t.Error(err)
	}
	if err := w.alice.Login(t.Context(), "alice", "a long password"); err == nil {
		t.Error("who is deactivated logs in")
	}
	if err := w.ask.Post(t.Context(), "/users", url.Values{"do": {"add"}, "id": {"alice"}, "password": {"x"}}, &admin.User{}); err == nil || !strings.Contains(err.Error(), "taken") {
		t.Error(err)
	}
	if _, err := deactivate("alice", "true"); err != nil {
		t.Error(err)
	}
	if err := w.ask.Post(t.Context(), "/users", url.Values{"do": {"lock"}, "id": {"alice"}}, &admin.User{}); err == nil || !strings.Contains(err.Error(), "is deactivated") {
		t.Error(err)
	}
	if _, err := deactivate("nobody", "false"); err == nil || !strings.Contains(err.Error(), "there is no account @nobody:") {
		t.Error(err)
	}
	w.stop()
	for _, want := range []string{"user=@alice:" + string(w.name) + " erase=false", "erase=true"} {
		if !strings.Contains(w.log.String(), want) {
			t.Errorf("%q is not in the log:\n%s", want, w.log.String())
		}
	}
}
