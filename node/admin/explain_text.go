package admin

import (
	"fmt"
	"strings"
)

// Explanation writes what became of an event.
func (t Text) Explanation(x *Explanation) {
	t.line(bold, "%s on %s: %s", x.Event, x.Server, x.Status)
	for _, sentence := range x.Short {
		t.line(plain, "  %s", sentence)
	}
	if x.Type != "" {
		t.line(plain, "")
		t.facts(x)
	}
	t.checks(x.Checks)
	t.waits(x.Waits)
	if len(x.Hidden) > 0 {
		t.head("Hidden")
		for _, reason := range x.Hidden {
			t.line(plain, "  %s", reason)
		}
	}
	t.inForce(x.InForce)
	t.resolution(x.Resolution)
	t.sent(x.Sent)
	if len(x.Refused) > 0 {
		t.head("Refused")
		for _, r := range x.Refused {
			t.line(bad, "  %s  %s  %s: %s", t.ago(r.At), orUnknown(r.Server), r.What, r.Why)
		}
	}
	t.way(x)
}

func (t Text) facts(x *Explanation) {
	what := x.Type
	if x.StateKey != nil {
		what += fmt.Sprintf(" (state, key %q)", *x.StateKey)
	}
	rows := []row{
		{cells: []string{"type", what}}, {cells: []string{"sender", x.Sender}},
		{cells: []string{"room", x.Room + " (version " + x.RoomVersion + ")"}},
		{cells: []string{"made", t.ago(*x.Made) + ", says its sender's server"}},
	}
	came := "not known: it came with the room's state, or before this was kept"
	if x.Came != nil {
		came = t.ago(x.Came.At) + ", " + x.Came.How
		if x.Came.From != "" {
			came += " from " + x.Came.From
		}
	}
	t.table("  ", append(rows, row{cells: []string{"came", came}}))
}

func (t Text) checks(checks []Check) {
	if len(checks) == 0 {
		return
	}
	t.head("Checks, with the events that decided")
	told := map[string]bool{}
	for _, c := range checks {
		tone := good
		switch c.Verdict {
		case failed:
			tone = bad
		case notMade:
			tone = faint
		}
		text := fmt.Sprintf("  %d. %-42s %s", c.Number, c.What, c.Verdict)
		if c.Verdict != failed && c.Reason != "" {
			text += " (" + c.Reason + ")"
		}
		t.line(tone, "%s", text)
		if c.Verdict == failed {
			t.line(tone, "       %s", c.Reason)
		}
		if c.Rule != "" {
			t.line(tone, "       rule %s, spec: %s", c.Rule, c.Spec)
		}
		if c.Now != "" {
			t.line(faint, "       %s", c.Now)
		}
		var rows []row
		for _, d := range c.By {
			if !told[d.Event] || c.Verdict == failed {
				rows = append(rows, row{faint, []string{d.Key, d.Event, d.Status, d.Content}})
			}
			told[d.Event] = true
		}
		if len(rows) > 0 {
			t.table("       ", rows)
		}
	}
}

func (t Text) waits(w *Waits) {
	if w == nil {
		return
	}
	t.head("Waits for")
	var rows []row
	for _, n := range w.Prev {
		rows = append(rows, row{plain, []string{"prev event", n.Event, n.Known}})
	}
	for _, n := range w.Auth {
		rows = append(rows, row{plain, []string{"auth event", n.Event, n.Known}})
	}
	t.table("  ", rows)
	if w.Asking != "" {
		t.line(plain, "  asking %s by %s (%d requests so far)", strings.Join(w.From, ", then "), w.Asking, w.Asked)
	} else {
		t.line(plain, "  nobody is being asked just now (%d requests so far)", w.Asked)
	}
}

func (t Text) inForce(f *InForce) {
	if f == nil {
		return
	}
	t.head("State")
	switch {
	case f.Now:
		t.line(good, "  it is part of the room's current state")
	case f.ReplacedBy != nil && f.Resolved:
		t.line(bad, "  state resolution chose %s of %s in its place: %s", f.ReplacedBy.Event, f.ReplacedBy.Sender, f.ReplacedBy.Content)
	case f.ReplacedBy != nil:
		t.line(plain, "  %s of %s has replaced it: %s", f.ReplacedBy.Event, f.ReplacedBy.Sender, f.ReplacedBy.Content)
	case f.Resolved:
		t.line(bad, "  state resolution put nothing in its place")
	default:
		t.line(plain, "  it is not part of the room's current state")
	}
}

func (t Text) resolution(r *Resolution) {
	if r == nil {
		return
	}
	t.line(plain, "")
	t.line(bold, "State resolution before it: branches: %d, conflicts: %d", r.Branches, len(r.Conflicts)+r.More)
	for _, c := range r.Conflicts {
		t.line(plain, "  %s", c.Key)
		for _, e := range c.Among {
			mark, tone := " ", faint
			if e == c.Winner {
				mark, tone = "→", plain
			}
			if e == "" {
				e = "none"
			}
			t.line(tone, "    %s %s", mark, e)
		}
	}
	if r.More > 0 {
		t.line(faint, "  and %d more", r.More)
	}
}

func (t Text) sent(list []Sent) {
	if len(list) == 0 {
		return
	}
	t.head("Sent to")
	var rows []row
	for _, s := range list {
		tone, when := plain, s.Why
		if s.At != nil {
			when = strings.TrimSpace(t.ago(*s.At) + " " + s.Why)
		}
		switch s.State {
		case "refused":
			tone = bad
		case "taken":
			tone = good
		}
		rows = append(rows, row{tone, []string{s.Server, s.State, when}})
	}
	t.table("  ", rows)
}

// way writes the stations of a traced event, with the time from one to the next.
func (t Text) way(x *Explanation) {
	if len(x.Way) == 0 {
		return
	}
	t.head("Its way")
	var rows []row
	last := x.Way[0].At
	for _, m := range x.Way {
		rows = append(rows, row{plain, []string{m.At.UTC().Format("15:04:05.000000"), fmt.Sprintf("+%.3f ms", float64(m.At.Sub(last).Microseconds())/1000), string(m.Stage), m.Detail}})
		last = m.At
	}
	t.table("  ", rows)
}
