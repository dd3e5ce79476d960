// Package postgres opens a PostgreSQL database for node/store: driver, settings, error classes. It has no SQL
// statements but the settings.
package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5" // the PostgreSQL driver for Go that is kept up
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"hanse/node/store"
)

const (
	// readers bounds the connections for reading; the server allows 100 in all by default.
	readers = 8
	// idle is how long a reader's connection is kept without use.
	idle = time.Minute
	// connectTimeout bounds the making of a connection.
	connectTimeout = 5 * time.Second
	// statements is how many prepared statements a connection keeps.
	statements = 512
)

// Open is the database that a URL (postgres://user:password@host:port/name) or a list of settings (host=… dbname=…)
// names. It must exist; its tables are made.
func Open(url string) store.Dialect {
	return store.Dialect{
		Name:     "PostgreSQL",
		Connect:  func(ctx context.Context) (*sql.DB, *sql.DB, error) { return connect(ctx, url) },
		Together: together,
		// The only writer needs no stronger isolation.
		Begin:    "BEGIN ISOLATION LEVEL READ COMMITTED",
		Lock:     "LOCK TABLE %s IN EXCLUSIVE MODE",
		Integer:  "BIGINT",
		Bytes:    "BYTEA",
		Text:     `TEXT COLLATE "C"`,
		Classify: classify,
	}
}

func connect(ctx context.Context, url string) (write, read *sql.DB, err error) {
	config, err := configure(url)
	if err != nil {
		return nil, nil, err
	}
	write = stdlib.OpenDB(*config, first(writing))
	write.SetMaxOpenConns(1)
	if err := check(ctx, write); err != nil {
		write.Close() //nolint:errcheck // the first error counts
		return nil, nil, err
	}
	read = stdlib.OpenDB(*config, first(reading))
	read.SetMaxOpenConns(readers)
	read.SetMaxIdleConns(readers)
	read.SetConnMaxIdleTime(idle)
	return write, read, nil
}

// configure reads a URL. Of several servers the primary is used if the URL doesn't say which: a reader at a standby, for as long as the
// primary took no connection, wouldn't see what was written.
func configure(url string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err // pgx leaves the password out
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	several := slices.ContainsFunc(config.Fallbacks, func(other *pgconn.FallbackConfig) bool { // which are there for TLS, too
		return other.Host != config.Host || other.Port != config.Port
	})
	if several && config.ValidateConnect == nil {
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
	config.DialFunc = dial()
	config.StatementCacheCapacity = statements
	config.RuntimeParams["application_name"] = "hanse"
	return config, nil
}

// What connections are told first, when it is settled that the server is one that the URL asks for (target_session_attrs): one that takes
// writes isn't known by a connection that takes none. An acknowledged write is on disk, whatever the server's default is. The time that it
// gives statements and transactions, as many are set up for people and reports, would break off each try of an upgrade of a large database.
const (
	writing = `SET synchronous_commit = on; SELECT set_config(name, '0', false) FROM pg_settings
		WHERE name IN ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout', 'lock_timeout')`
	reading = "SET default_transaction_read_only = on"
)

// first has each connection run statements before it is used.
func first(statements string) stdlib.OptionOpenDB {
	return stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, statements)
		return err
	})
}

// check refuses databases that would lose or mangle text.
func check(ctx context.Context, db *sql.DB) error {
	var encoding string
	if err := db.QueryRowContext(ctx, "SHOW server_encoding").Scan(&encoding); err != nil {
		return err
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the database has the encoding %s, it must be UTF8: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0", encoding)
	}
	return nil
}

// classify reads the SQLSTATE.
func classify(err error) store.ErrorClass {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch {
		case pg.Code == "23505":
			return store.DuplicateError
		case pg.Code == "40001", pg.Code == "40P01", pg.Code == "55P03", pg.Code == "57014":
			return store.RetryError // serialization, deadlock, a lock that somebody else has, cancelled by an operator
		case strings.HasPrefix(pg.Code, "08"), strings.HasPrefix(pg.Code, "57P"), pg.Code == "53300":
			return store.ConnectionError // gone, shutting down, starting up, too many connections
		case strings.HasPrefix(pg.Code, "53"), strings.HasPrefix(pg.Code, "58"), pg.Code == "25006":
			return store.StorageError // disk full, out of memory, system error, read-only
		}
		return store.OtherError
	}
	var connecting *pgconn.ConnectError
	var network net.Error
	switch {
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.As(err, &connecting), errors.As(err, &network), errors.Is(err, net.ErrClosed), err != nil && strings.Contains(err.Error(), "conn closed"):
		return store.ConnectionError
	}
	return store.OtherError
}
