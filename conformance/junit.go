package conformance

import (
	"encoding/xml"
	"os"
	"strings"
)

// The parts of a JUnit report that CI systems read.
type junitSuites struct {
	XMLName  xml.Name   `xml:"testsuites"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Skipped  int        `xml:"skipped,attr"`
	Time     float64    `xml:"time,attr"`
	Suite    junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name  string      `xml:"name,attr"`
	Tests int         `xml:"tests,attr"`
	Cases []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string       `xml:"name,attr"`
	Class   string       `xml:"classname,attr"`
	Time    float64      `xml:"time,attr"`
	Failure *junitDetail `xml:"failure"`
	Skipped *junitDetail `xml:"skipped"`
}

type junitDetail struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// writeJUnit writes the report as JUnit XML. What failed as expected, and what is not applicable, is skipped in it. A run that
// did not end as it should is one more case that failed.
func (r Report) writeJUnit(file string) error {
	made := junitSuites{
		Failures: r.Totals.Failed, Skipped: r.Totals.ExpectedFailures + r.Totals.NotApplicable, Time: r.Seconds,
		Suite: junitSuite{Name: "Matrix conformance of " + r.Subject},
	}
	for _, test := range r.Tests {
		one := junitCase{Name: test.Name, Class: "conformance", Time: test.Seconds}
		switch test.Outcome {
		case Failed:
			var text strings.Builder
			test.failureForPeople(&text)
			one.Failure = &junitDetail{Message: firstLine(test.Failure.Message), Text: text.String()}
		case ExpectedFailure:
			one.Skipped = &junitDetail{Message: "expected failure: " + test.Why}
		case NotApplicable:
			one.Skipped = &junitDetail{Message: test.Why}
		}
		made.Suite.Cases = append(made.Suite.Cases, one)
	}
	if r.Trouble != "" {
		made.Failures++
		made.Suite.Cases = append(made.Suite.Cases, junitCase{
			Name: "the run", Class: "conformance", Failure: &junitDetail{Message: firstLine(r.Trouble), Text: r.Trouble},
		})
	}
	made.Tests, made.Suite.Tests = len(made.Suite.Cases), len(made.Suite.Cases)
	text, err := xml.MarshalIndent(made, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append([]byte(xml.Header), append(text, '\n')...), 0o644)
}
