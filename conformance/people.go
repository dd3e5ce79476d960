package conformance

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// forPeople writes the report: failures with all that is known of them, a table, the totals.
func (r Report) forPeople(out io.Writer) error {
	w := bufio.NewWriter(out)
	for _, test := range r.Tests {
		if test.Outcome == Failed {
			test.failureForPeople(w)
		}
	}
	r.short(w, ExpectedFailure, "Expected failures:")
	r.short(w, NewlyPassing, "Passing, though they were expected to fail; take them off the list:")
	if len(r.Unmet) > 0 {
		fmt.Fprintf(w, "\nExpected failures that are about no test of the suite:\n  %s\n", strings.Join(r.Unmet, "\n  "))
	}
	r.table(w)
	fmt.Fprintf(w, "\n%d passed, %d failed, %d expected to fail, %d not applicable; %.1f s, seed %d, Matrix %s\n",
		r.Totals.Passed, r.Totals.Failed, r.Totals.ExpectedFailures, r.Totals.NotApplicable, r.Seconds, r.Seed, r.Spec)
	if r.Trouble != "" {
		fmt.Fprintf(w, "The run did not end as it should: %s\n", r.Trouble)
	}
	return w.Flush()
}

func (t Test) failureForPeople(w io.Writer) {
	fmt.Fprintf(w, "\n✗ %s\n", t.Name)
	for _, s := range t.Sentences {
		mark := "“" + s.Text + "”"
		if s.Follows {
			mark = "(it follows) " + s.Text
		}
		fmt.Fprintf(w, "  the specification: %s\n    %s\n", mark, s.URL)
	}
	fmt.Fprintf(w, "  what went wrong (%s):\n%s\n", t.Failure.Where, indent(t.Failure.Message))
	for _, who := range slices.Sorted(maps.Keys(t.Failure.Exchanges)) {
		fmt.Fprintf(w, "  %s:\n%s\n", who, indent(t.Failure.Exchanges[who]))
	}
	if t.Failure.Log != "" {
		fmt.Fprintf(w, "  the server's log of that moment:\n%s\n", indent(t.Failure.Log))
	}
}

func indent(text string) string { return "    " + strings.ReplaceAll(text, "\n", "\n    ") }

// short lists the tests with an outcome, each with its reason.
func (r Report) short(w io.Writer, outcome, title string) {
	first, last := true, ""
	for _, test := range r.Tests {
		if test.Outcome != outcome {
			continue
		}
		if first {
			fmt.Fprintf(w, "\n%s\n", title)
			first = false
		}
		if test.Why != "" && test.Why != last {
			fmt.Fprintf(w, "  # %s\n", test.Why)
			last = test.Why
		}
		fmt.Fprintf(w, "  %s\n", test.Name)
	}
}

// cell is what became of the tests of one section in one room version.
type cell struct{ passed, failed, expected, notApplicable int }

func (c cell) String() string {
	switch {
	case c.failed > 0:
		return fmt.Sprintf("✗%d/%d", c.failed, c.failed+c.passed+c.expected)
	case c.expected > 0:
		return fmt.Sprintf("e%d/%d", c.expected, c.passed+c.expected)
	case c.passed > 0:
		return fmt.Sprintf("✓%d", c.passed)
	case c.notApplicable > 0:
		return "n/a"
	}
	return ""
}

func (c *cell) count(outcome string) {
	switch outcome {
	case Passed, NewlyPassing:
		c.passed++
	case Failed:
		c.failed++
	case ExpectedFailure:
		c.expected++
	case NotApplicable:
		c.notApplicable++
	}
}

// table shows, for each section of the specification and each room version, what became of the tests. The first column
// is for what is about no room version in particular.
func (r Report) table(w io.Writer) {
	cells := map[string]map[string]*cell{}
	versions := []string{""}
	for _, version := range versionNames() {
		if slices.ContainsFunc(r.Tests, func(t Test) bool { return t.RoomVersion == version }) {
			versions = append(versions, version)
		}
	}
	widest := len("section")
	for _, test := range r.Tests {
		told := map[string]bool{}
		for _, s := range test.Sentences {
			if told[s.Anchor] {
				continue
			}
			told[s.Anchor] = true
			if cells[s.Anchor] == nil {
				cells[s.Anchor] = map[string]*cell{}
			}
			if cells[s.Anchor][test.RoomVersion] == nil {
				cells[s.Anchor][test.RoomVersion] = &cell{}
			}
			cells[s.Anchor][test.RoomVersion].count(test.Outcome)
			widest = max(widest, len(s.Anchor))
		}
	}
	fmt.Fprintf(w, "\n%-*s  %7s", widest, "section", "any")
	for _, version := range versions[1:] {
		fmt.Fprintf(w, "%7s", "v"+version)
	}
	fmt.Fprintln(w)
	for _, anchor := range slices.Sorted(maps.Keys(cells)) {
		fmt.Fprintf(w, "%-*s  ", widest, anchor)
		for _, version := range versions {
			text := ""
			if c := cells[anchor][version]; c != nil {
				text = c.String()
			}
			fmt.Fprintf(w, "%7s", text)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, "✓ passed, ✗ failed, e failed as expected, n/a not applicable to this server or this run; any: about no room version in particular")
}
