package node

import (
	"context"
	"slices"
	"time"

	"hanse/node/store"
)

const (
	// guestLife is for how long a guest is kept who isn't used: who comes back later is another one. guestPause is how often it is looked
	// who that is.
	guestLife  = 14 * 24 * time.Hour
	guestPause = time.Hour
	// crowdedLife is that of guests who are in no room, and crowdedStay of those who are in one, while there are nearly as many guests as there
	// may be: who makes them by the thousand keeps others out for no longer than they are used. It is looked for them each crowdedPause.
	crowdedLife  = time.Hour
	crowdedStay  = 24 * time.Hour
	crowdedPause = 5 * time.Minute
)

// endGuests deactivates, until ctx ends, the guests who weren't used for long: anybody makes them, and nobody else takes them away.
func (n *Node) endGuests(ctx context.Context) error {
	tick, crowded := time.NewTicker(guestPause), time.NewTicker(crowdedPause)
	defer tick.Stop()
	defer crowded.Stop()
	for {
		var err error
		select {
		case <-tick.C:
			err = n.endUnusedGuests(ctx, time.Now().Add(-guestLife), true)
		case <-crowded.C:
			if n.users.CrowdedByGuests() {
				err = n.endUnusedGuests(ctx, time.Now().Add(-crowdedLife), false)
			}
			if err == nil && n.users.CrowdedByGuests() {
				err = n.endUnusedGuests(ctx, time.Now().Add(-crowdedStay), true)
			}
		case <-ctx.Done():
			return nil
		}
		if err != nil && ctx.Err() == nil {
			n.log.Warn("not all guests who aren't used any more could be deactivated; it is tried again", "in", guestPause, "error", err)
		}
	}
}

// endUnusedGuests deactivates the guests who weren't used since a time: those in no room, and, if it says so, those in rooms.
func (n *Node) endUnusedGuests(ctx context.Context, since time.Time, inRooms bool) error {
	unused, err := n.users.UnusedGuests(ctx, since)
	if err != nil {
		return err
	}
	for _, guest := range unused {
		if !inRooms {
			memberships, err := n.store.Memberships(ctx, guest)
			if err != nil {
				return err
			}
			if slices.ContainsFunc(memberships, func(m store.Membership) bool { return m.Membership == "join" }) {
				continue
			}
		}
		ended, err := n.users.DeactivateGuest(ctx, guest)
		if err != nil {
			return err
		}
		if !ended {
			continue // it became a user in the meantime
		}
		n.ephemeral.AccountGone(guest)
		n.log.Info("a guest who wasn't used for long was deactivated", "user", guest)
		_ = n.rooms.LeaveAll(ctx, guest) // what is left is left at the next start
	}
	return nil
}
