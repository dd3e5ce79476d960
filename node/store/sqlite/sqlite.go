// Package sqlite opens the embedded database for node/store: driver, settings, error classes. It has no SQL statements
// but the settings.
//
// The driver is modernc.org/sqlite: SQLite translated to Go, so that the binary needs no C.
package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"modernc.org/sqlite" // SQLite without C, so that CGO_ENABLED=0 go build works
	sqlite3 "modernc.org/sqlite/lib"

	"hanse/node/store"
)

const (
	// busyTimeout is how long a statement waits for a lock. Only a checkpoint or another process makes one wait.
	busyTimeout = 10 * time.Second
	// writerCache and readerCache bound the page cache of a connection, in KiB. Readers have the events and states they
	// need in the store's own caches, and the system has the file in its. In memory a page takes more than twice its size: with its
	// header it is a little too large for 4 KiB, and the allocator's next size is 8 KiB, of which seven fit into 64.
	writerCache = 8192
	readerCache = 1024
	// checkpoint is how many pages the WAL has before they are written back. Pages that many transactions change are then
	// written once, and the disk is waited for less often; a start after a kill reads so much (16 MiB).
	checkpoint = 4000
	// walLimit is what the WAL file is cut to after a checkpoint, in bytes.
	walLimit = 32 << 20
	// idleReader is how long a reader's connection is kept without use: a node at rest stays small.
	idleReader = 30 * time.Second
)

// Open is the database in a file, which is made if it isn't there (its folder must be; only the owner can read it).
// What is committed is on disk: WAL with full synchronisation.
func Open(path string) store.Dialect { return open(path, "FULL") }

// OpenUnsynced is Open for tests of other packages, which don't pull plugs: it leaves out the waiting for the disk.
func OpenUnsynced(path string) store.Dialect { return open(path, "OFF") }

func open(path, synchronous string) store.Dialect {
	folder, _ := filepath.Abs(filepath.Dir(path))  // where that fails, connect does
	p := &place{longEnough: synchronous != "FULL"} // else nobody waits for the disk
	return store.Dialect{
		Name: "SQLite",
		Connect: func(ctx context.Context) (*sql.DB, *sql.DB, error) {
			return connect(ctx, path, synchronous, p)
		},
		Check:      p.check,
		Begin:      "BEGIN IMMEDIATE",
		Integer:    "INTEGER",
		Bytes:      "BLOB",
		Text:       "TEXT",
		TableEnd:   "WITHOUT ROWID",
		Unnumbered: true,
		Upgrading:  []string{"PRAGMA temp_store_directory = " + quoted(folder), "PRAGMA temp_store = FILE"},
		Upgraded:   []string{"PRAGMA temp_store = MEMORY", "PRAGMA temp_store_directory = ''"},
		Classify:   classify,
	}
}

// quoted is a text in a statement. An upgrade's temporary files are beside the database: there can be written, and is room, where /tmp may
// be in memory, or not there at all. The setting is of all the process, so that it holds for an upgrade only.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

func connect(ctx context.Context, path, synchronous string, p *place) (write, read *sql.DB, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return nil, nil, err
	}
	// As every Linux distribution builds SQLite: what a file's times are need not be on disk. Process-wide, but the same
	// for every database of Hanse's; where there is no such call nothing changes.
	_, _ = sqlite.Fdatasync(true)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, nil, err
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, nil, err
	}
	p.found.Store(&foundFile{path: path, wal: target + "-wal", info: info})
	write, err = database(p, path, "journal_mode(WAL)", "synchronous("+synchronous+")", "temp_store(MEMORY)",
		fmt.Sprintf("cache_size(-%d)", writerCache), fmt.Sprintf("journal_size_limit(%d)", walLimit), fmt.Sprintf("wal_autocheckpoint(%d)", checkpoint))
	if err != nil {
		return nil, nil, err
	}
	write.SetMaxOpenConns(1)
	if err := write.PingContext(ctx); err != nil {
		write.Close() //nolint:errcheck // the first error counts
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	read, err = database(p, path, "query_only(1)", fmt.Sprintf("cache_size(-%d)", readerCache))
	if err != nil {
		write.Close() //nolint:errcheck // the first error counts
		return nil, nil, err
	}
	readers := max(4, runtime.GOMAXPROCS(0))
	read.SetMaxOpenConns(readers)
	read.SetMaxIdleConns(readers)
	read.SetConnMaxIdleTime(idleReader)
	return write, read, nil
}

// place is where the database is. SQLite writes on into files that were taken away under it, which nobody finds again.
type place struct {
	found      atomic.Pointer[foundFile]
	longEnough bool // owned by check: the WAL file isn't made longer
}

type foundFile struct {
	path string
	wal  string      // where SQLite keeps the log: beside the file itself, if path is a link to it
	info os.FileInfo // when it was opened
}

// check is the dialect's: called at the beginning of each of the writer's transactions, when there is a WAL too.
func (p *place) check() error {
	if err := p.same(); err != nil {
		return err
	}
	file := p.found.Load()
	wal, err := os.Stat(file.wal)
	if err != nil {
		return &movedError{file.path, err}
	}
	p.lengthen(file.wal, wal.Size())
	return nil
}

// same tells whether the file is the one that was opened.
func (p *place) same() error {
	file := p.found.Load()
	now, err := os.Stat(file.path)
	if err == nil && !os.SameFile(now, file.info) {
		err = errors.New("it is another file")
	}
	if err != nil {
		return &movedError{file.path, err}
	}
	return nil
}

// guarded makes connections to the file that was opened, and to no other that stands in its place: connections end while they aren't
// used, and are made again.
type guarded struct {
	driver.Connector
	place *place
}

func (g guarded) Connect(ctx context.Context) (driver.Conn, error) {
	if err := g.place.same(); err != nil {
		return nil, err
	}
	return g.Connector.Connect(ctx)
}

// movedError says that the database isn't where it was.
type movedError struct {
	path  string
	cause error
}

func (e *movedError) Error() string {
	return fmt.Sprintf("the database %s and its -wal file are not what was opened (%v): put them back as they were, "+
		"or start the server again with what is there now", e.path, e.cause)
}

// database makes the pool of connections with these settings; it opens none yet. A file that has gone isn't made anew.
func database(p *place, path string, pragmas ...string) (*sql.DB, error) {
	query := url.Values{"mode": {"rw"}, "_pragma": append([]string{fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds())}, pragmas...)}
	connector, err := sqlite.NewConnector((&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String())
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(guarded{connector, p}), nil
}

// classify reads SQLite's result codes.
func classify(err error) store.ErrorClass {
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) {
		return store.ConnectionError
	}
	if _, moved := errors.AsType[*movedError](err); moved {
		return store.StorageError
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return store.OtherError
	}
	switch e.Code() & 0xff { // the upper bits say more of the same
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return store.RetryError
	case sqlite3.SQLITE_CONSTRAINT:
		return store.DuplicateError
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return store.StorageError
	}
	return store.OtherError
}
