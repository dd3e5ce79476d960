//go:build unix

package node

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"hanse/keys"
)

// TestRootLeavesNoLockOfItsOwn: the user that the server runs as has to open the lock after root has rotated the keys.
func TestRootLeavesNoLockOfItsOwn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	config := Config{DataDir: t.TempDir()}
	path := filepath.Join(config.DataDir, "signing.key")
	if _, err := keys.LoadOrCreate(path); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{config.DataDir, path} {
		if err := os.Chown(name, 4711, 4712); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := RotateKeys(config); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(config.DataDir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); !ok || owner.Uid != 4711 || owner.Gid != 4712 {
		t.Errorf("the lock belongs to %+v", owner)
	}
}
