package node

import (
	"errors"
	"syscall"

	"hanse/node/store"
)

// outage tells whether an error comes of a database or a disk that is out of order: then request after request fails alike, and
// the log needn't have each.
func outage(err error) bool {
	if store.Unavailable(err) {
		return true
	}
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO} {
		if errors.Is(err, cause) {
			return true
		}
	}
	return false
}
