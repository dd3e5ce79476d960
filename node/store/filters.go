package store

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"strconv"

	"hanse/federation/id"
)

// SaveFilter stores a user's filter and returns its ID; the same filter gets the same ID. Of too many the oldest go: clients make one again that is gone.
func (s *Store) SaveFilter(ctx context.Context, user id.UserID, filter json.RawMessage) (string, error) {
	hash := sha256.Sum256(filter)
	var number int64
	err := s.commit.write(ctx, func(t *writeTx) error {
		found, err := t.found("SELECT filter_id FROM filters WHERE user_id = $1 AND hash = $2", []any{string(user), hash[:]}, &number)
		if err != nil || found {
			return err
		}
		number = int64(t.next())
		_, err = t.exec("INSERT INTO filters (user_id, filter_id, hash, filter) VALUES ($1, $2, $3, $4)",
			string(user), number, hash[:], []byte(filter))
		if err != nil {
			return err
		}
		_, err = t.exec("DELETE FROM filters WHERE user_id = $1 AND filter_id <= (SELECT filter_id FROM filters WHERE user_id = $1 ORDER BY filter_id DESC LIMIT 1 OFFSET $2)",
			string(user), maxFilters)
		return err
	})
	return strconv.FormatInt(number, 10), err
}

// Filter reads a user's filter; false when there is none of that ID.
func (s *Store) Filter(ctx context.Context, user id.UserID, filterID string) (json.RawMessage, bool, error) {
	number, err := strconv.ParseInt(filterID, 10, 64)
	if err != nil {
		return nil, false, nil //nolint:nilerr // no such filter
	}
	var filter []byte
	found, err := s.read.found(ctx, "SELECT filter FROM filters WHERE user_id = $1 AND filter_id = $2", []any{string(user), number}, &filter)
	return filter, found, err
}
