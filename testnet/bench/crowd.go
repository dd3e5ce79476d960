package bench

import (
	"context"
	"fmt"
	"strconv"

	"hanse/federation/event"
	"hanse/federation/id"
)

// crowd makes a room with a user of each of the servers in it, and lets the sessions in by way of the first server. So the server under test
// gets to know all others by one answer. Did they join by way of it, it would tell each join to all that are there already: half a million
// deliveries for a thousand servers, before anything is measured.
func (t *trial) crowd(ctx context.Context, servers []*server, sessions []*session) (*room, error) {
	r, err := t.peopled("crowd", servers)
	if err != nil {
		return nil, err
	}
	if err := t.enter(ctx, r, sessions); err != nil {
		return nil, err
	}
	return r, t.quiet(ctx)
}

// deserted makes a room with the same members as a crowd's, who have all left it: the sessions are among themselves.
func (t *trial) deserted(ctx context.Context, servers []*server, sessions []*session) (*room, error) {
	r, err := t.peopled("deserted", servers)
	if err != nil {
		return nil, err
	}
	for i, s := range servers {
		if _, err := r.put(s, leaveDraft(s.user("member"+strconv.Itoa(i)))); err != nil {
			return nil, err
		}
	}
	if err := t.enter(ctx, r, sessions); err != nil {
		return nil, err
	}
	leave, err := r.put(r.owner, leaveDraft(r.owner.user("creator"))) // only now: somebody had to let the sessions in
	if err != nil {
		return nil, err
	}
	c, err := r.owner.transaction(t.target.name, "leave", leave.JSON())
	if err != nil {
		return nil, err
	}
	return r, r.owner.send(ctx, t.target.name, c)
}

func leaveDraft(user id.UserID) event.Draft {
	return stateDraft(user, "m.room.member", string(user), map[string]any{"membership": "leave"})
}

// peopled is a room with a user of each of the servers.
func (t *trial) peopled(name string, servers []*server) (*room, error) {
	r, err := newRoom(servers[0], name)
	if err != nil {
		return nil, err
	}
	if err := populate(r, servers, len(servers), t.rand); err != nil {
		return nil, err
	}
	t.world.add(r)
	return r, nil
}

// enter lets the sessions into a room of the bench, with all of its members at once.
func (t *trial) enter(ctx context.Context, r *room, sessions []*session) error {
	t.world.leaveOut(false)
	for _, s := range sessions {
		if err := s.joinRoom(ctx, r); err != nil {
			return fmt.Errorf("into a room with many servers: %w", err)
		}
	}
	return nil
}
