//go:build unix

package node

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lockFolder makes sure that one process at a time uses a data folder. The system takes the lock back when the process
// ends, however it ends.
func lockFolder(folder string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(folder, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	// Root may look after a folder that is another user's, as by `hanse keys rotate`: a lock of its own would keep that user out for good.
	if info, err := os.Stat(folder); err == nil && os.Geteuid() == 0 {
		if owner, ok := info.Sys().(*syscall.Stat_t); ok {
			_ = file.Chown(int(owner.Uid), int(owner.Gid)) // a file system without owners
		}
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close() // it was not locked
		return nil, fmt.Errorf("%s is in use by another hanse; stop that one first, or set another data_dir", folder)
	}
	return file, nil
}
