//go:build linux || darwin

package node

import "syscall"

// freeSpace is how many bytes this user may still write where a folder is, and of how many in all.
func freeSpace(folder string) (free, size int64, known bool) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(folder, &stat); err != nil {
		return 0, 0, false
	}
	return int64(stat.Bavail) * int64(stat.Bsize), int64(stat.Blocks) * int64(stat.Bsize), true
}

// openFilesLimit is how many files a process may have open.
func openFilesLimit() (limit uint64, known bool) {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 0, false
	}
	return r.Max, true // Go raises its own limit to this
}
