package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hanse/federation/id"
)

// Media is a row about media: ours, others' that is cached, or ours that is created and not yet uploaded.
type Media struct {
	Server      id.ServerName
	ID          string
	File        string    // the name of the file that holds it
	User        id.UserID // who uploaded it; "" for others'
	ContentType string
	Filename    string // "" = none
	Size        int64  // bytes
	Disk        int64  // bytes with its thumbnails
	Created     time.Time
	Used        time.Time // about when it was last asked for; zero for ours
	Expires     time.Time // until when it must be uploaded; zero once it is
}

// Pending tells that it is created and not yet uploaded.
func (m Media) Pending() bool { return !m.Expires.IsZero() }

// MediaQuota bounds what a user may store; 0 = no bound.
type MediaQuota struct {
	Bytes, Files int64
	Pending      int // created, not uploaded and not expired
}

var (
	// ErrMediaQuota says that a user has uploaded as much as may be.
	ErrMediaQuota = errors.New("the user's quota of media is used up")
	// ErrMediaPending says that a user has created as much media as may wait to be uploaded.
	ErrMediaPending = errors.New("too much media waits to be uploaded")
)

const mediaColumns = "server, media_id, file, user_id, content_type, filename, size, disk, created, used, expires"

func (m *Media) columns() []any {
	return []any{&m.Server, &m.ID, &m.File, &m.User, &m.ContentType, &m.Filename, &m.Size, &m.Disk, timeColumn{&m.Created},
		timeColumn{&m.Used}, timeColumn{&m.Expires}}
}

func (m *Media) insert(t *writeTx) error {
	return t.create(m.String(), "INSERT INTO media ("+mediaColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING",
		string(m.Server), m.ID, m.File, string(m.User), []byte(m.ContentType), []byte(m.Filename), m.Size, m.Disk,
		millis(m.Created), millis(m.Used), millis(m.Expires))
}

// String is what errors call it.
func (m *Media) String() string { return fmt.Sprintf("the media %s/%s", m.Server, m.ID) }

// Media reads a row; false when there is none.
func (s *Store) Media(ctx context.Context, server id.ServerName, mediaID string) (Media, bool, error) {
	return readRow(ctx, s, "SELECT "+mediaColumns+" FROM media WHERE server = $1 AND media_id = $2", []any{string(server), mediaID},
		(*Media).columns)
}

// MediaOfFile tells whether a row names a file as its own, with its bytes there.
func (s *Store) MediaOfFile(ctx context.Context, file string) (bool, error) {
	var one int
	return s.read.found(ctx, "SELECT 1 FROM media WHERE file = $1 AND expires = 0", []any{file}, &one)
}

// use adds to what a user has stored, and holds it against the quota.
func use(t *writeTx, user id.UserID, files, bytes int64, quota MediaQuota) error {
	var haveFiles, haveBytes int64
	_, err := t.found("SELECT files, bytes FROM media_usage WHERE user_id = $1", []any{string(user)}, &haveFiles, &haveBytes)
	if err != nil {
		return err
	}
	if quota.Bytes > 0 && haveBytes+bytes > quota.Bytes || quota.Files > 0 && haveFiles+files > quota.Files {
		return ErrMediaQuota
	}
	_, err = t.exec(`INSERT INTO media_usage (user_id, files, bytes) VALUES ($1, $2, $3) ON CONFLICT (user_id) DO UPDATE SET
		files = media_usage.files + excluded.files, bytes = media_usage.bytes + excluded.bytes`, string(user), files, bytes)
	return err
}

// MediaUsage is how much a user has uploaded; user "" is the cache of others' media, thumbnails with it.
func (s *Store) MediaUsage(ctx context.Context, user id.UserID) (files, bytes int64, err error) {
	_, err = s.read.found(ctx, "SELECT files, bytes FROM media_usage WHERE user_id = $1", []any{string(user)}, &files, &bytes)
	return files, bytes, err
}

// AddMedia stores a row whose file is there: an upload, or others' media (User ""). [ErrExists] if there is one of that ID,
// [ErrMediaQuota] if the user may store no more.
func (s *Store) AddMedia(ctx context.Context, m Media, quota MediaQuota) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		if err := m.insert(t); err != nil {
			return err
		}
		return use(t, m.User, 1, m.Disk, quota)
	})
}

// CreateMedia stores a row that waits for its upload until Expires. [ErrMediaPending] if too many of the user's do.
func (s *Store) CreateMedia(ctx context.Context, m Media, quota MediaQuota) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		var waiting int
		_, err := t.found("SELECT COUNT(*) FROM media WHERE user_id = $1 AND expires > $2 AND expires > 0", []any{string(m.User), millis(m.Created)}, &waiting)
		if err != nil {
			return err
		}
		if quota.Pending > 0 && waiting >= quota.Pending {
			return ErrMediaPending
		}
		return m.insert(t)
	})
}

// FillMedia stores what was uploaded for a row of CreateMedia: ID, user, type, name, size and time of m. [ErrExists] if it was
// filled before, [ErrNotFound] if there is none or it has expired.
func (s *Store) FillMedia(ctx context.Context, m Media, quota MediaQuota) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		var expires int64
		found, err := t.found("SELECT expires FROM media WHERE server = $1 AND media_id = $2", []any{string(m.Server), m.ID}, &expires)
		switch {
		case err != nil:
			return err
		case !found || expires != 0 && expires <= millis(m.Created):
			return fmt.Errorf("%v: %w", &m, ErrNotFound)
		case expires == 0:
			return fmt.Errorf("%v %w", &m, ErrExists)
		}
		_, err = t.exec(`UPDATE media SET file = $3, content_type = $4, filename = $5, size = $6, disk = $6, created = $7, expires = 0
			WHERE server = $1 AND media_id = $2`, string(m.Server), m.ID, m.File, []byte(m.ContentType), []byte(m.Filename), m.Size, millis(m.Created))
		if err != nil {
			return err
		}
		return use(t, m.User, 1, m.Size, quota)
	})
}

// AddThumbnail counts the bytes of a thumbnail of others' media to what the cache takes.
func (s *Store) AddThumbnail(ctx context.Context, m Media, bytes int64) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		n, err := t.exec("UPDATE media SET disk = disk + $3 WHERE server = $1 AND media_id = $2 AND used > 0", string(m.Server), m.ID, bytes)
		if err != nil || n == 0 {
			return err
		}
		return use(t, "", 0, bytes, MediaQuota{})
	})
}

// TouchMedia notes that others' media was asked for.
func (s *Store) TouchMedia(ctx context.Context, server id.ServerName, mediaID string, now time.Time) error {
	return s.exec(ctx, "UPDATE media SET used = $3 WHERE server = $1 AND media_id = $2 AND used > 0", string(server), mediaID, millis(now))
}

// OldestMedia lists others' media, what was not asked for the longest first.
func (s *Store) OldestMedia(ctx context.Context, most int) ([]Media, error) {
	return readRows(ctx, s, "SELECT "+mediaColumns+" FROM media WHERE used > 0 ORDER BY used LIMIT $1", []any{most}, (*Media).columns)
}

// DeleteMedia removes the rows of others' media whose files are gone.
func (s *Store) DeleteMedia(ctx context.Context, media []Media) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		for _, m := range media {
			var disk int64
			found, err := t.found("SELECT disk FROM media WHERE server = $1 AND media_id = $2 AND file = $3 AND used > 0",
				[]any{string(m.Server), m.ID, m.File}, &disk)
			if err != nil {
				return err
			}
			if !found {
				continue
			}
			if _, err := t.exec("DELETE FROM media WHERE server = $1 AND media_id = $2", string(m.Server), m.ID); err != nil {
				return err
			}
			if err := use(t, "", -1, -disk, MediaQuota{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteExpiredMedia removes what was created and not uploaded in time.
func (s *Store) DeleteExpiredMedia(ctx context.Context, now time.Time) error {
	return s.exec(ctx, "DELETE FROM media WHERE expires > 0 AND expires <= $1", millis(now))
}
