package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

var programs string // the folder of what is built for the tests

// built is this repository's hanse, built once for all tests of the package.
var built = sync.OnceValues(func() (file string, err error) {
	file = filepath.Join(programs, "hanse")
	if output, err := exec.Command("go", "build", "-o", file, "hanse").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, output)
	}
	return file, nil
})

func program(t *testing.T) string {
	t.Helper()
	file, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestMain(m *testing.M) {
	var err error
	if programs, err = os.MkdirTemp("", "hanse-conformance-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(programs) // it is in the system's folder for what is temporary
	os.Exit(code)
}
