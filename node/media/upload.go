package media

import (
	"context"
	"errors"
	"io"
	"time"

	"hanse/federation/id"
	"hanse/node/store"
)

// Upload is a file that a user uploads.
type Upload struct {
	User        id.UserID
	ContentType string // as the client says; "" if it doesn't
	Filename    string // "" if there is none
	Size        int64  // in bytes, as the client says; negative if it doesn't
	Body        io.Reader
}

// upload is our media that somebody waits for.
type upload struct {
	done    chan struct{} // closed when it is there
	waiting int
}

// Upload stores a file; it is on the disk when the media's ID is returned.
//
// spec:client-server-api#post_matrixmediav3upload
func (m *Media) Upload(ctx context.Context, u Upload) (mediaID string, err error) {
	written, err := m.receive(ctx, u)
	if err != nil {
		return "", err
	}
	row := m.row(u, written)
	row.ID = newID()
	err = written.keep(func() error { return m.store.AddMedia(context.WithoutCancel(ctx), row, m.quota()) })
	if err != nil {
		return "", m.refused(err)
	}
	m.counters.uploaded(row.Size)
	return row.ID, nil
}

// Create makes an ID for media that will be uploaded with Fill, until the time that is returned.
//
// spec:client-server-api#post_matrixmediav1create
func (m *Media) Create(ctx context.Context, user id.UserID) (mediaID string, until time.Time, err error) {
	now := time.Now()
	row := store.Media{Server: m.config.Self, ID: newID(), File: newID(), User: user, Created: now, Expires: now.Add(pendingLife)}
	if err := m.store.CreateMedia(ctx, row, m.quota()); err != nil {
		return "", time.Time{}, m.refused(err)
	}
	return row.ID, row.Expires, nil
}

// Fill stores the file of media that was created; it is on the disk when Fill returns.
//
// spec:client-server-api#put_matrixmediav3uploadservernamemediaid
func (m *Media) Fill(ctx context.Context, server id.ServerName, mediaID string, u Upload) error {
	if server != m.config.Self {
		return errNone()
	}
	if err := checkID(mediaID); err != nil {
		return err
	}
	created, found, err := m.store.Media(ctx, server, mediaID)
	switch {
	case err != nil:
		return err
	case !found || created.Pending() && !time.Now().Before(created.Expires):
		return errNone()
	case created.User != u.User:
		return errOthers()
	case !created.Pending():
		return errOverwrite()
	}
	written, err := m.receive(ctx, u)
	if err != nil {
		return err
	}
	row := m.row(u, written)
	row.ID = mediaID
	err = written.keep(func() error { return m.store.FillMedia(context.WithoutCancel(ctx), row, m.quota()) })
	if err != nil {
		return m.refused(err)
	}
	m.counters.uploaded(row.Size)
	m.arrived(mediaID)
	return nil
}

func (m *Media) quota() store.MediaQuota {
	return store.MediaQuota{Bytes: m.config.UserQuota, Pending: maxPending}
}

// row describes what was uploaded.
func (m *Media) row(u Upload, written *writing) store.Media {
	return store.Media{
		Server: m.config.Self, File: written.name, User: u.User, ContentType: cleanType(u.ContentType), Filename: cleanName(u.Filename),
		Size: written.size, Disk: written.size, Created: time.Now(),
	}
}

// receive writes an upload to the disk, as long as it is within the bounds.
func (m *Media) receive(ctx context.Context, u Upload) (*writing, error) {
	if u.Size > m.config.MaxSize {
		return nil, errUploadTooLarge(m.config.MaxSize)
	}
	if m.config.UserQuota > 0 { // before anything is taken; what counts is when it is stored
		_, used, err := m.store.MediaUsage(ctx, u.User)
		if err != nil {
			return nil, err
		}
		if used+max(u.Size, 0) > m.config.UserQuota {
			return nil, errQuota()
		}
	}
	written, err := m.folder.newFile()
	if err != nil {
		return nil, m.diskFailed(err)
	}
	_, err = io.Copy(written, bodyReader{io.LimitReader(u.Body, m.config.MaxSize+1)})
	var body *bodyError
	switch {
	case errors.As(err, &body):
		err = body.err
	case err != nil:
		err = m.diskFailed(err)
	case written.size > m.config.MaxSize:
		err = errUploadTooLarge(m.config.MaxSize)
	}
	if err != nil {
		written.discard()
		return nil, err
	}
	return written, nil
}

// bodyReader marks the errors of a request's body, which are not the disk's.
type bodyReader struct{ from io.Reader }

type bodyError struct{ err error }

func (e *bodyError) Error() string { return e.err.Error() }

// Read implements io.Reader.
func (b bodyReader) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	if err != nil && err != io.EOF {
		err = &bodyError{err}
	}
	return n, err
}

// refused is what the user is told when the database, or the disk, did not take an upload.
func (m *Media) refused(err error) error {
	switch {
	case errors.Is(err, store.ErrMediaQuota):
		return errQuota()
	case errors.Is(err, store.ErrMediaPending):
		return errBusy()
	case errors.Is(err, store.ErrExists):
		return errOverwrite()
	case errors.Is(err, store.ErrNotFound):
		return errNone()
	}
	return m.diskFailed(err)
}

// waitFor waits until our media is uploaded, for a bounded time. It may return early: what counts is in the database.
func (m *Media) waitFor(ctx context.Context, mediaID string, patience time.Duration) {
	m.mu.Lock()
	u := m.uploads[mediaID]
	if u == nil {
		u = &upload{done: make(chan struct{})}
		m.uploads[mediaID] = u
	}
	u.waiting++
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if u.waiting--; u.waiting == 0 && m.uploads[mediaID] == u {
			delete(m.uploads, mediaID)
		}
	}()
	// It may have come between the look that found it missing and now.
	if row, found, err := m.store.Media(ctx, m.config.Self, mediaID); err != nil || !found || !row.Pending() {
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-u.done:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// arrived wakes those who wait for media.
func (m *Media) arrived(mediaID string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if u := m.uploads[mediaID]; u != nil {
		close(u.done)
		delete(m.uploads, mediaID)
	}
}
