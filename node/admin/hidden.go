package admin

import (
	"context"
	"encoding/json"
	"fmt"

	"hanse/federation/event"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/node/store"
)

// maxIgnorers bounds how many users of ours are looked at to find who ignores a sender.
const maxIgnorers = 200

// hidden tells why clients don't see an event, or not all of it.
func (a *Admin) hidden(ctx context.Context, row store.EventRow, e *event.Event) ([]string, error) {
	var reasons []string
	say := func(format string, args ...any) { reasons = append(reasons, fmt.Sprintf(format, args...)) }
	switch {
	case row.Status == room.Rejected:
		say("from everybody: it is rejected")
	case row.Outlier:
		say("from everybody, except as state: it has no place in the room's history here")
	case row.Status == room.SoftFailed:
		say("from everybody: it is soft-failed")
	case row.Backfilled:
		say("from /sync: it is history, found by paging back")
	}
	if row.RedactedBy != "" {
		say("its content, from everybody: it is redacted by %s", row.RedactedBy)
	}
	if !e.ContentHashMatches() {
		say("its content, from everybody: it came with a wrong content hash")
	}
	if row.Outlier || row.Status != room.Accepted {
		return reasons, nil
	}
	visibility, err := a.visibility(ctx, e.ID())
	if err != nil {
		return nil, err
	}
	switch visibility {
	case "joined":
		say("from who was not joined when it was sent: the history visibility was joined")
	case "invited":
		say("from who was neither invited nor joined when it was sent: the history visibility was invited")
	case "world_readable":
	default:
		say("from who never was joined at or after it: the history visibility was shared")
	}
	ignoring, err := a.ignoring(ctx, row.RoomID, e.Sender())
	if err != nil {
		return nil, err
	}
	if len(ignoring) > 0 {
		say("from %v, who ignore %s", ignoring, e.Sender())
	}
	return reasons, nil
}

// seenBy says whether a user sees an event.
func (a *Admin) seenBy(ctx context.Context, x *Explanation, row store.EventRow, user id.UserID) error {
	visible, err := a.Rooms.Visible(ctx, user, row.RoomID, []store.EventRow{row})
	switch {
	case err != nil:
		return err
	case len(visible) > 0:
		x.say("%s may see it.", user)
	default:
		x.say("%s does not see it.", user)
	}
	return nil
}

// visibility is the room's history visibility before an event.
func (a *Admin) visibility(ctx context.Context, e id.EventID) (string, error) {
	before, ok, err := a.Store.StateBefore(ctx, e)
	if err != nil || !ok {
		return "shared", err
	}
	events, err := a.Store.StateEvents(ctx, before, roomstate.Key{Type: "m.room.history_visibility"})
	if err != nil || len(events) == 0 {
		return "shared", err
	}
	return member(events[0].Content(), "history_visibility"), nil
}

// ignoring are the users of ours in a room who ignore a user.
func (a *Admin) ignoring(ctx context.Context, roomID id.RoomID, sender id.UserID) ([]id.UserID, error) {
	users, err := a.Store.LocalJoined(ctx, roomID)
	if err != nil {
		return nil, err
	}
	var list []id.UserID
	for _, user := range users[:min(len(users), maxIgnorers)] {
		data, ok, err := a.Store.AccountData(ctx, user, "", "m.ignored_user_list")
		if err != nil {
			return nil, err
		}
		var content struct {
			Users map[id.UserID]json.RawMessage `json:"ignored_users"`
		}
		if !ok || exactjson.Unmarshal(data.Content, &content) != nil {
			continue
		}
		if _, ignored := content.Users[sender]; ignored {
			list = append(list, user)
		}
	}
	return list, nil
}
