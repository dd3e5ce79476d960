package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"hanse/node/store"
)

// folder is where the files are. A file is called by a random name, whose first letters are its folders: AB/CD/ABCD…; its
// thumbnails are in the folder ABCD….thumbnails beside it. A file that is being written is in the folder incoming, and stays
// there until the database knows it: what a crash leaves there is either moved to its place or nobody's.
// Safe for concurrent use.
type folder struct {
	top    string
	create func(path string) (file, error) // os.OpenFile, but in tests of full disks
	log    *slog.Logger
}

// file is what is written.
type file interface {
	io.WriteCloser
	Sync() error
}

const (
	incomingFolder   = "incoming"
	thumbnailsSuffix = ".thumbnails"
)

// openFolder makes the folder if it is not there.
func openFolder(top string, log *slog.Logger) (*folder, error) {
	f := &folder{top: top, log: log, create: func(path string) (file, error) {
		return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	}}
	if err := os.MkdirAll(filepath.Join(top, incomingFolder), 0o700); err != nil {
		return nil, fmt.Errorf("the folder of media: %w", err)
	}
	return f, nil
}

// recover finishes what a crash interrupted. known tells which files the database has. Nothing else may use the folder.
func (f *folder) recover(ctx context.Context, known func(context.Context, string) (bool, error)) error {
	entries, err := os.ReadDir(filepath.Join(f.top, incomingFolder))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		there, err := known(ctx, entry.Name())
		if err == nil && there {
			err = f.place(entry.Name())
		} else if err == nil {
			err = os.Remove(f.incoming(entry.Name()))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *folder) incoming(name string) string { return filepath.Join(f.top, incomingFolder, name) }

func (f *folder) path(name string) string { return filepath.Join(f.top, name[:2], name[2:4], name) }

func (f *folder) thumbnail(name, size string) string {
	return filepath.Join(f.path(name)+thumbnailsSuffix, size)
}

// place moves a file whose bytes are on the disk to where it belongs.
func (f *folder) place(name string) error {
	path := f.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.Rename(f.incoming(name), path)
}

// open opens a file, also one that is still being written or about to be moved to its place.
func (f *folder) open(name string) (*os.File, error) {
	for _, path := range []string{f.path(name), f.incoming(name)} {
		if opened, err := os.Open(path); err == nil {
			return opened, nil
		}
	}
	return os.Open(f.path(name)) // it was moved between the two
}

// remove removes a file and its thumbnails; that it is not there is fine.
func (f *folder) remove(name string) error {
	if err := os.Remove(f.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(f.path(name) + thumbnailsSuffix)
}

// writing is a file that is being written.
type writing struct {
	folder *folder
	name   string
	to     file
	size   int64
}

// newFile begins a file. One of keep, placeAt and discard must follow.
func (f *folder) newFile() (*writing, error) {
	name := newID()
	to, err := f.create(f.incoming(name))
	if err != nil {
		return nil, err
	}
	return &writing{folder: f, name: name, to: to}, nil
}

// Write implements io.Writer.
func (w *writing) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	w.size += int64(n)
	return n, err
}

// discard removes what was written.
func (w *writing) discard() {
	_ = w.to.Close()                         // it may be closed already, and is thrown away
	_ = os.Remove(w.folder.incoming(w.name)) // else the next start removes it
}

// finish brings the bytes to the disk.
func (w *writing) finish() error {
	err := w.to.Sync()
	if closing := w.to.Close(); err == nil {
		err = closing
	}
	return err
}

// keep makes the file last: its bytes are on the disk before record notes it in the database, and it is moved to its place
// after that. After an error nothing is left, unless nobody knows whether the database has noted it: the next start finds out.
func (w *writing) keep(record func() error) error {
	err := w.finish()
	if err == nil {
		err = syncFolder(filepath.Join(w.folder.top, incomingFolder))
	}
	if err == nil {
		err = record()
	}
	switch {
	case errors.Is(err, store.ErrUnanswered):
		return err
	case err != nil:
		w.discard()
		return err
	}
	if err := w.folder.place(w.name); err != nil {
		w.folder.log.Error("a file of media can't be moved to its folder: it is used where it is, and moved at the next start", "file", w.name, "error", err)
	}
	return nil
}

// placeAt moves the file to a path of its own, which the database needn't know.
func (w *writing) placeAt(path string) error {
	err := w.finish()
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = os.Rename(w.folder.incoming(w.name), path)
	}
	if err != nil {
		w.discard()
	}
	return err
}

// syncFolder makes the names in a folder last, where the system can.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	err = f.Sync()
	for _, cannot := range []error{syscall.EINVAL, errors.ErrUnsupported, fs.ErrPermission} { // some file systems, some systems
		if errors.Is(err, cannot) {
			return nil
		}
	}
	return err
}
