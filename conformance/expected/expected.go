// Package expected reads files of expected failures: what a homeserver is known to fail, and why.
package expected

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// Failure is a line of a file of expected failures: the text of a test, with * for anything.
type Failure struct {
	Line int
	Text string
	Why  string // the comment above it
	Met  int    // tests that it was about; for the caller to count

	pattern *regexp.Regexp
}

// Pattern is the text as a regular expression for the whole of a test's text, without what anchors it at the beginning.
func (f *Failure) Pattern() string { return strings.TrimPrefix(f.pattern.String(), "^") }

// List are the lines of a file.
type List []*Failure

// Read reads a file of expected failures: a test's whole text a line, * stands for anything, # begins a comment. Comments
// above a line say why. No file, "", has none.
func Read(file string) (List, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the expected failures: %w", err)
	}
	var list List
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
			list = append(list, &Failure{Line: number, Text: line, Why: strings.Join(why, " "), pattern: regexp.MustCompile(pattern)})
		}
	}
	return list, nil
}

// Find is the first line about a test, nil if there is none.
func (l List) Find(test string) *Failure {
	for _, f := range l {
		if f.pattern.MatchString(test) {
			return f
		}
	}
	return nil
}
