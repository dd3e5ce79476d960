package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"hanse/federation/id"
)

// committer is the one writer: it takes what has gathered in its queue, runs it in one transaction, and releases
// the waiters when it is durable. While one transaction is written to disk, the next gathers. It also waits for writes that
// were announced, for as long as the last transaction took at most: what is about to come then shares this one, and takes
// no second.
type committer struct {
	dialect Dialect
	log     *slog.Logger
	db      *sql.DB
	queue   chan *operation
	closed  chan struct{} // closed when no more operations are taken
	drained chan struct{} // closed when the last one was run

	begin   func(*writeTx) error               // called at the beginning of each transaction
	durable func(Position, []func(), []Notice) // called when a transaction is durable, before its waiters are released
	settled func(Position, []func(), []Notice) // called instead when one is that was in doubt: its waiters are gone

	coming atomic.Int64  // writes that were announced and are not queued yet
	calm   chan struct{} // capacity 1: the last of them was queued, or taken back

	transactions, operations, failures atomic.Int64

	tx     writeTx               // owned by run
	last   Position              // owned by run, set before: the position of the last durable transaction
	ailing ailment               // transactions fail for want of storage or connection
	probes probing               // owned by run: of the ailment
	doubt  atomic.Pointer[doubt] // set by run: the last transaction, while it is unknown whether it counts

	since atomic.Pointer[time.Time] // set by run: when the transaction began that is under way
	begun chan struct{}             // capacity 1: one has begun, for watch

	took     time.Duration // owned by run: the last transaction
	slow     int           // owned by run: how many transactions in a row were
	slowSaid time.Time     // owned by run: when the log last said so
}

// doubt is a transaction whose commit wasn't answered before its waiters had to be told something: whether it counts is learned
// once the database is back.
type doubt struct {
	position Position // that the counters have if it does
	after    []func()
	notices  []Notice
}

// operation is one caller's write.
type operation struct {
	run   func(*writeTx) error
	state atomic.Int32 // opQueued, opTaken, opAbandoned
	err   error        // set before finished is closed
	done  chan struct{}
}

const (
	opQueued = iota
	opTaken
	opAbandoned
)

func newCommitter(d Dialect, log *slog.Logger, db *sql.DB) *committer {
	return &committer{
		dialect: d, log: log, db: db,
		queue:  make(chan *operation, queueLength),
		calm:   make(chan struct{}, 1),
		begun:  make(chan struct{}, 1),
		closed: make(chan struct{}), drained: make(chan struct{}),
	}
}

// write has run executed in the next transaction and returns when that is durable. run may be called again if the
// transaction has to be: it must change nothing but the database, other effects go through writeTx.then. If ctx
// ends first nothing was written; once run has begun, write waits for it whatever becomes of ctx.
func (c *committer) write(ctx context.Context, run func(*writeTx) error) error {
	return c.writeThen(ctx, run, func() {})
}

// writeThen is write that calls queued once the write is queued, or has failed before.
func (c *committer) writeThen(ctx context.Context, run func(*writeTx) error, queued func()) error {
	op := &operation{run: run, done: make(chan struct{})}
	if err := c.enqueue(ctx, op, queued); err != nil {
		return err
	}
	select {
	case <-op.done:
		return op.err
	case <-ctx.Done():
		if op.state.CompareAndSwap(opQueued, opAbandoned) {
			return ctx.Err()
		}
	case <-c.drained:
		if op.state.CompareAndSwap(opQueued, opAbandoned) {
			return ErrClosed
		}
	}
	<-op.done
	return op.err
}

func (c *committer) enqueue(ctx context.Context, op *operation, queued func()) error {
	defer queued()
	select {
	case <-c.closed:
		return ErrClosed
	default:
	}
	select {
	case c.queue <- op:
		return nil
	case <-c.closed:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run works until ctx ends, then finishes what is queued.
func (c *committer) run(ctx context.Context) {
	defer close(c.drained)
	defer c.disconnect()
	group := make([]*operation, 0, groupOps)
	for {
		var again <-chan time.Time
		switch { // readers see what is in the tables, and others have events for us: they need not wait for the next write
		case c.doubt.Load() != nil:
			again = time.After(retryPauseMax)
		case c.ailing.ill.Load():
			again = time.After(c.probes.next(time.Now()))
		}
		select {
		case <-again:
			c.probe()
			continue
		case op := <-c.queue:
			runtime.Gosched() // who was released by the group before gets the chance to join this one
			group = c.await(c.gather(append(group[:0], op)))
			c.commit(group)
			clear(group)
			continue
		case <-ctx.Done():
		}
		close(c.closed)
		for {
			if group = c.gather(group[:0]); len(group) == 0 {
				return
			}
			c.commit(group)
		}
	}
}

// probe looks whether the database takes writes again.
func (c *committer) probe() {
	if c.once(nil) == nil {
		c.recovered()
		return
	}
	c.disconnect()
}

// announce tells that a write will be queued soon. done, which must be called once, tells that it was, or won't be.
func (c *committer) announce() (done func()) {
	c.coming.Add(1)
	return func() {
		if c.coming.Add(-1) > 0 {
			return
		}
		select {
		case c.calm <- struct{}{}:
		default:
		}
	}
}

// await has a group wait for the writes that are announced.
func (c *committer) await(group []*operation) []*operation {
	if c.coming.Load() <= 0 {
		return group
	}
	patience := time.NewTimer(min(c.took, patienceMax))
	defer patience.Stop()
	for len(group) < groupOps && c.coming.Load() > 0 {
		select {
		case op := <-c.queue:
			group = append(group, op)
		case <-c.calm:
		case <-patience.C:
			return c.gather(group)
		}
	}
	return c.gather(group)
}

// gather takes what is in the queue now.
func (c *committer) gather(group []*operation) []*operation {
	for len(group) < groupOps {
		select {
		case op := <-c.queue:
			group = append(group, op)
		default:
			return group
		}
	}
	return group
}

// commit runs a group in one transaction; if that fails, each operation in one of its own.
func (c *committer) commit(group []*operation) {
	taken := group[:0]
	for _, op := range group {
		if op.state.CompareAndSwap(opQueued, opTaken) {
			taken = append(taken, op)
		}
	}
	if len(taken) == 0 {
		return
	}
	err := c.attempt(taken)
	if err != nil && len(taken) > 1 && !c.fatal(err) {
		for _, op := range taken {
			c.finish(op, c.attempt([]*operation{op}))
		}
		return
	}
	for _, op := range taken {
		c.finish(op, err)
	}
}

func (c *committer) finish(op *operation, err error) {
	if err != nil {
		c.failures.Add(1)
		if c.fatal(err) {
			err = &unavailable{err}
		}
	}
	op.err = err
	close(op.done)
}

// fatal says that it is the database that fails, not an operation: running them one by one would fail the same way.
func (c *committer) fatal(err error) bool {
	switch c.dialect.Classify(err) {
	case RetryError, ConnectionError, StorageError:
		return true
	}
	return errors.Is(err, ErrOtherWriter)
}

// attempt runs operations in one transaction, again while the database asks for it.
func (c *committer) attempt(ops []*operation) error {
	pause := retryPause
	for started := time.Now(); ; {
		tried := time.Now()
		err := c.once(ops)
		if err == nil {
			c.recovered()
			c.took = time.Since(tried)
			c.noteSlow(c.took, len(ops))
			c.transactions.Add(1)
			c.operations.Add(int64(len(ops)))
			return nil
		}
		class := c.dialect.Classify(err)
		if class == ConnectionError || class == StorageError {
			c.disconnect() // a connection may remember that its disk was full or read-only: the next try gets a new one
		}
		if class != RetryError && class != ConnectionError || errors.Is(err, ErrUnanswered) || time.Since(started) > retryFor {
			c.failing(err)
			return err
		}
		time.Sleep(pause)
		pause = min(2*pause, retryPauseMax)
	}
}

// once runs operations in one transaction, once.
func (c *committer) once(ops []*operation) (err error) {
	began := time.Now()
	c.since.Store(&began)
	select {
	case c.begun <- struct{}{}:
	default:
	}
	defer func() {
		c.since.Store(nil)
		if took := time.Since(began); took >= hangsAfter {
			c.log.Info("the database has answered the write that it let wait", "database", c.dialect.Name, "took", took.Round(time.Millisecond), "error", err)
		}
	}()
	if err := c.connect(); err != nil {
		return err
	}
	t := &c.tx
	position, history := t.position, t.history
	defer func() {
		if err != nil {
			t.position, t.history = position, history
		}
		t.forget()
	}()
	if err := t.later(c.dialect.Begin, nil); err != nil {
		return err
	}
	if err := c.fill(ops); err != nil {
		if rollback := t.rollback(c.dialect.Begin); rollback != nil {
			c.disconnect() // a transaction must not stay open
		}
		return err
	}
	if err := c.finalize(); err != nil {
		return err
	}
	c.last = t.position
	c.durable(t.position, t.after, t.notices)
	return nil
}

// fill runs the operations and writes the counters.
func (c *committer) fill(ops []*operation) error {
	if err := c.dialect.check(); err != nil {
		return err
	}
	t := &c.tx
	if err := c.begin(t); err != nil {
		return err
	}
	for _, op := range ops {
		if err := op.run(t); err != nil {
			return err
		}
	}
	t.next() // each transaction has a position of its own: that is how finalize knows it again
	if err := t.flush(); err != nil {
		return err
	}
	n, err := t.run("UPDATE counters SET position = $1, history = $2 WHERE position = $3",
		int64(t.position), int64(t.history), int64(c.last))
	if err == nil && n == 0 {
		err = ErrOtherWriter
	}
	return err
}

// finalize commits. If the answer gets lost with the connection, the counters tell whether the transaction counts.
func (c *committer) finalize() error {
	t := &c.tx
	want := t.position
	_, err := t.run("COMMIT")
	if err == nil {
		return nil
	}
	if c.dialect.Classify(err) != ConnectionError {
		if rollback := t.rollback(c.dialect.Begin); rollback != nil {
			c.disconnect()
		}
		return err
	}
	for started := time.Now(); time.Since(started) < retryFor; time.Sleep(retryPauseMax / 4) {
		c.disconnect()
		if c.connect() != nil {
			continue
		}
		if t.position == want { // connect has read it
			return nil
		}
		return err
	}
	c.doubt.Store(&doubt{want, slices.Clone(t.after), t.notices})
	return fmt.Errorf("%w: %w", ErrUnanswered, err)
}

// counters reads the counters, and has the end of a doubt.
func (c *committer) counters(ctx context.Context) error {
	tx, err := c.tx.conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // there is nothing to keep
	// The server may still be about to commit what it got on a connection that is gone.
	if err := lock(ctx, tx, c.dialect, "counters"); err != nil {
		return err
	}
	if err := tx.QueryRowContext(ctx, "SELECT position, history FROM counters").Scan(&c.tx.position, &c.tx.history); err != nil {
		return err
	}
	if d := c.doubt.Load(); d != nil {
		if c.tx.position == d.position {
			c.last = d.position
			c.settled(d.position, d.after, d.notices)
		}
		c.doubt.Store(nil) // after what is in memory knows of it: see certain
	}
	return nil
}

// certain returns once no transaction is in doubt, or tells why one still is.
func (c *committer) certain(ctx context.Context) error {
	if c.doubt.Load() == nil {
		return nil
	}
	return c.write(ctx, func(*writeTx) error { return nil })
}

// connect makes the writer's connection and reads the counters, unless there is one.
func (c *committer) connect() error {
	if c.tx.conn != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), retryFor)
	defer cancel()
	conn, err := c.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("store: connecting: %w", err)
	}
	c.tx.conn, c.tx.stmts = conn, map[string]*sql.Stmt{}
	if c.tx.byText == nil {
		c.tx.byText, c.tx.unnumbered, c.tx.together = map[*insertion]*pendingRows{}, c.dialect.Unnumbered, c.dialect.Together
		c.tx.ids, c.tx.txns = map[id.EventID]Position{}, map[txnKey]struct{}{}
	}
	if err := c.counters(ctx); err != nil {
		c.disconnect()
		return fmt.Errorf("store: reading the counters: %w", err)
	}
	return nil
}

// disconnect closes the connection for good: nothing of an open transaction stays.
func (c *committer) disconnect() {
	if c.tx.conn == nil {
		return
	}
	for _, stmt := range c.tx.stmts {
		stmt.Close() //nolint:errcheck // the connection goes with it
	}
	c.tx.conn.Raw(func(any) error { return driver.ErrBadConn }) //nolint:errcheck // it only says so
	c.tx.conn.Close()                                           //nolint:errcheck // closed already
	c.tx.conn, c.tx.stmts = nil, nil
}

func (c *committer) failing(err error) {
	if !c.fatal(err) || !c.ailing.begins() {
		return
	}
	c.log.Error("the database takes no writes; nothing is acknowledged until it does", "database", c.dialect.Name, "error", err)
}

// hanging tells since when the database has answered a write neither with yes nor with no.
func (c *committer) hanging() (since time.Time, hangs bool) {
	began := c.since.Load()
	if began == nil || time.Since(*began) < hangsAfter {
		return time.Time{}, false
	}
	return *began, true
}

// watch has the log say, now and then, that a write hangs, until run has ended, which can't: it waits for it.
func (c *committer) watch() {
	for {
		select {
		case <-c.drained:
			return
		case <-c.begun:
		}
		var said time.Time
		for began := c.since.Load(); began != nil; began = c.since.Load() {
			wait := max(hangsAfter-time.Since(*began), sayPause-time.Since(said))
			if wait <= 0 {
				said = time.Now()
				c.log.Error("the database doesn't answer a write, and nothing is stored or acknowledged until it does: look whether its disk, or its server, hangs",
					"database", c.dialect.Name, "since", *began, "others_waiting", len(c.queue))
				continue
			}
			select {
			case <-c.drained:
				return
			case <-time.After(wait):
			}
		}
	}
}

// noteSlow says that transactions take long, now and then.
func (c *committer) noteSlow(took time.Duration, operations int) {
	if took < slowTransaction {
		c.slow = 0
		return
	}
	if c.slow++; c.slow < slowInARow || time.Since(c.slowSaid) < sayPause {
		return
	}
	c.slowSaid = time.Now()
	c.log.Error("the database is slow: who waits for a write to be stored waits so long; its disk, or this machine, has too much to do",
		"database", c.dialect.Name, "took", took.Round(time.Millisecond), "writes", operations)
}

func (c *committer) recovered() {
	if c.ailing.ends() {
		c.log.Info("the database takes writes again", "database", c.dialect.Name)
	}
}
