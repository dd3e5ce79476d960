package admin_test

import (
	"bytes"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"hanse/node/admin"
)

func TestReportsAreShownAndDeleted(t *testing.T) {
	w := newWorld(t)
	room := w.meet()
	says := strings.Repeat("ä", 121)
	rude, err := w.alice.Say(t.Context(), room, says)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := w.alice.Send(t.Context(), room, "m.room.encrypted", map[string]any{"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AwgA"})
	if err != nil {
		t.Fatal(err)
	}
	gone, err := w.alice.Say(t.Context(), room, "never mind")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.alice.Call(t.Context(), "PUT", "/_matrix/client/v3/rooms/"+url.PathEscape(room)+"/redact/"+url.PathEscape(gone)+"/1", nil, map[string]any{}, nil); err != nil {
		t.Fatal(err)
	}
	inRoom := "/rooms/" + url.PathEscape(room) + "/report"
	for _, r := range [][2]string{{inRoom, "all of it"}, {"/users/@eve:far.test/report", "spam\x1b[2J\nand more"}, {inRoom + "/" + rude, "rude"}, {inRoom + "/" + secret, ""}, {inRoom + "/" + gone, ""}} {
		if err := w.alice.Call(t.Context(), "POST", "/_matrix/client/v3"+r[0], nil, map[string]any{"reason": r[1]}, nil); err != nil {
			t.Fatal(r, err)
		}
	}
	list := func(limit string) (list []admin.Report, err error) {
		return list, w.ask.Get(t.Context(), "/reports", url.Values{"limit": {limit}}, &list)
	}
	all, err := list("5")
	if err != nil || len(all) != 5 {
		t.Fatal(err, all)
	}
	if r := all[2]; string(r.Reporter) != w.alice.ID || string(r.Sender) != w.alice.ID || string(r.Room) != room || string(r.Event) != rude ||
		r.Reason != "rude" || r.Text != strings.Repeat("ä", 120)+"…" || r.Type != "m.room.message" || time.Since(r.Received) > time.Hour {
		t.Errorf("%+v", r)
	}
	var text bytes.Buffer
	write := admin.Text{Out: &text, Now: all[4].Received.Add(3 * time.Hour)}
	all[0].Received = all[4].Received // the machine may be slow
	write.Reports(all, 5)
	lines := strings.Split(text.String(), "\n")
	for i, want := range [][]string{
		{"NUMBER", "REPORTED", "BY", "WHAT IT SAYS"}, {gone, "3 h ago", "(m.room.message, redacted)"}, {secret, "(m.room.encrypted)"},
		{rude, w.alice.ID, "rude", "ää…"}, {"@eve:far.test", "spam�[2J and more"}, {room, "all of it"}, {"--limit"},
	} {
		for _, part := range want {
			if !strings.Contains(lines[i], part) {
				t.Errorf("%q is missing in line %d:\n%s", part, i, text.String())
			}
		}
		if by := strings.Index(lines[0], "BY"); i > 0 && i < 6 && !strings.HasPrefix(lines[i][by:], w.alice.ID) {
			t.Errorf("line %d is not aligned:\n%s", i, text.String())
		}
	}
	text.Reset()
	write.Reports(all, 6)
	write.Reports([]admin.Report{{Event: "$unknown"}}, 2)
	write.Reports(nil, 5)
	for want, there := range map[string]bool{"--limit": false, "(it is not here)": true, "Nobody has reported": true} {
		if strings.Contains(text.String(), want) != there {
			t.Errorf("%q: not %v:\n%s", want, there, text.String())
		}
	}

	remove := func(numbers ...string) (d admin.DeletedReports, err error) {
		return d, w.ask.Post(t.Context(), "/reports", url.Values{"number": numbers}, &d)
	}
	first, second := fmt.Sprint(all[4].Number), fmt.Sprint(all[3].Number)
	if d, err := remove(first, second); err != nil || d.Deleted != 2 {
		t.Errorf("%v %+v", err, d)
	}
	if _, err := remove(first, fmt.Sprint(all[2].Number)); err == nil || !strings.Contains(err.Error(), "there is no report "+first) {
		t.Error(err)
	}
	if _, err := remove("seven"); err == nil || !strings.Contains(err.Error(), `"seven" is not the number`) {
		t.Error(err)
	}
	if rest, err := list("1000"); err != nil || len(rest) != 2 || rest[0].Event != all[0].Event {
		t.Errorf("%v %+v", err, rest)
	}
	if newest, err := list("1"); err != nil || len(newest) != 1 || newest[0].Number != all[0].Number {
		t.Errorf("%v %+v", err, newest)
	}
	if err := w.ask.Post(t.Context(), "/reports", url.Values{"by": {"@nobody"}}, &admin.DeletedReports{}); err == nil {
		t.Error("what is no user has reports")
	}
	var d admin.DeletedReports
	if err := w.ask.Post(t.Context(), "/reports", url.Values{"by": {string(all[1].Reporter)}}, &d); err != nil || d.Deleted == 0 {
		t.Errorf("%v %+v", err, d)
	}
	if rest, err := list("1000"); err != nil || len(rest) != 2-d.Deleted || slices.ContainsFunc(rest, func(r admin.Report) bool { return r.Reporter == all[1].Reporter }) {
		t.Errorf("%v %+v", err, rest)
	}
	for _, limit := range []string{"0", "1001", "all", ""} {
		if _, err := list(limit); err == nil || !strings.Contains(err.Error(), "1 to 1000") {
			t.Errorf("%q: %v", limit, err)
		}
	}
	w.stop()
	if !strings.Contains(w.log.String(), `an operator deleted a report" number=`+first) {
		t.Errorf("it is not in the log:\n%s", w.log.String())
	}
}
