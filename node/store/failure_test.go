package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/node/store"
)

var _ = Describe("A full disk", func() {
	It("acknowledges nothing that isn't stored, and reads on", func(ctx SpecContext) {
		dialect := sqliteFile(GinkgoT().TempDir())
		connect := dialect.Connect
		dialect.Connect = func(ctx context.Context) (write, read *sql.DB, err error) {
			if write, read, err = connect(ctx); err == nil { // the one connection keeps the setting
				_, err = write.ExecContext(ctx, "PRAGMA max_page_count = 200")
			}
			return write, read, err
		}
		db := &fixture{dialect: dialect}
		db.start()
		defer db.stop()
		var stored int
		var err error
		for ; err == nil; stored++ {
			Expect(stored).To(BeNumerically("<", 1000), "the disk gets full")
			err = db.SetProfileField(ctx, alice, fmt.Sprint(stored), []byte(`"`+strings.Repeat("x", 4000)+`"`))
		}
		Expect(err).To(MatchError(ContainSubstring("full")))
		Expect(must(db.Profile(ctx, alice))).To(HaveLen(stored - 1))
		Expect(db.SetProfileField(ctx, alice, "0", nil)).To(Succeed(), "room again")
		Expect(must(db.Profile(ctx, alice))).To(HaveLen(stored - 2))
	})
})

var _ = onEach("A connection that is lost", func(db *fixture) {
	It("is made again, and each write counts once", func(ctx SpecContext) {
		if db.dialect.Name != "PostgreSQL" {
			Skip("there is no connection to lose")
		}
		write, read, err := db.dialect.Connect(ctx)
		Expect(err).NotTo(HaveOccurred())
		defer write.Close() //nolint:errcheck // a test
		defer read.Close()  //nolint:errcheck // a test
		var made atomic.Int64
		var wait sync.WaitGroup
		for i := range 8 {
			wait.Go(func() {
				defer GinkgoRecover()
				for j := range 25 {
					user := id.UserID(fmt.Sprintf("@u%d-%d:here.example", i, j))
					Expect(db.CreateUser(ctx, store.User{ID: user, Created: time.Now()}, "")).To(Succeed())
					made.Add(1)
				}
			})
		}
		for range 5 {
			_, err := write.ExecContext(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid()`)
			Expect(err).NotTo(HaveOccurred())
			time.Sleep(20 * time.Millisecond)
		}
		wait.Wait()
		Eventually(func() (int, error) {
			users, err := db.Users(ctx, "", 1000)
			return len(users), err
		}).Should(BeEquivalentTo(made.Load()))
	})
})
