package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"hanse/federation/id"
)

// writeTx is the committer's transaction, shared by the operations of a group. Owned by the committer.
//
// Rows of insert are gathered and written together; exec, found and each write them first, so an operation sees what it
// and the ones before it wrote. Statements keep their texts and are prepared once a connection.
type writeTx struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt // the connection's, kept over transactions

	together func(context.Context, any, []Statement) (int64, error) // Dialect.Together
	queued   []Statement                                            // run together with the next one whose outcome is asked for
	weight   int                                                    // of their byte strings and texts

	position Position // the newest given out
	history  Position // the oldest given out, ≤ 0

	unnumbered bool // Dialect.Unnumbered
	pending    []*pendingRows
	byText     map[*insertion]*pendingRows
	removals   []*pendingRemoval

	ids  map[id.EventID]Position // the numbers of events that operations of this transaction wrote
	txns map[txnKey]struct{}     // client transactions that operations of this transaction used

	tail    *tailNews // what they add to the tail; nil: nothing
	after   []func()
	notices []Notice

	collapsed bool // outbox.collapse was part of it; once a transaction is enough
}

type pendingRows struct {
	*insertion
	args  []any
	rows  int
	keys  map[string]struct{}
	texts map[int]string // statements by number of rows

	unnumbered bool
	removal    *pendingRemoval // of the same table, once there was one
}

// pendingRemoval is a removal's values that are gathered.
type pendingRemoval struct {
	*removal
	values  []any
	inserts *pendingRows // of the same table
}

// statement is the text for so many rows, made once.
func (p *pendingRows) statement(rows int) string {
	text, ok := p.texts[rows]
	if !ok {
		text = p.text(rows, p.unnumbered)
		p.texts[rows] = text
	}
	return text
}

// keyOf joins the key columns of a row; they are texts and numbers.
func keyOf(args []any) string {
	if len(args) == 1 {
		if text, ok := args[0].(string); ok {
			return text
		}
	}
	var key []byte
	for _, arg := range args {
		switch v := arg.(type) {
		case string:
			key = append(key, v...)
		case []byte:
			key = append(key, v...)
		case int64:
			key = strconv.AppendInt(key, v, 10)
		default:
			key = fmt.Append(key, v)
		}
		key = append(key, 0)
	}
	return string(key)
}

// next gives out a position.
func (t *writeTx) next() Position {
	t.position++
	return t.position
}

// nextHistory gives out a position before all others.
func (t *writeTx) nextHistory() Position {
	t.history--
	return t.history
}

// then has f called once the transaction is durable.
func (t *writeTx) then(f func()) { t.after = append(t.after, f) }

// notify has a notice published once the transaction is durable.
func (t *writeTx) notify(n Notice) { t.notices = append(t.notices, n) }

// insert adds a row.
func (t *writeTx) insert(i *insertion, args ...any) error {
	p := t.gathered(i)
	if p.removal != nil {
		if err := t.writeRemoval(p.removal); err != nil {
			return err
		}
	}
	if i.key > 0 {
		key := keyOf(args[:i.key])
		if _, clash := p.keys[key]; clash {
			if err := t.write(p); err != nil {
				return err
			}
		}
		if p.keys == nil {
			p.keys = map[string]struct{}{}
		}
		p.keys[key] = struct{}{}
	}
	p.args = append(p.args, args...)
	p.rows++
	if p.rows < insertRows {
		return nil
	}
	return t.write(p)
}

func (t *writeTx) gathered(i *insertion) *pendingRows {
	p := t.byText[i]
	if p == nil {
		p = &pendingRows{insertion: i, texts: map[int]string{}, unnumbered: t.unnumbered}
		t.byText[i] = p
		t.pending = append(t.pending, p)
	}
	return p
}

// remove deletes the rows with that value.
func (t *writeTx) remove(r *removal, value any) error {
	inserts := t.gathered(r.inserts)
	if inserts.rows > 0 {
		if err := t.write(inserts); err != nil {
			return err
		}
	}
	if inserts.removal == nil {
		inserts.removal = &pendingRemoval{removal: r, inserts: inserts}
		t.removals = append(t.removals, inserts.removal)
	}
	inserts.removal.values = append(inserts.removal.values, value)
	return nil
}

// writeRemoval deletes what was gathered, in statements of 64, 32, … values.
func (t *writeTx) writeRemoval(r *pendingRemoval) error {
	values := r.values
	for size := insertRows; len(values) > 0; values = values[size:] {
		for size > len(values) {
			size /= 2
		}
		if err := t.later(r.text(size), values[:size]); err != nil {
			return err
		}
	}
	clear(r.values)
	r.values = r.values[:0]
	return nil
}

// write writes the gathered rows of one insertion, in statements of 64, 32, … rows.
func (t *writeTx) write(p *pendingRows) error {
	args := p.args
	for rows, size := p.rows, insertRows; rows > 0; {
		for size > rows {
			size /= 2
		}
		if err := t.later(p.statement(size), args[:size*p.columns]); err != nil {
			return err
		}
		args, rows = args[size*p.columns:], rows-size
	}
	clear(p.args)
	p.args, p.rows = p.args[:0], 0
	clear(p.keys)
	return nil
}

// flush writes all gathered rows.
func (t *writeTx) flush() error {
	for _, p := range t.pending {
		if p.rows > 0 {
			if err := t.write(p); err != nil {
				return err
			}
		}
	}
	for _, r := range t.removals {
		if err := t.writeRemoval(r); err != nil {
			return err
		}
	}
	return nil
}

// forget drops what belongs to a transaction that was rolled back or is done.
func (t *writeTx) forget() {
	for _, p := range t.pending {
		clear(p.args)
		p.args, p.rows = p.args[:0], 0
		clear(p.keys)
	}
	for _, r := range t.removals {
		clear(r.values)
		r.values = r.values[:0]
	}
	t.unqueue()
	clear(t.ids)
	clear(t.txns)
	clear(t.after)
	t.after, t.notices, t.tail, t.collapsed = t.after[:0], nil, nil, false
}

func (t *writeTx) prepare(query string) (*sql.Stmt, error) {
	if stmt, ok := t.stmts[query]; ok {
		return stmt, nil
	}
	stmt, err := t.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, fmt.Errorf("store: %w, in: %s", err, query)
	}
	t.stmts[query] = stmt
	return stmt, nil
}

// run runs a statement as it is. Transactions are never cut short by a caller's context: they are short.
func (t *writeTx) run(query string, args ...any) (int64, error) {
	stmt, err := t.prepare(query)
	if err != nil {
		return 0, err
	}
	if t.together != nil {
		t.queued = append(t.queued, Statement{query, args})
		return t.send()
	}
	result, err := stmt.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, fmt.Errorf("store: writing: %w", err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		return 0, fmt.Errorf("store: writing: %w", err)
	}
	return n, nil
}

// later is run for a statement of whose outcome nobody asks but whether it fails: that may be told by the next one, or the one after. args
// are copied.
func (t *writeTx) later(query string, args []any) error {
	if t.together == nil {
		_, err := t.run(query, args...)
		return err
	}
	if _, err := t.prepare(query); err != nil {
		return err
	}
	t.queued = append(t.queued, Statement{query, slices.Clone(args)})
	for _, arg := range args {
		switch v := arg.(type) {
		case []byte:
			t.weight += len(v)
		case json.RawMessage:
			t.weight += len(v)
		case string:
			t.weight += len(v)
		}
	}
	if len(t.queued) < queuedStatements && t.weight < queuedBytes {
		return nil
	}
	_, err := t.send()
	return err
}

// unqueue drops what is queued.
func (t *writeTx) unqueue() {
	clear(t.queued)
	t.queued, t.weight = t.queued[:0], 0
}

// send runs what is queued, and tells how many rows the last statement touched.
func (t *writeTx) send() (touched int64, err error) {
	if len(t.queued) == 0 {
		return 0, nil
	}
	err = t.conn.Raw(func(conn any) error {
		touched, err = t.together(context.Background(), conn, t.queued)
		return err
	})
	t.unqueue()
	if err != nil {
		return 0, fmt.Errorf("store: writing: %w", err)
	}
	return touched, nil
}

// rollback ends the transaction without an effect.
func (t *writeTx) rollback(begin string) error {
	begun := len(t.queued) == 0 || t.queued[0].Text != begin
	if t.unqueue(); !begun {
		return nil
	}
	_, err := t.run("ROLLBACK")
	return err
}

// exec, change and create are those of writeTx, in the writer's next transaction.
func (s *Store) exec(ctx context.Context, query string, args ...any) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		_, err := t.exec(query, args...)
		return err
	})
}

func (s *Store) change(ctx context.Context, what, query string, args ...any) error {
	return s.commit.write(ctx, func(t *writeTx) error { return t.change(what, query, args...) })
}

func (s *Store) create(ctx context.Context, what, query string, args ...any) error {
	return s.commit.write(ctx, func(t *writeTx) error { return t.create(what, query, args...) })
}

// exec runs a statement after all gathered rows; it returns how many rows it touched.
func (t *writeTx) exec(query string, args ...any) (int64, error) {
	if err := t.flush(); err != nil {
		return 0, err
	}
	return t.run(query, args...)
}

// change is exec for a statement that changes something: [ErrNotFound] of what if it doesn't.
func (t *writeTx) change(what, query string, args ...any) error {
	n, err := t.exec(query, args...)
	if err == nil && n == 0 {
		err = fmt.Errorf("%s: %w", what, ErrNotFound)
	}
	return err
}

// create is exec for an INSERT … ON CONFLICT DO NOTHING: [ErrExists] of what if it does nothing.
func (t *writeTx) create(what, query string, args ...any) error {
	n, err := t.exec(query, args...)
	if err == nil && n == 0 {
		err = fmt.Errorf("%s %w", what, ErrExists)
	}
	return err
}

// reading prepares a statement that reads, after all gathered rows were written.
func (t *writeTx) reading(query string) (*sql.Stmt, error) {
	if err := t.flush(); err != nil {
		return nil, err
	}
	if _, err := t.send(); err != nil {
		return nil, err
	}
	return t.prepare(query)
}

// each calls scan for every row, after all gathered rows were written. scan must not use the transaction.
func (t *writeTx) each(query string, args []any, scan func(rows *sql.Rows) error) error {
	stmt, err := t.reading(query)
	if err != nil {
		return err
	}
	rows, err := stmt.QueryContext(context.Background(), args...)
	if err != nil {
		return fmt.Errorf("store: reading: %w", err)
	}
	defer rows.Close() //nolint:errcheck // Err tells what matters
	for rows.Next() {
		if err := scan(rows); err != nil {
			return fmt.Errorf("store: reading: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("store: reading: %w", err)
	}
	return nil
}

// found reads one row, if there is one.
func (t *writeTx) found(query string, args []any, dest ...any) (bool, error) {
	stmt, err := t.reading(query)
	if err != nil {
		return false, err
	}
	err = stmt.QueryRowContext(context.Background(), args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("store: reading: %w", err)
	}
	return true, nil
}
