package conformance

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write doc/conformance.md anew")

// TestCoverageTable holds doc/conformance.md against what the suite's tests say. The table is made by another process:
// one process has one run of the suite.
func TestCoverageTable(t *testing.T) {
	made, err := exec.CommandContext(t.Context(), program(t), "conformance", "coverage").Output()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("..", "doc", "conformance.md")
	if *rewrite {
		if err := os.WriteFile(file, made, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kept, made) {
		t.Error("doc/conformance.md is not what the suite says: go test ./conformance -run TestCoverageTable -rewrite")
	}
}
