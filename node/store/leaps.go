package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"hanse/federation/exactjson"
	"hanse/federation/id"
)

// Positions don't go back where the database does. One that is put back as it was yesterday would give out again what was given out
// since: the stream_ids of device lists, which other servers then take for old, and the tokens of clients, of which an old one would name a
// place in the new time and acknowledge messages that its client never got. So each start leaps to a position made of the clock, beyond
// all that came before, and the leaps are remembered: a token that lies in one is of a time that the database has lost.

// leap is a range of positions that this database hasn't given out: behind From, before To.
type leap struct{ From, To Position }

const (
	// positionsPerMilli is how many positions the clock makes of a millisecond: more than are used in the long run.
	positionsPerMilli = 32
	// maxLeaps is how many leaps are remembered, the longest of all starts.
	maxLeaps = 100
	// leapEpoch is what time is counted from, in ms since 1970, where the clock doesn't suffice, and leapLeast what is leapt then at least: a
	// minute's positions, as the newest may have been noted a minute ago. lastPosition is the last that JSON has as a number.
	leapEpoch    = 1767225600000
	leapLeast    = 60_000 * positionsPerMilli
	lastPosition = 1<<53 - 1
)

// leap has positions go on at what the clock says. Where they are beyond that, as the clock was a year ahead once, they go on as much later as
// the clock is than leapEpoch, and from then on with the clock. Without a leap, as where nothing can be written, all goes on where it was.
func (s *Store) leap(ctx context.Context, now time.Time, noted Position) error {
	tx, err := s.commit.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit there is nothing left to roll back
	var from, ahead Position
	if err := tx.QueryRowContext(ctx, "SELECT position FROM counters").Scan(&from); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	var leaps []leap
	if err := errors.Join(readMeta(ctx, tx, "leaps", &leaps), readMeta(ctx, tx, "ahead", &ahead)); err != nil {
		return fmt.Errorf("store: the leaps of positions: %w", err)
	}
	s.leaps = leaps
	clock := Position(now.UnixMilli()) * positionsPerMilli
	to := clock + ahead
	switch noted = min(noted, lastPosition); {
	case noted > from:
		to = max(to, noted+leapLeast)
	case to > from+1:
	case from-to < leapLeast:
		return nil // much was written just before
	default:
		s.log.Warn("the clock of this machine was ahead once, or is behind now: see that it is right", "clock", now,
			"last_start", time.UnixMilli(int64((from-ahead)/positionsPerMilli)))
		to = from + max(clock-leapEpoch*positionsPerMilli, leapLeast)
	}
	ahead = to - clock
	if to > lastPosition {
		return nil // nearly: no clock goes there, but again and again
	}
	leaps = bounded(append(leaps, leap{from, to}))
	_, err = tx.ExecContext(ctx, "UPDATE counters SET position = $1", int64(to))
	if err == nil {
		err = errors.Join(writeMeta(ctx, tx, "leaps", leaps), writeMeta(ctx, tx, "ahead", ahead))
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		return fmt.Errorf("store: a leap of positions: %w", err)
	}
	s.leaps = leaps
	return nil
}

// readMeta reads a value that writeMeta has written; it leaves alone what was never written.
func readMeta(ctx context.Context, tx *sql.Tx, name string, value any) error {
	var stored string
	err := tx.QueryRowContext(ctx, "SELECT value FROM meta WHERE name = $1", name).Scan(&stored)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err == nil {
		err = exactjson.Unmarshal([]byte(stored), value)
	}
	return err
}

func writeMeta(ctx context.Context, tx *sql.Tx, name string, value any) error {
	encoded, err := json.Marshal(value)
	if err == nil {
		_, err = tx.ExecContext(ctx, "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
			name, string(encoded))
	}
	return err
}

// bounded drops the shortest leaps where there are too many: a database that was put back leaps over hours, one that is started again and
// again over seconds.
func bounded(leaps []leap) []leap {
	for len(leaps) > maxLeaps {
		least := 0
		for i, l := range leaps {
			if l.To-l.From < leaps[least].To-leaps[least].From {
				least = i
			}
		}
		leaps = slices.Delete(leaps, least, least+1)
	}
	return leaps
}

// Found is the position that the database had when it was opened.
func (s *Store) Found() Position { return s.found }

// lostAfter tells whether a position was given out by a database of which this one is an older copy, and up to where this one has the
// same past.
func (s *Store) lostAfter(p Position) (upto Position, lost bool) {
	for _, l := range s.leaps {
		if l.From < p && p < l.To {
			return l.From, true
		}
	}
	return 0, false
}

// Lost is told how far the database had come in a process before this one, and tells whether this one is an older copy, which knows nothing
// of that. Also the starts after the first with this copy tell so.
func (s *Store) Lost(p Position) bool {
	_, lost := s.lostAfter(p)
	return lost || p > s.found
}

// ForgetClaimed is told how far a device has come. If that is in a time that the database has lost, it forgets the device's one-time keys of
// before: some of them may have been given out then, and none must be given out twice. The device learns that it has none, and
// uploads new ones.
func (s *Store) ForgetClaimed(ctx context.Context, user id.UserID, device string, position Position) error {
	upto, lost := s.lostAfter(position)
	if !lost {
		return nil
	}
	return s.commit.write(ctx, func(t *writeTx) error {
		n, err := t.exec("DELETE FROM one_time_keys WHERE user_id = $1 AND device_id = $2 AND position <= $3",
			string(user), []byte(device), int64(upto))
		if n > 0 && err == nil {
			t.oneTimeKeysChanged(user)
		}
		return err
	})
}

// WasPutBack is told that the database was put back as it was before, and sees to what doesn't come right by itself, once. All one-time
// keys that it had when it was opened are forgotten, those of devices that haven't come since too; see ForgetClaimed. Until their clients
// have uploaded new ones fallback keys serve, if they have one. What was told since of other servers' devices is lost: their lists are
// fetched again. What others were told of ours may hold no more: they are told that the lists have changed, and ask for them.
func (s *Store) WasPutBack(ctx context.Context) error {
	if s.forgot.Load() {
		return nil
	}
	err := s.commit.write(ctx, func(t *writeTx) error {
		if err := s.forgetKeysOfBefore(t); err != nil {
			return err
		}
		if _, err := t.exec("UPDATE remote_device_lists SET stale = 1 WHERE stale = 0"); err != nil {
			return err
		}
		return s.announceAll(t)
	})
	if err == nil && s.forgot.CompareAndSwap(false, true) {
		s.log.Info("the database is as it was before: a backup was put back. One-time keys that may have been given out since are forgotten; " +
			"clients upload new ones. Lists of devices are fetched again, and other servers told to do so")
	}
	return err
}

func (s *Store) forgetKeysOfBefore(t *writeTx) error {
	users, err := readAllInTx[id.UserID](t, "SELECT DISTINCT user_id FROM one_time_keys WHERE position <= $1", int64(s.found))
	if err != nil || len(users) == 0 {
		return err
	}
	t.oneTimeKeysChanged(users...)
	_, err = t.exec("DELETE FROM one_time_keys WHERE position <= $1", int64(s.found))
	return err
}

// announceAll has clients and all servers that share a room with users of ours told that these users' devices have changed, under a
// stream_id that is newer than all that were given out.
func (s *Store) announceAll(t *writeTx) error {
	at := t.next()
	if _, err := t.exec("UPDATE device_changes SET position = $1, stream = $1 WHERE stream > 0", int64(at)); err != nil {
		return err
	}
	servers, err := readAllInTx[id.ServerName](t, `SELECT DISTINCT there.server FROM room_servers AS here
		JOIN room_servers AS there ON there.room = here.room
		WHERE here.server = $1 AND here.joined > 0 AND there.joined > 0 AND there.server <> $1`, string(s.self))
	if err != nil {
		return err
	}
	for _, server := range servers {
		if err := s.toRemind(t, server); err != nil {
			return err
		}
	}
	t.notify(Notice{Position: at, Kind: KindDevices, Servers: servers})
	return nil
}
