package rooms

import (
	"cmp"
	"context"
	"time"

	"golang.org/x/sync/errgroup" // rooms with a policy server wait for it, each by itself

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/node/store"
)

// Submit hands in events that another server sent in a transaction; they are valid and verified, and of this room. The
// verdicts come when what was decided is on disk; one that is Waiting is on disk too, and decided later.
//
// spec:server-server-api#checks-performed-on-receipt-of-a-pdu 4 to 7
func (r *Rooms) Submit(ctx context.Context, origin id.ServerName, roomID id.RoomID, events []*event.Event) ([]room.Verdict, error) {
	result, err := r.ask(ctx, roomID, &task{input: room.Receive{Origin: origin, Events: r.policed(ctx, roomID, events)}})
	return result.Verdicts, err
}

// Submission is what a transaction of another server brings for a room: see Submit.
type Submission struct {
	Room   id.RoomID
	Events []*event.Event
}

// SubmitTogether is Submit for a transaction with events of several rooms, each of which is there once: what they decide is
// written at once. The verdicts are those of each room, if there is no error; else some rooms may have taken their events.
func (r *Rooms) SubmitTogether(ctx context.Context, origin id.ServerName, submissions []Submission) ([][]room.Verdict, error) {
	verdicts := make([][]room.Verdict, len(submissions))
	var group errgroup.Group
	var rooms []id.RoomID
	var tasks []*task
	var at []int // their places in submissions
	for i, s := range submissions {
		if _, enabled, err := r.policyOf(ctx, s.Room); enabled || err != nil {
			group.Go(func() (err error) {
				verdicts[i], err = r.Submit(ctx, origin, s.Room, s.Events)
				return err
			})
			continue
		}
		rooms = append(rooms, s.Room)
		tasks = append(tasks, &task{input: room.Receive{Origin: origin, Events: s.Events}})
		at = append(at, i)
	}
	results, err := r.askAll(ctx, rooms, tasks)
	for n, i := range at {
		verdicts[i] = results[n].Verdicts
	}
	return verdicts, cmp.Or(err, group.Wait())
}

// AwaitJoin waits until a join of the room through another server that is under way has ended, at most for a few
// seconds. It reports whether there was one: other servers send us the room's events as soon as the resident server has
// our join, which is before we have the room.
func (r *Rooms) AwaitJoin(ctx context.Context, roomID id.RoomID) bool {
	ctx, cancel := context.WithTimeout(ctx, awaitJoin)
	defer cancel()
	return r.entry.idle(ctx, roomID)
}

// awaitJoin is shorter than any server waits for the answer to its transaction.
const awaitJoin = 15 * time.Second

// resumeStaged takes up, after a start, what was received but undecided at the last stop.
func (r *Rooms) resumeStaged(ctx context.Context) {
	var rooms []id.RoomID
	if !r.untilRead(ctx, "can't read which rooms have undecided events; they wait until it can be read", func() (err error) {
		rooms, err = r.store.RoomsWithStaged(ctx)
		return err
	}) {
		return
	}
	for _, roomID := range rooms {
		if !r.untilRead(ctx, "can't take up a room's undecided events; they wait until the database can be used", func() error {
			_, err := r.step(ctx, roomID, room.Resume{}, store.CommitOptions{})
			if err != nil && ctx.Err() == nil && !store.Unavailable(err) {
				r.log.Warn("a room's undecided events were not taken up; it is tried again at the next start", "room", roomID, "error", err)
				err = nil
			}
			return err
		}) {
			return
		}
	}
}
