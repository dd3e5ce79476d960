package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/formatter"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"

	"hanse/conformance/expected"
	"hanse/conformance/suite"
)

// Options say what is run and what is told of it.
type Options struct {
	suite.Config

	Labels       string   // a filter of labels: "s2s:joins && !rooms:v1"
	Focus        []string // regular expressions: only tests whose text matches one of them
	RoomVersions []string // of what is about room versions, only these
	Seed         int64    // of the order of the tests; 0: by the clock
	Processes    int      // that make the run together, each with a server of its own; 0: one
	Share        string   // "1/2": only this part of the tests, for one of several processes

	Expected string // a file of tests that are known to fail
	JSON     string // where the report goes as JSON; "-": to Out, in place of the report for people
	JUnit    string // where the report goes as JUnit XML

	Out      io.Writer // the report
	Progress io.Writer // what is going on
}

// FailedError says that tests failed which were not expected to: the exit code is 1. Every other error means that the
// run could not be done: 2.
type FailedError struct{ Failed int }

// Error counts.
func (e *FailedError) Error() string {
	if e.Failed == 1 {
		return "1 test failed that was not expected to"
	}
	return fmt.Sprintf("%d tests failed that were not expected to", e.Failed)
}

// ExitCode is the exit code of a run that ended so.
func ExitCode(err error) int {
	var failed *FailedError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &failed):
		return 1
	}
	return 2
}

// Run runs the suite, once in a process. When it returns nothing that it started is running.
func Run(ctx context.Context, o Options) (err error) {
	known, err := expected.Read(o.Expected)
	if err != nil {
		return err
	}
	filter, err := o.filter()
	if err != nil {
		return err
	}
	part, err := readShare(o.Share)
	if err != nil {
		return err
	}
	if err := o.canWrite(); err != nil {
		return err
	}
	if o.Seed == 0 {
		o.Seed = time.Now().Unix()
	}
	var report Report
	if o.Processes > 1 && o.Deployed == nil {
		report, err = o.runShares(ctx)
	} else {
		o.Mine = part.mine
		report, err = o.runHere(ctx, filter, known)
	}
	if err != nil {
		return err
	}
	if len(report.Tests) == 0 && ctx.Err() == nil && o.Share == "" {
		return errNothingMatches
	}
	if err := o.write(report); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return errors.New(report.Trouble)
	case report.Totals == (Totals{NotApplicable: len(report.Tests)}) && report.Trouble == "" && o.Share == "":
		return errors.New("no test was run: none of those that were chosen is applicable to this server")
	case report.Totals.Failed > 0:
		return &FailedError{Failed: report.Totals.Failed}
	case report.Trouble != "":
		return errors.New(report.Trouble)
	}
	return nil
}

// runHere runs the suite in this process.
func (o Options) runHere(ctx context.Context, filter string, known expected.List) (report Report, err error) {
	if o.Folder == "" {
		if o.Folder, err = os.MkdirTemp("", "hanse-conformance-"); err != nil {
			return report, err
		}
		defer func() {
			if err == nil || ctx.Err() != nil { // the log of a server that doesn't start is told by its name, and is kept
				_ = os.RemoveAll(o.Folder)
			}
		}()
	} else if err := os.MkdirAll(o.Folder, 0o700); err != nil {
		return report, err
	} else if o.Folder, err = filepath.Abs(o.Folder); err != nil {
		return report, err
	}
	if err := suite.Open(o.Config); err != nil {
		return report, err
	}
	defer suite.Close()
	run, err := o.runSpecs(filter)
	if err != nil {
		return report, err
	}
	report = makeReport(o, run, known)
	if ctx.Err() != nil {
		report.stopped()
	}
	return report, nil
}

func (o Options) subject() string {
	if o.Deployed != nil {
		return string(o.Deployed.Name)
	}
	return o.Adapter
}

// filter is the label filter of the run.
func (o Options) filter() (string, error) {
	parts := []string{}
	if o.Labels != "" {
		if _, err := types.ParseLabelFilter(o.Labels); err != nil {
			return "", fmt.Errorf("--label %q is no filter of labels: it is written like %q", o.Labels, "s2s:joins && !rooms:v1")
		}
		parts = append(parts, "("+o.Labels+")")
	}
	for _, focus := range o.Focus {
		if _, err := regexp.Compile(focus); err != nil {
			return "", fmt.Errorf("--focus %q: %w", focus, err)
		}
	}
	if len(o.RoomVersions) > 0 {
		var versions []string
		for _, version := range o.RoomVersions {
			if !knownVersion(version) {
				return "", fmt.Errorf("--room-version %q: the suite knows the versions %s", version, strings.Join(versionNames(), ", "))
			}
			versions = append(versions, "v"+version)
		}
		parts = append(parts, "rooms: isSubsetOf {"+strings.Join(versions, ", ")+"}")
	}
	if o.Deployed != nil {
		parts = append(parts, suite.LabelDeployed)
	}
	return strings.Join(parts, " && "), nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

type noTest struct{}

// Fail is told by RunSpecs; the report says the same.
func (noTest) Fail() {}

// runSpecs hands the suite to Ginkgo. The server is started when there is a test to make: its error is that it can't be.
func (o Options) runSpecs(filter string) (run ginkgo.Report, err error) {
	specs, reporter := ginkgo.GinkgoConfiguration()
	specs.LabelFilter, specs.FocusStrings, specs.RandomSeed = filter, o.Focus, o.Seed
	specs.Timeout = 0
	reporter.NoColor = true
	gomega.RegisterFailHandler(ginkgo.Fail)
	formatter.ColorableStdOut = io.Discard // the report is ours
	progress := &progress{out: o.Progress}
	ginkgo.BeforeSuite(func(ctx ginkgo.SpecContext) {
		fmt.Fprintf(o.Progress, "Starting %s …\n", o.subject())
		if err = suite.Start(ctx); err != nil {
			ginkgo.Fail(err.Error())
		}
		fmt.Fprintf(o.Progress, "It is ready. Seed %d.\n", o.Seed)
	})
	ginkgo.ReportAfterEach(func(spec ginkgo.SpecReport) { progress.spec(spec) })
	ginkgo.ReportAfterSuite("the report", func(report ginkgo.Report) { run = report })
	ginkgo.RunSpecs(noTest{}, "Conformance", specs, reporter)
	progress.end()
	return run, err
}

// progress shows a line for each part of the suite, with a sign for each test.
type progress struct {
	out  io.Writer
	part string
}

func (p *progress) spec(spec ginkgo.SpecReport) {
	part := spec.LeafNodeText
	if len(spec.ContainerHierarchyTexts) > 0 {
		part = spec.ContainerHierarchyTexts[0]
	}
	sign := "."
	switch {
	case !chosen(spec):
		return
	case spec.State == types.SpecStateSkipped:
		sign = "-"
	case spec.Failed():
		sign = "F"
	}
	if part != p.part {
		p.end()
		p.part = part
		fmt.Fprintf(p.out, "%s ", part)
	}
	fmt.Fprint(p.out, sign)
}

func (p *progress) end() {
	if p.part != "" {
		fmt.Fprintln(p.out)
	}
	p.part = ""
}
