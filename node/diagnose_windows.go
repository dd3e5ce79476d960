package node

import (
	"math"

	"golang.org/x/sys/windows" // how much of a disk is free
)

func freeSpace(folder string) (free, size int64, known bool) {
	path, err := windows.UTF16PtrFromString(folder)
	if err != nil {
		return 0, 0, false
	}
	var mayWrite, all uint64
	if windows.GetDiskFreeSpaceEx(path, &mayWrite, &all, nil) != nil {
		return 0, 0, false
	}
	return int64(min(mayWrite, math.MaxInt64)), int64(min(all, math.MaxInt64)), true
}

func openFilesLimit() (limit uint64, known bool) { return 0, false }
