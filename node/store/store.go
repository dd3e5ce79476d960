// Package store keeps everything a node must not forget: rooms, events, state, memberships, users, what is
// still to be sent, what clients and servers were told. It is the schema, its SQL, the one writer and the feed
// that wakes the readers.
//
// It decides nothing about Matrix: the room machine decides what a commit holds, the store makes it durable.
// It is not a cache in front of something else and hands no database handle out.
//
// One goroutine writes ([Store.Run]): every durable write is an operation queued to it, and all that has
// gathered becomes one transaction. A write method returns once the transaction is on disk, so an answer given
// after it is true even if the power fails the moment after. Reads run on connections of their own and never
// wait for the writer. All methods are safe for concurrent use.
package store

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"hanse/federation/id"
)

// Position is a place in the one order of everything /sync shows: the commit order. Live events, receipts,
// account data and memberships share it. Positions of live data are positive and grow; events fetched from a
// room's past get negative ones, which fall, so that ordering by position is ordering by time of the room.
type Position int64

// Options are the settings of a store; the zero value is right for a small node.
type Options struct {
	// ServerName is written to a new database and compared with an old one's; empty skips the check (tests).
	ServerName id.ServerName
	// Leap has positions go on, at this start, at a number made of the clock, so that a database that was put back from an older copy of
	// itself gives out nothing twice.
	Leap bool
	// Noted is a position that this database, or a later copy of it, has come to, as somebody has noted it elsewhere a minute ago or less
	// before its end; 0: nobody has. A leap goes beyond it.
	Noted Position
	// Log gets the store's few messages; nil means silence.
	Log *slog.Logger
}

// Store is an open database. Make one with [Open], let [Store.Run] run beside it, end with [Store.Close].
type Store struct {
	dialect Dialect
	log     *slog.Logger
	self    id.ServerName

	read   *reader    // safe for concurrent use
	commit *committer // the writer's queue

	usable chan struct{} // see Usable

	leaps  []leap      // set at the start
	found  Position    // set at the start
	forgot atomic.Bool // see WasPutBack

	feed   feed
	rooms  *roomIndex
	events *eventCache
	tail   *tail
	// unheard are events that nothing names yet; see Expect.
	unheard  *unheard
	usedTxns *keyFilter
	present  *present
	state    *stateCache
	outbox   *outbox
	waiting  *waiting
	kept     counted[kept] // owned by the committer: what users have of account data
	// erased are the users who want to be forgotten, with the Position at which they said so: all are in memory, for they are few,
	// and any event's sender may be one.
	erased sync.Map
	// restricted are the Restrictions of users who have some: all are in memory, for they are few, and asked for at each request.
	restricted sync.Map
	// gapless are rooms known to have no gap in their history; a commit that makes one takes its room out.
	gapless *generations[id.RoomID, struct{}]

	position atomic.Int64 // the last durable position; written by the committer only
}

// Position is the newest durable position: everything at or below it can be read.
func (s *Store) Position() Position { return Position(s.position.Load()) }

// Usable gets a value when the database can be used again after it couldn't: what came from other servers meanwhile was refused. It holds
// one value, and is for one reader.
func (s *Store) Usable() <-chan struct{} { return s.usable }

// Check tells, for readiness probes, that the database can't be used: it can't be read, which is tried, or takes no writes. That is known
// since the last write that failed, and until the committer's look, or a write, succeeds: none is made for this. It answers within
// checkPatience; a database that is busy has time until a read or write fails, or hangs (hangsAfter, readHangsAfter). It needs Run.
func (s *Store) Check(ctx context.Context) error {
	if s.commit.ailing.ill.Load() {
		return errNoWrites
	}
	if since, hangs := s.commit.hanging(); hangs {
		return fmt.Errorf("the database hasn't answered a write since %s: its disk, or its server, hangs", since.UTC().Format(time.RFC3339))
	}
	return s.read.check(ctx)
}

// Stats counts what the committer did since the store was opened.
type Stats struct {
	Transactions int64 // durable ones
	Operations   int64 // durable ones: Operations/Transactions is how many shared a transaction
	Failures     int64 // operations that failed, those refused (exists already, …) among them
	Queued       int   // operations that wait now
	Outbox       int   // rows of the outbox's log now
}

// Stats returns the counts, for metrics.
func (s *Store) Stats() Stats {
	return Stats{
		Transactions: s.commit.transactions.Load(), Operations: s.commit.operations.Load(), Failures: s.commit.failures.Load(),
		Queued: len(s.commit.queue), Outbox: s.outbox.length(),
	}
}
