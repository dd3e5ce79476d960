//go:build !unix

package keys

import "io/fs"

// sameOwner does nothing: a new file belongs to whom its folder says.
func sameOwner(string, fs.FileInfo) error { return nil }
