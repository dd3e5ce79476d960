package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/node/store"
	"hanse/node/store/sqlite"
)

// upgradeFile, if it is set in the environment, makes the test binary a process that opens the database in that file, and is
// killed while it brings the schema up to date.
const upgradeFile = "HANSE_STORE_UPGRADE_FILE"

func upgrade(path string) error {
	s, err := store.Open(context.Background(), sqlite.Open(path), store.Options{ServerName: self})
	if err != nil {
		return err
	}
	return s.Close()
}

// firstRelease is the number of migrations that the first release had.
const firstRelease = 3

// ofFirstRelease makes a database with the schema of the first release, and copies into it what that has of another.
func ofFirstRelease(path, from string) {
	GinkgoHelper()
	d := sqlite.Open(path)
	db, read, err := d.Connect(context.Background())
	Expect(err).NotTo(HaveOccurred())
	defer db.Close()   //nolint:errcheck // a test
	defer read.Close() //nolint:errcheck // a test
	db.SetMaxOpenConns(1)
	run := func(statement string) {
		GinkgoHelper()
		_, err := db.Exec(statement)
		Expect(err).NotTo(HaveOccurred(), statement)
	}
	run("CREATE TABLE schema_version (version " + d.Integer + " NOT NULL)")
	files := must(filepath.Glob("migrations/*.sql"))
	words := strings.NewReplacer("INT64", d.Integer, "BYTES", d.Bytes, "CHARS", d.Text, "KEYED", d.TableEnd)
	for i, file := range files[:firstRelease] {
		run(words.Replace(string(must(os.ReadFile(file)))))
		run(fmt.Sprintf("INSERT INTO schema_version (version) VALUES (%d)", i+1))
	}
	run("ATTACH DATABASE '" + from + "' AS later")
	for _, table := range columnOf(db, "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'schema_version'") {
		columns := columnOf(db, "SELECT name FROM pragma_table_info('"+table+"')")
		later := columnOf(db, "SELECT name FROM pragma_table_info('"+table+"', 'later')")
		columns = slices.DeleteFunc(columns, func(c string) bool { return !slices.Contains(later, c) })
		if len(columns) > 0 {
			list := strings.Join(columns, ", ")
			run("DELETE FROM " + table)
			run("INSERT INTO " + table + " (" + list + ") SELECT " + list + " FROM later." + table)
		}
	}
	run("DETACH DATABASE later")
}

func columnOf(db *sql.DB, query string) []string {
	GinkgoHelper()
	rows := must(db.Query(query))
	defer rows.Close() //nolint:errcheck // a test
	var all []string
	for rows.Next() {
		var name string
		Expect(rows.Scan(&name)).To(Succeed())
		all = append(all, name)
	}
	Expect(rows.Err()).NotTo(HaveOccurred())
	return all
}

var _ = Describe("A database of the first release", func() {
	It("is brought up to date whenever a process that does so is killed", func(ctx SpecContext) {
		dir := GinkgoT().TempDir()
		origin := &fixture{dialect: sqlite.Open(filepath.Join(dir, "origin.db"))}
		origin.start()
		a := must(create(origin.Store, roomversion.V11))
		var said []id.EventID
		for i := range 20 {
			said = append(said, eventIDs(must(a.propose(store.CommitOptions{}, message(alice, fmt.Sprint(i)))))...)
		}
		must(origin.SetAccountData(ctx, alice, "", "n", []byte("1")))
		origin.stop()
		seed := uint64(time.Now().UnixNano())
		fmt.Fprintln(GinkgoWriter, "seed", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		path := filepath.Join(dir, "old.db")
		ofFirstRelease(path, filepath.Join(dir, "origin.db"))
		for range 8 {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), upgradeFile+"="+path)
			cmd.Stderr = GinkgoWriter
			Expect(cmd.Start()).To(Succeed())
			timer := time.AfterFunc(time.Duration(10+random.IntN(80))*time.Millisecond, func() { cmd.Process.Kill() }) //nolint:errcheck // it may have ended
			if err := cmd.Wait(); err != nil {
				Expect(cmd.ProcessState.ExitCode()).To(Equal(-1), "it was killed, or had nothing to complain of")
			}
			timer.Stop()
		}
		db := &fixture{dialect: sqlite.Open(path)}
		db.start()
		defer db.stop()
		rows, _, err := db.Timeline(ctx, a.id(), 0, db.Position(), 100, false)
		Expect(err).NotTo(HaveOccurred())
		Expect(ids(rows)).To(ContainElements(said))
		data, _, err := db.AccountData(ctx, alice, "", "n")
		Expect(err).NotTo(HaveOccurred())
		Expect(string(data.Content)).To(Equal("1"))
		b := must(load(db.Store, a.id()))
		must(b.propose(store.CommitOptions{}, message(alice, "after")))
	})
})
