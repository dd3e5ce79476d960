package store

import (
	"context"

	"hanse/federation/id"
)

// UserWord is a word of a user's name, as it is or was.
type UserWord struct {
	Word string
	User id.UserID
}

// AddUserWords makes a user findable by words.
func (s *Store) AddUserWords(ctx context.Context, user id.UserID, words []string) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		for _, word := range words {
			if err := t.insert(insertUserWord, []byte(word), string(user)); err != nil {
				return err
			}
		}
		return nil
	})
}

// UserWords lists the words that begin with a prefix, with the users who have them, after a place, at most limit.
func (s *Store) UserWords(ctx context.Context, prefix string, after UserWord, limit int) ([]UserWord, error) {
	from := after.Word
	if from == "" {
		from = prefix
	}
	// No word has the byte 0xff: it is behind all that begin with the prefix.
	return readRows(ctx, s, `SELECT word, user_id FROM user_words WHERE (word, user_id) > ($1, $2) AND word >= $3 AND word < $4
		ORDER BY word, user_id LIMIT $5`, []any{[]byte(from), string(after.User), []byte(prefix), append([]byte(prefix), 0xff), limit},
		func(w *UserWord) []any { return []any{&w.Word, &w.User} })
}

// SharedRoom is a room to which both users are joined; false if there is none.
func (s *Store) SharedRoom(ctx context.Context, a, b id.UserID) (id.RoomID, bool, error) {
	var room id.RoomID
	found, err := s.read.found(ctx, `SELECT room_id FROM members AS a JOIN members AS b ON b.room = a.room JOIN rooms ON rooms.room = a.room
		WHERE a.user_id = $1 AND b.user_id = $2 AND a.membership = 'join' AND b.membership = 'join' LIMIT 1`,
		[]any{string(a), string(b)}, &room)
	return room, found, err
}

const userWordsDone = "user_words"

// UserWordsDone tells whether the names of all users of this server were made findable once.
func (s *Store) UserWordsDone(ctx context.Context) (bool, error) {
	var value string
	return s.read.found(ctx, "SELECT value FROM meta WHERE name = $1", []any{userWordsDone}, &value)
}

// SetUserWordsDone notes that they were.
func (s *Store) SetUserWordsDone(ctx context.Context) error {
	return s.exec(ctx, "INSERT INTO meta (name, value) VALUES ($1, '1') ON CONFLICT DO NOTHING", userWordsDone)
}
