package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"hanse/conformance/expected"
	"hanse/conformance/spec"
	"hanse/conformance/suite"
)

// Outcomes of a test.
const (
	Passed          = "passed"
	Failed          = "failed"
	ExpectedFailure = "expected failure"
	NewlyPassing    = "newly passing" // it was expected to fail
	NotApplicable   = "not applicable"
)

// Report is what came of a run, as it is written with JSON.
type Report struct {
	Subject string    `json:"subject"` // the adapter, or the name of the deployed server
	Spec    string    `json:"spec"`    // the version of the specification
	Seed    int64     `json:"seed"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	Totals  Totals    `json:"totals"`
	Tests   []Test    `json:"tests"`
	// Unmet are the lines of the file of expected failures that are about no test of the suite, chosen or not.
	Unmet []string `json:"unmet,omitempty"`
	// Trouble is what went wrong outside the tests.
	Trouble string `json:"trouble,omitempty"`
}

// Totals count the tests by outcome. Those that were not chosen are in none.
type Totals struct {
	Passed           int `json:"passed"`
	Failed           int `json:"failed"`
	ExpectedFailures int `json:"expected_failures"`
	NewlyPassing     int `json:"newly_passing"` // among those that passed
	NotApplicable    int `json:"not_applicable"`
}

// Test is a test that was run.
type Test struct {
	Name        string     `json:"name"`
	Outcome     string     `json:"outcome"`
	Labels      []string   `json:"labels"`
	RoomVersion string     `json:"room_version,omitempty"`
	Sentences   []Sentence `json:"sentences,omitempty"`
	Seconds     float64    `json:"seconds"`
	Why         string     `json:"why,omitempty"` // it is not applicable, or was expected to fail
	Failure     *Failure   `json:"failure,omitempty"`
}

// Sentence is what a test holds a server to.
type Sentence struct {
	Anchor  string `json:"anchor"`
	URL     string `json:"url"`
	Text    string `json:"text"`
	Follows bool   `json:"follows,omitempty"` // from the section: no single sentence says it
}

// Failure is what went wrong.
type Failure struct {
	Message   string            `json:"message"`
	Where     string            `json:"where"`               // in the suite's source
	Exchanges map[string]string `json:"exchanges,omitempty"` // what was sent and what came back, by who sent or got it
	Log       string            `json:"log,omitempty"`       // of the server, of that moment
}

func makeReport(o Options, run ginkgo.Report, known expected.List) Report {
	report := Report{
		Subject: o.subject(), Spec: spec.Version(), Seed: o.Seed, Began: run.StartTime, Seconds: run.RunTime.Seconds(), Tests: []Test{},
		Trouble: strings.Join(run.SpecialSuiteFailureReasons, "; "),
	}
	for _, one := range run.SpecReports {
		if one.LeafNodeType != types.NodeTypeIt {
			if one.Failed() && one.LeafNodeType != types.NodeTypeReportAfterSuite {
				report.Trouble = one.Failure.Message
			}
			continue
		}
		if one.State == types.SpecStateAborted {
			report.Trouble = one.Failure.Message
		}
		if e := known.Find(one.FullText()); e != nil {
			e.Met++
		}
		test, ok := makeTest(one, known)
		if !ok {
			continue
		}
		report.Totals.count(test.Outcome)
		report.Tests = append(report.Tests, test)
	}
	for _, e := range known {
		if e.Met == 0 {
			report.Unmet = append(report.Unmet, fmt.Sprintf("line %d: %s", e.Line, e.Text))
		}
	}
	return report
}

// stopped says that the run was stopped, and the report is of the tests until then.
func (r *Report) stopped() { r.Trouble = fmt.Sprintf("stopped after %d tests", len(r.Tests)) }

func (t *Totals) count(outcome string) {
	switch outcome {
	case Passed:
		t.Passed++
	case NewlyPassing:
		t.Passed++
		t.NewlyPassing++
	case Failed:
		t.Failed++
	case ExpectedFailure:
		t.ExpectedFailures++
	case NotApplicable:
		t.NotApplicable++
	}
}

// chosen tells whether a test belongs to this process's run. One in which the run was stopped tells nothing of the server.
func chosen(one types.SpecReport) bool {
	passedOver := one.State == types.SpecStateSkipped && (one.Failure.Message == "" || one.Failure.Message == suite.Elsewhere)
	return !passedOver && !one.State.Is(types.SpecStatePending|types.SpecStateInterrupted)
}

// makeTest tells what came of a test; ok is false where it wasn't chosen.
func makeTest(one types.SpecReport, known expected.List) (test Test, ok bool) {
	labels := one.Labels()
	test = Test{
		Name: one.FullText(), Labels: suite.PlainLabels(labels), RoomVersion: suite.VersionOf(labels), Seconds: one.RunTime.Seconds(),
	}
	for _, s := range suite.Sentences(labels) {
		test.Sentences = append(test.Sentences, Sentence{Anchor: s.Anchor, URL: spec.URL(s.Anchor), Text: s.Text, Follows: s.Follows})
	}
	e := known.Find(test.Name)
	switch {
	case !chosen(one):
		return test, false
	case one.State == types.SpecStateSkipped:
		test.Outcome, test.Why = NotApplicable, one.Failure.Message
	case one.Failed():
		test.Outcome, test.Failure = Failed, makeFailure(one)
		if e != nil {
			test.Outcome, test.Why = ExpectedFailure, e.Why
		}
	default:
		test.Outcome = Passed
		if e != nil {
			test.Outcome, test.Why = NewlyPassing, e.Why
		}
	}
	return test, true
}

func makeFailure(one types.SpecReport) *Failure {
	failure := &Failure{Message: one.Failure.Message, Exchanges: map[string]string{}}
	if one.Failure.ForwardedPanic != "" {
		failure.Message += ": " + one.Failure.ForwardedPanic
	}
	for _, more := range one.AdditionalFailures { // what failed when the test was over: the server has ended, of which the rest may come
		failure.Message = firstLine(more.Failure.Message) + "\n" + failure.Message
	}
	where := one.Failure.Location
	failure.Where = fmt.Sprintf("%s:%d", where.FileName[strings.LastIndex(where.FileName, "/conformance/")+1:], where.LineNumber)
	for _, entry := range one.ReportEntries {
		text := strings.TrimSpace(entry.StringRepresentation())
		switch {
		case text == "":
		case entry.Name == suite.EntryLog:
			failure.Log = strings.TrimPrefix(failure.Log+"\n"+text, "\n")
		default:
			failure.Exchanges[entry.Name] = text
		}
	}
	return failure
}

// canWrite tells whether the files of the report can be written, before the minutes that a run takes.
func (o Options) canWrite() error {
	for flag, file := range map[string]string{"--json": o.JSON, "--junit": o.JUnit} {
		if file == "" || file == "-" && flag == "--json" {
			continue
		}
		_, before := os.Stat(file)
		opened, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o644)
		if err == nil {
			err = opened.Close()
		}
		if err == nil && errors.Is(before, fs.ErrNotExist) {
			err = os.Remove(file) // an empty report is none
		}
		if err != nil {
			return fmt.Errorf("%s: %w", flag, err)
		}
	}
	return nil
}

// write writes the report in every form that was asked for.
func (o Options) write(report Report) error {
	if o.JSON != "" {
		text, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			return err
		}
		text = append(text, '\n')
		if o.JSON == "-" {
			if _, err := o.Out.Write(text); err != nil {
				return err
			}
		} else if err := os.WriteFile(o.JSON, text, 0o644); err != nil {
			return err
		}
	}
	if o.JUnit != "" {
		if err := report.writeJUnit(o.JUnit); err != nil {
			return err
		}
	}
	if o.JSON == "-" {
		return nil
	}
	return report.forPeople(o.Out)
}
