package mutant

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/formatter"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"

	"hanse/conformance/suite"
	"hanse/testnet/adapter"
)

// sampled is each how many-th mutant `make test` takes; HANSE_MUTANTS=all takes all (`make mutants`), another value is a
// regular expression of names.
const sampled = 40

// orders are what a pass is to do: a process of its own, since a process runs the suite once.
type orders struct {
	Program string   // the hanse that is right
	Folder  string   // for the pass's data
	Names   []string // of the mutants; at most one for a test
	None    bool     // run the tests without any mutant: they must pass
}

// verdict is what became of a mutant, or of a test without one.
type verdict struct {
	Name, Test string
	Failed     bool
	Ran        bool
	Message    string
}

// TestMutants: each thing that a server may get wrong is noticed by the test that is meant to.
func TestMutants(t *testing.T) {
	chosen := All()
	names := map[string]bool{}
	for _, m := range chosen {
		if names[m.Name+m.Test] {
			t.Errorf("two mutants are named %s", m)
		}
		names[m.Name+m.Test] = true
	}
	if len(names) < 100 {
		t.Errorf("there are %d mutants, fewer than 100", len(names))
	}
	chosen = choose(t, chosen)
	folder := t.TempDir()
	program, err := adapter.Hanse(folder)
	if err != nil {
		t.Fatal(err)
	}
	begun, caught := time.Now(), 0
	for i, pass := range passes(chosen) {
		for _, v := range run(t, orders{Program: program, Folder: filepath.Join(folder, strconv.Itoa(i)), Names: pass, None: i == 0}) {
			switch {
			case !v.Ran:
				t.Errorf("there is no test %q, or it was skipped", v.Test)
			case i == 0 && v.Failed:
				t.Errorf("fails without a mutant: %s\n%s", v.Test, v.Message)
			case i > 0 && !v.Failed:
				t.Errorf("not noticed: %s\n  by: %s", v.Name, v.Test)
			case i > 0:
				caught++
			}
		}
	}
	t.Logf("%d of %d mutants noticed, in %s", caught, len(chosen), time.Since(begun).Round(time.Second))
}

// choose takes the mutants that are asked for.
func choose(t *testing.T, all []Mutant) []Mutant {
	t.Helper()
	wanted := os.Getenv("HANSE_MUTANTS")
	if wanted == "all" {
		return all
	}
	pattern, err := regexp.Compile(wanted)
	if err != nil {
		t.Fatal(err)
	}
	var chosen []Mutant
	for i, m := range all {
		if wanted == "" && i%sampled == 0 || wanted != "" && pattern.MatchString(m.Name) {
			chosen = append(chosen, m)
		}
	}
	return chosen
}

// key names a mutant: the same thing may be wrong for several tests.
func (m Mutant) key() string { return m.Name + "\n" + m.Test }

// passes divides mutants so that no pass has two for one test. The first pass has one of each test, to be run without.
func passes(mutants []Mutant) [][]string {
	divided := [][]string{nil}
	count := map[string]int{}
	for _, m := range mutants {
		n := count[m.Test]
		count[m.Test]++
		if n == 0 {
			divided[0] = append(divided[0], m.key())
		}
		if len(divided) < n+2 {
			divided = append(divided, nil)
		}
		divided[n+1] = append(divided[n+1], m.key())
	}
	return divided
}

// run runs a pass in a process of its own.
func run(t *testing.T, o orders) []verdict {
	t.Helper()
	if err := os.MkdirAll(o.Folder, 0o700); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPass$", "-test.timeout=10m")
	cmd.Env = append(os.Environ(), "HANSE_MUTANT_PASS="+string(text))
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("a pass: %v\n%s", err, output)
	}
	result, err := os.ReadFile(filepath.Join(o.Folder, "verdicts"))
	if err != nil {
		t.Fatal(err)
	}
	var verdicts []verdict
	if err := json.Unmarshal(result, &verdicts); err != nil {
		t.Fatal(err)
	}
	return verdicts
}

type noTest struct{}

func (noTest) Fail() {}

// TestPass is the inside of a pass.
func TestPass(t *testing.T) {
	text := os.Getenv("HANSE_MUTANT_PASS")
	if text == "" {
		t.Skip("it is started by TestMutants")
	}
	var o orders
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	var mutants []Mutant
	tests := map[string]Mutant{}
	for _, m := range All() {
		if slices.Contains(o.Names, m.key()) {
			mutants = append(mutants, m)
			tests[m.Test] = m
		}
	}
	if o.None {
		mutants = nil
	}
	cfg := suite.Config{
		Adapter: filepath.Join("..", "adapters", "hanse.sh"), Env: []string{"HANSE_BIN=" + o.Program}, Folder: o.Folder,
		Front: NewFront(mutants), Patience: time.Second,
	}
	if o.None {
		cfg.Patience = time.Minute // on a loaded machine
	}
	gomega.RegisterFailHandler(ginkgo.Fail)
	err := suite.Open(cfg)
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
	specs, reporter := ginkgo.GinkgoConfiguration()
	for test := range tests {
		specs.FocusStrings = append(specs.FocusStrings, "^Mutants "+regexp.QuoteMeta(test)+"$") // Ginkgo puts the suite before the text
	}
	verdicts := map[string]verdict{}
	for test, m := range tests {
		verdicts[test] = verdict{Name: m.Name, Test: test}
	}
	formatter.ColorableStdOut = io.Discard // what fails is meant to
	ginkgo.ReportAfterEach(func(spec ginkgo.SpecReport) {
		if v, ok := verdicts[spec.FullText()]; ok && spec.State.Is(types.SpecStatePassed|types.SpecStateFailureStates) {
			v.Ran, v.Failed, v.Message = true, spec.Failed(), fmt.Sprint(spec.Failure.Message)
			verdicts[spec.FullText()] = v
		}
	})
	ginkgo.RunSpecs(noTest{}, "Mutants", specs, reporter)
	var list []verdict
	for _, v := range verdicts {
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b verdict) int { return strings.Compare(a.Test, b.Test) })
	result, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.Folder, "verdicts"), result, 0o600); err != nil {
		t.Fatal(err)
	}
}
