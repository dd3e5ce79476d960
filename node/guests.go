package node

import (
	"context"
	"time"
)

const (
	// guestLife is for how long a guest is kept who isn't used: who comes back later is another one. guestPause is how often it is looked
	// who that is.
	guestLife  = 14 * 24 * time.Hour
	guestPause = time.Hour
)

// endGuests deactivates, until ctx ends, the guests who weren't used for guestLife: anybody makes them, and nobody else takes them away.
func (n *Node) endGuests(ctx context.Context) error {
	tick := time.NewTicker(guestPause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := n.endUnusedGuests(ctx, time.Now().Add(-guestLife)); err != nil && ctx.Err() == nil {
				n.log.Warn("not all guests who aren't used any more could be deactivated; it is tried again", "in", guestPause, "error", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// endUnusedGuests deactivates the guests who weren't used since a time.
func (n *Node) endUnusedGuests(ctx context.Context, since time.Time) error {
	unused, err := n.users.UnusedGuests(ctx, since)
	if err != nil {
		return err
	}
	for _, guest := range unused {
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
