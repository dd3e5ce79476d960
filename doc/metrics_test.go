package doc

import (
	"go/ast"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestMetricsThatOperatorsAreToldOfExist: an alarm of a metric that isn't there never rings.
func TestMetricsThatOperatorsAreToldOfExist(t *testing.T) {
	var there, beginnings []string
	goFiles(t, func(folder, path string, _ *token.FileSet, file *ast.File) {
		if folder != "node" && folder != "node/telemetry" || strings.HasSuffix(path, "_test.go") {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			if text, err := strconv.Unquote(literal.Value); err == nil && strings.HasPrefix(text, "hanse_") {
				if there = append(there, text); strings.HasSuffix(text, "_") {
					beginnings = append(beginnings, text)
				}
			}
			return true
		})
	})
	named := 0
	for _, document := range []string{"operating.md", "alerts.yaml"} {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, metric := range regexp.MustCompile(`\bhanse_[a-z_]+`).FindAllString(string(text), -1) {
			named++
			if !slices.Contains(there, metric) && !slices.ContainsFunc(beginnings, func(b string) bool { return strings.HasPrefix(metric, b) }) {
				t.Errorf("%s names %s, which there is not", document, metric)
			}
		}
	}
	if named < 40 {
		t.Errorf("only %d names were read", named)
	}
}
