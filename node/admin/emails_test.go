package admin_test

import (
	"bytes"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"hanse/node/admin"
)

// An operator gives an account e-mail addresses, sees them, and takes them again.
func TestUsersGetEmails(t *testing.T) {
	w := newWorld(t)
	defer func() { w.stop() }()
	change := func(user, do, address string) (u admin.User, err error) {
		err = w.ask.Post(t.Context(), "/users", url.Values{"id": {user}, "do": {do}, "address": {address}}, &u)
		return u, err
	}
	if u, err := change("alice", "add-email", "Alice@Example.org"); err != nil || !slices.Equal(u.Emails, []string{"alice@example.org"}) {
		t.Errorf("%v %+v", err, u)
	}
	if _, err := change("alice", "add-email", "alice@example.org"); err != nil { // it is there
		t.Error(err)
	}
	for _, c := range []struct{ user, do, address, want string }{
		{"alice", "add-email", "alice", "not an e-mail address"},
		{"alice", "remove-email", "bob@example.org", "doesn't have this e-mail address"},
		{"nobody", "add-email", "n@example.org", "there is no account @nobody:"},
	} {
		if _, err := change(c.user, c.do, c.address); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	var bob admin.User
	if err := w.ask.Post(t.Context(), "/users", url.Values{"id": {"bob"}, "do": {"add"}, "password": {"secret"}}, &bob); err != nil {
		t.Fatal(err)
	}
	if _, err := change("bob", "add-email", "alice@example.org"); err == nil || !strings.Contains(err.Error(), "another account's") {
		t.Error(err)
	}
	var alice admin.User
	if err := w.ask.Get(t.Context(), "/users", url.Values{"id": {"alice"}}, &alice); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	admin.Text{Out: &text, Now: time.Now()}.User(alice)
	if !strings.Contains(text.String(), "E-mail addresses\n  alice@example.org\n") {
		t.Error(text.String())
	}
	if u, err := change("alice", "remove-email", "ALICE@example.org"); err != nil || len(u.Emails) != 0 {
		t.Errorf("%v %+v", err, u)
	}
}
