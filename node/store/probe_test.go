package store_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"

	"hanse/node/store"
	"hanse/node/store/sqlite"
)

// usable tells whether the store says that the database can be used again.
func (f *fixture) usable() bool {
	select {
	case <-f.Usable():
		return true
	default:
		return false
	}
}

// TestADatabaseThatIsBackIsNoticed: nobody needs to read or write for it. Others have events for us that were refused meanwhile.
func TestADatabaseThatIsBackIsNoticed(t *testing.T) {
	for name, class := range map[string]store.ErrorClass{"a disk": store.StorageError, "a connection": store.ConnectionError} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				RegisterTestingT(t)
				broken, log := &faults{}, &logged{}
				db := &fixture{dialect: broken.in(sqlite.OpenUnsynced(filepath.Join(t.TempDir(), "hanse.db"))), log: log.logger()}
				db.start()
				defer func() { db.stop() }()
				var tries atomic.Int64
				broken.set(nil, func(string) error { tries.Add(1); return fault{class, "out of order"} })
				Expect(db.note(t.Context(), "1")).To(MatchError(ContainSubstring("out of order")))
				tries.Store(0)
				time.Sleep(8 * time.Minute) // virtual; regular work isn't due soon
				Expect(db.usable()).To(BeFalse())
				Expect(tries.Load()).To(BeNumerically("<=", 60), "it is looked at in bounds")
				broken.set(nil, nil)
				time.Sleep(time.Minute)
				Expect(db.usable()).To(BeTrue())
				Expect(log.errors()).To(Equal(1), log.String())
				Expect(log.String()).To(ContainSubstring("takes writes again"))
				Expect(db.note(t.Context(), "2")).To(Succeed())
			})
		})
	}
}

// TestCheck: while writes fail it says so, though none is made for it, and though the database can be read.
func TestCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		RegisterTestingT(t)
		broken := &faults{}
		db := &fixture{dialect: broken.in(sqlite.OpenUnsynced(filepath.Join(t.TempDir(), "hanse.db")))}
		db.start()
		defer func() { db.stop() }()
		before := db.Stats().Transactions
		Expect(db.Check(t.Context())).To(Succeed())
		broken.set(nil, func(string) error { return fault{store.StorageError, "full"} })
		Expect(db.note(t.Context(), "1")).NotTo(Succeed())
		Expect(db.Check(t.Context())).To(MatchError(ContainSubstring("takes no writes")))
		Expect(db.noted(t.Context())).To(BeEmpty())
		broken.set(nil, nil)
		time.Sleep(time.Minute) // virtual
		Expect(db.Check(t.Context())).To(Succeed())
		Expect(db.Stats().Transactions).To(Equal(before))
	})
}

// TestCheckOfADatabaseThatIsAway: nobody else needs to have read or written.
func TestCheckOfADatabaseThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		RegisterTestingT(t)
		folder := filepath.Join(t.TempDir(), "data")
		Expect(os.Mkdir(folder, 0o700)).To(Succeed())
		db := &fixture{dialect: sqliteFile(folder)}
		db.start()
		defer func() { db.stop() }()
		Expect(os.Rename(folder, folder+"-away")).To(Succeed())
		time.Sleep(2 * time.Minute) // virtual; connections end that aren't used
		for range 3 {
			Expect(db.Check(t.Context())).To(MatchError(ContainSubstring("can't be read")))
		}
		Expect(os.Rename(folder+"-away", folder)).To(Succeed())
		time.Sleep(time.Minute)
		Expect(db.Check(t.Context())).To(Succeed())
	})
}

// seenReader gives the connections that are read by, once the database is open.
func seenReader(dialect store.Dialect) (_ store.Dialect, reading **sql.DB) {
	reading = new(*sql.DB)
	connect := dialect.Connect
	dialect.Connect = func(ctx context.Context) (write, read *sql.DB, err error) {
		write, read, err = connect(ctx)
		*reading = read
		return write, read, err
	}
	return dialect, reading
}

// TestCheckOfABusyDatabase: where all connections are in use, who asks is answered soon, and not that the database is away.
func TestCheckOfABusyDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		RegisterTestingT(t)
		dialect, reading := seenReader(oneReader(sqlite.OpenUnsynced(filepath.Join(t.TempDir(), "hanse.db"))))
		db := &fixture{dialect: dialect}
		db.start()
		defer func() { db.stop() }()
		used, err := (*reading).Conn(t.Context())
		Expect(err).NotTo(HaveOccurred())
		for range 30 {
			began := time.Now()
			Expect(db.Check(t.Context())).To(Succeed())
			Expect(time.Since(began)).To(BeNumerically("<", time.Second)) // virtual
			time.Sleep(time.Second)
		}
		Expect(used.Close()).To(Succeed())
		Expect(db.Check(t.Context())).To(Succeed())
	})
}

// TestADatabaseThatComesAndGoesIsNotNoticedEachTime: what follows is a question about each room to other servers.
func TestADatabaseThatComesAndGoesIsNotNoticedEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		RegisterTestingT(t)
		broken := &faults{}
		db := &fixture{dialect: broken.in(sqlite.OpenUnsynced(filepath.Join(t.TempDir(), "hanse.db")))}
		db.start()
		defer func() { db.stop() }()
		broken.set(nil, func(query string) error { // there is room for the little that a look needs alone
			if len(query) > 6 && query[:6] == "INSERT" {
				return fault{store.StorageError, "full"}
			}
			return nil
		})
		back := 0
		for range 100 {
			Expect(db.note(t.Context(), "1")).To(MatchError(ContainSubstring("full")))
			time.Sleep(5 * time.Second) // virtual
			if db.usable() {
				back++
			}
		}
		Expect(back).To(BeNumerically("<=", 25))
	})
}

// TestADatabaseThatCanBeReadAgainIsNoticed is the same for who reads.
func TestADatabaseThatCanBeReadAgainIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		RegisterTestingT(t)
		folder, log := filepath.Join(t.TempDir(), "data"), &logged{}
		Expect(os.Mkdir(folder, 0o700)).To(Succeed())
		db := &fixture{dialect: sqliteFile(folder), log: log.logger()}
		db.start()
		defer func() { db.stop() }()
		Expect(os.Rename(folder, folder+"-away")).To(Succeed())
		time.Sleep(2 * time.Minute) // virtual; connections end that aren't used
		_, err := db.Users(t.Context(), "", 10)
		Expect(err).To(HaveOccurred())
		time.Sleep(time.Hour)
		Expect(db.usable()).To(BeFalse())
		Expect(os.Rename(folder+"-away", folder)).To(Succeed())
		time.Sleep(time.Minute)
		Expect(db.usable()).To(BeTrue())
		Expect(log.String()).To(ContainSubstring("can be read again"))
	})
}

// TestCheckOfAWriteThatHangs: a disk that neither fails nor answers is told of, by who asks and in the log.
func TestCheckOfAWriteThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		RegisterTestingT(t)
		broken, log, answer := &faults{}, &logged{}, make(chan struct{})
		db := &fixture{dialect: broken.in(sqlite.OpenUnsynced(filepath.Join(t.TempDir(), "hanse.db"))), log: log.logger()}
		db.start()
		defer func() { db.stop() }()
		Expect(db.note(t.Context(), "0")).To(Succeed())
		time.Sleep(10 * time.Second) // virtual, as all below
		broken.set(nil, func(query string) error {
			if query == "COMMIT" {
				<-answer
			}
			return nil
		})
		written := make(chan error, 2)
		for _, what := range []string{"1", "2"} {
			go func() { written <- db.note(t.Context(), what) }()
			synctest.Wait()
		}
		time.Sleep(10 * time.Second)
		Expect(db.Check(t.Context())).To(Succeed())
		Expect(log.String()).To(BeEmpty(), "it may be large")
		time.Sleep(10 * time.Second)
		Expect(db.Check(t.Context())).To(MatchError(ContainSubstring("hasn't answered a write since")))
		Expect(log.String()).To(And(ContainSubstring("doesn't answer a write"), ContainSubstring("others_waiting=1")))
		time.Sleep(10 * time.Minute)
		Expect(log.errors()).To(Equal(11), "once a minute")
		db.cancel()
		time.Sleep(10 * time.Minute)
		Expect(log.errors()).To(Equal(21), "who waits for the end is told too")
		close(answer)
		Expect(<-written).To(Succeed())
		Expect(<-written).To(Succeed())
		Expect(<-db.ended).To(Succeed())
		Expect(log.String()).To(ContainSubstring("has answered the write"))
		db.ended <- nil
		db.restart()
		Expect(db.Check(t.Context())).To(Succeed())
		Expect(db.noted(t.Context())).To(Equal("2"))
	})
}

// TestCheckOfAReadThatHangs: for longer than one that waits for a connection.
func TestCheckOfAReadThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		RegisterTestingT(t)
		dialect, reading := seenReader(oneReader(sqlite.OpenUnsynced(filepath.Join(t.TempDir(), "hanse.db"))))
		db := &fixture{dialect: dialect}
		db.start()
		defer func() { db.stop() }()
		hung, err := (*reading).Conn(t.Context())
		Expect(err).NotTo(HaveOccurred())
		for range 90 {
			time.Sleep(time.Second) // virtual
			err = db.Check(t.Context())
		}
		Expect(err).To(MatchError(ContainSubstring("hasn't answered a read since")))
		Expect(hung.Close()).To(Succeed())
		Expect(db.Check(t.Context())).To(Succeed())
	})
}
