//go:build !linux && !darwin

package node

func freeSpace(string) (free int64, known bool) { return 0, false }

func openFilesLimit() (limit uint64, known bool) { return 0, false }
