package store

import (
	"slices"
	"testing"
)

func TestWhatIsForgottenForAServerThatIsOut(t *testing.T) {
	rows := func(n int, row keptRow) []keptRow {
		all := slices.Repeat([]keptRow{row}, n)
		for i := range all {
			all[i].position = Position(n - i)
		}
		return all
	}
	message := keptRow{message: true, bytes: 100, since: 1000}
	large, old := message, message
	large.bytes, old.since, old.position = keptBytes/4, 1, 1
	for name, test := range map[string]struct {
		rows     []keptRow
		messages Position
		changes  bool
	}{
		"nothing":                    {},
		"as many messages as may be": {rows: rows(keptMessages, message)},
		"too many":                   {rows: rows(keptMessages+7, message), messages: 7},
		"too large":                  {rows: rows(10, large), messages: 6},
		"too old":                    {rows: append(rows(5, message)[:4], old), messages: 1},
		"of unknown age":             {rows: rows(5, keptRow{message: true})},
		"as many changes as may be":  {rows: rows(keptChanges, keptRow{since: 1000})},
		"too many changes":           {rows: rows(keptChanges+1, keptRow{since: 1000}), changes: true},
		"an old change":              {rows: rows(1, keptRow{since: 1}), changes: true},
	} {
		t.Run(name, func(t *testing.T) {
			messages, changes := forgettable(test.rows, 500)
			if messages != test.messages || changes != test.changes {
				t.Errorf("messages up to %d, changes %v; want %d, %v", messages, changes, test.messages, test.changes)
			}
		})
	}
}

func TestWhatFallsBehindWhileCatchUpEnds(t *testing.T) {
	o := newOutbox(nil)
	o.lag("one.test")
	seen := o.behind["one.test"]
	o.lag("two.test")
	o.lag("one.test")
	if o.caughtUp("one.test", seen) || o.behind["one.test"] == 0 {
		t.Error("what has come since isn't looked for")
	}
	if !o.caughtUp("one.test", o.behind["one.test"]) || o.behind["one.test"] != 0 || o.behind["two.test"] == 0 {
		t.Error("who has caught up is behind")
	}
}
