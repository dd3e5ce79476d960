package rooms

import (
	"path/filepath"
	"testing"

	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/node/store"
	"hanse/node/store/sqlite"
)

// openActor is an actor, in the registry, that doesn't run.
func openActor(t *testing.T) *actor {
	t.Helper()
	s, err := store.Open(t.Context(), sqlite.OpenUnsynced(filepath.Join(t.TempDir(), "db")), store.Options{ServerName: "hanse.test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	r := New(Config{Self: "hanse.test", Store: s})
	a := newActor(r, "!room:hanse.test")
	a.place = r.quiet.PushBack(a)
	r.actors[a.room] = a
	return a
}

// TestAClientTransactionOnItsWay: who repeats one that isn't on disk yet waits for it, be it decided only or being written.
func TestAClientTransactionOnItsWay(t *testing.T) {
	a := openActor(t)
	a.flying = newBatch()
	for name, b := range map[string]*batch{"filling": a.filling, "flying": a.flying} {
		txn := store.ClientTxn{User: "@alice:hanse.test", Device: "DEVICE", Endpoint: "send", TxnID: name}
		b.txns[txn] = id.EventID("$" + name)
		repeated := &task{opts: store.CommitOptions{ClientTxns: []store.ClientTxn{txn}}, answer: make(chan answer, 1)}
		if used, err := a.usedTxn(t.Context(), repeated); !used || err != nil {
			t.Errorf("%s: it is used: %t, %v", name, used, err)
		}
		if len(b.waiting) != 1 || b.waiting[0].task != repeated || b.waiting[0].result.Verdicts[0].EventID != id.EventID("$"+name) {
			t.Errorf("%s: %v waits", name, b.waiting)
		}
		if len(repeated.answer) > 0 {
			t.Errorf("%s: it is answered before it is on disk", name)
		}
	}
}

// TestARoomStaysForWhoWaits: a task whose events wait has nobody to answer it once the room has left memory.
func TestARoomStaysForWhoWaits(t *testing.T) {
	a := openActor(t)
	asked := &task{settle: true, answer: make(chan answer, 1)}
	a.settle(waiting{asked, room.Result{Verdicts: []room.Verdict{{EventID: "$event", Status: room.Waiting}}}})
	if a.r.retire(a) {
		t.Error("the room left memory")
	}
	a.decided([]room.Verdict{{EventID: "$event", Status: room.Accepted}})
	if len(asked.answer) != 1 || !a.r.retire(a) {
		t.Errorf("%d answers; the room must go now", len(asked.answer))
	}
}

// TestAnnouncements: what a room is given is announced to the writer, but for what can't share the next transaction, because a
// commit of the room's is on its way.
func TestAnnouncements(t *testing.T) {
	a := openActor(t)
	r := a.r
	give := func() {
		t.Helper()
		if err := r.enqueue(a.room, &task{}, 10); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want bool, when string) {
		t.Helper()
		if got := a.announced != nil; got != want {
			t.Errorf("%s: announced is %v", when, got)
		}
	}
	give()
	check(true, "at rest")
	r.setCommitting(a, true)
	check(false, "queued when a commit began")
	give()
	check(false, "while one is on its way")
	r.setCommitting(a, false)
	give()
	check(true, "after it")
	r.close(a)
}
