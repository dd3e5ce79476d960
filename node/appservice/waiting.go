package appservice

import (
	"context"

	"hanse/federation/id"
)

// waiting are users for whose devices something may wait, each once, in the order in which they came. Owned by the service's worker.
type waiting struct {
	users []id.UserID
	known map[id.UserID]bool
	// more says that there may be others, after a user in the order of their IDs.
	more  bool
	after id.UserID
	// look finds others, some after a user.
	look func(ctx context.Context, after id.UserID, limit int) ([]id.UserID, error)
}

// newWaiting makes one that knows of nobody yet: they are looked for.
func newWaiting(look func(ctx context.Context, after id.UserID, limit int) ([]id.UserID, error)) *waiting {
	return &waiting{known: map[id.UserID]bool{}, more: true, look: look}
}

// add adds one.
func (w *waiting) add(user id.UserID) {
	switch {
	case w.known[user]:
	case len(w.users) == maxWaitingUsers:
		w.again()
	default:
		w.users, w.known[user] = append(w.users, user), true
	}
}

// again has all be looked for.
func (w *waiting) again() {
	w.users, w.more, w.after = nil, true, ""
	clear(w.known)
}

// first are those that wait for longest, at most limit; more says that there are others.
func (w *waiting) first(ctx context.Context, limit int) (users []id.UserID, more bool, err error) {
	for w.more && len(w.users) < limit {
		found, err := w.look(ctx, w.after, waitingPage)
		if err != nil {
			return nil, false, err
		}
		if w.more = len(found) == waitingPage; w.more {
			w.after = found[waitingPage-1]
		}
		for _, user := range found {
			if !w.known[user] {
				w.users, w.known[user] = append(w.users, user), true
			}
		}
	}
	users = w.users[:min(limit, len(w.users))]
	return users, w.more || len(users) < len(w.users), nil
}

// done takes the n of them away that wait for longest.
func (w *waiting) done(n int) {
	for _, user := range w.users[:n] {
		delete(w.known, user)
	}
	if w.users = w.users[n:]; len(w.users) == 0 {
		w.users = nil
	}
}
