// Package doc has no code: its tests hold the documents against the rest of the repository. They walk the files
// themselves, so that the test cache can't answer for them.
package doc

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "hanse"

// room is a row of the table in architecture.md.
type room struct {
	pure   bool
	mayUse []string
}

func readHouse(t *testing.T) map[string]room {
	t.Helper()
	text, err := os.ReadFile("architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z/0-9]+)`( P)? \\| [^|]+ \\| ([^|]+) \\|$")
	house := map[string]room{}
	for _, match := range row.FindAllStringSubmatch(string(text), -1) {
		house[match[1]] = room{pure: match[2] != "", mayUse: strings.Fields(match[3])}
	}
	if len(house) < 10 {
		t.Fatalf("only %d rows were read from architecture.md", len(house))
	}
	return house
}

func (r room) allows(path string) bool {
	return slices.ContainsFunc(r.mayUse, func(pattern string) bool {
		prefix, below := strings.CutSuffix(pattern, "*")
		return pattern == path || below && strings.HasPrefix(path, prefix)
	})
}

// goFiles parses every Go file below the repository's top, by package folder ("" is the top itself).
func goFiles(t *testing.T, visit func(folder, path string, set *token.FileSet, file *ast.File)) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "testdata" || strings.HasPrefix(entry.Name(), ".") && entry.Name() != "..") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel("..", filepath.Dir(path))
		if folder == "." {
			folder = ""
		}
		visit(filepath.ToSlash(folder), path, set, file)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestImportsFollowTheHouse(t *testing.T) {
	house, seen := readHouse(t), map[string]bool{"doc": true}
	goFiles(t, func(folder, path string, set *token.FileSet, file *ast.File) {
		if folder == "" || strings.HasSuffix(path, "_test.go") {
			return
		}
		row, ok := house[folder]
		if !ok {
			if !seen[folder] {
				t.Errorf("%s has no row in architecture.md", folder)
			}
			seen[folder] = true
			return
		}
		seen[folder] = true
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if within, ours := strings.CutPrefix(imported, module+"/"); ours && !row.allows(within) {
				t.Errorf("%s: %s may not use %s", set.Position(spec.Pos()), folder, within)
			}
		}
	})
	for folder := range house {
		if !seen[folder] {
			t.Errorf("architecture.md lists %s, which does not exist", folder)
		}
	}
}

// impure lists imports that a pure package may not have. crypto and encoding are computations; net/netip and net/url
// are grammars.
func impure(path string) bool {
	switch path {
	case "net", "os", "io/ioutil", "database/sql", "math/rand", "crypto/rand", "log", "log/slog", "sync", "sync/atomic", "context", "syscall":
		return true
	case "net/netip", "net/url":
		return false
	}
	return strings.HasPrefix(path, "net/http") || strings.HasPrefix(path, "os/") || strings.HasPrefix(path, "golang.org/x/sync")
}

func TestPurePackagesArePure(t *testing.T) {
	house := readHouse(t)
	goFiles(t, func(folder, path string, set *token.FileSet, file *ast.File) {
		if !house[folder].pure || strings.HasSuffix(path, "_test.go") {
			return
		}
		for _, spec := range file.Imports {
			if imported, _ := strconv.Unquote(spec.Path.Value); impure(imported) {
				t.Errorf("%s: the pure package %s imports %s", set.Position(spec.Pos()), folder, imported)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: the pure package %s starts a goroutine", set.Position(n.Pos()), folder)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && (n.Sel.Name == "Now" || n.Sel.Name == "Since" || n.Sel.Name == "Sleep" || n.Sel.Name == "After") {
					t.Errorf("%s: the pure package %s reads the clock", set.Position(n.Pos()), folder)
				}
			}
			return true
		})
	})
}

// TestForeignJSONIsReadExactly: what runs as a server reads JSON by federation/exactjson alone, its own too: who reads a line needn't know
// who wrote the text. What remains is federation's decoder, which reads large answers by tokens and names them itself.
func TestForeignJSONIsReadExactly(t *testing.T) {
	goFiles(t, func(folder, path string, set *token.FileSet, file *ast.File) {
		part, _, _ := strings.Cut(folder, "/")
		if strings.HasSuffix(path, "_test.go") || folder == "federation/exactjson" || folder == "federation" && filepath.Base(path) == "decoder.go" ||
			!slices.Contains([]string{"federation", "keys", "resolver", "node"}, part) {
			return
		}
		for _, spec := range file.Imports {
			if strings.HasPrefix(spec.Path.Value, `"encoding/json/`) || spec.Path.Value == `"encoding/json"` && spec.Name != nil {
				t.Errorf("%s: import encoding/json by its own name", set.Position(spec.Pos()))
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if n, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "json" && (n.Sel.Name == "Unmarshal" || n.Sel.Name == "NewDecoder") {
					t.Errorf("%s: json.%s takes names in any case; federation/exactjson takes them as they are", set.Position(n.Pos()), n.Sel.Name)
				}
			}
			return true
		})
	})
}

// TestNothingIsProcessWide: no init function anywhere, and no package variable that code assigns to. The conformance
// suite's tests are the exception: Ginkgo has one tree of them a process, and what they share is as they are.
func TestNothingIsProcessWide(t *testing.T) {
	goFiles(t, func(folder, path string, set *token.FileSet, file *ast.File) {
		if strings.HasSuffix(path, "_test.go") || folder == "conformance/suite" {
			return
		}
		variables := map[string]bool{}
		for _, declaration := range file.Decls {
			switch d := declaration.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Name.Name == "init" {
					t.Errorf("%s: an init function", set.Position(d.Pos()))
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if value, ok := spec.(*ast.ValueSpec); ok && d.Tok == token.VAR {
						for _, name := range value.Names {
							variables[name.Name] = true
						}
					}
				}
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			assignment, ok := n.(*ast.AssignStmt)
			if !ok || assignment.Tok == token.DEFINE {
				return true
			}
			for _, left := range assignment.Lhs {
				if index, ok := left.(*ast.IndexExpr); ok {
					left = index.X
				}
				// An identifier that the parser resolved to the package's variable, not to a local of the same name.
				if name, ok := left.(*ast.Ident); ok && variables[name.Name] && name.Obj != nil && name.Obj.Decl != nil {
					if spec, ok := name.Obj.Decl.(*ast.ValueSpec); ok && isPackageLevel(file, spec) {
						t.Errorf("%s: the package variable %s is assigned to", set.Position(assignment.Pos()), name.Name)
					}
				}
			}
			return true
		})
	})
}

func isPackageLevel(file *ast.File, wanted *ast.ValueSpec) bool {
	for _, declaration := range file.Decls {
		if general, ok := declaration.(*ast.GenDecl); ok {
			for _, spec := range general.Specs {
				if spec == wanted {
					return true
				}
			}
		}
	}
	return false
}

// TestCitationsExist: each citation (spec:, a page, # and an anchor) in a comment is a heading of the pinned specification.
func TestCitationsExist(t *testing.T) {
	list, err := os.ReadFile("spec-anchors.txt")
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[string]bool{}
	for line := range strings.Lines(string(list)) {
		anchors[strings.TrimSpace(line)] = false
	}
	citation := regexp.MustCompile(`spec:([a-z0-9/_-]+)(#[a-z0-9_.-]*[a-z0-9_])?`)
	citations := 0
	goFiles(t, func(folder, path string, set *token.FileSet, file *ast.File) {
		for _, group := range file.Comments {
			for _, match := range citation.FindAllStringSubmatch(group.Text(), -1) {
				citations++
				if _, ok := anchors[match[1]+match[2]]; !ok {
					t.Errorf("%s: %s%s is not in the specification (spec-anchors.txt)", set.Position(group.Pos()), match[1], match[2])
				}
				anchors[match[1]+match[2]] = true
			}
		}
	})
	cited := 0
	for _, used := range anchors {
		if used {
			cited++
		}
	}
	t.Logf("%d citations of %d of the specification's %d sections", citations, cited, len(anchors))
}

// TestDependenciesHaveAReason: each direct requirement of go.mod has its line in dependencies.md, and no other has.
func TestDependenciesHaveAReason(t *testing.T) {
	text, err := os.ReadFile("dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	requirements, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]bool{}
	for _, match := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| [^|]+ \\|$").FindAllStringSubmatch(string(text), -1) {
		reasons[match[1]] = true
	}
	for _, match := range regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(string(requirements), -1) {
		if !reasons[match[1]] {
			t.Errorf("go.mod requires %s; dependencies.md doesn't say why", match[1])
		}
		delete(reasons, match[1])
	}
	for module := range reasons {
		t.Errorf("dependencies.md has %s, which go.mod doesn't require", module)
	}
}
