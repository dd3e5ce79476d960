package store_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"

	"hanse/node/store"
	"hanse/node/store/sqlite"
)

// TestAnUpgradeThatTakesLong: the log tells each minute that it goes on.
func TestAnUpgradeThatTakesLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		RegisterTestingT(t)
		file, log, slow := filepath.Join(t.TempDir(), "hanse.db"), &logged{}, &faults{}
		old, err := sql.Open("sqlite", file)
		Expect(err).NotTo(HaveOccurred())
		ofSchema(t.Context(), old, sqlite.OpenUnsynced(file), firstRelease)
		Expect(old.Close()).To(Succeed())
		slow.set(nil, func(query string) error {
			if strings.HasPrefix(query, "ALTER TABLE members ADD COLUMN since") {
				time.Sleep(10*time.Minute + time.Second) // virtual
			}
			return nil
		})
		s, err := store.Open(t.Context(), slow.in(sqlite.OpenUnsynced(file)), store.Options{Log: log.logger()})
		Expect(err).NotTo(HaveOccurred())
		Expect(s.Close()).To(Succeed())
		Expect(strings.Count(log.String(), "is under way")).To(Equal(10), log.String())
		Expect(log.String()).To(ContainSubstring("version=13"))
	})
}

// TestAnUpgradeSortsOnDisk: an index of a table of millions of rows doesn't need memory for all of them.
func TestAnUpgradeSortsOnDisk(t *testing.T) {
	RegisterTestingT(t)
	folder := filepath.Join(t.TempDir(), "o'clock")
	Expect(os.Mkdir(folder, 0o700)).To(Succeed())
	file, seen := filepath.Join(folder, "hanse.db"), &faults{}
	old, err := sql.Open("sqlite", file)
	Expect(err).NotTo(HaveOccurred())
	defer old.Close() //nolint:errcheck // it is only read
	ofSchema(t.Context(), old, sqlite.OpenUnsynced(file), firstRelease)
	var order []string
	seen.set(nil, func(query string) error {
		var place string
		switch {
		case strings.HasPrefix(query, "PRAGMA temp_store ="):
			order = append(order, query)
		case strings.HasPrefix(query, "CREATE INDEX"):
			_ = old.QueryRow("PRAGMA temp_store_directory").Scan(&place) // no row: none is set
			order = append(order, place)
		}
		return nil
	})
	open := func() []string {
		order = nil
		s, err := store.Open(t.Context(), seen.in(sqlite.OpenUnsynced(file)), store.Options{})
		Expect(err).NotTo(HaveOccurred())
		Expect(s.Close()).To(Succeed())
		return slices.Compact(order)
	}
	Expect(open()).To(Equal([]string{"PRAGMA temp_store = FILE", folder, "PRAGMA temp_store = MEMORY"}))
	Expect(open()).To(BeEmpty(), "there is nothing to do any more")
}
