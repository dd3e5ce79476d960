package appservice

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/store"
)

// encryption finds what the devices that a service has made need for encryption beside events, and would else read by /sync: messages,
// whose devices have changed, and how many keys they have left. It is in no version of the specification yet; what is asked for, and
// how it is called, is that of MSC4203 and MSC3202 as deployed servers and bridges have it. Owned by the service's worker; of nil,
// which a service without org.matrix.msc3202 has, nothing comes.
//
// A message is taken out of the table in the same write that has the transaction with it be durable, so that it comes once. What has
// changed of device lists is told from the cursor on, like events. How many keys there are is told of all devices after a start.
type encryption struct {
	worker *worker
	inbox  *waiting // users for whose devices there may be messages
	counts *waiting // users the number of whose keys has changed
	alone  int      // how many transactions went before events in a row, as they were full of messages
}

// beside is what a transaction has beside events.
type beside struct {
	messages      []store.ToDevice
	changed, left []id.UserID
	keys          []store.DeviceKeyCounts
}

func (b *beside) empty() bool { return len(b.messages)+len(b.changed)+len(b.left)+len(b.keys) == 0 }

func newEncryption(w *worker) *encryption {
	return &encryption{
		worker: w,
		inbox: newWaiting(func(ctx context.Context, after id.UserID, limit int) ([]id.UserID, error) {
			return w.store.ServiceRecipients(ctx, w.ID, after, limit)
		}),
		counts: newWaiting(func(ctx context.Context, after id.UserID, limit int) ([]id.UserID, error) {
			return w.store.ServiceUsers(ctx, w.ID, after, limit)
		}),
	}
}

// again has everything be looked for, as something may have been missed.
func (e *encryption) again() {
	if e != nil {
		e.inbox.again()
		e.counts.again()
	}
}

// notice notes what a notice is about.
func (e *encryption) notice(n store.Notice) {
	if e == nil || n.Kind != store.KindToDevice && n.Kind != store.KindOneTimeKeys {
		return
	}
	for _, user := range n.Users {
		switch {
		case !e.worker.Covers(user):
		case n.Kind == store.KindToDevice:
			e.inbox.add(user)
		default:
			e.counts.add(user)
		}
	}
}

// messages puts messages to devices in. alone says that they are so many that others come before events: but not always, as whoever
// sends many would keep events away.
func (e *encryption) messages(ctx context.Context, t *transaction) (alone bool, err error) {
	if e == nil {
		return false, nil
	}
	users, more, err := e.inbox.first(ctx, maxMessages)
	if err != nil {
		return false, err
	}
	size, done := 0, 0
	for ; done < len(users) && len(t.messages) < maxMessages && size <= maxTransactionBytes; done++ {
		if !e.worker.Covers(users[done]) {
			continue // it made their devices with a registration of before: now they read by /sync
		}
		some, err := e.worker.store.ServiceMessages(ctx, e.worker.ID, users[done], e.worker.upto, maxMessages-len(t.messages))
		if err != nil {
			return false, err
		}
		full := len(some) == maxMessages-len(t.messages)
		for _, m := range some {
			if size += len(m.Message); size > maxTransactionBytes && len(t.messages) > 0 {
				full = true
				break
			}
			t.messages = append(t.messages, m)
		}
		if full {
			break // there may be more for this one
		}
	}
	more = more || done < len(users)
	e.inbox.done(done)
	if alone = more && e.alone < maxAlone; alone {
		e.alone++
	} else {
		e.alone = 0
	}
	return alone, nil
}

// lists puts in whose devices have changed up to where the transaction leads, and who shares no room with the service any more. Like
// /sync it tells also of those who begin to share one: they may have changed their devices before.
func (e *encryption) lists(ctx context.Context, t *transaction) error {
	if e == nil {
		return nil
	}
	w := e.worker
	changed, gone := map[id.UserID]bool{}, map[id.UserID]bool{}
	for _, event := range t.events {
		if err := e.moved(ctx, event, changed, gone); err != nil {
			return err
		}
		if len(changed)+len(gone) > maxNewcomers { // enough for one transaction
			t.cut(event.Position)
			break
		}
	}
	users, reached, err := w.store.ChangedDevices(ctx, w.cursor.Upto, t.reached, maxDeviceChanges)
	if err != nil {
		return err
	}
	t.cut(reached)
	for _, user := range users {
		if changed[user] {
			continue
		}
		wanted, err := w.interest.user(ctx, user, t.reached)
		if err != nil {
			return err
		}
		if wanted {
			changed[user] = true
		}
	}
	for user := range gone {
		shares, err := w.interest.user(ctx, user, t.reached)
		if err != nil {
			return err
		}
		if !shares {
			t.left = append(t.left, user)
			delete(changed, user)
		}
	}
	slices.Sort(t.left)
	t.changed = slices.Sorted(maps.Keys(changed))
	return nil
}

// moved adds those who begin to share a room with the service by an event, or may share none any more.
func (e *encryption) moved(ctx context.Context, event store.LiveEvent, changed, gone map[id.UserID]bool) error {
	key, isState := event.Event.StateKey()
	if !isState || event.Event.Type() != "m.room.member" || event.OutOfRoom {
		return nil
	}
	w, user := e.worker, id.UserID(key)
	m, found, err := w.store.Membership(ctx, event.RoomID, user)
	if err != nil || !found || m.Membership != event.Event.Membership() || m.Since < event.Position {
		return err // it is only the name, or not so any more: a later event tells
	}
	into, limit, at := gone, maxLeavers, m.Since
	switch m.Membership {
	case "join":
		into, limit, at = changed, maxNewcomers, event.Position // a membership is of the end of its commit: this one isn't there yet
	case "leave", "ban":
	default:
		return nil
	}
	if !w.Covers(user) {
		into[user] = true
		return nil
	}
	if interested, err := w.interest.room(ctx, event.RoomID, at); err != nil || interested {
		return err
	}
	members, err := w.store.Members(ctx, event.RoomID, store.MemberFilter{Membership: "join", Limit: limit + 1})
	if err != nil || len(members) > limit {
		return err
	}
	for _, other := range members {
		if !w.Covers(other.User) {
			into[other.User] = true
		}
	}
	return nil
}

// keys puts in what keys those devices have left where that has changed, or which get messages: who gets those has used some up.
func (e *encryption) keys(ctx context.Context, t *transaction) (more bool, err error) {
	if e == nil {
		return false, nil
	}
	waiting, more, err := e.counts.first(ctx, maxKeyUsers)
	if err != nil {
		return false, err
	}
	users := slices.DeleteFunc(slices.Clone(waiting), func(user id.UserID) bool { return !e.worker.Covers(user) })
	for _, m := range t.messages {
		if !slices.Contains(users, m.User) {
			users = append(users, m.User)
		}
	}
	t.beside.keys, err = e.worker.store.ServiceKeyCounts(ctx, e.worker.ID, users)
	e.counts.done(len(waiting))
	return more, err
}

// put adds all of it to the form of a transaction.
func (b *beside) put(form map[string]any) error {
	if len(b.messages) > 0 {
		messages := make([]map[string]json.RawMessage, len(b.messages))
		for i, m := range b.messages {
			user, err1 := json.Marshal(m.User)
			device, err2 := json.Marshal(m.Device)
			if err := errors.Join(exactjson.Unmarshal(m.Message, &messages[i]), err1, err2); err != nil {
				return err
			}
			messages[i]["to_user_id"], messages[i]["to_device_id"] = user, device
		}
		form["de.sorunome.msc2409.to_device"] = messages
	}
	if len(b.changed)+len(b.left) > 0 {
		form["org.matrix.msc3202.device_lists"] = map[string][]id.UserID{
			"changed": append([]id.UserID{}, b.changed...), "left": append([]id.UserID{}, b.left...),
		}
	}
	if len(b.keys) == 0 {
		return nil
	}
	counts, unused := map[id.UserID]map[string]map[string]int{}, map[id.UserID]map[string][]string{}
	for _, d := range b.keys {
		if counts[d.User] == nil {
			counts[d.User], unused[d.User] = map[string]map[string]int{}, map[string][]string{}
		}
		counts[d.User][d.Device], unused[d.User][d.Device] = map[string]int{"signed_curve25519": 0}, d.Unused // as /sync tells of none
		maps.Copy(counts[d.User][d.Device], d.OneTime)
	}
	form["org.matrix.msc3202.device_one_time_keys_count"] = counts
	form["org.matrix.msc3202.device_unused_fallback_key_types"] = unused
	return nil
}
