package media

import (
	"context"
	"errors"
	"os"
	"time"

	"hanse/federation/id"
	"hanse/node/store"
)

// Request is which media is asked for, and how.
type Request struct {
	Server id.ServerName
	ID     string
	// Wait is how long to wait for media that was created and not yet uploaded.
	Wait time.Duration
	// OnlyHere asks no other server.
	OnlyHere bool
	// Before is for the old way to ask, without a token: only what was uploaded, or fetched, before that time is handed
	// out. Zero: everything is.
	Before time.Time
}

// name checks what media is asked for.
func (q Request) name() (name, error) {
	if _, err := id.ParseServerName(string(q.Server)); err != nil {
		return name{}, errNone()
	}
	return name{q.Server, q.ID}, checkID(q.ID)
}

// Open gives media: ours, what is cached of another server's, or what another server is sending now. Its body must be read
// before ctx ends.
//
// spec:client-server-api#get_matrixclientv1mediadownloadservernamemediaid
func (m *Media) Open(ctx context.Context, q Request) (*Content, error) {
	n, err := q.name()
	if err != nil {
		return nil, err
	}
	row, file, err := m.here(ctx, n, q)
	if err != nil {
		return nil, err
	}
	if file == nil {
		t, err := m.fetch(n, min(q.Wait, maxWait))
		if err != nil {
			return nil, err
		}
		return t.follow(ctx, m.folder)
	}
	return &Content{ContentType: row.ContentType, Filename: row.Filename, Size: row.Size, Stored: row.Created, Body: file}, nil
}

// whole is Open for those who need all of the file.
func (m *Media) whole(ctx context.Context, n name, q Request) (store.Media, *os.File, error) {
	row, file, err := m.here(ctx, n, q)
	if err != nil || file != nil {
		return row, file, err
	}
	t, err := m.fetch(n, min(q.Wait, maxWait))
	if err != nil {
		return row, nil, err
	}
	if row, err = t.whole(ctx); err != nil {
		return row, nil, err
	}
	file, err = m.folder.open(row.File)
	return row, file, err
}

// here opens media that is here. Without an error and without a file it is another server's, which may be asked.
func (m *Media) here(ctx context.Context, n name, q Request) (store.Media, *os.File, error) {
	frozen := func(stored time.Time) bool { return !q.Before.IsZero() && !stored.Before(q.Before) }
	if m.remote(n.server) {
		row, file, err := m.cached(ctx, n)
		switch {
		case err != nil:
			return row, nil, err
		case file != nil && frozen(row.Created):
			_ = file.Close() // it was only read
			return row, nil, errFrozen()
		case file != nil:
			m.counters.hits.Add(1)
			return row, file, nil
		case frozen(time.Now()):
			return row, nil, errFrozen()
		case q.OnlyHere || m.config.Client == nil:
			return row, nil, errNone()
		}
		return row, nil, nil
	}
	none := errNone
	if !q.Before.IsZero() {
		none = errFrozen // who has no token doesn't learn what there is
	}
	row, found, err := m.ours(ctx, n.id, min(q.Wait, maxWait))
	switch {
	case err != nil:
		return row, nil, err
	case !found || frozen(row.Created):
		return row, nil, none()
	}
	file, err := m.folder.open(row.File)
	if errors.Is(err, os.ErrNotExist) && !row.Used.IsZero() { // a preview's picture that made way
		return row, nil, errors.Join(none(), m.store.DeleteMedia(ctx, []store.Media{row}))
	}
	if errors.Is(err, os.ErrNotExist) {
		m.log.Error("a file of media is missing: restore the folder from a backup", "media", n, "file", m.folder.path(row.File))
		return row, nil, none()
	}
	return row, file, err
}

// ours is the row of our media, waiting for its upload if there was none yet; false if there is none.
func (m *Media) ours(ctx context.Context, mediaID string, wait time.Duration) (row store.Media, found bool, err error) {
	row, found, err = m.store.Media(ctx, m.config.Self, mediaID)
	if err == nil && found && row.Pending() && wait > 0 && time.Now().Before(row.Expires) {
		m.waitFor(ctx, mediaID, wait)
		row, found, err = m.store.Media(ctx, m.config.Self, mediaID)
	}
	switch {
	case err != nil || !found:
		return row, false, err
	case row.Pending() && time.Now().Before(row.Expires):
		return row, true, errNotYet()
	}
	return row, !row.Pending(), nil
}
