package rooms

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"hanse/federation/authrules"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/node/store"
)

const (
	// typeDummy is what deployed servers call the events that they send to merge forward extremities.
	typeDummy = "org.matrix.dummy_event"
	// mergePause is for how long a room is left alone in which no user of ours may send such an event.
	mergePause = 10 * time.Minute
	// mergeTime bounds the events that bring a room's extremities down.
	mergeTime = time.Minute
	// mergeRounds bounds them in number: each takes the place of ten.
	mergeRounds = 20
)

// bound has a room's forward extremities merged when there are more than an event of ours merges: each costs every
// resolution of the room's state. Usually the next thing said merges them; where nobody of ours speaks, an event without
// content does. It is told to nobody: who needs it finds it below our next event. Called in the room's turn.
func (a *actor) bound(c room.Commit) {
	if len(c.Forward) <= room.MaxPrevEvents || !c.Resident || time.Now().Before(a.mergeAfter) || !a.merging.CompareAndSwap(false, true) {
		return
	}
	a.mergeAfter = time.Now().Add(mergePause)
	if !a.r.start(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, mergeTime)
		defer cancel()
		for many := true; many; {
			err := a.r.merge(ctx, a.room)
			if err == nil {
				err = a.r.look(ctx, a.room, func(m *room.Machine, _ room.Source) error {
					if many = len(m.Forward()) > room.MaxPrevEvents; !many { // in the room's turn: what comes after it begins anew
						a.mergeAfter = time.Time{}
						a.merging.Store(false)
					}
					return nil
				})
			}
			if err != nil {
				if ctx.Err() == nil {
					a.r.log.Info("a room's forward extremities can't be merged now", "room", a.room, "extremities", len(c.Forward), "error", err)
				}
				a.merging.Store(false)
				return
			}
		}
	}) {
		a.merging.Store(false)
	}
}

// merge sends dummy events until few extremities are left.
func (r *Rooms) merge(ctx context.Context, roomID id.RoomID) error {
	for range mergeRounds {
		sender, many, err := r.merger(ctx, roomID)
		if err != nil || !many {
			return err
		}
		draft := event.Draft{RoomID: roomID, Type: typeDummy, Sender: sender, Content: json.RawMessage(`{}`)}
		result, err := r.step(ctx, roomID, room.Propose{Drafts: []event.Draft{draft}, Key: r.cfg.Key, Quiet: true}, store.CommitOptions{})
		if err != nil {
			return err
		}
		for _, v := range result.Verdicts {
			if v.Status != room.Accepted {
				return refusal(v)
			}
		}
		r.merged.Add(1)
	}
	return nil
}

// merger finds a user of ours who may send a dummy event; false if there is nothing to merge any more.
func (r *Rooms) merger(ctx context.Context, roomID id.RoomID) (sender id.UserID, many bool, err error) {
	users, err := r.store.LocalJoined(ctx, roomID)
	if err != nil {
		return "", false, err
	}
	err = r.look(ctx, roomID, func(m *room.Machine, src room.Source) error {
		if many = len(m.Forward()) > room.MaxPrevEvents; !many {
			return nil
		}
		if err := unpoliced(m, src, []event.Draft{{Type: typeDummy}}); err != nil {
			return err // asking its policy server about nothing would be a nuisance
		}
		levels, err := authrules.LevelsOf(stateOf{m.Current(), src})
		if err != nil {
			return err
		}
		at := slices.IndexFunc(users, func(u id.UserID) bool { return levels.User(u) >= levels.Event(typeDummy, false) })
		if at < 0 {
			return notJoined()
		}
		sender = users[at]
		return nil
	})
	return sender, many, err
}
