package store

import (
	"context"
	"database/sql"
)

// Dialect is what differs between the databases; no other file of this package asks which one it is. The
// packages node/store/sqlite and node/store/postgres make its values.
type Dialect struct {
	// Name is for people: "SQLite", "PostgreSQL".
	Name string
	// Connect opens the database twice: for the one writer (one connection is used) and for the readers.
	Connect func(ctx context.Context) (write, read *sql.DB, err error)
	// Check tells, when a transaction has begun, whether what would be written is where it will be looked for at the next start:
	// a file can be taken away under its writer. Nobody else writes meanwhile. Nil where that can't be.
	Check func() error
	// Together runs statements on a connection, as [sql.Conn.Raw] gives it, on which they were prepared, and tells how many rows the last one
	// touched; an error of one ends them. For a database to which each statement would take a way of its own, and back. Nil: they are run
	// one by one.
	Together func(ctx context.Context, conn any, statements []Statement) (touched int64, err error)
	// Begin starts the writer's transaction; nobody else writes.
	Begin string
	// Integer, Bytes and Text are the words for a 64-bit integer, a byte string and a text that is compared
	// byte by byte. TableEnd ends a CREATE TABLE whose rows are found by their primary key alone.
	Integer, Bytes, Text, TableEnd string
	// Lock locks a table ("%s") for the rest of a transaction against all other writers, and waits for those under way: a
	// process that was killed may leave a transaction that its database server still ends. Empty where there are none.
	Lock string
	// Upgrading and Upgraded are statements for the writer's connection before and after an upgrade, which sorts what is in large
	// tables: it must not need memory for all of that. Empty where it needs none.
	Upgrading, Upgraded []string
	// Unnumbered says that "?" may stand for a parameter, and is read faster than "$1" where there are hundreds.
	Unnumbered bool
	// Classify tells what kind of failure a driver's error is.
	Classify func(error) ErrorClass
}

// Statement is one that writes, and its values.
type Statement struct {
	Text string
	Args []any
}

func (d *Dialect) check() error {
	if d.Check == nil {
		return nil
	}
	return d.Check()
}

// ErrorClass is what a failure of the database means for the writer.
type ErrorClass int

const (
	// OtherError is a failure of the operation: it is reported to whoever asked for it.
	OtherError ErrorClass = iota
	// DuplicateError is a violated uniqueness.
	DuplicateError
	// RetryError says that the same transaction may succeed when run again (serialization, deadlock).
	RetryError
	// ConnectionError says that the connection is gone: a new one is made and the transaction run again.
	ConnectionError
	// StorageError says that the disk is full, read-only, broken or gone: nothing can be written now.
	StorageError
)
