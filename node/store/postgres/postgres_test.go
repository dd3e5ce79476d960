package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"hanse/node/store"
)

// TestConnections: whatever an operator has set for the database, and of several servers that of which the URL says that it takes writes,
// the writer waits for the disk and is not broken off, and the readers can't write.
func TestConnections(t *testing.T) {
	server := os.Getenv("HANSE_TEST_POSTGRES")
	if server == "" {
		t.Skip("HANSE_TEST_POSTGRES is not set")
	}
	ctx := context.Background()
	run := func(db *sql.DB, statement string) {
		t.Helper()
		if _, err := db.ExecContext(ctx, statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	admin, adminRead, err := connect(ctx, server)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	defer adminRead.Close()
	name := fmt.Sprintf("hanse_connections_%d_%d", os.Getpid(), rand.Uint32())
	run(admin, "CREATE DATABASE "+name+" ENCODING 'UTF8' TEMPLATE template0")
	for _, setting := range []string{"statement_timeout = '1min'", "idle_in_transaction_session_timeout = '1min'", "lock_timeout = '1min'", "synchronous_commit = off"} {
		run(admin, "ALTER DATABASE "+name+" SET "+setting)
	}
	at, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	query := at.Query()
	query.Set("target_session_attrs", "read-write")
	at.Host, at.Path, at.RawQuery = "127.0.0.1:1,"+at.Host, "/"+name, query.Encode() // nobody is at the first
	write, read, err := connect(ctx, at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	defer read.Close()
	show := func(db *sql.DB, setting, want string) {
		t.Helper()
		var is string
		if err := db.QueryRowContext(ctx, "SHOW "+setting).Scan(&is); err != nil || is != want {
			t.Errorf("%s is %q, not %q: %v", setting, is, want, err)
		}
	}
	for _, setting := range []string{"statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout"} {
		show(write, setting, "0")
	}
	show(write, "synchronous_commit", "on")
	show(read, "statement_timeout", "1min")
	show(read, "default_transaction_read_only", "on")
	run(write, "CREATE TABLE t ()")
	if _, err := read.ExecContext(ctx, "DROP TABLE t"); err == nil {
		t.Error("a reader writes")
	}
}

// TestReadersAreWhereTheWriterIs: of several servers none is used that may lag, though the URL doesn't say so.
func TestReadersAreWhereTheWriterIs(t *testing.T) {
	for url, chooses := range map[string]bool{
		"postgres://hanse@one/hanse":                        false, // whatever it is
		"postgres://hanse@one/hanse?sslmode=prefer":         false,
		"postgres://hanse@one,two/hanse":                    true,
		"postgres://hanse@one:5432,one:5433/hanse":          true,
		"host=one,two dbname=hanse":                         true,
		"host=one,two target_session_attrs=prefer-standby":  true,
		"host=one,two target_session_attrs=read-write":      true,
		"postgres://one/hanse?target_session_attrs=primary": true,
		"postgres://one,two/hanse?target_session_attrs=any": true, // as if nothing were said
	} {
		config, err := configure(url)
		if err != nil || (config.ValidateConnect != nil) != chooses {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestErrorClasses(t *testing.T) {
	for code, want := range map[string]store.ErrorClass{
		"23505": store.DuplicateError, "40001": store.RetryError, "40P01": store.RetryError, "55P03": store.RetryError, "57014": store.RetryError,
		"08006": store.ConnectionError, "57P01": store.ConnectionError, "57P03": store.ConnectionError, "53300": store.ConnectionError,
		"53100": store.StorageError, "58030": store.StorageError, "25006": store.StorageError, "42601": store.OtherError,
	} {
		if got := classify(fmt.Errorf("writing: %w", &pgconn.PgError{Code: code})); got != want {
			t.Errorf("%s is of class %d, not %d", code, got, want)
		}
	}
}
