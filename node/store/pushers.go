package store

import (
	"context"
	"encoding/json"
	"time"

	"hanse/federation/id"
)

// Pusher is where a user is notified: known by its app and key.
type Pusher struct {
	User    id.UserID
	AppID   string
	PushKey string
	Device  string          // whose access token set it
	Data    json.RawMessage // what the client gave
	Updated time.Time       // to the millisecond
	Upto    Position        // everything up to here was pushed, or was not to be
}

const pusherColumns = "user_id, app_id, pushkey, device_id, pusher, updated, upto"

func (s *Store) eachPusher(ctx context.Context, where string, args ...any) ([]Pusher, error) {
	return readRows(ctx, s, "SELECT "+pusherColumns+" FROM pushers "+where+" ORDER BY user_id, app_id, pushkey", args, func(p *Pusher) []any {
		return []any{&p.User, &p.AppID, &p.PushKey, &p.Device, &p.Data, timeColumn{&p.Updated}, &p.Upto}
	})
}

// Pushers lists a user's.
func (s *Store) Pushers(ctx context.Context, user id.UserID) ([]Pusher, error) {
	return s.eachPusher(ctx, "WHERE user_id = $1", string(user))
}

// AllPushers lists everybody's.
func (s *Store) AllPushers(ctx context.Context) ([]Pusher, error) { return s.eachPusher(ctx, "") }

// SetPusher stores a pusher in place of the user's of the same app and key. A new one begins at the newest position.
// Unless it is to be one more, those of the same app and key of other users go: others are those users.
func (s *Store) SetPusher(ctx context.Context, p Pusher, oneMore bool) (others []id.UserID, err error) {
	err = s.commit.write(ctx, func(t *writeTx) (err error) {
		if !oneMore {
			const theirs = " FROM pushers WHERE app_id = $1 AND pushkey = $2 AND user_id <> $3"
			args := []any{[]byte(p.AppID), []byte(p.PushKey), string(p.User)}
			if others, err = readAllInTx[id.UserID](t, "SELECT user_id"+theirs, args...); err != nil {
				return err
			}
			if _, err := t.exec("DELETE"+theirs, args...); err != nil {
				return err
			}
		}
		_, err = t.exec(`INSERT INTO pushers (user_id, app_id, pushkey, device_id, pusher, updated, upto)
			VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (user_id, app_id, pushkey) DO UPDATE SET
			device_id = excluded.device_id, pusher = excluded.pusher, updated = excluded.updated`,
			string(p.User), []byte(p.AppID), []byte(p.PushKey), []byte(p.Device), []byte(p.Data), millis(p.Updated), int64(t.position))
		return err
	})
	return others, err
}

// DeletePusher removes one of a user's, if it is there.
func (s *Store) DeletePusher(ctx context.Context, user id.UserID, appID, pushKey string) error {
	return s.exec(ctx, "DELETE FROM pushers WHERE user_id = $1 AND app_id = $2 AND pushkey = $3", string(user), []byte(appID), []byte(pushKey))
}

// Pushed notes up to where pushers have done their work; those that are gone meanwhile are passed over.
func (s *Store) Pushed(ctx context.Context, pushers []Pusher) error {
	return s.commit.write(ctx, func(t *writeTx) error {
		for _, p := range pushers {
			_, err := t.exec("UPDATE pushers SET upto = $1 WHERE user_id = $2 AND app_id = $3 AND pushkey = $4 AND upto < $1",
				int64(p.Upto), string(p.User), []byte(p.AppID), []byte(p.PushKey))
			if err != nil {
				return err
			}
		}
		return nil
	})
}
