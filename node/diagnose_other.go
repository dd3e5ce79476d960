//go:build !linux && !darwin && !windows

package node

func freeSpace(string) (free, size int64, known bool) { return 0, 0, false }

func openFilesLimit() (limit uint64, known bool) { return 0, false }
