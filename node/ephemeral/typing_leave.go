package ephemeral

import (
	"context"
	"maps"
	"slices"
	"time"

	"hanse/federation/id"
	"hanse/node/store"
)

// endOfLeavers ends the typing of those who have left their rooms, who would be shown typing until it runs out. Other servers see
// themselves who leaves. lost says that the notices aren't all: then everybody who types is looked after.
func (e *Ephemeral) endOfLeavers(ctx context.Context, notices []store.Notice, lost bool) error {
	rooms := map[id.RoomID]bool{}
	for _, n := range notices {
		if n.Kind == store.KindEvents && n.Members {
			rooms[n.Room] = true
		}
	}
	for _, room := range e.typing.where(rooms, lost) {
		users, _ := e.typing.in(room)
		for _, user := range users {
			switch joined, err := e.takesPart(ctx, room, user); {
			case err != nil:
				return err
			case !joined:
				now := time.Now()
				e.typing.set(room, user, false, now, now)
			}
		}
	}
	return nil
}

// where are those of some rooms in which somebody types; all: of all.
func (t *typing) where(some map[id.RoomID]bool, all bool) []id.RoomID {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.DeleteFunc(slices.Collect(maps.Keys(t.rooms)), func(room id.RoomID) bool {
		return !all && !some[room] || len(t.rooms[room].users) == 0
	})
}
