package ephemeral

import (
	"context"

	"hanse/federation/id"
	"hanse/node/store"
)

// followJoins tells other servers who of ours is there, as they begin to share a room with them, until ctx ends: when a user of ours
// comes to a room, its servers are told of that user, and when the first users of a server come, it is told of all of ours in the room.
// Who is offline isn't told of. Of others' users who come, what was told too early is taken (keepEarly). What is lost of it, where there are
// too many at a time, comes when all are told again (renewPresence).
func (p *presence) followJoins(ctx context.Context) {
	if p.e.config.Store == nil {
		return
	}
	feed := p.e.config.Store.Follow(joinNotices)
	defer feed.Close()
	since := p.e.config.Store.Position()
	flush := newFlushTimer()
	defer flush.timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-feed.Wake:
			_, toServers := p.gaps()
			flush.arm(toServers)
		case <-flush.timer.C:
			flush.fired()
			notices, upto, _ := feed.Take()
			if err := p.tellJoined(ctx, notices, since, upto); err != nil && ctx.Err() == nil {
				p.e.log.Warn("servers that share a new room were not told who is there; they are when all are told again", "error", err)
			}
			since = upto
		}
	}
}

// tellJoined tells what follows from who joined in (since, upto].
func (p *presence) tellJoined(ctx context.Context, notices []store.Notice, since, upto store.Position) error {
	rooms := map[id.RoomID]bool{}
	for _, n := range notices {
		if n.Kind == store.KindEvents && n.Members {
			rooms[n.Room] = true
		}
	}
	left := maxPresenceSent
	for _, room := range sortedKeys(rooms) {
		moved, err := p.e.config.Store.MembersMoved(ctx, []id.RoomID{room}, since, upto)
		if err != nil {
			return err
		}
		p.hearEarly(moved)
		if !p.out || p.e.config.Send == nil {
			continue
		}
		ours, theirs := p.joiners(moved)
		if len(ours) == 0 && len(theirs) == 0 {
			continue
		}
		if err := p.tellRoom(ctx, room, ours, theirs, &left); err != nil {
			return err
		}
	}
	return nil
}

// joiners are who of some members came: of ours those who are there, and of the servers of the others how many.
func (p *presence) joiners(moved []store.Membership) (ours []id.UserID, theirs map[id.ServerName]int) {
	theirs = map[id.ServerName]int{}
	for _, m := range moved {
		switch {
		case m.Membership != "join" || m.OutOfRoom:
		case p.ours(m.User):
			ours = append(ours, m.User)
		default:
			theirs[m.User.Server()]++
		}
	}
	return p.there(ours), theirs
}

// there are those of users who aren't offline.
func (p *presence) there(users []id.UserID) []id.UserID {
	p.mu.Lock()
	defer p.mu.Unlock()
	var there []id.UserID
	for _, user := range users {
		if w := p.users[user]; w != nil && w.state != Offline {
			there = append(there, user)
		}
	}
	return there
}

// tellRoom tells the servers in a room of those of ours who came, and of all of ours those that are new in it; left is how many EDUs may
// go out.
func (p *presence) tellRoom(ctx context.Context, room id.RoomID, ours []id.UserID, theirs map[id.ServerName]int, left *int) error {
	in, err := p.e.config.Store.ServersIn(ctx, room)
	if err != nil {
		return err
	}
	var old, fresh []id.ServerName
	for _, server := range sortedKeys(in) {
		switch {
		case server == p.e.config.Self:
		case in[server] > 0 && theirs[server] == in[server]:
			fresh = append(fresh, server)
		default:
			old = append(old, server)
		}
	}
	all := ours
	if len(fresh) > 0 {
		if all, err = p.e.config.Store.LocalJoined(ctx, room); err != nil {
			return err
		}
		all = p.there(all)
	}
	for _, a := range []audience{{users: ours, servers: old}, {users: all, servers: fresh}} {
		edus := presenceEDUs(a.users, p.describe(a.users, false))
		if *left -= len(edus) * len(a.servers); *left < 0 {
			return nil
		}
		if len(edus) > 0 && len(a.servers) > 0 {
			p.e.config.Send(a.servers, edus...)
		}
	}
	return nil
}
