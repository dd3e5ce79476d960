package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"

	"hanse/conformance/expected"
	"hanse/conformance/suite"
)

const (
	// shareVariable says which share of the tests a process makes: "1/1" for all in one process, as for a report of Ginkgo's.
	shareVariable = "HANSE_CONFORMANCE_SHARE"
	// specsVariable is the other process's configuration of Ginkgo, as JSON.
	specsVariable = "HANSE_CONFORMANCE_SPECS"
)

// TestConformance asks this repository's hanse (HANSE_BIN, or built for it), but for what it is known to lack
// (adapters/hanse.expected), in two processes with a server each; or the server of HANSE_CONFORMANCE_ADAPTER, in one. The
// flags of Ginkgo say what is asked.
func TestConformance(t *testing.T) {
	gomega.RegisterFailHandler(ginkgo.Fail)
	specs, reporter := ginkgo.GinkgoConfiguration()
	cfg := suite.Config{Adapter: os.Getenv("HANSE_CONFORMANCE_ADAPTER"), Folder: t.TempDir(), Patience: time.Minute}
	part, err := readShare(os.Getenv(shareVariable))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Adapter == "" {
		bin := os.Getenv("HANSE_BIN")
		if bin == "" {
			bin = program(t)
		}
		cfg.Adapter = filepath.Join("adapters", "hanse.sh")
		cfg.Env = []string{"HANSE_BIN=" + bin}
		specs.SkipStrings = append(specs.SkipStrings, lacking(t)...)
		if os.Getenv(shareVariable) == "" {
			part = share{0, 2}
			defer beside(t, share{1, 2}, specs, bin)()
		}
	}
	if text := os.Getenv(specsVariable); text != "" {
		if err := json.Unmarshal([]byte(text), &specs); err != nil {
			t.Fatal(err)
		}
	}
	cfg.Mine = part.mine
	err = suite.Open(cfg)
	if errors.Is(err, suite.ErrNoLoopback) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer suite.Close()
	if err := suite.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ginkgo.RunSpecs(t, "Conformance", specs, reporter)
}

// lacking are the tests that hanse is known to fail.
func lacking(t *testing.T) (patterns []string) {
	t.Helper()
	known, err := expected.Read(filepath.Join("adapters", "hanse.expected"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range known {
		patterns = append(patterns, e.Pattern()) // Ginkgo holds them against the suite's name and the text
	}
	return patterns
}

// beside starts a process that makes a share of the tests. The function that it gives waits for its end, and makes its
// failures this test's.
func beside(t *testing.T, part share, specs types.SuiteConfig, bin string) (wait func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	configuration, err := json.Marshal(specs)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestConformance$", "-ginkgo.no-color")
	if deadline, ok := t.Deadline(); ok {
		cmd.Args = append(cmd.Args, fmt.Sprint("-test.timeout=", time.Until(deadline)))
	}
	cmd.Env = append(os.Environ(), "HANSE_BIN="+bin, shareVariable+"="+part.String(), specsVariable+"="+string(configuration))
	ended := make(chan func(), 1)
	go func() {
		output, err := cmd.CombinedOutput()
		ended <- func() {
			t.Helper()
			if err != nil {
				t.Errorf("share %s of the tests: %v\n%s", part, err, output)
			}
		}
	}()
	return func() {
		t.Helper()
		(<-ended)()
	}
}
