//go:build unix

package keys

import (
	"io/fs"
	"os"
	"syscall"
)

// sameOwner gives a file to the owner of another one: root may replace what a server reads as another user.
func sameOwner(path string, as fs.FileInfo) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	have, ok := info.Sys().(*syscall.Stat_t)
	want, also := as.Sys().(*syscall.Stat_t)
	if !ok || !also || have.Uid == want.Uid && have.Gid == want.Gid {
		return nil
	}
	return os.Chown(path, int(want.Uid), int(want.Gid))
}
