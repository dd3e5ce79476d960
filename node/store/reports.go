package store

import (
	"context"
	"time"

	"hanse/federation/id"
)

// Report is something that a user told the administrators of: an event, a room or a user.
type Report struct {
	Number   int64 // given by [Store.AddReport]; a later one's is larger
	Received time.Time
	Reporter id.UserID
	RoomID   id.RoomID  // "" for a user
	EventID  id.EventID // "" for a room or a user
	UserID   id.UserID  // "" for a room or an event
	Reason   string
}

// AddReport keeps a report, under a number of its own.
func (s *Store) AddReport(ctx context.Context, r Report) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		_, err := t.exec(`INSERT INTO reports (number, received, reporter, room_id, event_id, user_id, reason) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			int64(t.next()), r.Received.UnixMilli(), string(r.Reporter), string(r.RoomID), string(r.EventID), string(r.UserID), []byte(r.Reason))
		return err
	})
}

// ReportsOf counts what a user has reported since a time.
func (s *Store) ReportsOf(ctx context.Context, reporter id.UserID, since time.Time) (int, error) {
	var n int
	err := s.read.row(ctx, "SELECT COUNT(*) FROM reports WHERE reporter = $1 AND received >= $2", []any{string(reporter), since.UnixMilli()}, &n)
	return n, err
}

// ReportsKept counts all reports.
func (s *Store) ReportsKept(ctx context.Context) (int, error) {
	var n int
	err := s.read.row(ctx, "SELECT COUNT(*) AS kept FROM reports", nil, &n)
	return n, err
}

// MostReports is who has made the most reports that are kept, and how many; 0 if there are none.
func (s *Store) MostReports(ctx context.Context) (reporter id.UserID, reports int, err error) {
	_, err = s.read.found(ctx, "SELECT reporter, COUNT(*) AS kept FROM reports GROUP BY reporter ORDER BY kept DESC, reporter LIMIT 1", nil, &reporter, &reports)
	return reporter, reports, err
}

// DropNewestReport deletes the newest report of a user; [ErrNotFound] if there is none.
func (s *Store) DropNewestReport(ctx context.Context, reporter id.UserID) error {
	return s.change(ctx, "report", "DELETE FROM reports WHERE number = (SELECT MAX(number) FROM reports WHERE reporter = $1)", string(reporter))
}

// DeleteReportsOf deletes all reports of a user, and tells how many there were.
func (s *Store) DeleteReportsOf(ctx context.Context, reporter id.UserID) (deleted int, err error) {
	err = s.commit.write(ctx, func(t *writeTx) error {
		n, err := t.exec("DELETE FROM reports WHERE reporter = $1", string(reporter))
		deleted = int(n)
		return err
	})
	return deleted, err
}

// DeleteReport deletes a report; [ErrNotFound] if there is none of that number.
func (s *Store) DeleteReport(ctx context.Context, number int64) error {
	return s.change(ctx, "report", "DELETE FROM reports WHERE number = $1", number)
}

// Reports lists reports, the newest first, at most limit.
func (s *Store) Reports(ctx context.Context, limit int) ([]Report, error) {
	return readRows(ctx, s, `SELECT number, received, reporter, room_id, event_id, user_id, reason FROM reports ORDER BY number DESC LIMIT $1`, []any{limit},
		func(r *Report) []any {
			return []any{&r.Number, timeColumn{&r.Received}, &r.Reporter, &r.RoomID, &r.EventID, &r.UserID, &r.Reason}
		})
}
