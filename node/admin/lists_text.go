package admin

import (
	"fmt"
	"strings"
)

// listed is how many lines of a list are written before the rest is only counted.
const listed = 100

// Peers writes a line a server.
func (t Text) Peers(list []Peer) {
	if len(list) == 0 {
		t.line(plain, "This server shares no room with another one, and nothing waits for any.")
		return
	}
	rows := []row{{bold, []string{"SERVER", "REACHABLE", "SINCE", "WHY", "NEXT TRY", "LAST TAKEN", "WAITING", "ROOMS"}}}
	for _, p := range list[:min(len(list), listed)] {
		rows = append(rows, t.peerRow(p))
	}
	t.table("", rows)
	if more := len(list) - listed; more > 0 {
		t.line(faint, "and %d more; --json lists all", more)
	}
}

func (t Text) peerRow(p Peer) row {
	r := row{plain, []string{p.Server, "not tried", "-", "-", "-", "-", p.waiting(), number(p.Rooms)}}
	switch {
	case p.Reachable == nil:
		r.tone = faint
	case *p.Reachable:
		r.cells[1] = "yes"
	default:
		r.tone, r.cells[1] = bad, "no"
	}
	if p.Since != nil {
		r.cells[2] = t.age(*p.Since)
	}
	r.cells[3] = orDash(p.Kind)
	if p.NextTry != nil {
		if r.cells[4] = t.age(*p.NextTry); !p.NextTry.After(t.Now) {
			r.cells[4] = "now"
		}
	}
	if p.LastTaken != nil {
		r.cells[5] = t.age(*p.LastTaken)
	}
	return r
}

// waiting is what waits for a server, in a few words.
func (p Peer) waiting() string {
	var parts []string
	for _, part := range [...]struct {
		n    int
		what string
	}{{p.Events, "events"}, {p.EDUs, "EDUs"}, {p.CatchUp, "rooms to catch up"}} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	if p.More {
		parts = append(parts, "more")
	}
	return orDash(strings.Join(parts, ", "))
}

// Peer writes all that is known of one server.
func (t Text) Peer(p Peer) {
	t.Peers([]Peer{p})
	if p.Why != "" {
		t.line(plain, "")
		t.line(bad, "The last of %d failures: %s", p.Failures, p.Why)
	}
	if len(p.RefusesOfOurs) > 0 {
		t.head("It refuses of ours")
		var rows []row
		for _, r := range p.RefusesOfOurs {
			what := orDash(r.Event)
			if r.GivenUp {
				what += " (not sent again)"
			}
			rows = append(rows, row{bad, []string{t.age(r.At), what, r.Why}})
		}
		t.table("  ", rows)
	}
	if len(p.WeRefuse) > 0 {
		t.head("We refuse of its")
		var rows []row
		for _, r := range p.WeRefuse {
			rows = append(rows, row{bad, []string{t.age(r.At), r.What, orDash(r.Event), r.Why}})
		}
		t.table("  ", rows)
	}
	t.list("Rooms whose server ACL denies it", p.DeniedIn)
	t.list("Shared rooms", p.SharedRooms)
	if more := p.Rooms - len(p.SharedRooms); more > 0 {
		t.line(faint, "  and %d more", more)
	}
}

func (t Text) list(head string, lines []string) {
	if len(lines) == 0 {
		return
	}
	t.head(head)
	for _, line := range lines {
		t.line(plain, "  %s", line)
	}
}

// Rooms writes a line a room.
func (t Text) Rooms(list []Room) {
	if len(list) == 0 {
		t.line(plain, "This server knows no room.")
		return
	}
	rows := []row{{bold, []string{"ROOM", "VERSION", "MEMBERS", "OURS", "STATE", "EXTREMITIES", "WAITING", "GAPS", "RESETS", "NAME"}}}
	for _, r := range list[:min(len(list), listed)] {
		rows = append(rows, row{r.tone(), []string{
			r.Room, r.Version, number(r.Members), number(r.Local), r.wholeness(), number(r.Extremities), number(r.Waiting), number(r.Gaps), number(r.Resets), r.Name,
		}})
	}
	t.table("", rows)
	if more := len(list) - listed; more > 0 {
		t.line(faint, "and %d more; --json lists all", more)
	}
}

func (r Room) wholeness() string {
	if r.Partial {
		return "partial"
	}
	return "whole"
}

func (r Room) tone() tone {
	switch {
	case r.Waiting > 0 || r.Resets > 0:
		return bad
	case !r.Resident:
		return faint
	}
	return plain
}

// Room writes all that is known of one room.
func (t Text) Room(r Room) {
	t.Rooms([]Room{r})
	t.line(plain, "")
	t.table("  ", []row{
		{plain, []string{"events", fmt.Sprintf("%d, of which %d soft-failed and %d rejected; %d more without a place", r.Events, r.SoftFailed, r.Rejected, r.Outliers)}},
		{plain, []string{"state", fmt.Sprintf("%d events", r.State)}},
		{plain, []string{"depth", fmt.Sprint(r.Depth)}},
		{plain, []string{"now", fmt.Sprintf("%d inputs queued, %d fetches under way", r.Queued, r.Fetching)}},
		{plain, []string{"since it was loaded", fmt.Sprintf("%d forks merged, %d state events reset", r.Merges, r.Resets)}},
	})
	if len(r.Forward) > 0 {
		t.head("Forward extremities")
		var rows []row
		for _, e := range r.Forward {
			rows = append(rows, row{plain, []string{e.Event, e.Type, e.Sender, fmt.Sprint("depth ", e.Depth), t.age(e.Made)}})
		}
		t.table("  ", rows)
	}
	if len(r.Missing) > 0 {
		t.head("Missing events")
		var rows []row
		for _, g := range r.Missing {
			rows = append(rows, row{plain, []string{g.Event, "below " + g.Child, fmt.Sprint("depth ", g.Depth)}})
		}
		t.table("  ", rows)
	}
	t.head("Servers")
	var rows []row
	for _, s := range r.Servers[:min(len(r.Servers), listed)] {
		one := row{plain, []string{s.Server, fmt.Sprintf("%d members", s.Members), s.Trouble}}
		if s.Trouble != "" {
			one.tone = bad
		}
		rows = append(rows, one)
	}
	t.table("  ", rows)
}
