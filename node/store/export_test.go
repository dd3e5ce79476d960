package store

import (
	"context"
	"errors"
	"maps"
	"slices"

	"hanse/federation/id"
)

// QueueEDUs makes EDUs durable for the servers they are for.
func (s *Store) QueueEDUs(ctx context.Context, edus ...QueuedEDU) error {
	return s.commit.write(ctx, func(t *writeTx) error { return s.outbox.addEDUs(t, edus) })
}

// ApplyRedactions redacts events without a commit.
func (s *Store) ApplyRedactions(ctx context.Context, redactions []Redaction) error {
	return s.commit.write(ctx, func(t *writeTx) error { return s.redact(t, redactions) })
}

// FillLate is a read of a room that ends after something else has happened.
func FillLate(s *Store, read RoomInfo, meanwhile func()) {
	version := s.events.version.Load()
	meanwhile()
	fill(s, s.present.infos, read.RoomID, read, version)
}

// ReadUsedTxns reads the filter of client transactions from the table, which a start does when it comes to it.
func (s *Store) ReadUsedTxns(ctx context.Context) error { return s.usedTxns.read(ctx) }

// PassBatch has the client transactions that follow be of another batch.
func (s *Store) PassBatch(ctx context.Context) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		t.position += 1 << txnBatchBits
		return nil
	})
}

// MayBeUsed tells what the filter says.
func (s *Store) MayBeUsed(c ClientTxn) bool { return s.usedTxns.mayHave(c.key().hashes()) }

// NamedRead tells whether the filter of events' IDs has been read.
func (s *Store) NamedRead() bool { return s.unheard.named.wasRead() }

// FiltersRead tells whether what a start reads in the background has been read.
func (s *Store) FiltersRead() bool { return s.NamedRead() && s.usedTxns.wasRead() }

func (f *keyFilter) wasRead() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.keys != nil
}

// ForgetNamed has the store go without the filter of events' IDs, as where there are too many.
func (s *Store) ForgetNamed() { s.unheard.named.put(nil) }

// MayBeNamed tells what that filter says.
func (s *Store) MayBeNamed(e id.EventID) bool { return s.unheard.named.mayHave(s.unheard.hashes(e)) }

// ForgetEvents has the cache not have events.
func (s *Store) ForgetEvents(ids ...id.EventID) {
	for _, e := range ids {
		s.events.rows.drop(e)
	}
}

// ShortenTail has events moved to the indexes so many together, some of them with each transaction.
func (s *Store) ShortenTail(ctx context.Context, long, some int) error {
	return s.commit.write(ctx, func(*writeTx) error {
		s.tail.long, s.tail.hurry = long, some
		return nil
	})
}

// HoldWriter has the writer's transaction wait until release is called; what is written meanwhile is written together.
func (s *Store) HoldWriter() (release func()) {
	held, released := make(chan struct{}), make(chan struct{})
	go func() {
		_ = s.commit.write(context.Background(), func(*writeTx) error {
			close(held)
			<-released
			return nil
		})
	}()
	<-held
	return func() { close(released) }
}

// Queued is how many writes wait for the writer.
func (s *Store) Queued() int { return len(s.commit.queue) }

// FindTxn is the statement that finds a client's transaction.
const FindTxn = findTxn

// LoadTail is the statement that reads the tail at the start.
const LoadTail = loadTail

// LocalJoined is the statement that reads who of ours is in a room.
const LocalJoined = localJoined

// ReadingStatements are the texts of what readers have asked so far.
func (s *Store) ReadingStatements() []string {
	s.read.mu.RLock()
	defer s.read.mu.RUnlock()
	return slices.Collect(maps.Keys(s.read.stmts))
}

// WritingStatements are the texts of what the committer has run on its connection so far. It gives out no position.
func (s *Store) WritingStatements() (texts []string) {
	s.commit.write(context.Background(), func(t *writeTx) error { //nolint:errcheck // what it returns is there to have nothing written
		texts = slices.Collect(maps.Keys(t.stmts))
		return errors.New("nothing is to be written")
	})
	return texts
}

// The bounds of backups of keys.
const (
	MaxKeyBackups      = maxKeyBackups
	MaxKeyBackupWeight = maxKeyBackupWeight
)

// KeyBackupRows is how many rows there are of a user's versions, deleted or not.
func (s *Store) KeyBackupRows(ctx context.Context, user id.UserID) (n int, err error) {
	_, err = s.read.found(ctx, "SELECT COUNT(*) FROM key_backups WHERE user_id = $1", []any{string(user)}, &n)
	return n, err
}

// HaveKeyBackups makes as many more versions of a user's backup as are said, and has the newest weigh as much more as is said.
func (s *Store) HaveKeyBackups(ctx context.Context, user id.UserID, more int, weight int64) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		for range more {
			if _, err := t.exec(`INSERT INTO key_backups (user_id, version, algorithm, auth_data, etag, deleted)
				SELECT user_id, MAX(version) + 1, algorithm, auth_data, 0, 0 FROM key_backups WHERE user_id = $1 AND version =
				(SELECT MAX(version) FROM key_backups WHERE user_id = $1) GROUP BY user_id, algorithm, auth_data`, string(user)); err != nil {
				return err
			}
		}
		_, err := t.exec("UPDATE key_backups SET weight = weight + $1 WHERE user_id = $2 AND version = (SELECT MAX(version) FROM key_backups WHERE user_id = $2)", weight, string(user))
		return err
	})
}

// The bounds of account data and filters.
const (
	MaxAccountData       = maxAccountData
	MaxAccountDataWeight = maxAccountDataWeight
	MaxFilters           = maxFilters
)

// HaveAccountData gives a user so many entries of account data.
func (s *Store) HaveAccountData(ctx context.Context, user id.UserID, entries int) error {
	return s.exec(ctx, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
		INSERT INTO account_data (user_id, room_id, type, content, deleted, position) SELECT $2, '!' || i, $3, $3, 0, i FROM n`, entries, string(user), []byte("{}"))
}
