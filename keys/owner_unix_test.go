//go:build unix

package keys

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// owner is the user and the group of a file.
func owner(info fs.FileInfo) [2]uint32 {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return [2]uint32{}
	}
	return [2]uint32{s.Uid, s.Gid}
}

func TestRotateKeepsTheOwner(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	path := filepath.Join(t.TempDir(), "signing.key")
	if _, err := LoadOrCreate(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 4711, 4712); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Rotate(path, time.Now()); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(path)
	if err != nil || os.SameFile(before, after) || owner(after) != [2]uint32{4711, 4712} {
		t.Errorf("%v: %v", err, owner(after))
	}
}

// TestRotateTellsWhatIsThere: the folder can't be opened, so neither made durable, but be written to.
func TestRotateTellsWhatIsThere(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may open every folder")
	}
	folder := t.TempDir()
	path := filepath.Join(folder, "signing.key")
	before, err := LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(folder, 0o300); err != nil {
		t.Fatal(err)
	}
	_, failure := Rotate(path, time.Now())
	if err := os.Chmod(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	after, err := LoadFile(path)
	if err != nil || after.Current.ID == before.Current.ID || failure == nil || !strings.Contains(failure.Error(), "has the new key") {
		t.Errorf("%v, %v: %v", before.Current.ID, err, failure)
	}
}

func TestSyncFolderWhereFoldersCannotBeSynced(t *testing.T) {
	const kernel = "/proc"
	folder, err := os.Open(kernel)
	if err != nil {
		t.Skip(err)
	}
	defer folder.Close()
	if folder.Sync() == nil {
		t.Skip(kernel, "can be synced")
	}
	if err := syncFolder(kernel); err != nil {
		t.Error(err)
	}
	if err := syncFolder(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no error of a folder that isn't there")
	}
}
