package ephemeral

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"hanse/federation"
	"hanse/federation/exactjson"
	"hanse/federation/id"
)

// send tells the other servers that share rooms with our users whose presence is not as they were told, or was told long ago:
// each server of all users together, once. Servers that get the same share the EDUs.
//
// spec:server-server-api#presence
func (p *presence) send(ctx context.Context) {
	if p.e.config.Send == nil {
		return
	}
	users := p.takeUnsent(time.Now())
	if len(users) == 0 {
		return
	}
	audiences, err := p.audiences(ctx, users)
	if err != nil {
		if ctx.Err() == nil {
			p.e.log.Warn("users' presence was not sent yet", "users", len(users), "error", err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, user := range users {
			p.unsent[user] = true
		}
		p.wake()
		return
	}
	updates, told := p.describe(users, true), 0
	for _, a := range audiences {
		told += len(a.servers)
		p.e.config.Send(a.servers, presenceEDUs(a.users, updates)...)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.audience = told
}

// takeUnsent gives of whom other servers are to be told, of no more than maxPresenceSent allows if as many servers are told as the
// last time.
func (p *presence) takeUnsent(now time.Time) []id.UserID {
	p.mu.Lock()
	defer p.mu.Unlock()
	most := maxPresenceInEDU * min(max(maxPresenceSent/max(p.audience, 1), 1), maxPresenceTold/maxPresenceInEDU)
	var users []id.UserID
	for user := range p.unsent {
		if len(users) == most {
			p.wake()
			break
		}
		delete(p.unsent, user)
		if w := p.users[user]; w != nil && (w.shown != w.sent || w.state != Offline && now.Sub(w.sentAt) > renewPresence) {
			users = append(users, user)
		}
	}
	slices.Sort(users)
	return users
}

// audience is servers that are told of the same users.
type audience struct {
	users   []id.UserID
	servers []id.ServerName
}

// audiences says who is to be told of whom. Users who are in the same rooms are asked for once.
func (p *presence) audiences(ctx context.Context, users []id.UserID) ([]audience, error) {
	rooms, err := p.roomsOf(ctx, users)
	if err != nil {
		return nil, err
	}
	together := map[string][]id.UserID{} // by their rooms
	for _, user := range users {
		if in := rooms[user]; len(in) > 0 {
			key := fmt.Sprintf("%q", in)
			together[key] = append(together[key], user)
		}
	}
	groups, of := sortedKeys(together), map[id.ServerName][]byte{}
	for i, key := range groups {
		servers, err := p.serversOf(ctx, together[key][0])
		if err != nil {
			return nil, err
		}
		for _, server := range servers {
			of[server] = binary.AppendUvarint(of[server], uint64(i))
		}
	}
	same := map[string][]id.ServerName{} // by the groups of users that they are told of
	for _, server := range sortedKeys(of) {
		same[string(of[server])] = append(same[string(of[server])], server)
	}
	var all []audience
	for _, key := range sortedKeys(same) {
		a := audience{servers: same[key]}
		for raw := []byte(key); len(raw) > 0; {
			i, n := binary.Uvarint(raw)
			a.users, raw = append(a.users, together[groups[i]]...), raw[n:]
		}
		all = append(all, a)
	}
	return all, nil
}

// presenceEDUs are what is said of users, as it is sent.
func presenceEDUs(users []id.UserID, updates map[id.UserID]federation.UserPresence) []federation.EDU {
	var edus []federation.EDU
	for part := range slices.Chunk(users, maxPresenceInEDU) {
		var content federation.PresenceEDU
		for _, user := range part {
			content.Push = append(content.Push, updates[user])
		}
		if raw, err := json.Marshal(content); err == nil {
			edus = append(edus, federation.EDU{Type: federation.EDUPresence, Content: raw})
		}
	}
	return edus
}

// describe is what is said of users; all says that all servers which are to hear of them are told. Who did nothing since the start
// was active before it: the specification wants a time, and 0 would say that they are at work just now.
func (p *presence) describe(users []id.UserID, all bool) map[id.UserID]federation.UserPresence {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	updates := make(map[id.UserID]federation.UserPresence, len(users))
	for _, user := range users {
		is := p.of(user, now)
		if !is.EverActive {
			is.LastActiveAgo = now.Sub(p.started)
		}
		update := federation.UserPresence{
			UserID: string(user), Presence: is.State, LastActiveAgo: new(is.LastActiveAgo.Milliseconds()), CurrentlyActive: is.CurrentlyActive,
		}
		if is.StatusMsg != "" {
			update.StatusMsg = &is.StatusMsg
		}
		updates[user] = update
		if w := p.users[user]; w != nil && all {
			w.sent, w.sentAt = w.shown, now
		}
	}
	return updates
}

// receivePresence takes an m.presence EDU: of the origin's users who share a room with one of ours.
//
// spec:server-server-api#presence
func (e *Ephemeral) receivePresence(ctx context.Context, origin id.ServerName, content json.RawMessage) error {
	p := e.presence
	if p == nil || !p.in {
		return nil
	}
	var edu federation.PresenceEDU
	if exactjson.Unmarshal(content, &edu) != nil {
		return nil
	}
	now := time.Now()
	strangers := map[id.UserID]federation.UserPresence{}
	for _, update := range edu.Push[:min(len(edu.Push), maxPresenceReceived)] {
		user, err := id.ParseUserID(update.UserID)
		if err != nil || user.Server() != origin || !validPresence(update) {
			continue
		}
		if !p.hear(user, update, false, now) {
			strangers[user] = update
		}
	}
	if len(strangers) == 0 {
		return nil
	}
	if err := p.keepEarly(ctx, origin, strangers, now); err != nil { // first: they may become known just now
		return err
	}
	sharing, err := e.config.Store.SharingWithUs(ctx, sortedKeys(strangers))
	if err != nil {
		return err
	}
	for _, user := range sharing {
		p.hear(user, strangers[user], true, now)
	}
	return nil
}

// hear takes what another server says of its user. Of one that nothing is known of it is taken only where it is sure that
// they share a room with a user of ours: false otherwise. Of others the telling finds out.
func (p *presence) hear(user id.UserID, update federation.UserPresence, sure bool, now time.Time) bool {
	p.mu.Lock()
	known := p.users[user] != nil
	if known || sure {
		delete(p.early, user)
	}
	p.mu.Unlock()
	if !known && !sure {
		return false
	}
	p.change(user, func(w *who, _ time.Time) {
		if now.Before(w.heard) { // it was kept, see keepEarly, and more was told meanwhile
			return
		}
		w.heard = now
		w.shown = shown{state: update.Presence, currently: update.CurrentlyActive && update.Presence == Online}
		if update.StatusMsg != nil { // else there is none: an empty one is left out, by deployed servers too
			w.status = *update.StatusMsg
		}
		if w.active = (time.Time{}); update.LastActiveAgo != nil {
			w.active = now.Add(-time.Duration(min(*update.LastActiveAgo, maxAgo.Milliseconds())) * time.Millisecond)
		}
	})
	return true
}

func validPresence(update federation.UserPresence) bool {
	if update.StatusMsg != nil && (len(*update.StatusMsg) > MaxStatusMsg || !utf8.ValidString(*update.StatusMsg)) {
		return false
	}
	switch update.Presence {
	case Online, Unavailable, Offline:
		return update.LastActiveAgo == nil || *update.LastActiveAgo >= 0
	}
	return false
}
