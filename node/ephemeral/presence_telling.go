package ephemeral

import (
	"context"
	"slices"
	"sync"
	"time"

	"hanse/federation/id"
)

// toldPresence is what clients were told last, by the rooms they are in: a client that waits finds what concerns it without
// asking the store. Owned by presence.
type toldPresence struct {
	since Serial // everything told after it is in parts
	parts []toldPart
	size  int // names in parts
}

// toldPart is what was told at once.
type toldPart struct {
	serial Serial
	rooms  map[id.RoomID][]id.UserID // whom of them is in it
	size   int
}

// add adds a part, and forgets old ones where they are too much.
func (t *toldPresence) add(part toldPart) {
	t.parts, t.size = append(t.parts, part), t.size+part.size
	for len(t.parts) > 1 && (t.size > maxToldNames || len(t.parts) > maxToldParts) {
		t.since, t.size = t.parts[0].serial, t.size-t.parts[0].size
		t.parts = slices.Delete(t.parts, 0, 1)
	}
}

// after are the parts that were told after a serial; false: some may be forgotten.
func (t *toldPresence) after(serial Serial) ([]toldPart, bool) {
	first, _ := slices.BinarySearchFunc(t.parts, serial+1, func(part toldPart, s Serial) int { return int(part.serial - s) })
	return t.parts[first:], serial >= t.since
}

// PresenceIn lists who of the others in the rooms was told of after since, up to upto, and the user, where their own presence
// has changed; false: it is too long ago to know it of the others, and PresenceSince does.
func (e *Ephemeral) PresenceIn(user id.UserID, rooms []id.RoomID, since, upto Serial) (users []id.UserID, known bool) {
	p := e.presence
	if p == nil {
		return nil, true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.own[user]; w != nil && w.self > since && w.self <= upto {
		users = append(users, user)
	}
	parts, known := p.told.after(since)
	if !known {
		return users, false
	}
	for _, part := range parts {
		if part.serial > upto {
			break
		}
		for _, room := range rooms {
			for _, other := range part.rooms[room] {
				if other != user {
					users = append(users, other)
				}
			}
		}
	}
	return users, true
}

// PresenceNews has a value when something was told: PresenceTold says to whom. It is for one reader; nil: there is no presence.
func (e *Ephemeral) PresenceNews() <-chan struct{} {
	if e.presence == nil {
		return nil
	}
	return e.presence.news
}

// PresenceTold says whom what was told after a serial concerns: who shares one of the rooms with one of its users, of whom is
// told, and the users of whom their own clients are told, since it was last asked. It is of everything up to the second serial;
// false: it may concern anybody.
func (e *Ephemeral) PresenceTold(after Serial) (rooms map[id.RoomID][]id.UserID, selves map[id.UserID]bool, upto Serial, known bool) {
	p := e.presence
	p.mu.Lock()
	defer p.mu.Unlock()
	selves, p.selves = p.selves, map[id.UserID]bool{}
	parts, known := p.told.after(after)
	rooms, upto = map[id.RoomID][]id.UserID{}, after
	for _, part := range parts {
		upto = part.serial
		for room, users := range part.rooms {
			rooms[room] = append(rooms[room], users...)
		}
	}
	return rooms, selves, upto, known
}

// run tells what has changed, and ends what is over, until ctx ends. A change that comes after a pause is told at once; how
// long one waits that comes right after another depends on what telling costs. Other servers are told beside, which may take
// the store long.
func (p *presence) run(ctx context.Context) {
	news := make(chan struct{}, 1)
	var beside sync.WaitGroup
	beside.Go(func() { p.runSending(ctx, news) })
	beside.Go(func() { p.endLast(ctx) })
	beside.Go(func() { p.keepStatus(ctx) })
	beside.Go(func() { p.followJoins(ctx) })
	defer beside.Wait()
	ticker := time.NewTicker(presenceTick)
	defer ticker.Stop()
	flush := newFlushTimer()
	defer flush.timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.kick:
			toClients, _ := p.gaps()
			flush.arm(toClients)
			select {
			case news <- struct{}{}:
			default:
			}
		case <-flush.timer.C:
			flush.fired()
			p.tell(ctx)
		case now := <-ticker.C:
			p.expire(now)
		}
	}
}

// runSending tells other servers when there is news, until ctx ends.
func (p *presence) runSending(ctx context.Context, news <-chan struct{}) {
	flush := newFlushTimer()
	defer flush.timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-news:
			_, toServers := p.gaps()
			flush.arm(toServers)
		case <-flush.timer.C:
			flush.fired()
			p.send(ctx)
		}
	}
}

// gaps are how often clients and other servers are told.
func (p *presence) gaps() (toClients, toServers time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	toClients = min(max(time.Duration(p.waiting)*tellingClient, flushGap), maxClientGap)
	toServers = min(max(time.Duration(p.audience)*tellingServer, flushGap), maxServerGap)
	return toClients, toServers
}

// tell makes changes known to clients: at most maxPresenceTold at a time, of the others the next time. Users of other servers
// who share no room with ours any more are forgotten.
func (p *presence) tell(ctx context.Context) {
	users := p.takeUntold()
	if len(users) == 0 {
		return
	}
	rooms, err := p.roomsOf(ctx, users)
	if err != nil && ctx.Err() == nil {
		p.e.log.Warn("users' presence was not told yet", "users", len(users), "error", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		for _, user := range users {
			p.untold[user] = true
		}
		p.wake()
		return
	}
	part := toldPart{serial: p.e.typing.next(), rooms: map[id.RoomID][]id.UserID{}}
	if len(p.changes) > 2*len(p.users)+100 {
		p.changes = slices.DeleteFunc(p.changes, func(c presenceChange) bool { return !p.counts(c) })
	}
	for _, user := range users {
		w := p.users[user]
		switch {
		case w == nil:
			continue
		case len(rooms[user]) == 0 && !p.ours(user):
			delete(p.users, user)
			continue
		}
		w.told, w.serial = w.shown, part.serial
		p.changes = append(p.changes, presenceChange{part.serial, user})
		part.size += len(rooms[user])
		for _, room := range rooms[user] {
			part.rooms[room] = append(part.rooms[room], user)
		}
	}
	if part.size > 0 {
		p.told.add(part)
		p.signal()
	}
}

// takeUntold gives whose presence isn't as it was told.
func (p *presence) takeUntold() []id.UserID {
	p.mu.Lock()
	defer p.mu.Unlock()
	var users []id.UserID
	for user := range p.untold {
		if len(users) == maxPresenceTold {
			p.wake()
			break
		}
		delete(p.untold, user)
		if w := p.users[user]; w != nil && w.shown != w.told {
			users = append(users, user)
		}
	}
	slices.Sort(users)
	return users
}
