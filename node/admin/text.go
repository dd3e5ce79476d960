package admin

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// Text writes answers for people. Colour is for terminals alone.
type Text struct {
	Out    io.Writer
	Colour bool
	Now    time.Time // from which ages are told
}

// tone is how a line is coloured.
type tone string

const (
	plain tone = ""
	good  tone = "32"
	bad   tone = "31"
	faint tone = "2"
	bold  tone = "1"
)

// line writes a line. What other servers wrote must not move the cursor or change the terminal: control characters go.
func (t Text) line(tone tone, format string, args ...any) {
	text := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return '�'
		}
		return r
	}, fmt.Sprintf(format, args...))
	if t.Colour && tone != plain && text != "" {
		text = "\x1b[" + string(tone) + "m" + text + "\x1b[0m"
	}
	fmt.Fprintln(t.Out, text)
}

// head begins a part of an answer.
func (t Text) head(title string) {
	t.line(plain, "")
	t.line(bold, "%s", title)
}

// row is a line of a table.
type row struct {
	tone  tone
	cells []string
}

// table writes rows in aligned columns.
func (t Text) table(indent string, rows []row) {
	var aligned strings.Builder
	w := tabwriter.NewWriter(&aligned, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		cells := make([]string, len(r.cells))
		for i, cell := range r.cells {
			cells[i] = strings.NewReplacer("\t", " ", "\n", " ", "\f", " ", "\v", " ", "\r", " ").Replace(cell)
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	_ = w.Flush() // to memory
	for i, text := range strings.Split(strings.TrimSuffix(aligned.String(), "\n"), "\n") {
		if i < len(rows) {
			t.line(rows[i].tone, "%s%s", indent, strings.TrimRight(text, " "))
		}
	}
}

// ago is a time and how long ago that is.
func (t Text) ago(at time.Time) string {
	return fmt.Sprintf("%s (%s)", at.UTC().Format("2006-01-02 15:04:05.000 UTC"), t.age(at))
}

// age is how long ago, or in how long, something is, in one unit.
func (t Text) age(at time.Time) string {
	d := t.Now.Sub(at)
	if d < 0 {
		return "in " + span(-d)
	}
	return span(d) + " ago"
}

func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// orDash stands for what is empty in a table.
func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// number is a count in a table; 0 is a dash, as most are 0.
func number[T int | int64](n T) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}
