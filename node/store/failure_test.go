package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/store"
	"hanse/node/store/sqlite"
)

// note writes something small in the place of what was noted before.
func (f *fixture) note(ctx context.Context, value string) error {
	_, err := f.SetAccountData(ctx, alice, "", "t", []byte(value))
	return err
}

// noted is what was noted last.
func (f *fixture) noted(ctx context.Context) string {
	GinkgoHelper()
	entry, _, err := f.AccountData(ctx, alice, "", "t")
	Expect(err).NotTo(HaveOccurred())
	return string(entry.Content)
}

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

var _ = Describe("A database file that is taken away", func() {
	var (
		db           *fixture
		log          *logged
		folder, away string
	)
	BeforeEach(func() {
		log = &logged{}
		folder = filepath.Join(GinkgoT().TempDir(), "data")
		away = folder + "-away"
		Expect(os.Mkdir(folder, 0o700)).To(Succeed())
		db = &fixture{dialect: sqliteFile(folder), log: log.logger()}
		db.start()
		Eventually(db.FiltersRead, time.Minute, time.Millisecond).Should(BeTrue(), "by a connection that is there from now on")
	})
	refuses := func(ctx context.Context) {
		GinkgoHelper()
		for range 3 {
			err := db.note(ctx, "lost")
			told, ok := errors.AsType[*federation.Error](err)
			Expect(ok).To(BeTrue(), "who asked is told something")
			Expect(told.Status).To(Equal(http.StatusServiceUnavailable))
			Expect(told.RetryAfter()).To(BeNumerically(">", 0), "and when to come again")
		}
		Expect(log.errors()).To(Equal(1), log.String())
		Expect(log.String()).To(ContainSubstring("put them back as they were"))
	}

	It("gets no more writes, until it is back", func(ctx SpecContext) {
		Expect(db.note(ctx, "1")).To(Succeed())
		Expect(os.Rename(folder, away)).To(Succeed())
		refuses(ctx)
		Expect(db.noted(ctx)).To(Equal("1"))
		Expect(os.Mkdir(folder, 0o700)).To(Succeed())
		refuses(ctx)
		Expect(os.ReadDir(folder)).To(BeEmpty(), "no other is made in its place")
		Expect(os.Remove(folder)).To(Succeed())
		Expect(os.Rename(away, folder)).To(Succeed())
		Expect(db.note(ctx, "2")).To(Succeed())
		db.restart()
		defer db.stop()
		Expect(db.noted(ctx)).To(Equal("2"))
	})

	It("gets no more writes where another stands in its place, or its log is gone", func(ctx SpecContext) {
		defer db.stop()
		Expect(db.note(ctx, "1")).To(Succeed())
		Expect(os.Rename(folder, away)).To(Succeed())
		Expect(os.Mkdir(folder, 0o700)).To(Succeed())
		other := &fixture{dialect: sqliteFile(folder)}
		other.start()
		other.stop()
		refuses(ctx)
		Expect(os.RemoveAll(folder)).To(Succeed())
		Expect(os.Rename(away, folder)).To(Succeed())
		Expect(db.note(ctx, "2")).To(Succeed())
		Expect(log.String()).To(ContainSubstring("takes writes again"))
		wal := filepath.Join(folder, "hanse.db-wal")
		Expect(os.Rename(wal, wal+"-away")).To(Succeed())
		Expect(db.note(ctx, "lost")).To(MatchError(ContainSubstring("put them back")))
		Expect(db.noted(ctx)).To(Equal("2"))
	})
})

// TestAnotherDatabaseIsNotRead: connections for reading end when they aren't used; those that come after must not read what somebody
// has put in the database's place.
func TestAnotherDatabaseIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		RegisterTestingT(t)
		folder := filepath.Join(t.TempDir(), "data")
		Expect(os.Mkdir(folder, 0o700)).To(Succeed())
		db := &fixture{dialect: sqliteFile(folder)}
		db.start()
		defer func() { db.stop() }()
		Expect(db.CreateUser(t.Context(), store.User{ID: alice, Created: time.Now()})).To(Succeed())
		Expect(os.Rename(folder, folder+"-away")).To(Succeed())
		Expect(os.Mkdir(folder, 0o700)).To(Succeed())
		other := &fixture{dialect: sqliteFile(folder)}
		other.start()
		other.stop()
		time.Sleep(2 * time.Minute) // virtual
		_, err := db.Users(t.Context(), "", 10)
		Expect(err).To(MatchError(ContainSubstring("put them back as they were")))
		Expect(os.RemoveAll(folder)).To(Succeed())
		Expect(os.Rename(folder+"-away", folder)).To(Succeed())
		Expect(db.Users(t.Context(), "", 10)).To(HaveLen(1))
	})
}

// TestASlowDatabase is waited for, and the log says so where it goes on: one write that takes long is no news to an operator.
func TestASlowDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		RegisterTestingT(t)
		broken, log := &faults{}, &logged{}
		db := &fixture{dialect: broken.in(sqlite.OpenUnsynced(filepath.Join(t.TempDir(), "hanse.db"))), log: log.logger()}
		db.start()
		defer func() { db.stop() }()
		var slow atomic.Bool
		broken.set(nil, func(query string) error {
			if query == "COMMIT" && slow.Load() {
				time.Sleep(2100 * time.Millisecond) // virtual
			}
			return nil
		})
		note := func(value string, slowly bool) {
			t.Helper()
			slow.Store(slowly)
			began := time.Now()
			Expect(db.note(t.Context(), value)).To(Succeed())
			Expect(time.Since(began) > time.Second).To(Equal(slowly))
			Expect(db.noted(t.Context())).To(Equal(value))
		}
		for i := range 5 {
			note(fmt.Sprint("slow ", i), true)
			note(fmt.Sprint("quick ", i), false)
		}
		Expect(log.String()).NotTo(ContainSubstring("the database is slow"))
		for i := range 10 {
			note(fmt.Sprint(i), true)
		}
		Expect(strings.Count(log.String(), "the database is slow")).To(Equal(1), log.String())
	})
}

var _ = onEach("A connection that is lost", func(db *fixture) {
	It("is made again, and each write counts once", func(ctx SpecContext) {
		if db.dialect.Name != "PostgreSQL" {
			Skip("there is no connection to lose")
		}
		write := beside(ctx, db.dialect)
		var made atomic.Int64
		var wait sync.WaitGroup
		for i := range 8 {
			wait.Go(func() {
				defer GinkgoRecover()
				for j := range 25 {
					user := id.UserID(fmt.Sprintf("@u%d-%d:here.example", i, j))
					Expect(db.CreateUser(ctx, store.User{ID: user, Created: time.Now()})).To(Succeed())
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

var _ = Describe("Connections that a restart of the server ended", func() {
	It("aren't noticed by who reads", func(ctx SpecContext) {
		server := os.Getenv("HANSE_TEST_POSTGRES")
		if server == "" {
			Skip("HANSE_TEST_POSTGRES is not set")
		}
		dialect, err := freshPostgres(ctx, server) // with as many connections for reading as in life
		Expect(err).NotTo(HaveOccurred())
		log := &logged{}
		db := &fixture{dialect: dialect, log: log.logger()}
		db.start()
		defer db.stop()
		write := beside(ctx, dialect)
		readers := func(reads int) {
			var wait sync.WaitGroup
			for range reads {
				wait.Go(func() {
					defer GinkgoRecover()
					_, err := db.Users(ctx, "", 10)
					Expect(err).NotTo(HaveOccurred())
					_, _, err = db.AccountData(ctx, alice, "", "t")
					Expect(err).NotTo(HaveOccurred())
				})
			}
			wait.Wait()
		}
		for range 20 {
			readers(16) // opens connections
			_, err := write.ExecContext(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid()`)
			Expect(err).NotTo(HaveOccurred())
		}
		readers(16)
		Expect(log.String()).NotTo(ContainSubstring("can't be read"))
	})
})

var _ = Describe("A database that fails", func() {
	var (
		db     *fixture
		broken *faults
		log    *logged
	)
	BeforeEach(func() {
		broken, log = &faults{}, &logged{}
		db = &fixture{dialect: broken.in(sqliteFile(GinkgoT().TempDir())), log: log.logger()}
		db.start()
		DeferCleanup(func() { db.stop() })
	})
	on := func(words string, times int, err error) func(string) error {
		return func(query string) error {
			if strings.HasPrefix(query, words) && times != 0 {
				times--
				return err
			}
			return nil
		}
	}

	for _, at := range []string{"BEGIN", "INSERT", "UPDATE counters", "COMMIT"} {
		It("on a read-only or full disk, at "+at+", acknowledges nothing, says it once, and goes on by itself", func(ctx SpecContext) {
			Expect(db.note(ctx, "1")).To(Succeed())
			broken.set(nil, on(at, -1, fault{store.StorageError, "disk I/O error: read-only"}))
			for range 3 {
				Expect(db.note(ctx, "2")).To(MatchError(ContainSubstring("read-only")))
				Expect(db.noted(ctx)).To(Equal("1"))
			}
			Expect(log.errors()).To(Equal(1), log.String())
			Expect(log.String()).To(ContainSubstring("the database takes no writes"))
			broken.set(nil, nil)
			Expect(db.note(ctx, "3")).To(Succeed())
			Expect(db.noted(ctx)).To(Equal("3"))
			Expect(log.String()).To(ContainSubstring("takes writes again"))
			db.restart()
			Expect(db.noted(ctx)).To(Equal("3"))
		})

		It("and asks for another try, at "+at+", writes once", func(ctx SpecContext) {
			broken.set(nil, on(at, 3, fault{store.RetryError, "could not serialize access"}))
			before := db.Position()
			Expect(db.note(ctx, "1")).To(Succeed())
			Expect(db.noted(ctx)).To(Equal("1"))
			Expect(db.Position()).To(Equal(before + 2)) // one of the data's, one of the transaction's
			Expect(log.errors()).To(BeZero(), log.String())
		})
	}

	It("and goes away and comes back is waited for", func(ctx SpecContext) {
		Expect(db.note(ctx, "1")).To(Succeed())
		gone := fault{store.ConnectionError, "connection refused"}
		broken.set(func() error { return gone }, func(string) error { return gone })
		result := make(chan error, 1)
		go func() { result <- db.note(ctx, "2") }()
		Consistently(result, "300ms").ShouldNot(Receive())
		Expect(db.noted(ctx)).To(Equal("1"), "reads go on")
		broken.set(nil, nil)
		Eventually(result).Should(Receive(Succeed()))
		Expect(db.noted(ctx)).To(Equal("2"))
	})

	It("and went away while committing writes once, whether it had committed or not", func(ctx SpecContext) {
		Expect(db.note(ctx, "1")).To(Succeed())
		broken.set(nil, on("COMMIT", 1, fault{store.ConnectionError, "connection reset"}))
		before := db.Position()
		Expect(db.note(ctx, "2")).To(Succeed())
		Expect(db.noted(ctx)).To(Equal("2"))
		Expect(db.Position()).To(Equal(before + 2))
	})
})

var _ = Describe("A read-only PostgreSQL", func() {
	It("refuses writes, and takes them again once it isn't", func(ctx SpecContext) {
		kinds := databases()
		if len(kinds) < 2 {
			Skip("HANSE_TEST_POSTGRES is not set")
		}
		log := &logged{}
		dialect, err := kinds[1].fresh(ctx, GinkgoT().TempDir())
		Expect(err).NotTo(HaveOccurred())
		db := &fixture{dialect: dialect, log: log.logger()}
		db.start()
		defer db.stop()
		write := beside(ctx, dialect)
		run := func(query string) {
			GinkgoHelper()
			_, err := write.ExecContext(ctx, query)
			Expect(err).NotTo(HaveOccurred())
		}
		var name string
		Expect(write.QueryRowContext(ctx, "SELECT current_database()").Scan(&name)).To(Succeed())
		run("ALTER DATABASE " + name + " SET default_transaction_read_only = on")
		run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		_, err = db.SetAccountData(ctx, alice, "", "t", []byte("1"))
		Expect(err).To(MatchError(ContainSubstring("read-only")))
		Expect(log.String()).To(ContainSubstring("takes no writes"))
		run("ALTER DATABASE " + name + " RESET default_transaction_read_only")
		_, err = db.SetAccountData(ctx, alice, "", "t", []byte("2"))
		Expect(err).NotTo(HaveOccurred())
		Expect(log.String()).To(ContainSubstring("takes writes again"))
	})
})

var _ = Describe("SQLite's writer", func() {
	It("waits for the disk with each commit", func(ctx SpecContext) {
		write, read, err := sqliteFile(GinkgoT().TempDir()).Connect(ctx)
		Expect(err).NotTo(HaveOccurred())
		defer write.Close() //nolint:errcheck // a test
		defer read.Close()  //nolint:errcheck // a test
		var synchronous int
		var mode string
		Expect(write.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&synchronous)).To(Succeed())
		Expect(write.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode)).To(Succeed())
		Expect(synchronous).To(Equal(2), "FULL")
		Expect(mode).To(Equal("wal"))
	})
})

var _ = Describe("A PostgreSQL that is stopped and started", func() {
	It("has each write once that was acknowledged", func(ctx SpecContext) {
		// The command stops the server of HANSE_TEST_POSTGRES and starts it again: pg_ctl -m immediate restart …
		command := os.Getenv("HANSE_TEST_POSTGRES_RESTART")
		kinds := databases()
		if command == "" || len(kinds) < 2 {
			Skip("HANSE_TEST_POSTGRES_RESTART is not set")
		}
		log := &logged{}
		dialect, err := kinds[1].fresh(ctx, GinkgoT().TempDir())
		Expect(err).NotTo(HaveOccurred())
		db := &fixture{dialect: dialect, log: log.logger()}
		db.start()
		defer db.stop()
		var wait sync.WaitGroup
		working, end := context.WithCancel(ctx)
		// A restart that takes long makes writes fail, of which nothing is promised.
		made := make([][]id.UserID, 8)
		var refused atomic.Int64
		for i := range made {
			wait.Go(func() {
				defer GinkgoRecover()
				for n := 0; working.Err() == nil; n++ {
					user := id.UserID(fmt.Sprintf("@u%d-%d:here.example", i, n))
					err := db.CreateUser(ctx, store.User{ID: user, Created: time.Now()})
					if store.Unavailable(err) {
						refused.Add(1)
						continue
					}
					Expect(err).NotTo(HaveOccurred())
					made[i] = append(made[i], user)
				}
			})
		}
		for range 3 {
			time.Sleep(300 * time.Millisecond)
			output, err := exec.Command("sh", "-c", command).CombinedOutput()
			Expect(err).NotTo(HaveOccurred(), string(output))
		}
		time.Sleep(300 * time.Millisecond)
		end()
		wait.Wait()
		there := map[id.UserID]bool{}
		for _, user := range must(db.Users(ctx, "", 1_000_000)) {
			there[user.ID] = true
		}
		acknowledged := slices.Concat(made...)
		for _, user := range acknowledged {
			Expect(there).To(HaveKey(user))
		}
		Expect(len(there)).To(BeNumerically("<=", len(acknowledged)+int(refused.Load())))
		fmt.Fprintln(GinkgoWriter, len(acknowledged), "writes over 3 restarts,", refused.Load(), "refused")
	})
})
