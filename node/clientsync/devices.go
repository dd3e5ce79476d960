package clientsync

import (
	"context"
	"maps"
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

// deviceFacts are what is stored for a device, so that an answer that isn't about it needn't look. Immutable; the commit
// feed tells when they are no longer true.
type deviceFacts struct {
	thereAt    store.Position // when it was there; 0 = it wasn't looked at
	messagesAt store.Position // when no message was stored; 0 = there may be some
	keysAt     store.Position // when the keys were counted; 0 = never
	counts     map[string]int
	unused     []string
}

type deviceName struct {
	user   id.UserID
	device string
}

// devices puts in what concerns encryption.
func (b *builder) devices(ctx context.Context) error {
	d, user, device := &b.answer.Devices, b.request.User, b.request.Device
	since := b.request.Since.ToDevice
	if b.request.Initial {
		since = 0
	}
	var err error
	if b.request.MessagesAside {
		b.answer.Next.ToDevice = since // nor does it acknowledge what it wasn't told, should they go this way again
	} else if d.ToDevice, err = b.ToDevice(ctx, user, device, since, b.now.Position, MaxToDevice); err != nil {
		return err
	}
	if len(d.ToDevice) == MaxToDevice { // what is behind them comes next
		b.answer.Next.ToDevice = d.ToDevice[MaxToDevice-1].Position
	}
	if d.OneTimeKeys, d.Unused, err = b.KeyCounts(ctx, user, device, b.now.Position); err != nil {
		return err
	}
	if !b.request.Initial {
		if d.Lists, err = b.DeviceLists(ctx, user, b.since(), b.now.Position); err != nil {
			return err
		}
	}
	d.news = len(d.ToDevice)+len(d.Lists.Changed)+len(d.Lists.Left) > 0 || b.stream.OneTimeKeysSince(user, b.since())
	return nil
}

// ToDevice are the messages to a device that came in (since, upto], the oldest first, at most limit. Those up to since are
// acknowledged by it, and forgotten.
//
// spec:client-server-api/modules/send_to_device#server-behaviour
func (s *Syncer) ToDevice(ctx context.Context, user id.UserID, device string, since, upto store.Position, limit int) ([]store.ToDevice, error) {
	name := deviceName{user, device}
	facts, _ := s.deviceFacts.Get(name)
	if facts.messagesAt != 0 && !s.stream.ToDeviceSince(user, facts.messagesAt) {
		return nil, nil
	}
	if err := s.store.ToDeviceTaken(ctx, user, device, since); err != nil {
		return nil, err
	}
	messages, err := s.store.ToDevice(ctx, user, device, since, upto, limit)
	if err != nil {
		return nil, err
	}
	if facts.messagesAt = 0; len(messages) == 0 && limit > 0 {
		facts.messagesAt = upto // there are none, neither now nor to be acknowledged
	}
	s.deviceFacts.Put(name, facts)
	return messages, nil
}

// KeyCounts are the numbers of a device's one-time keys, and the algorithms of its unused fallback keys. They must not be changed.
func (s *Syncer) KeyCounts(ctx context.Context, user id.UserID, device string, now store.Position) (counts map[string]int, unused []string, err error) {
	name := deviceName{user, device}
	facts, _ := s.deviceFacts.Get(name)
	if facts.keysAt == 0 || s.stream.OneTimeKeysSince(user, facts.keysAt) {
		facts.keysAt = now
		if facts.counts, facts.unused, err = s.store.KeyCounts(ctx, user, device); err != nil {
			return nil, nil, err
		}
		s.deviceFacts.Put(name, facts)
	}
	return facts.counts, facts.unused, nil
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
	if s.stream.DevicesSince(user, facts.joined, since) {
		users, err := s.store.DeviceChanges(ctx, user, since, upto)
		if err != nil {
			return DeviceLists{}, err
		}
		for _, u := range users {
			changed[u] = true
		}
	}
	if active := s.stream.MembersSince(facts.joined, since); len(active) > 0 {
		moved, err := s.store.MembersMoved(ctx, active, since, upto)
		if err != nil {
			return DeviceLists{}, err
		}
		for _, m := range moved {
			if m.User == user {
				continue
			}
			switch m.Membership {
			case "leave", "ban":
				candidates[m.User] = true
			default: // who is invited gets what is said from now on, too: clients begin with their devices, as by Synapse
				changed[m.User] = true
			}
		}
	}
	if err := s.ownMoves(ctx, facts, since, changed, candidates); err != nil {
		return DeviceLists{}, err
	}
	return s.deviceLists(ctx, user, changed, candidates)
}

// ownMoves adds the members of rooms that the user came to or left. Who came is one of the room's members, told to their
// own devices as by Synapse.
func (s *Syncer) ownMoves(ctx context.Context, facts userFacts, since store.Position, changed, candidates map[id.UserID]bool) error {
	for _, m := range facts.memberships {
		if m.Since <= since || m.OutOfRoom {
			continue
		}
		members, err := s.store.Members(ctx, m.RoomID, store.MemberFilter{Membership: "join"})
		if err != nil {
			return err
		}
		for _, other := range members {
			switch m.Membership {
			case "join":
				changed[other.User] = true
			case "leave", "ban":
				candidates[other.User] = true
			}
		}
	}
	return nil
}

// deviceLists keeps of those who may have left only those who share no room any more. Of these nobody cares what has changed.
func (s *Syncer) deviceLists(ctx context.Context, user id.UserID, changed, candidates map[id.UserID]bool) (DeviceLists, error) {
	var lists DeviceLists
	left := slices.Collect(maps.Keys(candidates))
	sharing, err := s.store.Sharing(ctx, user, left)
	if err != nil {
		return lists, err
	}
	for _, u := range left {
		if !sharing[u] {
			lists.Left = append(lists.Left, u)
			delete(changed, u)
		}
	}
	for u := range changed {
		lists.Changed = append(lists.Changed, u)
	}
	slices.Sort(lists.Changed)
	slices.Sort(lists.Left)
	return lists, nil
}
