package store_test

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"

	"hanse/federation/roomversion"
	"hanse/node/store"
	"hanse/node/store/sqlite"
)

// TestACommitThatWasNotAnswered: the database goes away while it commits, for so long that the writer must be told that nobody
// knows. When it is back, what it had committed counts, and what it hadn't doesn't, without a restart or another write.
func TestACommitThatWasNotAnswered(t *testing.T) {
	for name, committed := range map[string]bool{"had been made": true, "had not been made": false} {
		t.Run(name, func(t *testing.T) {
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
				broken.set(nil, nil)
				time.Sleep(2 * time.Second) // virtual

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
