package store_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/node/store"
	"hanse/node/store/postgres"
	"hanse/node/store/sqlite"
)

// upgradeDatabase, if it is set in the environment, makes the test binary a process that opens that database, a URL or a file,
// and is killed while it brings the schema up to date. It prints each statement before it runs it, and waits for a line.
const upgradeDatabase = "HANSE_STORE_UPGRADE_DATABASE"

func upgrade(database string) error {
	asked := bufio.NewReader(os.Stdin)
	var steps faults
	steps.set(nil, func(query string) error {
		fmt.Println(strings.Join(strings.Fields(query), " "))
		_, err := asked.ReadString('\n')
		return err
	})
	s, err := store.Open(context.Background(), steps.in(dialectOf(database)), store.Options{ServerName: self})
	if err != nil {
		return err
	}
	return s.Close()
}

func dialectOf(database string) store.Dialect {
	if strings.HasPrefix(database, "postgres://") {
		return postgres.Open(database)
	}
	return sqlite.OpenUnsynced(database) // a process is killed, not the machine
}

// upgradeKilled has a process bring a database up to date and kills it before the statement for which at says so, or, if that is
// a COMMIT, while it is carried out. It returns false if the process came to its end.
func upgradeKilled(database string, at func(statement string) bool) (killed bool) {
	GinkgoHelper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), upgradeDatabase+"="+database)
	cmd.Stderr = GinkgoWriter
	in, out := must(cmd.StdinPipe()), must(cmd.StdoutPipe())
	Expect(cmd.Start()).To(Succeed())
	for lines := bufio.NewScanner(out); lines.Scan(); {
		committing := lines.Text() == "COMMIT"
		if killed = at(lines.Text()); !killed || committing {
			_, err := io.WriteString(in, "\n")
			Expect(err).NotTo(HaveOccurred())
		}
		if killed {
			Expect(cmd.Process.Kill()).To(Succeed())
			break
		}
	}
	if err := cmd.Wait(); !killed {
		Expect(err).NotTo(HaveOccurred(), "it has nothing to complain of")
	}
	return killed
}

// killAtMigrations kills processes that bring a database up to date, so many at most: in the middle of a migration, then while
// one is committed, and so on through all. It returns how many were killed.
func killAtMigrations(database string, most int) (kills int) {
	GinkgoHelper()
	for ; kills < most; kills++ {
		statements := 0 // of this migration
		if !upgradeKilled(database, func(statement string) bool {
			switch {
			case strings.HasPrefix(statement, "SELECT COALESCE(MAX(version)"):
				statements = 0
			case statement == "COMMIT":
				return kills%2 == 1
			case changes.MatchString(statement):
				statements++
			}
			return kills%2 == 0 && statements == 2 // the last one notes the version: each has two
		}) {
			break
		}
	}
	return kills
}

// changes are the statements of migrations.
var changes = regexp.MustCompile("^(CREATE|ALTER|INSERT|UPDATE|DELETE|DROP) ")

// firstRelease is the number of migrations that the first release had.
const firstRelease = 3

// ofFirstRelease gives an empty database the schema of the first release, and copies into it what that has of another.
func ofFirstRelease(ctx context.Context, d, from store.Dialect) {
	GinkgoHelper()
	db, other := writerOf(ctx, d), writerOf(ctx, from)
	for _, table := range ofSchema(ctx, db, d, firstRelease) {
		copyTable(ctx, db, other, table)
	}
}

// ofSchema makes the first so many migrations of an empty database. It returns the tables.
func ofSchema(ctx context.Context, db *sql.DB, d store.Dialect, migrations int) (made []string) {
	GinkgoHelper()
	run := func(statement string, args ...any) {
		GinkgoHelper()
		_, err := db.ExecContext(ctx, statement, args...)
		Expect(err).NotTo(HaveOccurred(), statement)
	}
	run("CREATE TABLE schema_version (version " + d.Integer + " NOT NULL)")
	words := strings.NewReplacer("INT64", d.Integer, "BYTES", d.Bytes, "CHARS", d.Text, "KEYED", d.TableEnd)
	for i, file := range must(filepath.Glob("migrations/*.sql"))[:migrations] {
		schema := words.Replace(string(must(os.ReadFile(file))))
		run(schema)
		run("INSERT INTO schema_version (version) VALUES ($1)", i+1)
		for _, match := range tables.FindAllStringSubmatch(schema, -1) {
			made = append(made, match[1])
		}
	}
	return made
}

var tables = regexp.MustCompile(`(?m)^CREATE TABLE (\w+)`)

func writerOf(ctx context.Context, d store.Dialect) *sql.DB {
	GinkgoHelper()
	write, read, err := d.Connect(ctx)
	Expect(err).NotTo(HaveOccurred())
	Expect(read.Close()).To(Succeed())
	DeferCleanup(write.Close)
	return write
}

// copyTable copies the columns of a table that both databases have.
func copyTable(ctx context.Context, to, from *sql.DB, table string) {
	GinkgoHelper()
	columnsOf := func(db *sql.DB) []string {
		GinkgoHelper()
		rows := must(db.QueryContext(ctx, "SELECT * FROM "+table+" LIMIT 0"))
		defer rows.Close() //nolint:errcheck // a test
		return must(rows.Columns())
	}
	later := columnsOf(from)
	columns := slices.DeleteFunc(columnsOf(to), func(c string) bool { return !slices.Contains(later, c) })
	if len(columns) == 0 {
		return
	}
	var places []string
	for i := range columns {
		places = append(places, fmt.Sprintf("$%d", i+1))
	}
	list := strings.Join(columns, ", ")
	_, err := to.ExecContext(ctx, "DELETE FROM "+table)
	Expect(err).NotTo(HaveOccurred())
	rows := must(from.QueryContext(ctx, "SELECT "+list+" FROM "+table))
	defer rows.Close() //nolint:errcheck // a test
	for rows.Next() {
		values, pointers := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			pointers[i] = &values[i]
		}
		Expect(rows.Scan(pointers...)).To(Succeed())
		_, err := to.ExecContext(ctx, "INSERT INTO "+table+" ("+list+") VALUES ("+strings.Join(places, ", ")+")", values...)
		Expect(err).NotTo(HaveOccurred(), table)
	}
	Expect(rows.Err()).NotTo(HaveOccurred())
}

// places are where databases can be made that another process opens too.
func places() map[string]func(ctx context.Context) string {
	all := map[string]func(ctx context.Context) string{"SQLite": func(context.Context) string {
		return filepath.Join(GinkgoT().TempDir(), "hanse.db")
	}}
	if server := os.Getenv("HANSE_TEST_POSTGRES"); server != "" {
		all["PostgreSQL"] = func(ctx context.Context) string {
			GinkgoHelper()
			return must(freshPostgresURL(ctx, server))
		}
	}
	return all
}

var _ = Describe("Migrations whose process is killed", func() {
	for kind, place := range places() {
		It("are made at the next start, of a new database on "+kind, func(ctx SpecContext) {
			database := place(ctx)
			Expect(killAtMigrations(database, 2*firstRelease)).To(Equal(2 * firstRelease))
			db := &fixture{dialect: dialectOf(database)}
			db.start()
			defer db.stop()
			must(must(create(db.Store, roomversion.V11)).propose(store.CommitOptions{}, message(alice, "hello")))
		})

		It("are made at the next start, of a database of the first release on "+kind+", which keeps all it has", func(ctx SpecContext) {
			origin := &fixture{dialect: dialectOf(place(ctx))}
			origin.start()
			a := must(create(origin.Store, roomversion.V11))
			var said []id.EventID
			for i := range 20 {
				said = append(said, eventIDs(must(a.propose(store.CommitOptions{}, message(alice, fmt.Sprint(i)))))...)
			}
			must(origin.SetAccountData(ctx, alice, "", "n", []byte("1")))
			origin.stop()
			database := place(ctx)
			ofFirstRelease(ctx, dialectOf(database), origin.dialect)
			later := len(must(filepath.Glob("migrations/*.sql"))) - firstRelease
			Expect(killAtMigrations(database, 4*later)).To(BeNumerically(">=", 2*later-1), "in each, and while each was committed")
			db := &fixture{dialect: dialectOf(database)}
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

		It("are made at the next start, of a database whose client transactions stand in no batches on "+kind+", which knows them until they expire", func(ctx SpecContext) {
			origin := &fixture{dialect: dialectOf(place(ctx))}
			origin.start()
			a := must(create(origin.Store, roomversion.V12))
			draft := must(a.draft(message(alice, "hello")))
			sent := must(draft.Sign(a.rules, self, testKey()))
			txn := store.ClientTxn{User: alice, Device: "D", Endpoint: "send", TxnID: "1", EventID: sent.ID()}
			must(origin.Commit(ctx, commitOf(a, sent), store.CommitOptions{ClientTxns: []store.ClientTxn{txn}}))
			Expect(origin.Clean(ctx, time.Now())).To(Succeed()) // else it is in the tail
			var key []byte
			Expect(writerOf(ctx, origin.dialect).QueryRowContext(ctx, "SELECT txn_key FROM client_txns").Scan(&key)).To(Succeed())
			origin.stop()

			const batched = 28
			database := place(ctx)
			old := writerOf(ctx, dialectOf(database))
			ofSchema(ctx, old, dialectOf(database), batched-1)
			newest := time.UnixMilli(1_700_000_000_000)
			for i, key := range [][]byte{key, []byte("another's, older")} {
				_, err := old.ExecContext(ctx, "INSERT INTO client_txns (txn_key, event_id, created) VALUES ($1, $2, $3)", key, string(sent.ID()), newest.Add(time.Duration(-i)*time.Hour).UnixMilli())
				Expect(err).NotTo(HaveOccurred())
			}
			Expect(old.Close()).To(Succeed())
			Expect(killAtMigrations(database, 2)).To(Equal(2), "in it, and while it was committed")
			db := &fixture{dialect: dialectOf(database)}
			db.start()
			defer func() { db.stop() }()
			knows := func() bool {
				GinkgoHelper()
				e, found, err := db.ClientTxn(ctx, txn.User, txn.Device, txn.Endpoint, txn.TxnID)
				Expect(err).NotTo(HaveOccurred())
				if found {
					Expect(e).To(Equal(sent.ID()))
				}
				return found
			}
			Expect(knows()).To(BeTrue(), "while the filter isn't read")
			Expect(db.ReadUsedTxns(ctx)).To(Succeed())
			Expect(db.Clean(ctx, newest.Add(13*24*time.Hour))).To(Succeed())
			Expect(knows()).To(BeTrue())
			db.restart()
			Expect(db.Clean(ctx, newest.Add(15*24*time.Hour))).To(Succeed())
			Expect(knows()).To(BeFalse())
		})
	}
})

var _ = Describe("The log of a start", func() {
	for _, kind := range databases() {
		It("tells of migrations before and after, and of none where there are none, on "+kind.name, func(ctx SpecContext) {
			var log logged
			db := &fixture{dialect: must(kind.fresh(ctx, GinkgoT().TempDir())), log: log.logger()}
			db.start()
			db.stop()
			Expect(log.String()).NotTo(ContainSubstring("schema"), "the database is new")

			db.dialect = must(kind.fresh(ctx, GinkgoT().TempDir()))
			old := writerOf(ctx, db.dialect)
			ofSchema(ctx, old, db.dialect, firstRelease)
			Expect(old.Close()).To(Succeed())
			for range 2 { // the second finds it up to date
				db.start()
				db.stop()
				newest := len(must(filepath.Glob("migrations/*.sql")))
				Expect(regexp.MustCompile(`the database's schema .*`).FindAllString(log.String(), -1)).To(HaveExactElements(
					Equal(fmt.Sprintf(`the database's schema is being brought up to date" from=%d to=%d`, firstRelease, newest)),
					MatchRegexp(`schema is up to date" took=\d`),
				))
			}
		})
	}
})
