package clientsync

import (
	"context"
	"slices"

	"hanse/federation/id"
	"hanse/node/ephemeral"
)

// wantsPresence tells whether the client is to be told who is there.
func (s *Syncer) wantsPresence(r Request) bool {
	f := r.Filter.Presence
	return s.ephemeral.HasPresence() && f.Match("m.presence", "") && (f.Senders == nil || len(f.Senders) > 0)
}

// presence is what has changed of the user's and of those who share a room with them, and of whoever came to one of their
// rooms. Who begins, or comes to a room, is told of whoever is there. The store is asked only of those of whom memory doesn't
// say that they share a room.
//
// spec:client-server-api/modules/presence#presence
func (b *builder) presence(ctx context.Context) error {
	if !b.wantsPresence(b.request) {
		return nil
	}
	var users []id.UserID
	unsure := b.newcomers()
	if since := b.request.Since.Typing; !b.request.Initial && b.now.Typing > since {
		told, known := b.ephemeral.PresenceIn(b.request.User, b.facts.joined, since, b.now.Typing)
		if !known {
			unsure = append(unsure, b.ephemeral.PresenceSince(since)...)
		}
		users = b.wanted(told)
	}
	if b.begins() {
		unsure = append(unsure, b.ephemeral.Present()...)
	}
	visible, err := b.visible(ctx, unsure)
	if err != nil {
		return err
	}
	if len(visible) > 0 {
		users = b.wanted(append(users, visible...))
	}
	for _, user := range users {
		b.answer.Presence = append(b.answer.Presence, b.ephemeral.PresenceOf(user))
	}
	return nil
}

// visible are those of whom the client wants to hear who share a room with the user, and the user; the first maxPresenceTold of
// them, and the store is asked of no more than it takes to find them.
func (b *builder) visible(ctx context.Context, users []id.UserID) ([]id.UserID, error) {
	seen := make(map[id.UserID]bool, len(users))
	users = slices.DeleteFunc(users, func(user id.UserID) bool {
		again := seen[user]
		seen[user] = true
		return again || !b.request.Filter.Presence.Match("m.presence", user)
	})
	var visible []id.UserID
	for some := range slices.Chunk(users, maxPresenceTold) {
		sharing, err := b.store.Sharing(ctx, b.request.User, some)
		if err != nil {
			return nil, err
		}
		for _, user := range some {
			if user == b.request.User || sharing[user] {
				visible = append(visible, user)
			}
		}
		if len(visible) >= maxPresenceTold {
			return visible[:maxPresenceTold], nil
		}
	}
	return visible, nil
}

// begins tells whether the client knows nothing yet of somebody who shares a room with it.
func (b *builder) begins() bool {
	return b.request.Initial || b.becameWhole || slices.ContainsFunc(b.facts.joined, func(room id.RoomID) bool {
		_, moved := b.before[room]
		return moved && b.fresh(room)
	})
}

// wanted are those of the users of whom the client wants to hear, in order, each once.
func (b *builder) wanted(users []id.UserID) []id.UserID {
	slices.Sort(users)
	return slices.DeleteFunc(slices.Compact(users), func(user id.UserID) bool { return !b.request.Filter.Presence.Match("m.presence", user) })
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
