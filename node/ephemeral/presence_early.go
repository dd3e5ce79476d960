package ephemeral

import (
	"context"
	"maps"
	"time"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/store"
)

// Other servers tell who is there as we join a room, once: deployed ones tell again after 25 minutes. Of a room that was joined without
// its members nobody knows yet then that they are in it: what is said of them is kept until they are.

// earlyPresence is what a server told of a user who isn't known to share a room with ours.
type earlyPresence struct {
	update federation.UserPresence
	at     time.Time
}

// keepEarly keeps what a server tells of users if it is said to be in a room whose members are missing.
func (p *presence) keepEarly(ctx context.Context, server id.ServerName, updates map[id.UserID]federation.UserPresence, now time.Time) error {
	in, err := p.e.config.Store.SaidToBeIn(ctx, server)
	if err != nil || !in {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for user, update := range updates {
		if _, kept := p.early[user]; kept || len(p.early) < maxEarlyPresence {
			p.early[user] = earlyPresence{update, now}
		}
	}
	return nil
}

// hearEarly takes what was kept of users who have joined.
func (p *presence) hearEarly(moved []store.Membership) {
	heard := map[id.UserID]earlyPresence{}
	p.mu.Lock()
	for _, m := range moved {
		if early, kept := p.early[m.User]; kept && m.Membership == "join" && !m.OutOfRoom {
			heard[m.User] = early
		}
	}
	p.mu.Unlock()
	for user, early := range heard {
		p.hear(user, early.update, true, early.at)
	}
}

// forgetEarly ends what isn't believed any more. The caller holds mu.
func (p *presence) forgetEarly(now time.Time) {
	maps.DeleteFunc(p.early, func(_ id.UserID, early earlyPresence) bool { return now.Sub(early.at) > remotePresenceLife })
}
