package ephemeral

import (
	"context"
	"slices"
	"sort"
	"sync"
	"time"

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

// presence is who is there. It is in memory, but for status messages (keepStatus): after a start everybody is offline until they
// ask for something, and who was there before and doesn't come back is told of as such (endLast). A nil one is presence that is off. Safe for concurrent use.
//
// What has changed waits until it is told, to clients (tell) and to other servers (send), of all users together. Who changes
// and changes back meanwhile is not told of.
//
// spec:client-server-api/modules/presence#presence
type presence struct {
	e       *Ephemeral
	in, out bool
	started time.Time
	kick    chan struct{} // something waits to be told
	news    chan struct{} // something was told: see Ephemeral.PresenceNews

	// What is asked of the store.
	roomsOf   func(context.Context, []id.UserID) (map[id.UserID][]id.RoomID, error)
	serversOf func(context.Context, id.UserID) ([]id.ServerName, error)
	seenLast  func(context.Context, time.Duration) ([]id.UserID, error)
	statusOf  func(context.Context) (map[id.UserID]string, error)
	// saveStatusOf stores status messages.
	saveStatusOf func(context.Context, map[id.UserID]string) error

	mu        sync.Mutex
	users     map[id.UserID]*who   // guarded by mu
	own       map[id.UserID]*who   // guarded by mu: those of users that are ours
	changes   []presenceChange     // guarded by mu: in order; those that a later one of the same user follows don't count
	told      toldPresence         // guarded by mu
	waiting   int                  // guarded by mu: requests of our users that wait for news
	selves    map[id.UserID]bool   // guarded by mu: the user's own waiting clients are to be woken
	untold    map[id.UserID]bool   // guarded by mu: clients of others are to be told
	unsent    map[id.UserID]bool   // guarded by mu: users of ours of whom other servers are to be told
	unwritten map[id.UserID]string // guarded by mu: status messages of users of ours that aren't stored yet
	audience  int                  // guarded by mu: how many servers were told last
	swept     time.Time            // guarded by mu: when users of other servers were last looked through

	early map[id.UserID]earlyPresence // guarded by mu: what was told of users of other servers before they were known to be in a room
}

type presenceChange struct {
	serial Serial
	user   id.UserID
}

// shown is what others see of a user, but for when they were active.
type shown struct {
	state     string
	status    string
	currently bool // active
}

// who is one user.
type who struct {
	shown
	active  time.Time          // when they last did something; zero: not known
	changed time.Time          // when shown did
	devices map[string]*device // of a user of ours, that are there
	heard   time.Time          // when another server told of its user

	told   shown  // what clients were told last
	serial Serial // when; 0: never
	self   Serial // when the user's own clients were, of a user of ours; 0: never
	sent   shown  // what other servers were told last
	sentAt time.Time
}

func newPresence(e *Ephemeral) *presence {
	mode := e.config.Presence
	p := &presence{
		e: e, in: mode == PresenceIn || mode == PresenceBoth, out: mode == PresenceOut || mode == PresenceBoth,
		started: time.Now(), kick: make(chan struct{}, 1), news: make(chan struct{}, 1),
		users: map[id.UserID]*who{}, selves: map[id.UserID]bool{}, own: map[id.UserID]*who{}, untold: map[id.UserID]bool{}, unsent: map[id.UserID]bool{},
		unwritten: map[id.UserID]string{}, early: map[id.UserID]earlyPresence{}, told: toldPresence{since: e.typing.newest()},
	}
	if store := e.config.Store; store != nil {
		p.roomsOf, p.serversOf, p.seenLast = store.RoomsWithUs, store.ServersSharing, store.SeenLast
		p.statusOf, p.saveStatusOf = store.StatusMessages, store.SaveStatusMessages
	}
	return p
}

// HasPresence tells whether there is any.
func (e *Ephemeral) HasPresence() bool { return e.presence != nil }

// change changes a user's presence, and notes that it is to be told. Of too many users of other servers nothing is known.
func (p *presence) change(user id.UserID, how func(w *who, now time.Time)) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.users[user]
	if w == nil {
		if !p.ours(user) && p.others() >= maxPresent {
			return
		}
		w = p.add(user)
	}
	p.changed(user, w, how, time.Now())
}

// add begins to know a user. Clients may have been told before that one of another server is there, by the process before this
// one or before the user was forgotten: they are told also where the user is offline. The caller holds mu.
func (p *presence) add(user id.UserID) *who {
	nothing := shown{state: Offline}
	w := &who{shown: nothing, told: nothing, sent: nothing}
	p.users[user] = w
	if p.ours(user) {
		p.own[user] = w
	} else {
		w.told = shown{}
		p.untold[user] = true
		p.wake()
	}
	return w
}

// others is of how many users of other servers presence is known. The caller holds mu.
func (p *presence) others() int { return len(p.users) - len(p.own) }

// changed is change of a known user. The caller holds mu.
func (p *presence) changed(user id.UserID, w *who, how func(w *who, now time.Time), now time.Time) {
	before := w.shown
	how(w, now)
	if p.ours(user) {
		w.settle(now)
	}
	if w.shown == before {
		return
	}
	w.changed = now
	p.untold[user] = true
	p.wake()
	if !p.ours(user) {
		return
	}
	// The user's own clients are told at once: the answer to the request by which the user came has it, and the next waits.
	w.self = p.e.typing.next()
	p.selves[user] = true
	p.signal()
	if p.out {
		p.unsent[user] = true
	}
}

func (p *presence) ours(user id.UserID) bool { return user.Server() == p.e.config.Self }

func (p *presence) wake() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

func (p *presence) signal() {
	select {
	case p.news <- struct{}{}:
	default:
	}
}

// counts tells whether a change is the last of its user. The caller holds mu.
func (p *presence) counts(c presenceChange) bool {
	w := p.users[c.user]
	return w != nil && w.serial == c.serial
}

// PresenceSince lists whose presence was told after a serial, the latest first. It may be many.
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
		if p.counts(c) {
			users = append(users, c.user)
		}
	}
	return users
}

// Present lists who is there, whether they were told of or not yet; those that changed last first. It may be many.
func (e *Ephemeral) Present() []id.UserID {
	p := e.presence
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var users []id.UserID
	add := func(user id.UserID) {
		if w := p.users[user]; w != nil && w.state != Offline {
			users = append(users, user)
		}
	}
	for user := range p.untold {
		add(user)
	}
	for _, c := range slices.Backward(p.changes) {
		if p.counts(c) && !p.untold[c.user] {
			add(c.user)
		}
	}
	return users
}

// PresenceOf is what is known of a user; the zero value with the state offline where nothing is.
func (e *Ephemeral) PresenceOf(user id.UserID) Presence {
	p := e.presence
	if p == nil {
		return Presence{User: user, State: Offline}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.of(user, time.Now())
}

// of is PresenceOf for who holds mu.
func (p *presence) of(user id.UserID, now time.Time) Presence {
	w := p.users[user]
	if w == nil {
		return Presence{User: user, State: Offline}
	}
	found := Presence{User: user, State: w.state, StatusMsg: w.status, CurrentlyActive: w.currently, EverActive: !w.active.IsZero()}
	if found.EverActive {
		found.LastActiveAgo = max(now.Sub(w.active), 0)
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

// expire ends what is over: who does nothing for a while is unavailable, who asks for nothing is offline. Other servers are told
// again of who is still there. Users who are offline stay known, so that a client that was away for long is told: ours all, of
// those of other servers as many as there is room for.
//
// spec:client-server-api/modules/presence#idle-timeout
func (p *presence) expire(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for user, w := range p.own {
		p.changed(user, w, (*who).expireDevices, now)
		if p.out && w.state != Offline && now.Sub(w.sentAt) > renewPresence {
			p.unsent[user] = true
			p.wake()
		}
	}
	if now.Sub(p.swept) < sweepPresence {
		return
	}
	p.swept = now
	p.forgetEarly(now)
	for user, w := range p.users {
		switch {
		case p.own[user] != nil:
		case w.state != Offline && now.Sub(w.heard) > remotePresenceLife:
			p.changed(user, w, func(w *who, _ time.Time) { w.state, w.currently = Offline, false }, now)
		case p.others() > maxPresent/2 && w.forgettable(now):
			delete(p.users, user)
		}
	}
}

// endLast tells that users of ours are offline who were there before the start, as clients and other servers were told, and
// haven't come back a while after it.
func (p *presence) endLast(ctx context.Context) {
	users, err := p.seenLast(ctx, seenBefore)
	if err != nil && ctx.Err() == nil {
		p.e.log.Warn("users who were there before the start and don't come back may stay online for others", "error", err)
	}
	select {
	case <-ctx.Done():
		return
	case <-time.After(offlineAfter):
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, user := range users {
		w := p.users[user]
		if w == nil {
			w = p.add(user)
		}
		if w.state != Offline || w.serial != 0 {
			continue
		}
		w.told, w.sent = shown{}, shown{}
		p.untold[user] = true
		if p.out {
			p.unsent[user] = true
		}
	}
	p.wake()
}

// forgettable tells whether a user of another server needs no longer be known where there are many: clients that ask have been
// told that they are offline.
func (w *who) forgettable(now time.Time) bool {
	if w.state != Offline || now.Sub(w.changed) <= forgetQuiet {
		return false
	}
	return w.status == "" || now.Sub(w.heard) > remotePresenceLife
}
