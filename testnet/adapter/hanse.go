package adapter

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Hanse is this repository's hanse, for tests that start it as a process: the one that HANSE_BIN names, or built into a folder as
// `make build` does. Their results are not kept by `go test` when hanse has changed.
func Hanse(folder string) (file string, err error) {
	if file = os.Getenv("HANSE_BIN"); file != "" {
		_, err := os.Stat(file)
		return file, err
	}
	if err := ReadSources(); err != nil {
		return "", err
	}
	file = filepath.Join(folder, "hanse")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, "hanse")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, output)
	}
	return file, nil
}

// ReadSources reads the folders of the module that this process is in, but for hidden ones. `go test` keeps a result until
// something changes that the test was compiled from or has read. What a test builds and starts is not among that, unless its
// sources' folders are read: of those the names, sizes and times of the files count.
func ReadSources() error {
	root, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(root, "go.mod")); missing == nil {
			break
		}
		if root == filepath.Dir(root) {
			err = errors.New("this is no folder of a Go module")
		}
		root = filepath.Dir(root)
	}
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // another test's, gone meanwhile
			return nil
		case err != nil:
			return err
		case entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		}
		return nil
	})
}
