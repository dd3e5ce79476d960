package admin

import (
	"fmt"

	"hanse/node/appservice"
)

// Services writes a line an application service.
func (t Text) Services(list []appservice.Status) {
	if len(list) == 0 {
		t.line(plain, "No application service is configured (application_services).")
		return
	}
	rows := []row{{bold, []string{"SERVICE", "TAKES", "WAITING SINCE", "NOT LOOKED AT", "NEXT TRY", "LAST TAKEN", "USER", "URL"}}}
	for _, s := range list {
		rows = append(rows, t.serviceRow(s))
	}
	t.table("", rows)
	for _, s := range list {
		if s.Why != "" {
			t.line(plain, "")
			t.line(bad, "%s, the last of %d failures: %s", s.ID, s.Failures, s.Why)
		}
	}
}

func (t Text) serviceRow(s appservice.Status) row {
	r := row{plain, []string{s.ID, "yes", "-", fmt.Sprintf("%d events", s.Unseen), "-", "-", s.Sender, orDash(s.URL)}}
	switch {
	case s.URL == "":
		r.tone, r.cells[1], r.cells[3] = faint, "nothing", "-"
	case s.Away != nil:
		r.tone, r.cells[1] = bad, "not for "+span(t.Now.Sub(*s.Away))
	}
	if s.Waiting != nil {
		r.cells[2] = t.age(*s.Waiting)
	}
	if s.NextTry != nil {
		if r.cells[4] = t.age(*s.NextTry); !s.NextTry.After(t.Now) {
			r.cells[4] = "now"
		}
	}
	if s.LastTaken != nil {
		r.cells[5] = t.age(*s.LastTaken)
	}
	return r
}
