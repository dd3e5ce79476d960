package store_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/node/store"
	"hanse/node/store/sqlite"
)

// TestACommitThatWasNotAnswered: the database goes away while it commits, for so long that the writer must be told that nobody
// knows. When it is back, what it had committed counts, and what it hadn't doesn't, without a restart or another write.
func TestACommitThatWasNotAnswered(t *testing.T) {
	for _, which := range []struct{ committed, atOnce bool }{{true, true}, {true, false}, {false, true}, {false, false}} {
		committed, atOnce := which.committed, which.atOnce
		t.Run(fmt.Sprintf("had been made: %v, the room is loaded at once: %v", committed, atOnce), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				RegisterTestingT(t)
				broken, log := &faults{}, &logged{}
				db := &fixture{dialect: broken.in(sqlite.OpenUnsynced(filepath.Join(t.TempDir(), "hanse.db"))), log: log.logger()}
				db.start()
				defer func() { db.stop() }()
				a := must(create(db.Store, roomversion.V12))
				must(a.propose(store.CommitOptions{}, message(alice, "before")))

				gone := fault{store.ConnectionError, "connection reset"}
				broken.loseAnswers(committed)
				broken.set(func() error { return gone }, func(query string) error {
					if query == "COMMIT" {
						return gone
					}
					return nil
				})
				_, err := a.propose(store.CommitOptions{}, message(alice, "unknown"))
				Expect(err).To(MatchError(ContainSubstring("whether it did is unknown")))
				_, err = db.SetAccountData(t.Context(), alice, "", "t", []byte("1"))
				Expect(err).To(MatchError(ContainSubstring("connection reset")))
				_, err = load(db.Store, a.id())
				Expect(err).To(MatchError(ContainSubstring("connection reset")), "what is read now may change yet")
				broken.set(nil, nil)
				if !atOnce {
					time.Sleep(2 * time.Second) // virtual
					Expect(log.String()).To(ContainSubstring("takes writes again"))
				}

				a = must(load(db.Store, a.id()))
				timeline := func() (bodies []string) {
					rows, _, err := db.Timeline(t.Context(), a.id(), 0, db.Position(), 100, false)
					Expect(err).NotTo(HaveOccurred())
					for _, row := range rows {
						if row.Event.Type() == "m.room.message" {
							bodies = append(bodies, string(row.Event.Content()))
						}
					}
					return bodies
				}
				want := 1
				if committed {
					want = 2
				}
				Expect(timeline()).To(HaveLen(want))
				must(a.propose(store.CommitOptions{}, message(alice, "after")))
				Expect(timeline()).To(HaveLen(want + 1))
				Expect(log.errors()).To(Equal(1), log.String())
				db.restart()
				Expect(timeline()).To(HaveLen(want + 1))
			})
		})
	}
}

// TestACommitThatWasNotAnsweredIsSent: whoever queues something for other servers wakes the sender once it is stored. Where that
// was in doubt nobody does, so the feed tells of it.
func TestACommitThatWasNotAnsweredIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		RegisterTestingT(t)
		broken := &faults{}
		db := &fixture{dialect: broken.in(sqlite.OpenUnsynced(filepath.Join(t.TempDir(), "hanse.db")))}
		db.start()
		defer func() { db.stop() }()
		feed := db.Follow(100)
		defer feed.Close()

		gone := fault{store.ConnectionError, "connection reset"}
		broken.loseAnswers(true)
		broken.set(func() error { return gone }, func(query string) error {
			if query == "COMMIT" {
				return gone
			}
			return nil
		})
		err := db.QueueEDUs(t.Context(), store.QueuedEDU{
			Type: federation.EDUDirectToDevice, Content: []byte(`{}`), Destinations: []id.ServerName{there}, Keep: true,
		})
		Expect(err).To(MatchError(ContainSubstring("whether it did is unknown")))
		broken.set(nil, nil)
		time.Sleep(2 * time.Second) // virtual

		Expect(db.Destinations(t.Context())).To(ConsistOf(there))
		notices, _, lost := feed.Take()
		Expect(lost).To(BeFalse())
		var servers []id.ServerName
		for _, n := range notices {
			servers = append(servers, n.Servers...)
		}
		Expect(servers).To(ConsistOf(there))
	})
}
