package conformance

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// expectation is a line of a file of expected failures: the text of a test, with * for anything.
type expectation struct {
	line    int
	text    string
	why     string // the comment above it
	pattern *regexp.Regexp
	met     int // tests that it is about
}

// readExpected reads a file of expected failures: a test's whole text a line, * stands for anything, # begins a
// comment. Comments above a line say why.
func readExpected(file string) ([]*expectation, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the expected failures: %w", err)
	}
	var list []*expectation
	var why []string
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSpace(line)
		switch comment, isComment := strings.CutPrefix(line, "#"); {
		case isComment:
			why = append(why, strings.TrimSpace(comment))
		case line == "":
			why = nil
		default:
			pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(line), `\*`, ".*") + "$"
			list = append(list, &expectation{line: number, text: line, why: strings.Join(why, " "), pattern: regexp.MustCompile(pattern)})
		}
	}
	return list, nil
}

// expects finds the expectation for a test.
func expects(list []*expectation, test string) *expectation {
	for _, e := range list {
		if e.pattern.MatchString(test) {
			return e
		}
	}
	return nil
}
