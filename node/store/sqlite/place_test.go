package sqlite

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// TestALinkToADatabase: SQLite keeps the log beside the file that a link leads to, where it is looked for; and a link that leads
// elsewhere now is told, since the next start would go there.
func TestALinkToADatabase(t *testing.T) {
	dir := t.TempDir()
	link, file := filepath.Join(dir, "db"), filepath.Join(dir, "disk", "real.db")
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	dialect := Open(link)
	write, read, err := dialect.Connect(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	defer read.Close()
	if _, err := write.Exec("CREATE TABLE t (n INTEGER)"); err != nil {
		t.Fatal(err)
	}
	if err := dialect.Check(); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(file + "-wal"); err != nil || info.Size() < walStep {
		t.Errorf("the log isn't made longer: %v", err)
	}
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other.db")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, link); err != nil {
		t.Fatal(err)
	}
	if dialect.Check() == nil {
		t.Error("it is not told that the link leads to another file")
	}
}
