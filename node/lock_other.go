//go:build !unix

package node

import (
	"os"
	"path/filepath"
)

// lockFolder does not lock here; the database notices a second writer.
func lockFolder(folder string) (*os.File, error) {
	return os.OpenFile(filepath.Join(folder, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
}
