package store

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"time"

	"hanse/federation/id"
)

// Messages to a device wait until it takes them, which may be never. Those of other servers' users are bounded, by what they weigh: for each
// device those of servers that share a room with its user, and, much fewer, those of others, so that neither takes the other's place. When
// there are too many, the newest go of those users who have most waiting, of those servers that do. What users of ours have sent was
// acknowledged: it waits.

// waiting is what messages of other servers' users weigh that wait for devices, of users to whom some came since the start. Owned by
// the committer.
type waiting struct {
	counted[map[string]lanes]
	dropped int // since the log last said so
	said    time.Time
}

// counted is what was counted of users' rows, so that it isn't counted again each time. Owned by the committer.
type counted[V any] struct {
	users  map[id.UserID]V
	unsure bool // a transaction has changed it and isn't durable yet
}

func newCounted[V any]() counted[V] { return counted[V]{users: map[id.UserID]V{}} }

// lanes are the weights of what waits for a device: that of servers in a room with its user, and that of strangers.
type lanes [2]int64

// weightColumn is what a message weighs, in bytes, as weightOf.
const weightColumn = "LENGTH(message) + 512"

func weightOf(m ToDevice) int64 { return int64(len(m.Message)) + 512 }

func newWaiting() *waiting { return &waiting{counted: newCounted[map[string]lanes]()} }

// begin is called as a transaction begins: if the one before wasn't carried out, nothing that was counted holds.
func (c *counted[V]) begin() {
	if c.unsure || len(c.users) > waitingUsers {
		clear(c.users)
	}
	c.unsure = false
}

// change has what is counted be forgotten if the transaction isn't carried out.
func (c *counted[V]) change(t *writeTx) {
	if !c.unsure {
		c.unsure = true
		t.then(func() { c.unsure = false })
	}
}

// load counts what waits for users of whom that isn't known.
func (w *waiting) load(t *writeTx, users []id.UserID) error {
	users = slices.DeleteFunc(users, func(user id.UserID) bool {
		_, known := w.users[user]
		return known
	})
	if len(users) == 0 {
		return nil
	}
	w.change(t)
	for _, user := range users {
		w.users[user] = map[string]lanes{}
	}
	return list("SELECT user_id, device_id, stranger, SUM("+weightColumn+`) FROM to_device WHERE user_id IN (%s) AND sender <> ''
		GROUP BY user_id, device_id, stranger`, nil, users, func(query string, args []any) error {
		return t.each(query, args, func(rows *sql.Rows) error {
			var user id.UserID
			var device string
			var lane int
			var weight int64
			err := rows.Scan(&user, &device, &lane, &weight)
			if err == nil {
				w.add(user, device, lane, weight)
			}
			return err
		})
	})
}

func (w *waiting) add(user id.UserID, device string, lane int, weight int64) {
	of := w.users[user][device]
	of[lane] += weight
	w.users[user][device] = of
}

// waits counts messages that were written, and drops some where too many wait.
func (s *Store) waits(t *writeTx, messages []ToDevice) error {
	messages = slices.DeleteFunc(slices.Clone(messages), func(m ToDevice) bool { return m.Sender == "" })
	if len(messages) == 0 {
		return nil
	}
	w := s.waiting
	fresh := map[id.UserID]bool{} // load counts what was written, too
	for _, m := range messages {
		if _, known := w.users[m.User]; !known {
			fresh[m.User] = true
		}
	}
	if err := w.load(t, slices.Sorted(maps.Keys(fresh))); err != nil {
		return err
	}
	w.change(t)
	for _, m := range messages {
		if !fresh[m.User] {
			w.add(m.User, m.Device, m.lane(), weightOf(m))
		}
	}
	for _, m := range messages {
		if err := s.dropWaiting(t, m.User, m.Device, m.lane()); err != nil {
			return err
		}
	}
	return nil
}

func (m ToDevice) lane() int {
	if m.Stranger {
		return 1
	}
	return 0
}

// dropWaiting drops messages to a device if too many of a lane wait for it: so many that it is a while until there are too many again.
func (s *Store) dropWaiting(t *writeTx, user id.UserID, device string, lane int) error {
	most := [...]int64{waitingWeight, waitingStrangers}[lane]
	if s.waiting.users[user][device][lane] <= most {
		return nil
	}
	var all []waitingMessage
	err := t.each("SELECT sender, position, "+weightColumn+` FROM to_device WHERE user_id = $1 AND device_id = $2 AND stranger = $3
		AND sender <> '' ORDER BY position`, []any{string(user), []byte(device), int64(lane)}, func(rows *sql.Rows) error {
		var m waitingMessage
		err := rows.Scan(&m.sender, &m.position, &m.weight)
		all = append(all, m)
		return err
	})
	if err != nil {
		return err
	}
	tooMany := beyond(all, most*3/4)
	positions := make([]Position, len(tooMany))
	for i, m := range tooMany {
		positions[i] = m.position
		s.waiting.add(user, device, lane, -m.weight)
	}
	s.waiting.tell(t, s, user, device, len(tooMany))
	return listPositions("DELETE FROM to_device WHERE user_id = $1 AND device_id = $2 AND position IN (%s)",
		[]any{string(user), []byte(device)}, positions, func(query string, args []any) error {
			_, err := t.exec(query, args...)
			return err
		})
}

// tell has the log say, now and then, that messages are dropped.
func (w *waiting) tell(t *writeTx, s *Store, user id.UserID, device string, dropped int) {
	t.then(func() {
		if w.dropped += dropped; time.Since(w.said) < sayPause {
			return
		}
		s.log.Warn("messages of other servers to a device are dropped, as too many wait for it: the newest of whoever has most; what isn't used any more can be logged out",
			"user", user, "device", device, "dropped", w.dropped)
		w.dropped, w.said = 0, time.Now()
	})
}

// waitingMessage is one that waits for a device.
type waitingMessage struct {
	sender   id.UserID
	position Position
	weight   int64
}

// beyond are the messages, of all in order, without which no more than most weigh: of those servers that have most, and of these of those users
// who do, the newest.
func beyond(all []waitingMessage, most int64) []waitingMessage {
	servers, users := map[id.ServerName]int64{}, map[id.ServerName]map[id.UserID]int64{}
	for _, m := range all {
		server := m.sender.Server()
		if users[server] == nil {
			users[server] = map[id.UserID]int64{}
		}
		servers[server] += m.weight
		users[server][m.sender] += m.weight
	}
	share := fairShare(slices.Collect(maps.Values(servers)), most)
	left := map[id.UserID]int64{} // what may still wait
	for _, of := range users {
		each := fairShare(slices.Collect(maps.Values(of)), share)
		for user := range of {
			left[user] = each
		}
	}
	var tooMany []waitingMessage
	for _, m := range all {
		if left[m.sender] < m.weight {
			left[m.sender] = 0 // what follows goes, too: what stays has no holes
			tooMany = append(tooMany, m)
		}
		left[m.sender] = max(0, left[m.sender]-m.weight)
	}
	return tooMany
}

// fairShare is how much each may have of what some want, so that it is no more than all: who wants less leaves the rest to the others.
func fairShare(wanted []int64, all int64) int64 {
	slices.Sort(wanted)
	for i, want := range wanted {
		share := all / int64(len(wanted)-i)
		if want > share {
			return share
		}
		all -= want
	}
	return all
}

// taken deletes messages to a device up to a position.
func (s *Store) taken(t *writeTx, user id.UserID, device string, upto Position) error {
	args := []any{string(user), []byte(device), int64(upto)}
	if _, counted := s.waiting.users[user]; counted {
		s.waiting.change(t)
		err := t.each("SELECT stranger, SUM("+weightColumn+`) FROM to_device WHERE user_id = $1 AND device_id = $2 AND position <= $3
			AND sender <> '' GROUP BY stranger`, args, func(rows *sql.Rows) error {
			var lane int
			var weight int64
			err := rows.Scan(&lane, &weight)
			if err == nil {
				s.waiting.add(user, device, lane, -weight)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	_, err := t.exec("DELETE FROM to_device WHERE user_id = $1 AND device_id = $2 AND position <= $3", args...)
	return err
}

// Strangers are those of the users of ours with whom a server shares no room: none to which they are joined or invited, as far as we know.
func (s *Store) Strangers(ctx context.Context, server id.ServerName, users []id.UserID) (map[id.UserID]bool, error) {
	known, err := mapOf[id.UserID, bool](ctx, s, `SELECT DISTINCT user_id, 1 FROM members WHERE membership IN ('join', 'invite') AND user_id IN (%s)
		AND (EXISTS (SELECT 1 FROM room_servers WHERE room_servers.room = members.room AND server = $1 AND joined > 0)
		OR EXISTS (SELECT 1 FROM partial_servers WHERE partial_servers.room = members.room AND server = $1))`, []any{string(server)}, users)
	strangers := map[id.UserID]bool{}
	for _, user := range users {
		if !known[user] {
			strangers[user] = true
		}
	}
	return strangers, err
}
