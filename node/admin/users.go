package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/store"
	"hanse/node/users"
)

// usersPage is how many users an answer lists at most.
const usersPage = 1000

// leavingTime bounds how long the rooms of an account that ends are left.
const leavingTime = 10 * time.Minute

// User is an account of this server.
type User struct {
	User        id.UserID  `json:"user"`
	Created     time.Time  `json:"created"`
	Admin       bool       `json:"admin"`
	Guest       bool       `json:"guest"`
	Deactivated bool       `json:"deactivated"`
	Locked      *time.Time `json:"locked,omitempty"` // since when
	Suspended   *time.Time `json:"suspended,omitempty"`
	// Emails and Devices are there where one user is asked for.
	Emails  []string `json:"emails,omitempty"`
	Devices []Device `json:"devices,omitempty"`
}

// Device is a device of a user.
type Device struct {
	ID       string     `json:"id"`
	Name     string     `json:"name,omitempty"`
	LastSeen *time.Time `json:"last_seen,omitempty"`
	Address  string     `json:"address,omitempty"`
}

// users answers with one user, with the user ID that a new account of some name would have, or with a page of all in the order of
// their IDs.
func (a *Admin) users(ctx context.Context, q *http.Request) (any, error) {
	if text := q.FormValue("id"); text != "" {
		user, err := a.userID(text)
		if err != nil {
			return nil, err
		}
		return a.user(ctx, user)
	}
	if name := q.FormValue("free"); name != "" {
		if err := a.ours(name); err != nil {
			return nil, err
		}
		user, err := a.Users.Available(ctx, name)
		return User{User: user}, plainly(err)
	}
	list, err := a.Store.Users(ctx, id.UserID(q.FormValue("after")), usersPage)
	answer := make([]User, 0, len(list))
	for _, account := range list {
		answer = append(answer, shownUser(account))
	}
	return answer, err
}

func shownUser(account store.User) User {
	return User{
		User: account.ID, Created: account.Created, Admin: account.Admin, Guest: account.Guest, Deactivated: account.Deactivated,
		Locked: since(account.Locked), Suspended: since(account.Suspended),
	}
}

func since(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

// userID reads a user ID, or the local part of one of this server.
func (a *Admin) userID(text string) (id.UserID, error) {
	if !strings.HasPrefix(text, "@") {
		text = "@" + text + ":" + string(a.Self)
	}
	user, err := id.ParseUserID(text)
	if err != nil {
		return "", &problem{http.StatusBadRequest, err.Error()}
	}
	return user, nil
}

func (a *Admin) user(ctx context.Context, user id.UserID) (any, error) {
	account, err := a.account(ctx, user)
	if err != nil {
		return nil, err
	}
	answer := shownUser(account)
	emails, err := a.Store.Emails(ctx, user)
	if err != nil {
		return nil, err
	}
	for _, e := range emails {
		answer.Emails = append(answer.Emails, e.Address)
	}
	devices, err := a.Store.Devices(ctx, user)
	for _, d := range devices {
		answer.Devices = append(answer.Devices, Device{ID: d.ID, Name: d.DisplayName, LastSeen: since(d.LastSeen), Address: d.LastSeenIP})
	}
	return answer, err
}

// account reads the account of a user; a *problem if there is none.
func (a *Admin) account(ctx context.Context, user id.UserID) (store.User, error) {
	account, there, err := a.Store.User(ctx, user)
	if err == nil && !there {
		err = &problem{http.StatusNotFound, "there is no account " + string(user) + " on this server; `hanse users` lists all"}
	}
	return account, err
}

// changeUser makes an account, gives one a new password, locks, unlocks, suspends or unsuspends it, gives or takes an e-mail
// address, or ends it for good, administrators' too: who asks here is above them. It answers with the user.
func (a *Admin) changeUser(ctx context.Context, q *http.Request) (any, error) {
	if q.FormValue("do") == "add" {
		return a.addUser(ctx, q)
	}
	user, err := a.userID(q.FormValue("id"))
	if err != nil {
		return nil, err
	}
	account, err := a.account(ctx, user)
	switch {
	case err != nil:
		return nil, err
	case account.Deactivated && q.FormValue("do") != "deactivate":
		return nil, &problem{http.StatusConflict, "the account " + string(user) + " is deactivated, for good"}
	}
	switch q.FormValue("do") {
	case "password":
		err = a.setPassword(ctx, user, q)
	case "lock":
		err = a.Users.Lock(ctx, user, true)
	case "unlock":
		err = a.Users.Lock(ctx, user, false)
	case "suspend":
		err = a.Users.Suspend(ctx, user, true)
	case "unsuspend":
		err = a.Users.Suspend(ctx, user, false)
	case "add-email":
		err = a.Users.AddEmail(ctx, user, q.FormValue("address"))
	case "remove-email":
		err = a.Users.RemoveEmail(ctx, user, q.FormValue("address"))
	case "deactivate":
		err = a.deactivate(ctx, user, q.FormValue("erase") == "true")
	default:
		err = &problem{http.StatusBadRequest, "do: give add, password, lock, unlock, suspend, add-email, remove-email, unsuspend or deactivate"}
	}
	if err != nil {
		return nil, plainly(err)
	}
	return a.user(ctx, user)
}

// addUser makes an account. Whether registration is open has no part in it.
func (a *Admin) addUser(ctx context.Context, q *http.Request) (any, error) {
	name, password := q.FormValue("id"), q.FormValue("password")
	if name == "" || password == "" {
		return nil, &problem{http.StatusBadRequest, "id, password: both are needed to add an account"}
	}
	if err := a.ours(name); err != nil {
		return nil, err
	}
	admin := q.FormValue("admin") == "true"
	account, err := a.Users.Register(ctx, users.Registration{Username: name, Password: password, Admin: admin})
	if err != nil {
		return nil, plainly(err)
	}
	a.Log.Info("an operator made an account", "user", account.User, "admin", admin)
	return a.user(ctx, account.User)
}

// ours is the error for a new user's name that is a user ID of another server.
func (a *Admin) ours(name string) error {
	if user, err := id.ParseUserID(name); err == nil && user.Server() != a.Self {
		return &problem{http.StatusBadRequest, fmt.Sprintf("%s would be a user of %s; this server is %s", user, user.Server(), a.Self)}
	}
	return nil
}

// setPassword gives a user a new password and logs out all devices, unless they are to be kept.
func (a *Admin) setPassword(ctx context.Context, user id.UserID, q *http.Request) error {
	keep := q.FormValue("keep_devices") == "true"
	if err := a.Users.SetPassword(ctx, user, q.FormValue("password")); err != nil {
		return err
	}
	a.Log.Info("an operator gave an account a new password", "user", user, "devices_kept", keep)
	if keep {
		return nil
	}
	err := a.Users.LogoutAll(ctx, user)
	a.LoggedOut(user)
	return err
}

// deactivate ends an account and leaves its rooms, which goes on although who asked has gone. Of one that has ended before it leaves
// the rooms that were not left then; and it can be erased later.
func (a *Admin) deactivate(ctx context.Context, user id.UserID, erase bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leavingTime)
	defer cancel()
	if err := a.Users.Deactivate(ctx, user, erase); err != nil {
		return err
	}
	a.AccountGone(user)
	a.Log.Info("an operator deactivated an account", "user", user, "erase", erase)
	if err := a.Rooms.LeaveAll(ctx, user); err != nil {
		return fmt.Errorf("%s is deactivated, but is still in some rooms; they are left when you do it again, or at the next start: %w", user, err)
	}
	return nil
}

// plainly is an error without the code that clients get.
func plainly(err error) error {
	if wire, ok := errors.AsType[*federation.Error](err); ok {
		return &problem{wire.Status, wire.Message}
	}
	return err
}

// Users writes a line an account.
func (t Text) Users(list []User) {
	if len(list) == 0 {
		t.line(plain, "This server has no accounts yet.")
		return
	}
	rows := []row{{bold, []string{"USER", "MADE", "ADMINISTRATOR", "STATE"}}}
	for _, u := range list {
		r := row{plain, []string{string(u.User), t.age(u.Created), "-", "-"}}
		if u.Admin {
			r.cells[2] = "yes"
		}
		r.cells[3] = orDash(t.state(u))
		switch {
		case u.Deactivated:
			r.tone = faint
		case u.Locked != nil || u.Suspended != nil:
			r.tone = bad
		}
		rows = append(rows, r)
	}
	t.table("", rows)
}

// state is what is special about an account.
func (t Text) state(u User) string {
	var parts []string
	if u.Guest {
		parts = append(parts, "guest")
	}
	if u.Deactivated {
		parts = append(parts, "deactivated")
	}
	if u.Locked != nil {
		parts = append(parts, "locked "+t.age(*u.Locked))
	}
	if u.Suspended != nil {
		parts = append(parts, "suspended "+t.age(*u.Suspended))
	}
	return strings.Join(parts, ", ")
}

// User writes all that is known of one account.
func (t Text) User(u User) {
	t.Users([]User{u})
	if len(u.Emails) > 0 {
		t.head("E-mail addresses")
		for _, address := range u.Emails {
			t.line(plain, "  %s", address)
		}
	}
	if len(u.Devices) == 0 {
		return
	}
	t.head("Devices")
	var rows []row
	for _, d := range u.Devices {
		seen := "never used"
		if d.LastSeen != nil {
			seen = "used " + t.age(*d.LastSeen)
		}
		rows = append(rows, row{plain, []string{d.ID, orDash(d.Name), seen, orDash(d.Address)}})
	}
	t.table("  ", rows)
}
