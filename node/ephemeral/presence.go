package ephemeral

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sort"
	"sync"
	"time"

	"hanse/federation"
	"hanse/federation/id"
)

// PresenceMode says which way presence goes between this server and others. Among the users of this server it is shown
// unless it is off.
type PresenceMode string

// The modes.
const (
	PresenceOff  PresenceMode = "off"
	PresenceIn   PresenceMode = "in"   // others' users are shown to ours
	PresenceOut  PresenceMode = "out"  // ours are shown to others
	PresenceBoth PresenceMode = "both" // both ways
)

// The states of a user.
const (
	Online      = "online"
	Unavailable = "unavailable"
	Offline     = "offline"
)

// Presence is what is known of a user now.
type Presence struct {
	User            id.UserID
	State           string
	StatusMsg       string // "": none
	LastActiveAgo   time.Duration
	EverActive      bool // LastActiveAgo is known
	CurrentlyActive bool
}

// presence is who is there. It is in memory alone: after a start everybody is offline until they ask for something, as
// they are to other servers that have not heard of them. A nil one is presence that is off. Safe for concurrent use.
//
// spec:client-server-api/modules/presence#presence
type presence struct {
	e       *Ephemeral
	in, out bool

	mu      sync.Mutex
	users   map[id.UserID]*who // guarded by mu
	changes []presenceChange   // guarded by mu: in order; those that a later one of the same user follows don't count
	dirty   map[id.UserID]bool // guarded by mu: whoever shares a room is to be told
	checked time.Time          // guarded by mu
}

type presenceChange struct {
	serial Serial
	user   id.UserID
}

// who is one user.
type who struct {
	serial    Serial // of the last change
	state     string
	status    string
	active    time.Time // when they last did something; zero: not known
	currently bool
	changed   time.Time

	syncs int       // requests of ours that wait for news
	seen  time.Time // when the last of them ended
	heard time.Time // when another server told of them
	told  time.Time // when other servers were told
}

func newPresence(e *Ephemeral) *presence {
	mode := e.config.Presence
	return &presence{
		e: e, in: mode == PresenceIn || mode == PresenceBoth, out: mode == PresenceOut || mode == PresenceBoth,
		users: map[id.UserID]*who{}, dirty: map[id.UserID]bool{},
	}
}

// HasPresence tells whether there is any.
func (e *Ephemeral) HasPresence() bool { return e.presence != nil }

// SetPresence is what a user of ours says of themselves; the state is one of the three.
//
// spec:client-server-api#put_matrixclientv3presenceuseridstatus
func (e *Ephemeral) SetPresence(user id.UserID, state, status string) {
	e.presence.change(user, func(w *who, now time.Time) {
		w.state, w.status, w.seen = state, status, now
		if state == Online {
			w.active = now
		}
	})
}

// Active notes that a user of ours did something.
//
// spec:client-server-api/modules/presence#last-active-ago
func (e *Ephemeral) Active(user id.UserID) {
	e.presence.change(user, func(w *who, now time.Time) {
		w.active, w.seen = now, now
		w.state = Online
	})
}

// BeginSync notes that a user of ours waits for news, with what the client says to be ("" is online). The function it
// gives is to be called when that ends.
//
// spec:client-server-api#get_matrixclientv3sync
func (e *Ephemeral) BeginSync(user id.UserID, state string) (end func()) {
	if e.presence == nil || state == Offline {
		return func() {}
	}
	e.presence.change(user, func(w *who, now time.Time) {
		w.syncs++
		switch {
		case w.state == Offline && state == Unavailable, w.state == Online && state == Unavailable && now.Sub(w.active) > activeFor:
			w.state = Unavailable
		case w.state == Offline:
			w.state = Online
			w.active = now
		}
	})
	return func() {
		e.presence.change(user, func(w *who, now time.Time) { w.syncs, w.seen = w.syncs-1, now })
	}
}

// change changes a user's presence, and notes what others are to be told of it.
func (p *presence) change(user id.UserID, how func(w *who, now time.Time)) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.users[user]
	if w == nil {
		if len(p.users) >= maxPresent {
			return
		}
		w = &who{state: Offline}
		p.users[user] = w
	}
	p.changed(user, w, how, time.Now())
}

// changed is change of a known user. The caller holds mu.
func (p *presence) changed(user id.UserID, w *who, how func(w *who, now time.Time), now time.Time) {
	before := *w
	how(w, now)
	w.currently = w.state == Online && !w.active.IsZero() && now.Sub(w.active) <= activeFor
	if w.state == before.state && w.status == before.status && w.currently == before.currently {
		return
	}
	w.serial, w.changed = p.e.typing.next(), now
	if len(p.changes) > 2*len(p.users)+100 {
		p.changes = slices.DeleteFunc(p.changes, func(c presenceChange) bool { return !p.counts(c) })
	}
	p.changes = append(p.changes, presenceChange{w.serial, user})
	p.dirty[user] = true
}

// counts tells whether a change is the last of its user. The caller holds mu.
func (p *presence) counts(c presenceChange) bool {
	w := p.users[c.user]
	return w != nil && w.serial == c.serial
}

// PresenceSince lists whose presence has changed after a serial, at most maxPresenceTold, the latest.
func (e *Ephemeral) PresenceSince(since Serial) []id.UserID {
	p := e.presence
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	first := sort.Search(len(p.changes), func(i int) bool { return p.changes[i].serial > since })
	var users []id.UserID
	for _, c := range slices.Backward(p.changes[first:]) {
		if p.counts(c) && len(users) < maxPresenceTold {
			users = append(users, c.user)
		}
	}
	return users
}

// PresenceOf is what is known of a user; the zero value with the state offline where nothing is.
func (e *Ephemeral) PresenceOf(user id.UserID) Presence {
	found := Presence{User: user, State: Offline}
	p := e.presence
	if p == nil {
		return found
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.users[user]; w != nil {
		found = Presence{User: user, State: w.state, StatusMsg: w.status, CurrentlyActive: w.currently, EverActive: !w.active.IsZero()}
		if found.EverActive {
			found.LastActiveAgo = max(time.Since(w.active), 0)
		}
	}
	return found
}

// MaySeePresence tells whether a user of ours shares a room with another, or is they.
func (e *Ephemeral) MaySeePresence(ctx context.Context, user, other id.UserID) (bool, error) {
	if user == other {
		return true, nil
	}
	sharing, err := e.config.Store.Sharing(ctx, user, []id.UserID{other})
	return sharing[other], err
}

// tick ends what is over and tells who is to be told, every presenceTick.
func (p *presence) tick(ctx context.Context, now time.Time) {
	if p == nil {
		return
	}
	told := p.expire(now)
	if len(told) == 0 {
		return
	}
	for _, user := range told {
		rooms, err := p.e.config.Store.JoinedRooms(ctx, user)
		if err != nil {
			p.e.log.Warn("a user's presence was not told", "user", user, "error", err)
			continue
		}
		p.e.typing.ring(rooms...)
	}
	if p.out {
		p.send(ctx, told, now)
	}
}

// expire ends what is over: who does nothing for a while is unavailable, who asks for nothing is offline. It gives who is to
// be told of.
//
// spec:client-server-api/modules/presence#idle-timeout
func (p *presence) expire(now time.Time) []id.UserID {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.checked) < presenceTick {
		return nil
	}
	p.checked = now
	for user, w := range p.users {
		switch {
		case w.state == Offline:
			if w.status == "" && now.Sub(w.changed) > forgetQuiet && w.syncs == 0 {
				delete(p.users, user)
			}
			continue
		case user.Server() != p.e.config.Self:
			if now.Sub(w.heard) > remotePresenceLife {
				p.changed(user, w, func(w *who, _ time.Time) { w.state = Offline }, now)
			}
			continue
		}
		p.changed(user, w, func(w *who, _ time.Time) {
			switch {
			case w.syncs == 0 && now.Sub(w.seen) > offlineAfter:
				w.state = Offline
			case w.state == Online && now.Sub(w.active) > idleAfter:
				w.state = Unavailable
			}
		}, now)
		if p.out && now.Sub(w.told) > renewPresence {
			p.dirty[user] = true
		}
	}
	told := slices.Sorted(maps.Keys(p.dirty))
	told = told[:min(len(told), maxPresenceTold)] // the others have their turn next
	for _, user := range told {
		delete(p.dirty, user)
	}
	return told
}

// send tells the other servers that share rooms with our users, each of all of them together.
//
// spec:server-server-api#presence
func (p *presence) send(ctx context.Context, users []id.UserID, now time.Time) {
	of := map[id.ServerName][]id.UserID{}
	for _, user := range users {
		if user.Server() != p.e.config.Self {
			continue
		}
		servers, err := p.e.config.Store.ServersSharing(ctx, user)
		if err != nil {
			p.e.log.Warn("a user's presence was not sent", "user", user, "error", err)
			continue
		}
		for _, server := range servers {
			of[server] = append(of[server], user)
		}
		p.mu.Lock()
		if w := p.users[user]; w != nil {
			w.told = now
		}
		p.mu.Unlock()
	}
	for server, users := range of {
		var edus []federation.EDU
		for part := range slices.Chunk(users, maxPresenceInEDU) {
			if edu, ok := p.edu(part); ok {
				edus = append(edus, edu)
			}
		}
		if p.e.config.Send != nil && len(edus) > 0 {
			p.e.config.Send([]id.ServerName{server}, edus...)
		}
	}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
