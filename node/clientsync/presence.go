package clientsync

import (
	"context"
	"slices"

	"hanse/federation/id"
	"hanse/node/ephemeral"
)

// presence is what has changed of the user's and of those who share a room with them, and of whoever came to one of their
// rooms. Who begins, or comes to a room, is told of whoever is there.
//
// spec:client-server-api/modules/presence#presence
func (b *builder) presence(ctx context.Context) error {
	if !b.ephemeral.HasPresence() {
		return nil
	}
	since := b.request.Since.Typing
	begins := b.request.Initial || slices.ContainsFunc(b.facts.joined, func(room id.RoomID) bool {
		_, moved := b.before[room]
		return moved && b.fresh(room)
	})
	if begins {
		since = 0
	}
	var users []id.UserID
	if b.now.Typing > since {
		users = b.ephemeral.PresenceSince(since)
	}
	users = append(users, b.newcomers()...)
	slices.Sort(users)
	users = slices.DeleteFunc(slices.Compact(users), func(user id.UserID) bool {
		return !b.request.Filter.Presence.Match("m.presence", user) || begins && b.ephemeral.PresenceOf(user).State == ephemeral.Offline
	})
	if len(users) == 0 {
		return nil
	}
	sharing, err := b.store.Sharing(ctx, b.request.User, users)
	if err != nil {
		return err
	}
	for _, user := range users {
		if user == b.request.User || sharing[user] {
			b.answer.Presence = append(b.answer.Presence, b.ephemeral.PresenceOf(user))
		}
	}
	return nil
}

// newcomers are those of whom the answer tells that they joined, and who are there.
func (b *builder) newcomers() []id.UserID {
	var users []id.UserID
	for _, room := range b.answer.Joined {
		for _, d := range room.Timeline.Events {
			user, isState := d.Event.StateKey()
			if isState && d.Event.Membership() == "join" && b.ephemeral.PresenceOf(id.UserID(user)).State != ephemeral.Offline {
				users = append(users, id.UserID(user))
			}
		}
	}
	return users
}
