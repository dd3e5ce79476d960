package rooms

import (
	"context"

	"hanse/federation/event"
	"hanse/federation/id"
)

// Invite invites Target: at once if it is a user of ours, after its server has co-signed the event if it is not
// (spec:server-server-api#inviting-to-a-room).
func (r *Rooms) Invite(ctx context.Context, req MembershipRequest) error { return nil }

// Kick makes Target leave: also takes back an invite or refuses a knock.
func (r *Rooms) Kick(ctx context.Context, req MembershipRequest) error { return nil }

// Ban bans Target.
func (r *Rooms) Ban(ctx context.Context, req MembershipRequest) error { return nil }

// Unban takes a ban back; Target must be banned.
func (r *Rooms) Unban(ctx context.Context, req MembershipRequest) error { return nil }

// Join joins a user of ours to a room, through another server if nobody of ours is in it. It returns when the join is
// on disk; if ctx ends first, the join goes on and only the answer is lost.
func (r *Rooms) Join(ctx context.Context, req JoinRequest) error { return nil }

// Leave leaves a room, rejects an invite or takes back a knock.
func (r *Rooms) Leave(ctx context.Context, user id.UserID, room id.RoomID, reason string) error { return nil }

// Forget hides a room the user has left from their lists and history.
func (r *Rooms) Forget(ctx context.Context, user id.UserID, room id.RoomID) error { return nil }

// Knock knocks on a room, through another server if nobody of ours is in it.
func (r *Rooms) Knock(ctx context.Context, req KnockRequest) error { return nil }

// Create makes a room and returns its ID once it is on disk; invites to users of other servers are done before it returns.
func (r *Rooms) Create(ctx context.Context, req CreateRequest) (id.RoomID, error) { return "", nil }

// Send sends one event and returns its ID once it is on disk.
func (r *Rooms) Send(ctx context.Context, req SendRequest) (id.EventID, error) { return "", nil }

// Propose puts events of ours into a room, all or none, in order, and returns them once they are on disk.
func (r *Rooms) Propose(ctx context.Context, room id.RoomID, drafts ...event.Draft) ([]*event.Event, error) {
	return nil, nil
}
