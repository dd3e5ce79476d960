package store_test

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"

	"hanse/node/store"
)

// fault is an error that the database is made to give.
type fault struct {
	class store.ErrorClass
	text  string
}

func (f fault) Error() string { return f.text }

// faults makes a database fail: before each statement of the writer, and before each connection is made, what it holds is
// called. Safe for concurrent use.
type faults struct {
	mu        sync.Mutex
	statement func(query string) error // guarded by mu
	connect   func() error             // guarded by mu
	unheard   bool                     // guarded by mu: a statement that fails was carried out, only its answer was lost
}

// loseAnswers has statements be carried out before they fail, or not.
func (f *faults) loseAnswers(unheard bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unheard = unheard
}

func (f *faults) set(connect func() error, statement func(query string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.connect, f.statement = connect, statement
}

func (f *faults) before(query string) error {
	f.mu.Lock()
	statement := f.statement
	f.mu.Unlock()
	if statement == nil {
		return nil
	}
	return statement(query)
}

// in wraps a dialect so that its writer meets the faults.
func (f *faults) in(dialect store.Dialect) store.Dialect {
	connect, classify := dialect.Connect, dialect.Classify
	dialect.Connect = func(ctx context.Context) (write, read *sql.DB, err error) {
		if write, read, err = connect(ctx); err != nil {
			return nil, nil, err
		}
		faulty := sql.OpenDB(&faultyConnector{f, write})
		faulty.SetMaxOpenConns(1)
		return faulty, read, nil
	}
	if together := dialect.Together; together != nil {
		dialect.Together = func(ctx context.Context, conn any, statements []store.Statement) (touched int64, err error) {
			c := conn.(*faultyConn)
			var failure error
			for i, s := range statements {
				if failure = f.before(s.Text); failure == nil {
					continue
				}
				f.mu.Lock()
				if statements = statements[:i]; f.unheard {
					statements = statements[:i+1]
				}
				f.mu.Unlock()
				break
			}
			if len(statements) > 0 {
				err = c.conn.Raw(func(conn any) (err error) {
					touched, err = together(ctx, conn, statements)
					return err
				})
			}
			return touched, cmp.Or(failure, err)
		}
	}
	dialect.Classify = func(err error) store.ErrorClass {
		if f, ok := errors.AsType[fault](err); ok {
			return f.class
		}
		return classify(err)
	}
	return dialect
}

// faultyConnector makes connections by way of another pool's.
type faultyConnector struct {
	*faults
	pool *sql.DB
}

func (c *faultyConnector) Driver() driver.Driver { return c.pool.Driver() }

// Close closes the pool that is wrapped; sql.DB calls it.
func (c *faultyConnector) Close() error { return c.pool.Close() }

func (c *faultyConnector) Connect(ctx context.Context) (driver.Conn, error) {
	c.mu.Lock()
	connect := c.connect
	c.mu.Unlock()
	if connect != nil {
		if err := connect(); err != nil {
			return nil, err
		}
	}
	conn, err := c.pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return &faultyConn{c.faults, conn}, nil
}

// faultyConn runs statements on a connection of the wrapped pool.
type faultyConn struct {
	*faults
	conn *sql.Conn
}

func (c *faultyConn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

func (c *faultyConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	stmt, err := c.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return &faultyStmt{c, stmt, query}, nil
}

// Close ends the real connection too, whatever is open on it.
func (c *faultyConn) Close() error {
	c.conn.Raw(func(any) error { return driver.ErrBadConn }) //nolint:errcheck // it only says so
	c.conn.Close()                                           //nolint:errcheck // closed already
	return nil
}

func (c *faultyConn) Begin() (driver.Tx, error) {
	_, err := c.conn.ExecContext(context.Background(), "BEGIN")
	return faultyTx{c}, err
}

type faultyTx struct{ *faultyConn }

func (t faultyTx) Commit() error {
	if err := t.before("COMMIT"); err != nil {
		return err
	}
	_, err := t.conn.ExecContext(context.Background(), "COMMIT")
	return err
}

func (t faultyTx) Rollback() error {
	_, err := t.conn.ExecContext(context.Background(), "ROLLBACK")
	return err
}

type faultyStmt struct {
	*faultyConn
	stmt  *sql.Stmt
	query string
}

func (s *faultyStmt) Close() error  { return s.stmt.Close() }
func (s *faultyStmt) NumInput() int { return -1 }

func (s *faultyStmt) Exec(args []driver.Value) (driver.Result, error) {
	if err := s.before(s.query); err != nil {
		s.mu.Lock()
		unheard := s.unheard
		s.mu.Unlock()
		if unheard {
			s.stmt.ExecContext(context.Background(), anys(args)...) //nolint:errcheck // who would hear of it?
		}
		return nil, err
	}
	return s.stmt.ExecContext(context.Background(), anys(args)...)
}

func (s *faultyStmt) Query(args []driver.Value) (driver.Rows, error) {
	if err := s.before(s.query); err != nil {
		return nil, err
	}
	rows, err := s.stmt.QueryContext(context.Background(), anys(args)...)
	if err != nil {
		return nil, err
	}
	return &faultyRows{rows}, nil
}

func anys(args []driver.Value) []any {
	all := make([]any, len(args))
	for i, a := range args {
		all[i] = a
	}
	return all
}

type faultyRows struct{ *sql.Rows }

func (r *faultyRows) Columns() []string {
	names, err := r.Rows.Columns()
	if err != nil {
		panic(err)
	}
	return names
}

func (r *faultyRows) Next(dest []driver.Value) error {
	if !r.Rows.Next() {
		if err := r.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	pointers := make([]any, len(dest))
	for i := range dest {
		pointers[i] = &dest[i]
	}
	return r.Scan(pointers...)
}

// logged is a log that tests read. Safe for concurrent use.
type logged struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// errors counts the errors, but for that the disk is slow, which it may be.
func (l *logged) errors() (count int) {
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, "level=ERROR") && !strings.Contains(line, "the database is slow") {
			count++
		}
	}
	return count
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
