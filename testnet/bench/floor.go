package bench

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ed25519"
	"modernc.org/sqlite" // the embedded database of the server under test, alone

	"hanse/federation/event"
	"hanse/federation/verifykey"
)

// floors are what this machine does with the same events and nothing else, on all cores, with the same libraries.
type floors struct {
	dir  string
	time time.Duration // how long a rate is measured
	n    int
}

// floorTime is how long a rate is measured in a run.
const floorTime = 400 * time.Millisecond

// signed is an event's signature, taken apart.
type signed struct {
	public             ed25519.PublicKey
	message, signature []byte
}

func signatures(events []*event.Event, servers []*server) []signed {
	keys := map[string]*server{}
	for _, s := range servers {
		keys[string(s.name)] = s
	}
	var all []signed
	for _, e := range events {
		server := e.Sender().Server()
		for keyID, signature := range e.SignaturesOf(server) {
			if s := keys[string(server)]; s != nil && s.key.ID == keyID {
				all = append(all, signed{s.key.Public(), e.SignedBytes(), signature})
			}
		}
	}
	return all
}

// pace is how often a second something is done, and the CPU time that each takes: where others use the machine too, it
// is the CPU time that can be compared.
type pace struct {
	rate float64
	cpu  time.Duration // 0 where CPU time can't be read
}

// verify is how many signatures a second all cores check.
func (f *floors) verify(events []*event.Event, servers []*server) (pace, error) {
	all := signatures(events, servers)
	if len(all) == 0 {
		return pace{}, fmt.Errorf("there are no signatures to check")
	}
	return f.onAllCores(func(i int) error {
		s := all[i%len(all)]
		if !ed25519.Verify(s.public, s.message, s.signature) {
			return fmt.Errorf("a signature of the bench's own is not good")
		}
		return nil
	})
}

// prepared is how many signatures a second all cores check with tables of the keys, sixteen by one key at a time: what a
// server can do that knows its peers.
func (f *floors) prepared(events []*event.Event, servers []*server) (pace, error) {
	base, ready := verifykey.NewBase(), map[string]*verifykey.Key{}
	var groups [][]verifykey.Check
	for _, s := range signatures(events, servers) {
		if ready[string(s.public)] == nil {
			ready[string(s.public)] = verifykey.New(s.public)
		}
		last := len(groups) - 1
		if last < 0 || len(groups[last]) == preparedGroup {
			groups, last = append(groups, nil), last+1
		}
		groups[last] = append(groups[last], verifykey.Check{Key: ready[string(s.public)], Message: s.message, Signature: s.signature})
	}
	if len(groups) > 1 {
		groups = groups[:len(groups)-1] // the last one may be smaller
	}
	one, err := f.onAllCores(func(i int) error {
		checks := slices.Clone(groups[i%len(groups)])
		base.Verify(checks)
		for _, c := range checks {
			if !c.Good {
				return fmt.Errorf("a signature of the bench's own is not good")
			}
		}
		return nil
	})
	size := len(groups[0])
	return pace{one.rate * float64(size), one.cpu / time.Duration(size)}, err
}

// preparedGroup is how many signatures are checked together.
const preparedGroup = 16

// check is how many events a second all cores parse, hash and verify.
func (f *floors) check(events []*event.Event, servers []*server) (pace, error) {
	all := signatures(events, servers)
	if len(all) != len(events) {
		return pace{}, fmt.Errorf("%d events have %d signatures", len(events), len(all))
	}
	return f.onAllCores(func(i int) error {
		i %= len(all)
		e, err := event.Parse(events[i].Rules(), events[i].JSON())
		if err != nil {
			return err
		}
		if !e.ContentHashMatches() || !ed25519.Verify(all[i].public, e.SignedBytes(), all[i].signature) {
			return fmt.Errorf("an event of the bench's own is not good")
		}
		return nil
	})
}

// onAllCores does something again and again on every core for a while and tells how often a second.
func (f *floors) onAllCores(do func(i int) error) (pace, error) {
	var wait sync.WaitGroup
	cores := runtime.GOMAXPROCS(0)
	counts, errs := make([]int, cores), make([]error, cores)
	began, used := time.Now(), ownTime()
	for c := range cores {
		wait.Go(func() {
			for i := c; errs[c] == nil && (counts[c] == 0 || time.Since(began) < f.time); i += cores { // once at least, however late it begins
				errs[c] = do(i)
				counts[c]++
			}
		})
	}
	wait.Wait()
	total := 0
	for c := range cores {
		if errs[c] != nil {
			return pace{}, errs[c]
		}
		total += counts[c]
	}
	return pace{float64(total) / time.Since(began).Seconds(), (ownTime() - used) / time.Duration(total)}, nil
}

// write commits the events' bytes as rows to a database of the kind that is embedded in Hanse, group rows a
// transaction, each transaction waiting for the disk, and tells how long all of them took, and how much CPU time.
func (f *floors) write(ctx context.Context, events []*event.Event, group int) (took, cpu time.Duration, err error) {
	db, remove, err := f.database(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer remove()
	began, used := time.Now(), ownTime()
	for start := 0; start < len(events); start += group {
		if err := writeGroup(ctx, db, events[start:min(start+group, len(events))], start); err != nil {
			return 0, 0, err
		}
	}
	return time.Since(began), ownTime() - used, nil
}

// database makes a database of that kind, with a table of events. remove closes it and removes its files.
func (f *floors) database(ctx context.Context) (db *sql.DB, remove func(), err error) {
	f.n++
	path := filepath.Join(f.dir, fmt.Sprintf("floor-%d.db", f.n))
	query := url.Values{"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "cache_size(-8192)", "wal_autocheckpoint(4000)"}}
	connector, err := sqlite.NewConnector((&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String())
	if err != nil {
		return nil, nil, err
	}
	db = sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	remove = func() {
		_ = db.Close()
		for _, suffix := range []string{"", "-wal", "-shm"} {
			_ = os.Remove(path + suffix) // the folder goes at the end
		}
	}
	if _, err := db.ExecContext(ctx, `CREATE TABLE event (position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, json BLOB NOT NULL)`); err != nil {
		remove()
		return nil, nil, err
	}
	return db, remove, nil
}

func writeGroup(ctx context.Context, db *sql.DB, events []*event.Event, first int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit there is nothing left to roll back
	insert, err := tx.PrepareContext(ctx, `INSERT INTO event (position, id, json) VALUES ($1, $2, $3)`)
	if err != nil {
		return err
	}
	defer insert.Close()
	for i, e := range events {
		if _, err := insert.ExecContext(ctx, first+i, string(e.ID()), e.JSON()); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// commit is how many rows a second the database alone commits.
func (f *floors) commit(ctx context.Context, events []*event.Event, group int) (pace, error) {
	took, cpu, err := f.write(ctx, events, group)
	if err != nil {
		return pace{}, err
	}
	return pace{float64(len(events)) / took.Seconds(), cpu / time.Duration(len(events))}, nil
}
