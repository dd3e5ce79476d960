package clientsync

import (
	"context"
	"slices"

	"hanse/federation/id"
	"hanse/node/store"
)

// Devices is what is new for a device's encryption.
type Devices struct {
	Lists    DeviceLists
	ToDevice []store.ToDevice
	// OneTimeKeys are the numbers of the device's one-time keys, Unused the algorithms of its unused fallback keys.
	OneTimeKeys map[string]int
	Unused      []string
	news        bool // there is something to wake the client for
}

// DeviceLists are users whose devices have changed or who have begun to share a room, and those who share none any more.
type DeviceLists struct{ Changed, Left []id.UserID }

// devices puts in what concerns encryption. Messages up to since are acknowledged by it.
//
// spec:client-server-api/modules/send_to_device#server-behaviour
func (b *builder) devices(ctx context.Context) error {
	d := &b.answer.Devices
	user, device := b.request.User, b.request.Device
	since := b.request.Since.ToDevice
	if b.request.Initial {
		since = 0
	}
	_, own := b.stream.DevicesSince(user, since)
	if err := b.store.ToDeviceTaken(ctx, user, device, since); err != nil {
		return err
	}
	if own || b.request.Initial {
		var err error
		if d.ToDevice, err = b.store.ToDevice(ctx, user, device, since, b.now.Position, maxToDevice); err != nil {
			return err
		}
	}
	if len(d.ToDevice) == maxToDevice { // what is behind them comes next
		b.answer.Next.ToDevice = d.ToDevice[maxToDevice-1].Position
	}
	var err error
	if d.OneTimeKeys, d.Unused, err = b.store.KeyCounts(ctx, user, device); err != nil {
		return err
	}
	_, keys := b.stream.DevicesSince(user, b.since())
	if !b.request.Initial {
		if d.Lists, err = b.Syncer.DeviceLists(ctx, user, b.since(), b.now.Position); err != nil {
			return err
		}
	}
	d.news = len(d.ToDevice)+len(d.Lists.Changed)+len(d.Lists.Left) > 0 || keys && b.since() < b.now.Position
	return nil
}

// DeviceLists are the users whose devices a user must look at again, or need not look at any more, in (since, upto].
//
// spec:client-server-api/modules/end_to_end_encryption#tracking-the-device-list-for-a-user
func (s *Syncer) DeviceLists(ctx context.Context, user id.UserID, since, upto store.Position) (DeviceLists, error) {
	facts, err := s.facts(ctx, user, s.stream.Now().Position)
	if err != nil {
		return DeviceLists{}, err
	}
	changed, candidates := map[id.UserID]bool{}, map[id.UserID]bool{}
	if anybody, _ := s.stream.DevicesSince(user, since); anybody {
		users, err := s.store.DeviceChanges(ctx, user, since, upto)
		if err != nil {
			return DeviceLists{}, err
		}
		for _, u := range users {
			changed[u] = true
		}
	}
	if active := s.stream.RoomsSince(facts.joined, since); len(active) > 0 {
		moved, err := s.store.MembersMoved(ctx, active, since, upto)
		if err != nil {
			return DeviceLists{}, err
		}
		for _, m := range moved {
			if m.User == user {
				continue
			}
			if m.Membership == "join" {
				changed[m.User] = true
			} else {
				candidates[m.User] = true
			}
		}
	}
	if err := s.ownMoves(ctx, facts, user, since, changed, candidates); err != nil {
		return DeviceLists{}, err
	}
	return s.deviceLists(ctx, user, changed, candidates)
}

// ownMoves adds the members of rooms that the user came to or left.
func (s *Syncer) ownMoves(ctx context.Context, facts userFacts, user id.UserID, since store.Position, changed, candidates map[id.UserID]bool) error {
	for _, m := range facts.memberships {
		if m.Position <= since || m.OutOfRoom {
			continue
		}
		members, err := s.store.Members(ctx, m.RoomID, store.MemberFilter{Membership: "join"})
		if err != nil {
			return err
		}
		for _, other := range members {
			switch {
			case other.User == user:
			case m.Membership == "join":
				changed[other.User] = true
			case m.Membership == "leave" || m.Membership == "ban":
				candidates[other.User] = true
			}
		}
	}
	return nil
}

// deviceLists keeps of those who may have left only those who share no room any more.
func (s *Syncer) deviceLists(ctx context.Context, user id.UserID, changed, candidates map[id.UserID]bool) (DeviceLists, error) {
	var lists DeviceLists
	for u := range changed {
		lists.Changed = append(lists.Changed, u)
		delete(candidates, u)
	}
	for u := range candidates {
		lists.Left = append(lists.Left, u)
	}
	sharing, err := s.store.Sharing(ctx, user, lists.Left)
	if err != nil {
		return lists, err
	}
	lists.Left = slices.DeleteFunc(lists.Left, func(u id.UserID) bool { return sharing[u] })
	slices.Sort(lists.Changed)
	slices.Sort(lists.Left)
	return lists, nil
}
