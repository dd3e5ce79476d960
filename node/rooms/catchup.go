package rooms

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup" // a few rooms at a time

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/node/store"
)

const (
	// catchUpAtOnce is how many rooms are asked about at a time after a start, and catchUpPace how much time is between
	// two questions of one of them: some tens a second in all, so that a restart is no burden to others, nor to us.
	catchUpAtOnce = 4
	catchUpPace   = 50 * time.Millisecond
	// catchUpRooms bounds the rooms that are asked about, the ones active last first.
	catchUpRooms = 20_000
	// catchUpServers is how many servers of a room are asked until one answers.
	catchUpServers = 3
	// catchUpUsers is in how many users' names those are asked who refuse: after a restore from a backup some may have left since.
	catchUpUsers = 4
	// catchUpTime bounds the questions about one room.
	catchUpTime = 30 * time.Second
	// catchUpFailures is after how many failures a server isn't asked about other rooms: it is as likely down as we were.
	catchUpFailures = 2
)

// catchUp asks, after a start, what was missed in each room while this server was out: its peers will send again what
// they kept for us, but that may be in an hour, and one that forgot us will not.
//
// There is no endpoint for a room's newest events. The template of a leave names them, costs a resident server little,
// and is given to whoever is joined; nobody leaves. What it names and we lack is taken in as if its server had sent it,
// so that the gap below is filled in the usual way.
//
// A server whose database is restored from a backup gets its own later events back by this. A room that is joined after the
// start was not missed, and isn't asked about.
func (r *Rooms) catchUp(ctx context.Context) {
	var list []store.RoomInfo
	if !r.untilRead(ctx, "can't read which rooms to catch up; they do when it can be read, or when somebody speaks in them", func() (err error) {
		list, err = r.sharedRooms(ctx)
		return err
	}) {
		return
	}
	select {
	case <-time.After(r.limits.CatchUpAfter):
	case <-ctx.Done():
		return
	}
	select {
	case <-r.store.Usable(): // of just now
	default:
	}
	asked := &asking{failures: make(map[id.ServerName]int)}
	var group errgroup.Group
	group.SetLimit(catchUpAtOnce)
	for _, info := range list {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			defer func() {
				select {
				case <-time.After(catchUpPace):
				case <-ctx.Done():
				}
			}()
			ctx, cancel := context.WithTimeout(ctx, catchUpTime)
			defer cancel()
			if err := r.catchUpRoom(ctx, info, asked); err != nil && ctx.Err() == nil {
				r.log.Debug("nobody told what was missed in a room", "room", info.RoomID, "error", err)
			}
			return nil
		})
	}
	_ = group.Wait() // no room fails the others
	r.log.Info("rooms have been asked for what was missed", "rooms", len(list), "events", r.recovered.Load())
}

// catchUpAfterOutages does the same when the database was out: what others sent meanwhile was refused.
func (r *Rooms) catchUpAfterOutages(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.store.Usable():
			r.catchUp(ctx)
		}
	}
}

// sharedRooms are the rooms that we are in with others, the ones active last first.
func (r *Rooms) sharedRooms(ctx context.Context) ([]store.RoomInfo, error) {
	const page = 1000
	var list []store.RoomInfo
	for after := id.RoomID(""); ; {
		infos, err := r.store.Rooms(ctx, after, page)
		if err != nil {
			return nil, err
		}
		for _, info := range infos {
			if after = info.RoomID; info.Resident && info.Joined > info.Local {
				list = append(list, info)
			}
		}
		if len(infos) < page {
			break
		}
	}
	slices.SortFunc(list, func(a, b store.RoomInfo) int { return cmp.Compare(b.Position, a.Position) })
	return list[:min(len(list), catchUpRooms)], nil
}

// asking notes which servers don't answer. Safe for concurrent use.
type asking struct {
	mu       sync.Mutex
	failures map[id.ServerName]int // guarded by mu
}

func (a *asking) tried(server id.ServerName, failed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if failed {
		a.failures[server]++
	} else {
		delete(a.failures, server)
	}
}

func (a *asking) worthwhile(server id.ServerName) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failures[server] < catchUpFailures
}

// catchUpRoom asks the servers of one room in turn, and those that refuse again in the name of another user.
func (r *Rooms) catchUpRoom(ctx context.Context, info store.RoomInfo, asked *asking) error {
	joined, err := r.store.ServersIn(ctx, info.RoomID)
	if err != nil {
		return err
	}
	delete(joined, r.self)
	users, err := r.store.LocalJoined(ctx, info.RoomID)
	if err != nil || len(users) == 0 {
		return err
	}
	last := fmt.Errorf("no server is left to ask")
	servers := byUsers(joined)
	for _, user := range users[:min(len(users), catchUpUsers)] {
		var refused []id.ServerName
		tries := 0
		for _, server := range servers {
			if !asked.worthwhile(server) {
				continue
			}
			if tries++; tries > catchUpServers || ctx.Err() != nil {
				break
			}
			err := r.catchUpFrom(ctx, info.RoomID, info.Rules, user, server)
			asked.tried(server, err != nil && !refuses(err))
			if err == nil {
				return nil
			}
			if refuses(err) {
				refused = append(refused, server)
			}
			last = err
		}
		servers = refused
	}
	return last
}

// catchUpFrom takes in what one server knows at the room's end and we don't.
func (r *Rooms) catchUpFrom(ctx context.Context, roomID id.RoomID, rules *roomversion.Rules, user id.UserID, server id.ServerName) error {
	answer, err := r.cfg.Client.MakeLeave(ctx, server, roomID, user)
	if err != nil {
		return err
	}
	draft, err := event.ParseDraft(rules, answer.Event)
	if err != nil || draft.RoomID != roomID {
		return fmt.Errorf("%s gave no template of the room: %w", server, err)
	}
	missing, err := r.unplaced(ctx, draft.PrevEvents)
	if err != nil || len(missing) == 0 {
		return err
	}
	events, err := r.fetchEvents(ctx, server, roomID, rules, missing)
	if len(events) == 0 {
		return err
	}
	r.noteOwn(ctx, events)
	if _, err := r.Submit(ctx, server, roomID, events); err != nil {
		return err
	}
	r.recovered.Add(int64(len(events)))
	return nil
}

// noteOwn looks among events that another server gave, whose signatures are good, for such as users of ours have sent and we lack. We
// stored them before anybody got them: the database was put back from a backup, and what it gave out since must not be given out again.
// Memberships tell nothing, as a server that let somebody in may have been the only one to store that.
func (r *Rooms) noteOwn(ctx context.Context, events []*event.Event) {
	var own []id.EventID
	for _, e := range events {
		if e.Sender().Server() == r.self && e.Membership() == "" {
			own = append(own, e.ID())
		}
	}
	if len(own) == 0 {
		return
	}
	known, err := r.store.Events(ctx, own)
	if err == nil && len(known) < len(own) {
		err = r.store.WasPutBack(ctx)
	}
	if err != nil && ctx.Err() == nil {
		r.log.Warn("the database seems to be put back from a backup; one-time keys that may have been given out since could not be forgotten, nor lists of devices be fetched again", "error", err)
	}
}

// unplaced gives those of the events that have no place in their room here.
func (r *Rooms) unplaced(ctx context.Context, ids []id.EventID) ([]id.EventID, error) {
	known, err := r.store.Events(ctx, ids)
	if err != nil {
		return nil, err
	}
	var missing []id.EventID
	for _, eventID := range ids {
		if row, ok := known[eventID]; !ok || row.Outlier {
			missing = append(missing, eventID)
		}
	}
	return missing, nil
}
