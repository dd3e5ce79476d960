package store

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"hanse/federation"
	"hanse/federation/id"
)

var (
	// ErrExists says that what was to be created is there already (user, alias, media).
	ErrExists = errors.New("exists already")
	// ErrNotFound says that what was to be changed is not there.
	ErrNotFound = errors.New("not found")
	// ErrClientTxnUsed says that this client transaction has already made an event: nothing of the commit was
	// written; [Store.ClientTxn] tells which event it was.
	ErrClientTxnUsed = errors.New("client transaction ID already used")
	// ErrFull says that there are as many of something as there may be, of a user or in all.
	ErrFull = errors.New("there may be no more")
	// ErrOtherWriter says that another process has written to the database, or that an older copy of it stands in its place. Nothing is
	// written any more: what this one holds in memory is out of date.
	ErrOtherWriter = errors.New("another process writes to this database, or it isn't as it was left, as after a failover to a server that " +
		"had not all of it: stop the other process, if there is one, and start this one again")
	// ErrUnanswered says that the database went away while it committed, for longer than anybody is kept waiting: what was written may count
	// or not, as is known once the database is back. Until then it is in doubt, and must not be run again.
	ErrUnanswered = errors.New("the database went away while committing, whether it did is unknown")
	// ErrClosed says that the store takes no more writes. Who asked, a client or a server, is told to try again later.
	ErrClosed error = closedError{}

	errNoWrites = errors.New("the database takes no writes; the log says why")
	errNoReads  = errors.New("the database can't be read; the log says why")
)

// ServerNameError says that the database belongs to another server.
type ServerNameError struct{ Configured, Stored id.ServerName }

func (e *ServerNameError) Error() string {
	return fmt.Sprintf("this database belongs to the server %q, but the configuration says %q: "+
		"a server's name can't change; use another database or set the name back", e.Stored, e.Configured)
}

// SchemaError says that the database was written by a newer Hanse.
type SchemaError struct{ Stored, Known int }

func (e *SchemaError) Error() string {
	return fmt.Sprintf("this database has schema version %d, but this build knows versions up to %d: "+
		"it was last used by a newer Hanse; run that one, or restore a backup", e.Stored, e.Known)
}

// UnfinishedSchemaError says that the database lacks a table that its schema version promises. Nothing was changed in it.
type UnfinishedSchemaError struct {
	Stored int
	Table  string
	cause  error
}

func (e *UnfinishedSchemaError) Error() string {
	return fmt.Sprintf("this database has schema version %d, but can't be read as such (table %s: %v): it was made by an unfinished "+
		"build of Hanse, whose databases no other build can read, or is damaged; go on with the build that made it, or restore a backup", e.Stored, e.Table, e.cause)
}

func (e *UnfinishedSchemaError) Unwrap() error { return e.cause }

type closedError struct{}

func (closedError) Error() string { return "the store is closed" }

func (closedError) Unwrap() error {
	told := federation.NewError(http.StatusServiceUnavailable, federation.CodeUnknown, "this server stops; try again later")
	told.RetryAfterMS = unavailableFor.Milliseconds()
	return told
}

// unavailable is a failure of the database itself, whatever was asked of it: it is gone, or its disk is full, read-only or
// broken. The log has said so once; who asked, a client or a server, is told to try again later.
type unavailable struct{ cause error }

func (e *unavailable) Error() string { return e.cause.Error() }

func (e *unavailable) Unwrap() []error {
	told := federation.NewError(http.StatusServiceUnavailable, federation.CodeUnknown, "this server can't use its database at the moment; try again later")
	told.RetryAfterMS = unavailableFor.Milliseconds()
	return []error{e.cause, told}
}

// unavailableFor is when who asked is told to come again: that the database is there again is known within a second or two.
const unavailableFor = 5 * time.Second

// Unavailable tells whether an error is a failure of the database itself, of which the log has the store's word.
func Unavailable(err error) bool {
	_, ok := errors.AsType[*unavailable](err)
	return ok
}
