package store

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup" // Run's two loops end together; the standard library has nothing for it

	"hanse/federation/id"
)

// Open opens a database, brings its schema up to date and checks whose it is. A newer schema is refused with a
// [*SchemaError], another server's database with a [*ServerNameError]. Reads work at once, writes wait for
// [Store.Run].
func Open(ctx context.Context, dialect Dialect, opts Options) (*Store, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	write, read, err := dialect.Connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening the %s database: %w", dialect.Name, err)
	}
	s := &Store{dialect: dialect, log: opts.Log, self: opts.ServerName, usable: make(chan struct{}, 1)}
	s.read = newReader(dialect, opts.Log, read)
	s.commit = newCommitter(dialect, opts.Log, write)
	for _, a := range []*ailment{&s.read.ailing, &s.commit.ailing} {
		a.over, a.began = s.usable, make(chan struct{}, 1)
	}
	s.tail = newTail(s)
	s.unheard = newUnheard(s)
	s.usedTxns = newUsedTxns(s)
	s.waiting, s.kept = newWaiting(), newCounted[kept]()
	s.commit.begin, s.commit.durable, s.commit.settled = s.begin, s.durable, s.settled
	s.rooms = newRoomIndex(s.read)
	s.present = newPresent()
	s.events = newEventCache(eventCacheBytes)
	s.state = newStateCache(s.read, stateCacheBytes)
	s.gapless = newGenerations[id.RoomID, struct{}](roomCache, nil)
	s.outbox = newOutbox(s)
	if err := s.start(ctx, opts); err != nil {
		s.Close() //nolint:errcheck // the first error counts
		return nil, err
	}
	return s, nil
}

// start makes the database ready and reads what is kept in memory.
func (s *Store) start(ctx context.Context, opts Options) error {
	if err := migrate(ctx, s.commit.db, s.dialect, s.log); err != nil {
		return err
	}
	if err := checkServerName(ctx, s.commit.db, s.self); err != nil {
		return err
	}
	if err := settle(ctx, s.commit.db, s.dialect); err != nil {
		return err
	}
	if err := s.read.row(ctx, "SELECT position FROM counters", nil, &s.found); err != nil {
		return err
	}
	if opts.Leap {
		if err := s.leap(ctx, time.Now(), opts.Noted); err != nil {
			s.log.Warn("positions go on where they were; if the database was put back from a backup, stop, see that it can be written, and start again", "error", err)
		}
	}
	var position, indexed int64
	if err := s.read.row(ctx, "SELECT position, indexed FROM counters", nil, &position, &indexed); err != nil {
		return err
	}
	s.position.Store(position)
	s.commit.last = Position(position)
	if err := s.tail.load(ctx, Position(indexed)); err != nil {
		return err
	}
	if err := s.loadErased(ctx); err != nil {
		return err
	}
	if err := s.loadRestrictions(ctx); err != nil {
		return err
	}
	return s.outbox.load(ctx)
}

// settle waits until transactions of a process before this one, which may have been killed, have ended.
func settle(ctx context.Context, db *sql.DB, d Dialect) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // there is nothing to keep
	return lock(ctx, tx, d, "counters")
}

// lock locks a table until the transaction's end.
func lock(ctx context.Context, tx *sql.Tx, d Dialect, table string) error {
	if d.Lock == "" {
		return nil
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf(d.Lock, table)); err != nil {
		return fmt.Errorf("store: waiting for the database's other writers: %w", err)
	}
	return nil
}

// begin is called by the committer at the beginning of each transaction.
func (s *Store) begin(t *writeTx) error {
	s.waiting.begin()
	s.kept.begin()
	return s.tail.index(t)
}

// durable is called by the committer when a transaction is: readers see it from now on.
func (s *Store) durable(position Position, after []func(), notices []Notice) {
	s.events.version.Add(1) // before the caches learn what is new: see eventCache
	for _, f := range after {
		f()
	}
	s.position.Store(int64(position))
	s.feed.publish(position, notices)
}

// settled is durable for a transaction whose waiters were told that nobody knows whether it counts. None of them wakes the sender
// for what it queued, so the feed tells of all that waits.
func (s *Store) settled(position Position, after []func(), notices []Notice) {
	s.durable(position, after, notices)
	s.feed.publish(position, []Notice{{Position: position, Kind: KindDevices, Servers: s.outbox.waitedFor()}})
}

// Run writes what is queued until ctx ends, then finishes what is queued and returns; later writes get [ErrClosed].
// It also deletes what has expired. Call it once.
func (s *Store) Run(ctx context.Context) error {
	var loops errgroup.Group
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	loops.Go(func() error {
		s.commit.run(writing)
		return nil
	})
	loops.Go(func() error {
		s.commit.watch()
		return nil
	})
	loops.Go(func() error {
		defer stop() // the last cursors are written
		s.outbox.saveRegularly(ctx)
		return nil
	})
	loops.Go(func() error {
		s.cleanRegularly(ctx)
		return nil
	})
	loops.Go(func() error {
		s.readRegularly(ctx)
		return nil
	})
	loops.Go(func() error {
		s.read.probeRegularly(ctx)
		return nil
	})
	return loops.Wait()
}

// Close closes the database, after Run has returned.
func (s *Store) Close() error {
	err := s.read.close()
	if e := s.commit.db.Close(); err == nil {
		err = e
	}
	return err
}

// readRegularly reads the filters of client transactions and of events' IDs, at the start and when they have become too small.
func (s *Store) readRegularly(ctx context.Context) {
	for {
		var full *keyFilter
		select {
		case <-ctx.Done():
			return
		case <-s.usedTxns.full:
			full = s.usedTxns
		case <-s.unheard.named.full:
			full = s.unheard.named
		}
		for full.read(ctx) != nil { // the reader says why; until then all is looked for in the tables
			select {
			case <-ctx.Done():
				return
			case <-time.After(retryPauseMax):
			}
		}
	}
}

// cleanRegularly deletes what has expired, now and then.
func (s *Store) cleanRegularly(ctx context.Context) {
	tick := time.NewTicker(cleaning)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if err := s.Clean(ctx, now); err != nil && ctx.Err() == nil {
				s.log.Warn("deleting what has expired failed, it is tried again", "error", err, "in", cleaning)
			}
		}
	}
}

// Clean deletes answers to inbound transactions, client transaction IDs and what is known of messages to devices that have
// expired, device lists of users who share no room any more, what is kept for servers that are out for too long, and rows of the
// outbox that went out. Run does it now and then.
func (s *Store) Clean(ctx context.Context, now time.Time) error {
	if err := s.tail.empty(ctx); err != nil {
		return err // client transactions expire in the table
	}
	expired := []struct {
		query  string
		before time.Time
	}{
		{`DELETE FROM inbound_transactions WHERE received < $1 AND received <= (SELECT MAX(received) FROM
			(SELECT received FROM inbound_transactions ORDER BY received LIMIT $2) AS oldest)`, now.Add(-keepTransactions)},
		{`DELETE FROM to_device_seen WHERE received < $1 AND received <= (SELECT MAX(received) FROM
			(SELECT received FROM to_device_seen ORDER BY received LIMIT $2) AS oldest)`, now.Add(-keepClientTxns)},
	}
	for _, e := range expired {
		for n := int64(1); n > 0; {
			err := s.commit.write(ctx, func(t *writeTx) (err error) {
				n, err = t.exec(e.query, e.before.UnixMilli(), cleaningRows)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	if err := s.cleanTxns(ctx, now.Add(-keepClientTxns)); err != nil {
		return err
	}
	if err := s.cleanRemoteDevices(ctx); err != nil {
		return err
	}
	if err := s.forget(ctx, now); err != nil {
		return err
	}
	return s.commit.write(ctx, func(t *writeTx) error { return s.outbox.tidy(t) })
}
