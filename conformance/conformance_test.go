package conformance

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"hanse/conformance/suite"
)

// TestConformance asks this repository's hanse, or the server of HANSE_CONFORMANCE_ADAPTER, by the flags of Ginkgo.
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
	ginkgo.RunSpecs(t, "Conformance")
}
