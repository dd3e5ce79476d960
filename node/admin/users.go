package admin

import (
	"context"
	"net/http"
	"strings"
	"time"

	"hanse/federation/id"
	"hanse/node/store"
)

// usersPage is how many users an answer lists at most.
const usersPage = 1000

// User is an account of this server.
type User struct {
	User        id.UserID  `json:"user"`
	Created     time.Time  `json:"created"`
	Admin       bool       `json:"admin"`
	Deactivated bool       `json:"deactivated"`
	Locked      *time.Time `json:"locked,omitempty"` // since when
	Suspended   *time.Time `json:"suspended,omitempty"`
	// Devices are there where one user is asked for.
	Devices []Device `json:"devices,omitempty"`
}

// Device is a device of a user.
type Device struct {
	ID       string     `json:"id"`
	Name     string     `json:"name,omitempty"`
	LastSeen *time.Time `json:"last_seen,omitempty"`
	Address  string     `json:"address,omitempty"`
}

// users answers with one user, or with a page of all in the order of their IDs.
func (a *Admin) users(ctx context.Context, q *http.Request) (any, error) {
	if q.FormValue("id") != "" {
		return a.user(ctx, q)
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
		User: account.ID, Created: account.Created, Admin: account.Admin, Deactivated: account.Deactivated,
		Locked: since(account.Locked), Suspended: since(account.Suspended),
	}
}

func since(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

func (a *Admin) user(ctx context.Context, q *http.Request) (any, error) {
	user, err := id.ParseUserID(q.FormValue("id"))
	if err != nil {
		return nil, &problem{http.StatusBadRequest, err.Error()}
	}
	account, there, err := a.Store.User(ctx, user)
	switch {
	case err != nil:
		return nil, err
	case !there:
		return nil, &problem{http.StatusNotFound, "there is no account " + string(user) + " on this server; `hanse users` lists all"}
	}
	devices, err := a.Store.Devices(ctx, user)
	answer := shownUser(account)
	for _, d := range devices {
		answer.Devices = append(answer.Devices, Device{ID: d.ID, Name: d.DisplayName, LastSeen: since(d.LastSeen), Address: d.LastSeenIP})
	}
	return answer, err
}

// restrict locks, unlocks, suspends or unsuspends a user, administrators too: who asks here is above them. It answers with the user.
func (a *Admin) restrict(ctx context.Context, q *http.Request) (any, error) {
	user, err := id.ParseUserID(q.FormValue("id"))
	if err != nil {
		return nil, &problem{http.StatusBadRequest, err.Error()}
	}
	switch q.FormValue("do") {
	case "lock":
		err = a.Users.Lock(ctx, user, true)
	case "unlock":
		err = a.Users.Lock(ctx, user, false)
	case "suspend":
		err = a.Users.Suspend(ctx, user, true)
	case "unsuspend":
		err = a.Users.Suspend(ctx, user, false)
	default:
		err = &problem{http.StatusBadRequest, "do: give lock, unlock, suspend or unsuspend"}
	}
	if err != nil {
		return nil, err
	}
	return a.user(ctx, q)
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
