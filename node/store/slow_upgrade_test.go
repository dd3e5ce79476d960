package store_test

import (
	"database/sql"
	"path/filepath"
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
