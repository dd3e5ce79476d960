package clientsync

import (
	"context"
	"slices"

	"hanse/federation/id"
	"hanse/node/ephemeral"
)

// presence is what has changed of the user's and of those who share a room with them. Who begins, or comes to a room, is
// told of whoever is there.
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
	if b.now.Typing <= since {
		return nil
	}
	users := slices.DeleteFunc(b.ephemeral.PresenceSince(since), func(user id.UserID) bool {
		return !b.request.Filter.Presence.Match("m.presence", user) || begins && b.ephemeral.PresenceOf(user).State == ephemeral.Offline
	})
	if len(users) == 0 {
		return nil
	}
	sharing, err := b.store.Sharing(ctx, b.request.User, users)
	if err != nil {
		return err
	}
	slices.Sort(users)
	for _, user := range users {
		if user == b.request.User || sharing[user] {
			b.answer.Presence = append(b.answer.Presence, b.ephemeral.PresenceOf(user))
		}
	}
	return nil
}
