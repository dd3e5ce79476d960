package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// reader runs the reading statements, each prepared once, on connections of their own: they see what is
// committed and wait for nobody. Safe for concurrent use.
type reader struct {
	db       *sql.DB
	classify func(error) ErrorClass
	log      *slog.Logger

	ailing ailment                   // the database can't be read
	since  atomic.Pointer[time.Time] // when the first look began of those that weren't answered; nil: the last one was
	asked  chan chan struct{}        // has probeRegularly read something; what is sent is closed then

	mu    sync.RWMutex
	stmts map[string]*sql.Stmt // guarded by mu; by text: the set of texts is closed (see list)
}

func newReader(d Dialect, log *slog.Logger, db *sql.DB) *reader {
	return &reader{db: db, classify: d.Classify, log: log, asked: make(chan chan struct{}), stmts: map[string]*sql.Stmt{}}
}

// ping reads something from the database itself, not what a connection knows without it.
func (r *reader) ping(ctx context.Context) error {
	var position int64
	return r.row(ctx, "SELECT position FROM counters", nil, &position)
}

// check tells that the database can't be read. It asks for a look, if none is under way, and waits for checkPatience at most: all
// connections may be in use.
func (r *reader) check(ctx context.Context) error {
	if !r.ailing.ill.Load() {
		ctx, cancel := context.WithTimeout(ctx, checkPatience)
		defer cancel()
		looked := make(chan struct{})
		select {
		case r.asked <- looked:
			select {
			case <-looked:
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
	}
	if r.ailing.ill.Load() {
		return errNoReads
	}
	if since := r.since.Load(); since != nil && time.Since(*since) >= readHangsAfter {
		return fmt.Errorf("the database hasn't answered a read since %s: its disk, or its server, hangs, or it has too much to do", since.UTC().Format(time.RFC3339))
	}
	return nil
}

// probeRegularly looks whether the database can be read, when it is asked to, and, while it can't be, whether it can be again, until ctx
// ends.
func (r *reader) probeRegularly(ctx context.Context) {
	var probes probing
	for {
		select {
		case <-ctx.Done():
			return
		case looked := <-r.asked:
			r.look(ctx)
			close(looked)
			continue
		case <-r.ailing.began:
		}
		for r.ailing.ill.Load() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(probes.next(time.Now())):
			}
			r.look(ctx)
		}
	}
}

// look reads something; row notes what came of it.
func (r *reader) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	began := time.Now()
	r.since.CompareAndSwap(nil, &began)
	if _ = r.ping(ctx); ctx.Err() == nil {
		r.since.Store(nil)
	}
}

// prepared calls ask with the statement of a text. Where the connection turns out to be gone, as all are that waited while the
// server was restarted, ask is called again, on another; it must have no effect when it fails by that. A second one may be gone as well:
// others have taken it before the server ended, and give it back now.
func (r *reader) prepared(ctx context.Context, query string, ask func(*sql.Stmt) error) error {
	attempt := func() error {
		stmt, err := r.statement(ctx, query)
		if err != nil {
			return err
		}
		return ask(stmt)
	}
	err := attempt()
	for tries := 1; tries < connectionTries && err != nil && r.gone(ctx, err); tries++ {
		r.forgetIdle()
		err = attempt()
	}
	return err
}

func (r *reader) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	r.mu.RLock()
	stmt, ok := r.stmts[query]
	r.mu.RUnlock()
	if ok {
		return stmt, nil
	}
	// Not under mu: preparing waits for a connection, and whoever has them all may be about to ask for a statement.
	stmt, err := r.db.PrepareContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("%w, in: %s", err, query)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if first, ok := r.stmts[query]; ok { // two prepared it at once
		stmt.Close() //nolint:errcheck // the first one is used
		return first, nil
	}
	r.stmts[query] = stmt
	return stmt, nil
}

// gone tells whether a read failed because its connection was ended. One that isn't answered in time is another matter: asking
// again takes as long.
func (r *reader) gone(ctx context.Context, err error) bool {
	network, ok := errors.AsType[net.Error](err)
	return ctx.Err() == nil && r.classify(err) == ConnectionError && !(ok && network.Timeout())
}

// forgetIdle closes the connections that nobody uses.
func (r *reader) forgetIdle() {
	most := r.db.Stats().MaxOpenConnections
	r.db.SetMaxIdleConns(0)
	r.db.SetMaxIdleConns(most)
}

// row reads one row into dest; sql.ErrNoRows says that there is none.
func (r *reader) row(ctx context.Context, query string, args []any, dest ...any) error {
	err := r.prepared(ctx, query, func(stmt *sql.Stmt) error { return stmt.QueryRowContext(ctx, args...).Scan(dest...) })
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("store: reading: %w", r.failed(ctx, err))
	}
	r.worked()
	return err
}

// found is row for statements whose missing row is an answer.
func (r *reader) found(ctx context.Context, query string, args []any, dest ...any) (bool, error) {
	err := r.row(ctx, query, args, dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// each calls scan for every row. scan must not read: a statement that asks for a second connection while it holds one
// waits for ever where all who hold one do so.
func (r *reader) each(ctx context.Context, query string, args []any, scan func(rows *sql.Rows) error) error {
	var late error // after the first row: what was scanned can't be taken back
	err := r.prepared(ctx, query, func(stmt *sql.Stmt) error {
		rows, err := stmt.QueryContext(ctx, args...)
		if err != nil {
			return err
		}
		defer rows.Close() //nolint:errcheck // Err tells what matters
		if !rows.Next() {
			return rows.Err()
		}
		for more := true; more; more = rows.Next() {
			if late = scan(rows); late != nil {
				return nil
			}
		}
		if late = rows.Err(); late != nil {
			late = r.failed(ctx, late)
		}
		return nil
	})
	if err != nil {
		err = r.failed(ctx, err)
	}
	if err = cmp.Or(err, late); err != nil {
		return fmt.Errorf("store: reading: %w", err)
	}
	r.worked()
	return nil
}

// failed is the error of a read, as who asked for it gets it.
func (r *reader) failed(ctx context.Context, err error) error {
	if end := ctx.Err(); end != nil { // given up: it says nothing about the database, whatever a driver calls it
		if !errors.Is(err, end) {
			err = fmt.Errorf("%w: %w", end, err)
		}
		return err
	}
	switch r.classify(err) {
	case ConnectionError, StorageError:
		if r.ailing.begins() {
			r.log.Error("the database can't be read; what needs it is refused until it can", "error", err)
		}
		return &unavailable{err}
	}
	return err
}

// worked notes that a read was answered.
func (r *reader) worked() {
	if r.ailing.ends() {
		r.log.Info("the database can be read again")
	}
}

func (r *reader) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, stmt := range r.stmts {
		stmt.Close() //nolint:errcheck // the database is closed next
	}
	return r.db.Close()
}
