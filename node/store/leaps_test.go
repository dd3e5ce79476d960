package store_test

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/node/store"
)

// copied copies a database as it is on disk; on PostgreSQL nobody may have it open.
func copied(ctx context.Context, from string, place func(context.Context) string) string {
	GinkgoHelper()
	to := place(ctx)
	run := func(database string, statements ...string) {
		GinkgoHelper()
		db := writerOf(ctx, dialectOf(database))
		for _, statement := range statements {
			_, err := db.ExecContext(ctx, statement)
			Expect(err).NotTo(HaveOccurred(), statement)
		}
		Expect(db.Close()).To(Succeed())
	}
	name := func(url string) string {
		before, _, _ := strings.Cut(url, "?")
		return before[strings.LastIndex(before, "/")+1:]
	}
	if strings.HasPrefix(from, "postgres://") {
		run(os.Getenv("HANSE_TEST_POSTGRES"), "DROP DATABASE "+name(to), "CREATE DATABASE "+name(to)+" TEMPLATE "+name(from))
	} else {
		run(from, "VACUUM INTO '"+to+"'")
	}
	return to
}

// opened opens a database at a moment whose leap lies beyond a position.
func opened(database string, beyond store.Position) *fixture {
	GinkgoHelper()
	Eventually(func() store.Position { return store.Position(time.Now().UnixMilli()) * 32 }).WithPolling(time.Millisecond).
		Should(BeNumerically(">", beyond+1))
	db := &fixture{dialect: oneReader(dialectOf(database)), leap: true}
	db.start()
	return db
}

var _ = Describe("Positions", func() {
	for kind, place := range places() {
		It("go beyond all that a later copy of the database has given out, on "+kind, func(ctx SpecContext) {
			database := place(ctx)
			db := opened(database, 0)
			a := must(create(db.Store, roomversion.V11))
			said := eventIDs(must(a.propose(store.CommitOptions{}, message(alice, "kept"))))
			before := db.Position()
			db.stop()
			backup := copied(ctx, database, place)

			later := opened(database, before)
			Expect(later.Found()).To(Equal(before))
			Expect(later.Position()).To(BeNumerically(">", before))
			a = must(load(later.Store, a.id()))
			must(a.propose(store.CommitOptions{}, message(alice, "lost")))
			lost := later.Position()
			later.stop()

			db = opened(backup, lost)
			defer db.stop()
			Expect(db.Position()).To(BeNumerically(">", lost))
			rows, _, err := db.Timeline(ctx, a.id(), 0, db.Position(), 100, false)
			Expect(err).NotTo(HaveOccurred())
			Expect(ids(rows)).To(ContainElements(said))
			a = must(load(db.Store, a.id()))
			must(a.propose(store.CommitOptions{}, message(alice, "again")))
		})

		It("of a time that is lost have their device's one-time keys forgotten, on "+kind, func(ctx SpecContext) {
			database := place(ctx)
			db := opened(database, 0)
			db.loggedIn(ctx, alice, "PHONE")
			upload := func(names ...string) {
				GinkgoHelper()
				u := store.KeyUpload{User: alice, Device: "PHONE", MaxOneTime: 10}
				for _, name := range names {
					u.OneTime = append(u.OneTime, store.OneTimeKey{Algorithm: "curve25519", ID: name, Key: json.RawMessage(`"key"`)})
				}
				must(db.UploadKeys(ctx, u))
			}
			count := func() int {
				GinkgoHelper()
				counts, _, err := db.KeyCounts(ctx, alice, "PHONE")
				Expect(err).NotTo(HaveOccurred())
				return counts["curve25519"]
			}
			upload("a", "b")
			before := db.Position()
			db.stop()
			backup := copied(ctx, database, place)
			db = opened(database, before)
			upload("c")
			lost := db.Position()
			db.stop()

			db = opened(backup, lost)
			defer func() { db.stop() }()
			Expect(count()).To(Equal(2))
			Expect(db.Lost(before)).To(BeFalse())
			Expect(db.Lost(lost)).To(BeTrue())
			Expect(db.ForgetClaimed(ctx, alice, "PHONE", before)).To(Succeed())
			Expect(db.ForgetClaimed(ctx, alice, "PHONE", db.Position())).To(Succeed())
			Expect(count()).To(Equal(2), "these are positions of its own")
			upload("d")
			db.stop()
			own := db.Position()
			db = opened(backup, own)
			Expect(db.Lost(own)).To(BeFalse())
			Expect(db.Lost(lost)).To(BeTrue(), "the start before may have ended before anybody could ask")
			Expect(db.ForgetClaimed(ctx, alice, "PHONE", lost)).To(Succeed())
			Expect(count()).To(Equal(1), "what was uploaded since the copy was put back is nobody else's; and leaps are known after a start")
		})

		It("are of before where somebody says so, and all devices' one-time keys of then are forgotten, on "+kind, func(ctx SpecContext) {
			db := opened(place(ctx), 0)
			defer func() { db.stop() }()
			upload := func(user id.UserID, name string) {
				GinkgoHelper()
				must(db.UploadKeys(ctx, store.KeyUpload{User: user, Device: "PHONE", MaxOneTime: 10,
					OneTime: []store.OneTimeKey{{Algorithm: "curve25519", ID: name, Key: json.RawMessage(`"key"`)}}}))
			}
			names := func(user id.UserID) (all []string) {
				GinkgoHelper()
				claim := store.KeyClaim{User: user, Device: "PHONE", Algorithm: "curve25519"}
				for {
					key, found := must(db.ClaimKeys(ctx, []store.KeyClaim{claim}))[claim]
					if !found {
						return all
					}
					all = append(all, key.ID)
				}
			}
			for _, user := range []id.UserID{alice, bob} {
				db.loggedIn(ctx, user, "PHONE")
				upload(user, "old")
			}
			db.restart()
			upload(alice, "new")
			feed := db.Follow(100)
			defer feed.Close()
			Expect(db.WasPutBack(ctx)).To(Succeed())
			notices, _, _ := feed.Take()
			Expect(notices).To(ContainElement(And(HaveField("Kind", store.KindOneTimeKeys), HaveField("Users", ConsistOf(alice, bob)))))
			Expect(names(alice)).To(Equal([]string{"new"}))
			Expect(names(bob)).To(BeEmpty())
		})
	}
})
