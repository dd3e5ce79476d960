package conformance

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"hanse/conformance/suite"
)

// TestConformance asks this repository's hanse, but for what it is known to lack (adapters/hanse.expected), or the server of
// HANSE_CONFORMANCE_ADAPTER, by the flags of Ginkgo.
func TestConformance(t *testing.T) {
	gomega.RegisterFailHandler(ginkgo.Fail)
	cfg := suite.Config{Adapter: os.Getenv("HANSE_CONFORMANCE_ADAPTER"), Folder: t.TempDir()}
	if cfg.Adapter == "" {
		cfg.Adapter = filepath.Join("adapters", "hanse.sh")
		cfg.Env = []string{"HANSE_BIN=" + program(t)}
	}
	err := suite.Open(t.Context(), cfg)
	if errors.Is(err, suite.ErrNoLoopback) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer suite.Close()
	specs, reporter := ginkgo.GinkgoConfiguration()
	if os.Getenv("HANSE_CONFORMANCE_ADAPTER") == "" {
		expected, err := readExpected(filepath.Join("adapters", "hanse.expected"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range expected {
			specs.SkipStrings = append(specs.SkipStrings, regexp.QuoteMeta(e.text)+"$")
		}
	}
	ginkgo.RunSpecs(t, "Conformance", specs, reporter)
}
