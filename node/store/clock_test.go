package store_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/keys"
	"hanse/node/store"
	"hanse/node/store/sqlite"
)

// atYear runs something while the clock says that year.
func atYear(t *testing.T, year int, run func(t *testing.T)) {
	synctest.Test(t, func(t *testing.T) {
		RegisterTestingT(t)
		time.Sleep(time.Until(time.Date(year, 11, 29, 0, 0, 0, 0, time.UTC)))
		run(t)
	})
}

// copyOf copies a database that nobody has open.
func copyOf(t *testing.T, file string) string {
	to := filepath.Join(t.TempDir(), "copy.db")
	from, err := os.Open(file)
	Expect(err).NotTo(HaveOccurred())
	defer from.Close() //nolint:errcheck // it is only read
	into, err := os.Create(to)
	Expect(err).NotTo(HaveOccurred())
	_, err = io.Copy(into, from)
	Expect(err).NotTo(HaveOccurred())
	Expect(into.Close()).To(Succeed())
	return to
}

// TestACopyAfterTheClockWasAhead: positions that a year ahead has made are no reason to give out those again that a later copy of the
// database has given out.
func TestACopyAfterTheClockWasAhead(t *testing.T) {
	file, log := filepath.Join(t.TempDir(), "hanse.db"), &logged{}
	open := func(file string, noted store.Position) *fixture {
		db := &fixture{dialect: sqlite.OpenUnsynced(file), leap: true, reached: noted, log: log.logger()}
		db.start()
		return db
	}
	// use writes something, and returns the last position.
	use := func(db *fixture) store.Position {
		Expect(db.note(context.Background(), "1")).To(Succeed())
		defer db.stop()
		return db.Position()
	}
	var first, ahead store.Position
	var before string
	atYear(t, 2027, func(t *testing.T) { first = use(open(file, 0)) })
	before = copyOf(t, file)
	atYear(t, 2028, func(t *testing.T) { ahead = use(open(file, 0)) })
	if log.String() != "" {
		t.Errorf("there is nothing to say yet: %s", log)
	}
	atYear(t, 2027, func(t *testing.T) {
		time.Sleep(time.Hour)
		backup := copyOf(t, file)
		lost := use(open(file, 0))
		Expect(log.String()).To(ContainSubstring("the clock of this machine was ahead"))
		time.Sleep(time.Hour)
		lost = max(lost, use(open(file, 0)))
		time.Sleep(time.Hour)
		Expect(log.errors()).To(BeZero())

		db := open(backup, 0)
		Expect(db.Position()).To(BeNumerically(">", lost))
		Expect(db.Lost(lost)).To(BeTrue())
		Expect(db.Lost(ahead)).To(BeFalse())
		use(db)
		time.Sleep(time.Second)
		db = open(before, ahead) // of before the clock was ahead
		Expect(db.Position()).To(BeNumerically(">", ahead))
		Expect(db.Lost(ahead)).To(BeTrue())
		Expect(db.Lost(first)).To(BeFalse())
		Expect(use(db)).To(BeNumerically("<", store.Position(1<<53)))
	})
}

// TestWhatAClockAheadHasLeft: what it has put off isn't put off for so long, and what it has made good isn't good for so long.
func TestWhatAClockAheadHasLeft(t *testing.T) {
	const bob id.UserID = "@bob:there.example"
	file := filepath.Join(t.TempDir(), "hanse.db")
	open := func() *fixture {
		db := &fixture{dialect: sqlite.OpenUnsynced(file)}
		db.start()
		return db
	}
	raw := []byte(`{"server_name":"there.example","verify_keys":{"ed25519:1":{"key":"O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik"}},"old_verify_keys":{},"valid_until_ts":4000000000000}`)
	atYear(t, 2028, func(t *testing.T) {
		db := open()
		defer db.stop()
		db.withBob()
		Expect(db.TrackDevices(t.Context(), []id.UserID{bob}, true)).To(Succeed())
		Expect(db.DevicesRefused(t.Context(), bob, time.Now())).To(Succeed())
		k, err := keys.LoadServerKeys(raw, time.Now().UnixMilli())
		Expect(err).NotTo(HaveOccurred())
		Expect(db.SaveKeys(t.Context(), []keys.ServerKeys{k})).To(Succeed())
	})
	atYear(t, 2027, func(t *testing.T) {
		db := open()
		defer db.stop()
		Expect(db.StaleDevices(t.Context(), time.Now(), "", 10)).To(ConsistOf(bob))
		k, err := db.Keys(t.Context(), []id.ServerName{"there.example"})
		Expect(err).NotTo(HaveOccurred())
		Expect(k).To(HaveLen(1))
		Expect(k[0].ValidUntil()).To(BeNumerically("<=", time.Now().Add(8*24*time.Hour).UnixMilli()))
	})
}
