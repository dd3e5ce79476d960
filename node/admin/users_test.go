package admin_test

import (
	"bytes"
	"net/url"
	"strings"
	"testing"
	"time"

	"hanse/node/admin"
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
		"no such user": {"id": {"@nobody:" + string(w.name)}, "do": {"lock"}}, "unsuspend": {"id": {w.alice.ID}, "do": {"praise"}},
		"nonsense": {"id": {"nonsense"}, "do": {"lock"}},
	} {
		if err := w.ask.Post(t.Context(), "/users", query, &admin.User{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", query, err)
		}
	}
	if err := w.ask.Get(t.Context(), "/users", url.Values{"id": {"@nobody:" + string(w.name)}}, &admin.User{}); err == nil || !strings.Contains(err.Error(), "hanse users") {
		t.Error(err)
	}
}
