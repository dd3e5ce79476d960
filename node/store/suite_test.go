package store_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ed25519"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
	"hanse/node/store"
	"hanse/node/store/postgres"
	"hanse/node/store/sqlite"
)

func TestStore(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(2 * time.Minute) // on a loaded machine
	RunSpecs(t, "node/store")
}

const (
	self  id.ServerName = "here.example"
	alice id.UserID     = "@alice:here.example"
	bob   id.UserID     = "@bob:there.example"
	dora  id.UserID     = "@dora:here.example"
)

// database is a kind of database that the contract is tested on; fresh makes an empty one, in dir if it is in a file.
type database struct {
	name  string
	fresh func(ctx context.Context, dir string) (store.Dialect, error)
}

// databases are SQLite and, if HANSE_TEST_POSTGRES names a server where databases may be made, PostgreSQL.
func databases() []database {
	all := []database{{"SQLite", func(_ context.Context, dir string) (store.Dialect, error) {
		return oneReader(sqlite.OpenUnsynced(filepath.Join(dir, "hanse.db"))), nil
	}}}
	if server := os.Getenv("HANSE_TEST_POSTGRES"); server != "" {
		all = append(all, database{"PostgreSQL", func(ctx context.Context, _ string) (store.Dialect, error) {
			dialect, err := freshPostgres(ctx, server)
			return oneReader(dialect), err
		}})
	}
	return all
}

// oneReader gives the store a single connection for reading: a read inside a read would wait for ever.
func oneReader(d store.Dialect) store.Dialect {
	connect := d.Connect
	d.Connect = func(ctx context.Context) (write, read *sql.DB, err error) {
		write, read, err = connect(ctx)
		if err == nil {
			read.SetMaxOpenConns(1)
		}
		return write, read, err
	}
	return d
}

// freshPostgres makes a database on a server. It stays: the server is a test's own.
func freshPostgres(ctx context.Context, server string) (store.Dialect, error) {
	url, err := freshPostgresURL(ctx, server)
	return postgres.Open(url), err
}

func freshPostgresURL(ctx context.Context, server string) (string, error) {
	write, read, err := postgres.Open(server).Connect(ctx)
	if err != nil {
		return "", err
	}
	defer write.Close() //nolint:errcheck // a test
	defer read.Close()  //nolint:errcheck // a test
	name := fmt.Sprintf("hanse_test_%d_%d", os.Getpid(), time.Now().UnixNano())
	if _, err := write.ExecContext(ctx, "CREATE DATABASE "+name+" ENCODING 'UTF8' TEMPLATE template0"); err != nil {
		return "", err
	}
	before, query, _ := strings.Cut(server, "?")
	slash := strings.LastIndex(before, "/")
	return before[:slash+1] + name + "?" + query, nil
}

// beside is a connection to a store's database that isn't the store's, for as long as the spec runs.
func beside(ctx context.Context, dialect store.Dialect) *sql.DB {
	GinkgoHelper()
	write, read, err := dialect.Connect(ctx)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() error { return errors.Join(read.Close(), write.Close()) })
	return write
}

// plan is how the database would answer a query, a step a line.
func (f *fixture) plan(ctx context.Context, query string) (steps []string) {
	GinkgoHelper()
	conn := must(beside(ctx, f.dialect).Conn(ctx))
	defer conn.Close() //nolint:errcheck // a test
	explain, column := "EXPLAIN QUERY PLAN ", 3
	if f.dialect.Name != "SQLite" {
		Expect(conn.ExecContext(ctx, "SET enable_seqscan = off")).Error().NotTo(HaveOccurred()) // it is cheaper in a small table
		explain, column = "EXPLAIN ", 0
	}
	nothing := make([]any, parameters(query))
	rows := must(conn.QueryContext(ctx, explain+query, nothing...))
	defer rows.Close() //nolint:errcheck // a test
	for rows.Next() {
		columns := make([]any, len(must(rows.Columns())))
		for i := range columns {
			columns[i] = new(any)
		}
		Expect(rows.Scan(columns...)).To(Succeed())
		steps = append(steps, fmt.Sprint(*columns[column].(*any)))
	}
	Expect(rows.Err()).NotTo(HaveOccurred())
	return steps
}

// parameters is how many values a statement takes.
func parameters(query string) (count int) {
	for _, name := range regexp.MustCompile(`\$\d+`).FindAllString(query, -1) {
		count = max(count, must(strconv.Atoi(name[1:])))
	}
	return max(count, strings.Count(query, "?"))
}

// onEach puts the specs of body on each database.
func onEach(what string, body func(db *fixture)) bool {
	for _, kind := range databases() {
		Describe(what+" on "+kind.name, func() {
			db := &fixture{}
			BeforeEach(func(ctx SpecContext) {
				var err error
				db.dialect, err = kind.fresh(ctx, GinkgoT().TempDir())
				Expect(err).NotTo(HaveOccurred())
				db.start()
				DeferCleanup(func() { db.stop() })
			})
			body(db)
		})
	}
	return true
}

// fixture is a running store.
type fixture struct {
	*store.Store
	dialect store.Dialect
	log     *slog.Logger   // nil: silence
	leap    bool           // at each start
	reached store.Position // noted elsewhere
	cancel  context.CancelFunc
	ended   chan error
}

func (f *fixture) start() {
	GinkgoHelper()
	var err error
	f.Store, err = store.Open(context.Background(), f.dialect, store.Options{ServerName: self, Log: f.log, Leap: f.leap, Noted: f.reached})
	Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel, f.ended = cancel, make(chan error, 1)
	go func(s *store.Store) { f.ended <- s.Run(ctx) }(f.Store)
}

func (f *fixture) stop() {
	GinkgoHelper()
	noteStatements(f.Store, f.dialect)
	f.cancel()
	Expect(<-f.ended).To(Succeed())
	Expect(f.Close()).To(Succeed())
}

// restart closes the store and opens it again.
func (f *fixture) restart() {
	GinkgoHelper()
	f.stop()
	f.start()
}

// testKey signs for every server: nobody looks at signatures here.
func testKey() signedjson.Key {
	return signedjson.Key{ID: "ed25519:1", Private: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
}

func rulesOf(version roomversion.Version) *roomversion.Rules {
	rules, ok := roomversion.Lookup(version)
	if !ok {
		panic("no room version " + string(version))
	}
	return rules
}

// actor is a room's machine with a store behind it, as node/rooms runs it.
type actor struct {
	store   *store.Store
	machine *room.Machine
	rules   *roomversion.Rules
}

func state(typ, key, content string, sender id.UserID) event.Draft {
	return event.Draft{Type: typ, StateKey: &key, Sender: sender, Content: json.RawMessage(content)}
}

func message(sender id.UserID, body string) event.Draft {
	return event.Draft{Type: "m.room.message", Sender: sender, Content: json.RawMessage(fmt.Sprintf(`{"msgtype":"m.text","body":%q}`, body))}
}

func member(user id.UserID, membership string, sender id.UserID) event.Draft {
	return state("m.room.member", string(user), fmt.Sprintf(`{"membership":%q}`, membership), sender)
}

// create makes a public room of alice's.
func create(s *store.Store, version roomversion.Version) (*actor, error) {
	rules := rulesOf(version)
	a := &actor{store: s, machine: room.New(self, rules), rules: rules}
	// Random, since rooms are made in the same millisecond here, and in version 12 equal create events are one room.
	nonce := rand.Uint64()
	first := state("m.room.create", "", fmt.Sprintf(`{"room_version":%q,"creator":%q,"nonce":"%d"}`, version, alice, nonce), alice)
	if !rules.RoomIDIsCreateEvent {
		first.RoomID = id.RoomID(fmt.Sprintf("!r%d:here.example", nonce))
	}
	_, err := a.propose(store.CommitOptions{}, first, member(alice, "join", alice),
		state("m.room.join_rules", "", `{"join_rule":"public"}`, alice))
	return a, err
}

func load(s *store.Store, r id.RoomID) (*actor, error) {
	snap, found, err := s.LoadRoom(context.Background(), r)
	if err != nil || !found {
		return nil, fmt.Errorf("loading %s: %v, %w", r, found, err)
	}
	return &actor{store: s, machine: room.Load(self, snap), rules: snap.Rules}, nil
}

func (a *actor) id() id.RoomID { return a.machine.RoomID() }

// step steps the machine and commits what it decided.
func (a *actor) step(in room.Input, opts store.CommitOptions) (room.Result, store.Position, error) {
	ctx := context.Background()
	result, err := a.machine.Step(time.Now(), in, a.store.Source(ctx, a.rules))
	if err != nil || result.Commit.Empty() {
		return result, 0, err
	}
	position, err := a.store.Commit(ctx, result.Commit, opts)
	return result, position, err
}

func (a *actor) propose(opts store.CommitOptions, drafts ...event.Draft) ([]*event.Event, error) {
	result, _, err := a.step(room.Propose{Drafts: drafts, Key: testKey()}, opts)
	if err != nil {
		return nil, err
	}
	var events []*event.Event
	for _, v := range result.Verdicts {
		if v.Status != room.Accepted {
			return nil, fmt.Errorf("refused: %s", v.Reason)
		}
	}
	for _, c := range result.Commit.Events {
		events = append(events, c.Event)
	}
	return events, nil
}

// foreign makes an event as another server would, on top of the room's extremities unless prev is given.
func (a *actor) foreign(d event.Draft, prev ...id.EventID) *event.Event {
	GinkgoHelper()
	template, err := a.draft(d)
	Expect(err).NotTo(HaveOccurred())
	if len(prev) > 0 {
		template.PrevEvents = prev
	}
	e, err := template.Sign(a.rules, d.Sender.Server(), testKey())
	Expect(err).NotTo(HaveOccurred())
	return e
}

// draft fills a draft for the room as it is now, refused or not.
func (a *actor) draft(d event.Draft) (event.Draft, error) {
	filled, err := a.machine.Template(time.Now(), d, testKey(), a.store.Source(context.Background(), a.rules))
	return filled.Draft, err
}

// receive hands in events of another server.
func (a *actor) receive(events ...*event.Event) []room.Verdict {
	GinkgoHelper()
	result, _, err := a.step(room.Receive{Origin: bob.Server(), Events: events}, store.CommitOptions{})
	Expect(err).NotTo(HaveOccurred())
	return result.Verdicts
}

// must returns events and expects that there was no error.
func must[T any](v T, err error) T {
	GinkgoHelper()
	Expect(err).NotTo(HaveOccurred())
	return v
}

func ids(rows []store.EventRow) []id.EventID {
	all := make([]id.EventID, 0, len(rows))
	for _, r := range rows {
		all = append(all, r.Event.ID())
	}
	return all
}

func eventIDs(events []*event.Event) []id.EventID {
	all := make([]id.EventID, 0, len(events))
	for _, e := range events {
		all = append(all, e.ID())
	}
	return all
}

// commitOf is the commit of an event on top of the current state.
func commitOf(a *actor, e *event.Event) room.Commit {
	return room.Commit{
		RoomID: a.id(), Rules: a.rules, Current: a.machine.Current(), Forward: []id.EventID{e.ID()}, Depth: e.Depth(), Resident: true,
		Events: []room.Committed{{Event: e, Before: a.machine.Current(), After: a.machine.Current()}},
	}
}

// sqliteFile is an SQLite database that waits for the disk.
func sqliteFile(dir string) store.Dialect { return sqlite.Open(filepath.Join(dir, "hanse.db")) }
