package doctor

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// Write writes the report for people. Colour is for terminals alone.
func (r *Report) Write(out io.Writer, colour bool) {
	marks := map[Level][2]string{Fine: {"ok", "32"}, Note: {"--", "2"}, Warning: {"!!", "33"}, Problem: {"XX", "31"}}
	counts := map[Level]int{}
	for _, f := range r.Findings {
		counts[f.Level]++
		mark := marks[f.Level]
		text := fmt.Sprintf("%s  %-10s %s", mark[0], f.Area, f.What)
		if f.Where != "" {
			text += "  [" + f.Where + "]"
		}
		text = clean(text)
		if colour {
			text = "\x1b[" + mark[1] + "m" + text + "\x1b[0m"
		}
		fmt.Fprintln(out, text)
		if f.Mend != "" {
			fmt.Fprintln(out, clean("                → "+f.Mend))
		}
	}
	fmt.Fprintln(out)
	if counts[Problem] == 0 {
		fmt.Fprintf(out, "%s: nothing is wrong as seen from here; %s.\n", clean(r.Server), counted(counts[Warning], "warning"))
	} else {
		fmt.Fprintf(out, "%s: %s, %s.\n", clean(r.Server), counted(counts[Problem], "problem"), counted(counts[Warning], "warning"))
	}
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// clean takes control characters out: what others answered must not reach the terminal as orders.
func clean(text string) string {
	text = strings.ReplaceAll(text, "\n", "; ") // between errors that were joined
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return '�'
		}
		return r
	}, text)
}
