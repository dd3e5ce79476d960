package sqlite

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"testing"
)

// TestALengthenedLogIsReadToItsEnd: what was committed to a WAL file that is longer than its log is all there after a kill, as what a
// process leaves is the files as they are; and the file isn't made longer without end.
func TestALengthenedLogIsReadToItsEnd(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	path := filepath.Join(dir, "db")
	dialect := Open(path)
	write, read, err := dialect.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	defer read.Close()
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := write.ExecContext(ctx, query, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE TABLE t (n INTEGER PRIMARY KEY, text BLOB)")
	const most = 30
	for n := range most {
		if err := dialect.Check(); err != nil {
			t.Fatal(err)
		}
		exec("INSERT INTO t VALUES (?, ?)", n, make([]byte, 5000))
		if n == 0 || n == 5 || n == most-1 {
			checkCopy(ctx, t, path, n+1)
		}
	}
	info, err := os.Stat(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	if size := info.Size(); size < walAhead || size > walAhead+walStep {
		t.Errorf("the WAL file has %d bytes", size)
	}
}

// checkCopy opens a copy of a database's files as they are and looks for its rows.
func checkCopy(ctx context.Context, t *testing.T, path string, rows int) {
	t.Helper()
	to := filepath.Join(t.TempDir(), "db")
	for _, suffix := range []string{"", "-wal"} {
		content, err := os.ReadFile(path + suffix)
		if err == nil {
			err = os.WriteFile(to+suffix, content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write, read, err := Open(to).Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	for _, db := range []*sql.DB{write, read} {
		var count, greatest int
		var sound string
		if err := db.QueryRowContext(ctx, "SELECT COUNT(*), MAX(n) FROM t").Scan(&count, &greatest); err != nil || count != rows || greatest != rows-1 {
			t.Fatalf("%d rows up to %d, want %d: %v", count, greatest, rows, err)
		}
		if err := db.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&sound); err != nil || sound != "ok" {
			t.Fatalf("%s, %v", sound, err)
		}
	}
}

// TestALogThatCannotGrowIsLeft: where there is no room, or no file, nothing is tried again and nothing fails.
func TestALogThatCannotGrowIsLeft(t *testing.T) {
	p := &place{}
	p.lengthen(filepath.Join(t.TempDir(), "none-wal"), 0)
	if !p.longEnough {
		t.Error("it is tried again")
	}
	path := filepath.Join(t.TempDir(), "db-wal")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p.lengthen(path, 0)
	if info, err := os.Stat(path); err != nil || info.Size() != 0 {
		t.Errorf("it was made longer: %v", err)
	}
	p.longEnough = false
	p.lengthen(path, 0)
	if info, err := os.Stat(path); err != nil || info.Size() != walStep {
		t.Errorf("it wasn't made longer: %v", err)
	}
}
