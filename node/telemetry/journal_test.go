package telemetry

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheJournalKeepsTheLastRefusals(t *testing.T) {
	var j Journal
	for i := range journalEntries + 10 {
		j.Note(Refusal{Server: fmt.Sprint("s", i%2), Event: fmt.Sprint("$", i), What: RefusedFormat, Why: strings.Repeat("é", maxWhy)})
	}
	all := j.Find(1<<30, func(Refusal) bool { return true })
	if len(all) != journalEntries || all[0].Event != fmt.Sprint("$", journalEntries+9) || all[len(all)-1].Event != "$10" {
		t.Errorf("%d entries, from %s to %s", len(all), all[0].Event, all[len(all)-1].Event)
	}
	if why := all[0].Why; len(why) > maxWhy+len("…") || !strings.HasSuffix(why, "é…") {
		t.Errorf("the text has %d bytes and ends with %q", len(why), why[len(why)-6:])
	}
	for range 2 * journalEntries { // rubbish, which must not push events out
		j.Note(Refusal{Server: "s9", What: RefusedRequest, Why: "no signature"})
	}
	if again := j.Find(1<<30, func(r Refusal) bool { return r.Event != "" }); len(again) != journalEntries {
		t.Errorf("%d events are left", len(again))
	}
	if rubbish := j.Find(1<<30, func(r Refusal) bool { return r.Server == "s9" }); len(rubbish) != journalEntries {
		t.Errorf("%d other refusals are left", len(rubbish))
	}
	some := j.Find(3, func(r Refusal) bool { return r.Server == "s1" })
	if len(some) != 3 || some[0].Event != fmt.Sprint("$", journalEntries+9) {
		t.Errorf("%+v", some)
	}
}

func TestTracesAreBoundedAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var traces Traces
		traces.Mark("$off", Verified, "")
		traces.Switch(time.Hour)
		for i := range tracedEvents + 5 {
			traces.Mark(fmt.Sprint("$", i), Verified, "")
		}
		for range 2 * tracedMarks {
			traces.Mark("$busy", Sent, "somewhere")
		}
		if traces.Of("$off") != nil || traces.Of("$0") != nil || len(traces.Of("$100")) != 1 || len(traces.Of("$busy")) != tracedMarks {
			t.Errorf("%d marks of a busy event", len(traces.Of("$busy")))
		}
		time.Sleep(2 * time.Hour)
		traces.Mark("$late", Verified, "")
		if traces.On() || traces.Of("$late") != nil {
			t.Error("traces don't end by themselves")
		}
	})
}
