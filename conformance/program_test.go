package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"

	"hanse/testnet/adapter"
)

var programs string // the folder of what is built for the tests

// built is this repository's hanse, built once for all tests of the package.
var built = sync.OnceValues(func() (file string, err error) {
	if err := adapter.ReadSources(); err != nil {
		return "", err
	}
	file = filepath.Join(programs, "hanse")
	output, err := exec.Command("go", "build", "-ldflags=-dumpdep", "-o", file, "hanse").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, output)
	}
	if keeper := anyMethod.Find(output); keeper != nil {
		return "", fmt.Errorf("%s: it calls methods by names that the linker doesn't know, so every method of the program stays in the binary (3 MB). Gomega's HaveField does", keeper)
	}
	return file, nil
})

// anyMethod finds, in the linker's list of what needs what, a function that may call any method.
var anyMethod = regexp.MustCompile(`\S+ <ReflectMethod>`)

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
