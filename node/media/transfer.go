package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"hanse/federation"
	"hanse/federation/client"
	"hanse/federation/id"
	"hanse/node/store"
)

// transfer is media on its way from another server. Those who ask for it meanwhile read the file while it is written, so
// that the first byte reaches them long before the last has come. Safe for concurrent use.
type transfer struct {
	name name

	mu      sync.Mutex
	changed chan struct{} // guarded by mu; closed and replaced when one of the fields below changes
	row     store.Media   // guarded by mu: what it is; File is "" while that is not known
	written int64         // guarded by mu: bytes that can be read
	ended   bool          // guarded by mu
	err     error         // guarded by mu: why it ended without all bytes
	failed  time.Time     // guarded by mu: when it did
}

func (t *transfer) change(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
	close(t.changed)
	t.changed = make(chan struct{})
}

// wait waits until ready says so; it is called with the fields guarded.
func (t *transfer) wait(ctx context.Context, ready func() bool) error {
	for {
		t.mu.Lock()
		done, changed := ready(), t.changed
		t.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// whole waits until all is there.
func (t *transfer) whole(ctx context.Context) (store.Media, error) {
	if err := t.wait(ctx, func() bool { return t.ended }); err != nil {
		return store.Media{}, err
	}
	return t.row, t.err
}

// follow gives the media while it comes.
func (t *transfer) follow(ctx context.Context, files *folder) (*Content, error) {
	if err := t.wait(ctx, func() bool { return t.ended || t.row.File != "" }); err != nil {
		return nil, err
	}
	t.mu.Lock()
	row, err := t.row, t.err
	t.mu.Unlock()
	if err != nil {
		return nil, err
	}
	file, err := files.open(row.File)
	if errors.Is(err, os.ErrNotExist) { // it has just been thrown away
		if _, failed := t.whole(ctx); failed != nil {
			err = failed
		}
	}
	if err != nil {
		return nil, err
	}
	return &Content{
		ContentType: row.ContentType, Filename: row.Filename, Size: -1, Stored: row.Created,
		Body: &follower{ctx: ctx, transfer: t, file: file},
	}, nil
}

// follower reads a transfer's file, never faster than it is written.
type follower struct {
	ctx      context.Context
	transfer *transfer
	file     *os.File
	read     int64
}

// Read implements io.Reader.
func (f *follower) Read(p []byte) (int, error) {
	t := f.transfer
	var there int64
	var failed error
	if err := t.wait(f.ctx, func() bool {
		there, failed = t.written, t.err
		return t.ended || there > f.read
	}); err != nil {
		return 0, err
	}
	if there == f.read {
		if failed != nil {
			return 0, failed
		}
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), there-f.read)]
	n, err := f.file.Read(p)
	f.read += int64(n)
	if err == io.EOF { // all of it was written
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Close implements io.Closer.
func (f *follower) Close() error { return f.file.Close() }

// waitingAt counts the transfers of one server, those that wait too.
type waitingAt struct {
	slots chan struct{} // a value for each that is under way
	users int           // guarded by Media.mu
	down  error         // guarded by Media.mu: why it can't be reached, as the last one found; those that wait needn't try
}

// fetch gives the transfer of another server's media: the one that is under way, the one that has just failed, or a new one.
func (m *Media) fetch(n name, wait time.Duration) (*transfer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t := m.transfers[n]; t != nil && !t.forgettable(time.Now()) {
		return t, nil
	}
	if len(m.transfers) >= maxTransfers {
		m.forget(func(t *transfer) bool { return t.hasFailed() }) // they may be tried again
	}
	if len(m.transfers) >= maxTransfers {
		return nil, errBusy()
	}
	if m.life.Err() != nil {
		return nil, context.Canceled
	}
	t := &transfer{name: n, changed: make(chan struct{})}
	m.transfers[n] = t
	at := m.servers[n.server]
	if at == nil {
		at = &waitingAt{slots: make(chan struct{}, maxPerServer)}
		m.servers[n.server] = at
	}
	at.users++
	m.running.Go(func() {
		err := m.inTurn(at, func() error { return m.transfer(t, wait) })
		m.mu.Lock()
		defer m.mu.Unlock()
		if at.users--; at.users == 0 {
			delete(m.servers, n.server)
		}
		if err == nil {
			delete(m.transfers, n) // from now on it is in the cache
		}
		t.change(func() {
			t.ended = true
			if err != nil {
				t.err, t.failed = remoteError(err), time.Now()
			}
		})
	})
	return t, nil
}

// forgettable tells whether the transfer has failed long enough ago that the next one may be tried.
func (t *transfer) forgettable(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.failed.IsZero() && now.Sub(t.failed) >= failureLife
}

func (t *transfer) hasFailed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.failed.IsZero()
}

// forgetFailures forgets what may be tried again.
func (m *Media) forgetFailures(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(func(t *transfer) bool { return t.forgettable(now) })
}

// forget forgets transfers; m.mu is held.
func (m *Media) forget(which func(*transfer) bool) {
	for n, t := range m.transfers {
		if which(t) {
			delete(m.transfers, n)
		}
	}
}

// inTurn does f when it is its server's turn, and there is room for it.
func (m *Media) inTurn(at *waitingAt, f func() error) error {
	for _, slots := range []chan struct{}{at.slots, m.slots} {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-m.life.Done():
			return m.life.Err()
		}
	}
	m.mu.Lock()
	down := at.down
	m.mu.Unlock()
	if down != nil {
		return down
	}
	err := f()
	var failed *client.Error
	if errors.As(err, &failed) && failed.Unreachable() {
		m.mu.Lock()
		defer m.mu.Unlock()
		at.down = err
	}
	return err
}

// transfer fetches media: to the disk, to those who follow, and, once it is whole, into the cache.
func (m *Media) transfer(t *transfer, wait time.Duration) error {
	ctx := m.life
	if row, file, err := m.cached(ctx, t.name); err != nil || file != nil { // it came after we were asked
		if file != nil {
			_ = file.Close() // it was only looked for
			t.change(func() { t.row, t.written = row, row.Size })
		}
		return err
	}
	q := federation.MediaRequest{MediaID: t.name.id, Timeout: wait}
	err := m.config.Client.DownloadMedia(ctx, t.name.server, q, m.config.MaxSize, func(part federation.MediaPart, content io.Reader) error {
		written, err := m.folder.newFile()
		if err != nil {
			return m.diskFailed(err)
		}
		now := time.Now()
		row := store.Media{
			Server: t.name.server, ID: t.name.id, File: written.name, ContentType: cleanType(part.ContentType),
			Filename: dispositionName(part.Disposition), Created: now, Used: now,
		}
		t.change(func() { t.row = row })
		if err := m.copy(t, written, content); err != nil {
			written.discard()
			return err
		}
		row.Size, row.Disk = written.size, written.size
		if err := written.keep(func() error { return m.store.AddMedia(ctx, row, store.MediaQuota{}) }); err != nil {
			return m.diskFailed(err)
		}
		t.change(func() { t.row = row })
		m.counters.fetched(row.Size)
		m.grown()
		return nil
	})
	if err != nil {
		m.counters.fetchesFailed.Add(1)
		m.log.Debug("another server's media can't be had", "media", t.name, "error", err)
	}
	return err
}

// copy writes what comes, and tells the followers.
func (m *Media) copy(t *transfer, to *writing, from io.Reader) error {
	began := time.Now()
	chunk := make([]byte, chunkBytes)
	for {
		n, err := from.Read(chunk)
		if n > 0 {
			if _, failed := to.Write(chunk[:n]); failed != nil {
				return m.diskFailed(failed)
			}
			t.change(func() { t.written = to.size })
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case time.Since(began) > patience+time.Duration(to.size/pace)*time.Second:
			return fmt.Errorf("%d bytes came in %v: that is too slow", to.size, time.Since(began).Round(time.Second))
		}
	}
}

// cached is the row of another server's media that is here; false if it is not.
func (m *Media) cached(ctx context.Context, n name) (store.Media, *os.File, error) {
	row, found, err := m.store.Media(ctx, n.server, n.id)
	if err != nil || !found {
		return row, nil, err
	}
	opened, err := m.folder.open(row.File)
	switch {
	case errors.Is(err, os.ErrNotExist): // removed from the cache just now, or by somebody else
		return row, nil, m.store.DeleteMedia(ctx, []store.Media{row})
	case err != nil:
		return row, nil, err
	}
	if now := time.Now(); now.Sub(row.Used) > usedPrecision {
		if err := m.store.TouchMedia(ctx, n.server, n.id, now); err != nil {
			_ = opened.Close() // it was only read
			return row, nil, err
		}
	}
	return row, opened, nil
}

// remote tells whether media is another server's that can be asked.
func (m *Media) remote(server id.ServerName) bool { return server != m.config.Self }
