package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// What statements read, as values. Texts, byte strings and flags are scanned as they are; NULL only into a []byte or a sql.Null.

// readRows reads the rows of a statement; columns are where those of a row go.
func readRows[T any](ctx context.Context, s *Store, query string, args []any, columns func(*T) []any) ([]T, error) {
	var all []T
	var row, none T
	into := columns(&row)
	err := s.read.each(ctx, query, args, func(rows *sql.Rows) error {
		row = none
		err := rows.Scan(into...)
		all = append(all, row)
		return err
	})
	return all, err
}

// readRow is readRows for a statement of one row at most; false if there is none.
func readRow[T any](ctx context.Context, s *Store, query string, args []any, columns func(*T) []any) (row T, found bool, err error) {
	found, err = s.read.found(ctx, query, args, columns(&row)...)
	return row, found, err
}

// readList is readRows for a list of values; see list.
func readList[T any, V ~string](ctx context.Context, s *Store, format string, fixed []any, values []V, columns func(*T) []any) ([]T, error) {
	var all []T
	err := list(format, fixed, values, func(query string, args []any) error {
		some, err := readRows(ctx, s, query, args, columns)
		all = append(all, some...)
		return err
	})
	return all, err
}

// readAll reads one column.
func readAll[T any](ctx context.Context, s *Store, query string, args ...any) ([]T, error) {
	return readRows(ctx, s, query, args, oneColumn[T])
}

func oneColumn[T any](v *T) []any { return []any{v} }

// readMap reads two columns: the first finds the second.
func readMap[K comparable, V any](ctx context.Context, s *Store, query string, args ...any) (map[K]V, error) {
	all := map[K]V{}
	return all, s.read.each(ctx, query, args, pairs(all))
}

// mapOf is readMap for a list of values; see list.
func mapOf[K comparable, V any, L ~string](ctx context.Context, s *Store, format string, fixed []any, values []L) (map[K]V, error) {
	all := map[K]V{}
	return all, list(format, fixed, values, func(query string, args []any) error {
		return s.read.each(ctx, query, args, pairs(all))
	})
}

// pairs puts rows of two columns into a map.
func pairs[K comparable, V any](into map[K]V) func(*sql.Rows) error {
	var key K
	var value V
	return func(rows *sql.Rows) error {
		err := rows.Scan(&key, &value)
		into[key] = value
		return err
	}
}

// readAllInTx is readAll in a transaction, which sees what it wrote.
func readAllInTx[T any](t *writeTx, query string, args ...any) ([]T, error) {
	var all []T
	err := t.each(query, args, func(rows *sql.Rows) error {
		var v T
		err := rows.Scan(&v)
		all = append(all, v)
		return err
	})
	return all, err
}

// flag is a bool in the database.
func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// millis is a time in the database: in milliseconds since 1970, 0 for the zero time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// fromMillis is the opposite of millis.
func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// timeColumn has a column scanned that millis wrote.
type timeColumn struct{ into *time.Time }

// Scan is sql.Scanner's.
func (c timeColumn) Scan(value any) error {
	ms, ok := value.(int64)
	if !ok {
		return fmt.Errorf("a stored time is %T", value)
	}
	*c.into = fromMillis(ms)
	return nil
}
