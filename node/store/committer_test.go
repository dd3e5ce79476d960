package store_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/node/store"
	"hanse/node/store/sqlite"
)

var _ = onEach("The committer", func(db *fixture) {
	It("writes many at once, and fails only those that fail", func(ctx SpecContext) {
		Expect(db.CreateUser(ctx, store.User{ID: alice, Created: time.Now()})).To(Succeed())
		const n = 200
		errs := make([]error, n)
		var wait sync.WaitGroup
		for i := range n {
			wait.Go(func() {
				user := id.UserID(fmt.Sprintf("@u%d:here.example", i))
				if i%10 == 0 {
					user = alice
				}
				errs[i] = db.CreateUser(ctx, store.User{ID: user, Created: time.Now()})
			})
		}
		wait.Wait()
		for i, err := range errs {
			if i%10 == 0 {
				Expect(err).To(MatchError(store.ErrExists))
			} else {
				Expect(err).NotTo(HaveOccurred())
			}
		}
		Expect(must(db.Users(ctx, "", 1000))).To(HaveLen(n - n/10 + 1))
	})

	It("goes to a server twice for a transaction, however many rows of however many tables it has", func(ctx SpecContext) {
		if db.dialect.Together == nil {
			Skip("its statements go nowhere")
		}
		db.stop()
		together := db.dialect.Together
		var ways [][]string
		db.dialect.Together = func(ctx context.Context, conn any, statements []store.Statement) (int64, error) {
			var texts []string
			for _, s := range statements {
				texts = append(texts, s.Text)
			}
			ways = append(ways, texts)
			return together(ctx, conn, statements)
		}
		db.start()
		a := must(create(db.Store, roomversion.V11))
		ways = nil // nothing is written meanwhile: what is behind the commits isn't run
		must(a.propose(store.CommitOptions{}, message(alice, "one"), message(alice, "two"), message(alice, "three")))
		Expect(ways).To(HaveLen(2))
		Expect(ways[0][0]).To(Equal(db.dialect.Begin))
		Expect(len(ways[0])).To(BeNumerically(">", 3))
		Expect(ways[1]).To(Equal([]string{"COMMIT"}))
	})

	It("has no more in memory than a part of what a large transaction writes, beside what was given", func(ctx SpecContext) {
		if db.dialect.Together == nil {
			Skip("its statements go nowhere")
		}
		db.stop()
		together := db.dialect.Together
		most, all := 0, 0
		db.dialect.Together = func(ctx context.Context, conn any, statements []store.Statement) (int64, error) {
			bytes := 0
			for _, s := range statements {
				for _, arg := range s.Args {
					if content, ok := arg.([]byte); ok {
						bytes += len(content)
					}
				}
			}
			most, all = max(most, bytes), all+bytes
			return together(ctx, conn, statements)
		}
		db.start()
		a := must(create(db.Store, roomversion.V11))
		var said []event.Draft
		for range 130 {
			said = append(said, message(alice, strings.Repeat("x", 60_000)))
		}
		most, all = 0, 0
		must(a.propose(store.CommitOptions{}, said...))
		Expect(all).To(BeNumerically(">", 130*60_000))
		Expect(most).To(BeNumerically("<", 6<<20))
	})

	It("gives positions in commit order, which readers see at once", func(ctx SpecContext) {
		var wait sync.WaitGroup
		for i := range 8 {
			wait.Go(func() {
				defer GinkgoRecover()
				user := id.UserID(fmt.Sprintf("@u%d:here.example", i))
				last := store.Position(0)
				for range 20 {
					at := must(db.SetAccountData(ctx, user, "", "t", []byte(`{}`)))
					Expect(at).To(BeNumerically(">", last))
					Expect(db.Position()).To(BeNumerically(">=", at))
					entry, found, err := db.AccountData(ctx, user, "", "t")
					Expect(err).NotTo(HaveOccurred())
					Expect(found).To(BeTrue())
					Expect(entry.Position).To(Equal(at))
					last = at
				}
			})
		}
		wait.Wait()
		before := db.Position()
		db.restart()
		Expect(db.Position()).To(Equal(before))
	})

	It("writes nothing for one who gave up before, and takes nothing after the end", func(ctx SpecContext) {
		gone, cancel := context.WithCancel(ctx)
		cancel()
		err := db.CreateUser(gone, store.User{ID: alice, Created: time.Now()})
		if err != nil { // the committer may have been quicker
			Expect(err).To(MatchError(context.Canceled))
			_, found, err := db.User(ctx, alice)
			Expect(err).NotTo(HaveOccurred())
			Expect(found).To(BeFalse())
		}
		db.cancel()
		Expect(<-db.ended).To(Succeed())
		db.ended <- nil // for stop
		err = db.CreateUser(ctx, store.User{ID: dora, Created: time.Now()})
		Expect(err).To(MatchError(store.ErrClosed))
		told, ok := errors.AsType[*federation.Error](err)
		Expect(ok).To(BeTrue(), "who asked comes again")
		Expect(told.Status).To(Equal(http.StatusServiceUnavailable))
	})

	It("stops when another process writes to its database", func(ctx SpecContext) {
		other := &fixture{dialect: db.dialect}
		other.start()
		must(other.SetAccountData(ctx, alice, "", "t", []byte(`1`)))
		other.stop()
		for range 2 {
			_, err := db.SetAccountData(ctx, alice, "", "t", []byte(`2`))
			Expect(err).To(MatchError(store.ErrOtherWriter))
		}
		entry, _, err := db.AccountData(ctx, alice, "", "t")
		Expect(err).NotTo(HaveOccurred())
		Expect(string(entry.Content)).To(Equal("1"))
	})

	It("makes a client's transaction once", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V12))
		txn := store.ClientTxn{User: alice, Device: "D", Endpoint: "send", TxnID: "1"}
		commit := func() (id.EventID, error) {
			draft := must(a.draft(message(alice, "x")))
			e := must(draft.Sign(a.rules, self, testKey()))
			txn.EventID = e.ID()
			c := commitOf(a, e)
			_, err := db.Commit(ctx, c, store.CommitOptions{ClientTxns: []store.ClientTxn{txn}})
			return e.ID(), err
		}
		first, err := commit()
		Expect(err).NotTo(HaveOccurred())
		time.Sleep(2 * time.Millisecond) // another time, another event
		second, err := commit()
		Expect(err).To(MatchError(store.ErrClientTxnUsed))
		Expect(must(db.Known(ctx, []id.EventID{first, second}))).To(Equal(map[id.EventID]bool{first: true}))
		made, found, err := db.ClientTxn(ctx, alice, "D", "send", "1")
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeTrue())
		Expect(made).To(Equal(first))
		_, found, err = db.ClientTxn(ctx, alice, "E", "send", "1")
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())
		row := must(db.Events(ctx, []id.EventID{first}))[first]
		Expect([]string{row.TxnDevice, row.TxnID}).To(Equal([]string{"D", "1"}))
		Expect(db.Clean(ctx, time.Now().Add(365*24*time.Hour))).To(Succeed())
		_, found, err = db.ClientTxn(ctx, alice, "D", "send", "1")
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())
	})

	It("takes a client's transaction once, of two rooms' commits in one transaction too", func(ctx SpecContext) {
		commits := map[id.EventID]room.Commit{}
		for range 2 {
			a := must(create(db.Store, roomversion.V10))
			c := commitOf(a, a.foreign(message(alice, "once")))
			commits[c.Events[0].Event.ID()] = c
		}
		release := db.HoldWriter()
		errs := make(chan error, len(commits))
		for e, c := range commits {
			txn := store.ClientTxn{User: alice, Device: "D", Endpoint: "send", TxnID: "once", EventID: e}
			go func() {
				_, err := db.Commit(ctx, c, store.CommitOptions{ClientTxns: []store.ClientTxn{txn}})
				errs <- err
			}()
		}
		Eventually(ctx, db.Queued).Should(Equal(len(commits)))
		release()
		Expect([]error{<-errs, <-errs}).To(ConsistOf(BeNil(), MatchError(store.ErrClientTxnUsed)))
	})

	It("creates a room's alias and listing with it, or nothing", func(ctx SpecContext) {
		Expect(db.CreateAlias(ctx, store.Alias{Alias: "#taken:here.example", RoomID: "!x:y", Creator: alice})).To(Succeed())
		a := must(create(db.Store, roomversion.V10))
		draft := must(a.draft(message(alice, "x")))
		e := must(draft.Sign(a.rules, self, testKey()))
		yes := true
		aliases := []store.Alias{{Alias: "#new:here.example", RoomID: a.id(), Creator: alice}, {Alias: "#taken:here.example", RoomID: a.id(), Creator: alice}}
		_, err := db.Commit(ctx, commitOf(a, e), store.CommitOptions{Aliases: aliases, Publish: &yes})
		Expect(err).To(MatchError(store.ErrExists))
		Expect(must(db.PublishedRooms(ctx))).To(BeEmpty())
		must(db.Commit(ctx, commitOf(a, e), store.CommitOptions{Aliases: aliases[:1], Publish: &yes}))
		Expect(must(db.Aliases(ctx, a.id()))).To(Equal(aliases[:1]))
		Expect(must(db.PublishedRooms(ctx))).To(ConsistOf(SatisfyAll(HaveField("RoomID", a.id()), HaveField("Joined", 1), HaveField("Position", BeNumerically(">", 0)))))
		Expect(db.Publish(ctx, a.id(), false)).To(Succeed())
		Expect(must(db.PublishedRooms(ctx))).To(BeEmpty())
	})

	It("tells its feed in order, and the slow ones that they are", func(ctx SpecContext) {
		quick, slow := db.Follow(10), db.Follow(9)
		defer quick.Close()
		for i := range 10 {
			must(db.SetAccountData(ctx, alice, "", fmt.Sprint(i), []byte(`{}`)))
		}
		Eventually(ctx, quick.Wake).Should(Receive())
		notices, upto, lost := quick.Take()
		Expect(lost).To(BeFalse())
		Expect(upto).To(Equal(db.Position()))
		Expect(notices).To(HaveLen(10))
		last := store.Position(0)
		for _, n := range notices {
			Expect(n.Position).To(BeNumerically(">", last))
			Expect(n.Users).To(Equal([]id.UserID{alice}))
			last = n.Position
		}
		notices, upto, lost = slow.Take()
		Expect(lost).To(BeTrue())
		Expect(notices).To(BeEmpty())
		Expect(upto).To(Equal(db.Position()))
		_, _, lost = slow.Take()
		Expect(lost).To(BeFalse())
		slow.Close()
		slow.Close()
	})
})

var _ = onEach("The schema", func(db *fixture) {
	It("belongs to one server", func(ctx SpecContext) {
		_, err := store.Open(ctx, db.dialect, store.Options{ServerName: "other.example"})
		var name *store.ServerNameError
		Expect(errors.As(err, &name)).To(BeTrue())
		Expect(err.Error()).To(And(ContainSubstring("here.example"), ContainSubstring("other.example")))
	})

	It("of a newer version is left alone", func(ctx SpecContext) {
		write, read, err := db.dialect.Connect(ctx)
		Expect(err).NotTo(HaveOccurred())
		defer read.Close() //nolint:errcheck // a test
		_, err = write.ExecContext(ctx, "INSERT INTO schema_version (version) VALUES (999)")
		Expect(err).NotTo(HaveOccurred())
		Expect(write.Close()).To(Succeed())
		_, err = store.Open(ctx, db.dialect, store.Options{ServerName: self})
		var schema *store.SchemaError
		Expect(errors.As(err, &schema)).To(BeTrue())
		Expect(schema.Stored).To(Equal(999))
	})

	It("that lacks what an older version had is refused, not built upon", func(ctx SpecContext) {
		write, read, err := db.dialect.Connect(ctx)
		Expect(err).NotTo(HaveOccurred())
		defer write.Close() //nolint:errcheck // a test
		defer read.Close()  //nolint:errcheck // a test
		const old = 9
		for _, statement := range []string{fmt.Sprint("DELETE FROM schema_version WHERE version > ", old), "DROP TABLE media_usage"} {
			_, err = write.ExecContext(ctx, statement)
			Expect(err).NotTo(HaveOccurred())
		}
		_, err = store.Open(ctx, db.dialect, store.Options{ServerName: self})
		var unfinished *store.UnfinishedSchemaError
		Expect(errors.As(err, &unfinished)).To(BeTrue(), "%v", err)
		Expect(*unfinished).To(And(HaveField("Stored", old), HaveField("Table", "media_usage")))
		var stored int
		Expect(write.QueryRowContext(ctx, "SELECT MAX(version) FROM schema_version").Scan(&stored)).To(Succeed())
		Expect(stored).To(Equal(old), "nothing was changed")
	})
})

var _ = Describe("SQLite", func() {
	It("says which file can't be opened", func(ctx SpecContext) {
		path := filepath.Join(GinkgoT().TempDir(), "no", "such", "folder", "hanse.db")
		_, err := store.Open(ctx, sqlite.Open(path), store.Options{})
		Expect(err).To(MatchError(ContainSubstring(path)))
	})

	It("reads while the writer is in a transaction", func(ctx SpecContext) {
		db := &fixture{dialect: sqlite.OpenUnsynced(filepath.Join(GinkgoT().TempDir(), "hanse.db"))}
		db.start()
		defer db.stop()
		must(db.SetAccountData(ctx, alice, "", "t", []byte(`1`)))
		_, err := db.UpdateAccountData(ctx, alice, "", "t", func(old json.RawMessage) (json.RawMessage, error) {
			quick, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			entry, _, err := db.AccountData(quick, alice, "", "t")
			if err != nil {
				return nil, err
			}
			Expect(string(entry.Content)).To(Equal("1"))
			return json.RawMessage("2"), nil
		})
		Expect(err).NotTo(HaveOccurred())
	})

	It("looks at its files, and makes the log longer, while no other process can write", func(ctx SpecContext) {
		path := filepath.Join(GinkgoT().TempDir(), "hanse.db")
		db := &fixture{dialect: sqlite.Open(path)}
		db.start()
		db.stop()
		other := must(sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(0)"))
		defer other.Close() //nolint:errcheck // a test
		other.SetMaxOpenConns(1)
		check, checked, free := db.dialect.Check, 0, 0
		db.dialect.Check = func() error {
			checked++
			if _, err := other.Exec("BEGIN IMMEDIATE"); err == nil {
				free++
				_, _ = other.Exec("ROLLBACK")
			}
			return check()
		}
		db.start()
		defer db.stop()
		must(db.SetAccountData(ctx, alice, "", "t", []byte(`1`)))
		Expect(checked).To(BeNumerically(">", 0))
		Expect(free).To(BeZero())
	})
})
