package admin

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/node/rooms"
	"hanse/node/store"
)

// Bounds of what is told of rooms.
const (
	maxRooms       = 5000 // listed
	maxNamed       = 200  // of which the name is read: those active last
	maxExtremities = 50
	maxGaps        = 20
	roomPage       = 1000
)

// Room is how it stands with a room.
type Room struct {
	Room        string `json:"room_id"`
	Name        string `json:"name,omitempty"`
	Version     string `json:"version"`
	Resident    bool   `json:"resident"`      // a user of this server is joined
	Partial     bool   `json:"partial_state"` // it was joined without its members, and the rest is still being fetched
	Members     int    `json:"members"`
	Local       int    `json:"local_members"`
	Extremities int    `json:"extremities"`
	Waiting     int    `json:"waiting"` // events that were received and can't be judged yet
	Gaps        int    `json:"gaps"`    // events that we have heard of as parents and don't have
	Loaded      bool   `json:"loaded"`  // it is in memory
	Resets      int64  `json:"state_resets,omitempty"`
	Merges      int64  `json:"forks_merged,omitempty"`
	position    store.Position

	// Only where one room is asked about:
	Events     int          `json:"events,omitempty"`
	Outliers   int          `json:"outliers,omitempty"`
	SoftFailed int          `json:"soft_failed,omitempty"`
	Rejected   int          `json:"rejected,omitempty"`
	State      int          `json:"state_events,omitempty"`
	Depth      int64        `json:"depth,omitempty"`
	Queued     int          `json:"queued,omitempty"`
	Fetching   int          `json:"fetching,omitempty"`
	Forward    []Extremity  `json:"forward,omitempty"`
	Missing    []Gap        `json:"missing,omitempty"`
	Servers    []RoomServer `json:"servers,omitempty"`
}

// Extremity is an event at the room's end.
type Extremity struct {
	Event  string    `json:"event_id"`
	Type   string    `json:"type"`
	Sender string    `json:"sender"`
	Depth  int64     `json:"depth"`
	Made   time.Time `json:"made"`
}

// Gap is an event that isn't here, and one that names it.
type Gap struct {
	Event string `json:"event_id"`
	Child string `json:"child"`
	Depth int64  `json:"child_depth"`
}

// RoomServer is a server in the room.
type RoomServer struct {
	Server  string `json:"server"`
	Members int    `json:"members"`
	Trouble string `json:"trouble,omitempty"`
}

// RoomList lists the rooms of this server, those active last first.
func (a *Admin) RoomList(ctx context.Context) ([]Room, error) {
	waiting, err := a.Store.Undecided(ctx)
	if err != nil {
		return nil, err
	}
	gaps, err := a.Store.Gaps(ctx)
	if err != nil {
		return nil, err
	}
	list := []Room{}
	for after := id.RoomID(""); len(list) < maxRooms; {
		infos, err := a.Store.Rooms(ctx, after, roomPage)
		if err != nil {
			return nil, err
		}
		for _, info := range infos {
			after = info.RoomID
			live, loaded := a.Rooms.Live(info.RoomID)
			list = append(list, roomOf(info, waiting[info.RoomID], gaps[info.RoomID], live, loaded))
		}
		if len(infos) < roomPage {
			break
		}
	}
	slices.SortFunc(list, func(x, y Room) int { return cmp.Compare(y.position, x.position) })
	for i := range list[:min(len(list), maxNamed)] {
		if list[i].Name, err = a.name(ctx, id.RoomID(list[i].Room)); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func roomOf(info store.RoomInfo, waiting, gaps int, live rooms.Live, loaded bool) Room {
	return Room{
		Room: string(info.RoomID), Version: string(info.Rules.Version), Resident: info.Resident, Partial: info.Partial, Members: info.Joined, Local: info.Local,
		Extremities: len(info.Forward), Waiting: waiting, Gaps: gaps, Loaded: loaded, Resets: live.Resets, Merges: live.Merges,
		position: info.Position, Depth: info.Depth, Queued: live.Queued, Fetching: live.Fetching,
	}
}

// name is a room's name, or its canonical alias.
func (a *Admin) name(ctx context.Context, roomID id.RoomID) (string, error) {
	state, err := a.Store.CurrentState(ctx, roomID)
	if err != nil {
		return "", err
	}
	for _, place := range [...][2]string{{"m.room.name", "name"}, {"m.room.canonical_alias", "alias"}} {
		events, err := a.Store.StateEvents(ctx, state, roomstate.Key{Type: place[0]})
		if err != nil {
			return "", err
		}
		if len(events) > 0 {
			if name := member(events[0].Content(), place[1]); name != "" {
				return name, nil
			}
		}
	}
	return "", nil
}

// Room tells all that is known of one room.
func (a *Admin) Room(ctx context.Context, roomID id.RoomID) (Room, error) {
	info, ok, err := a.Store.Room(ctx, roomID)
	if err != nil {
		return Room{}, err
	}
	if !ok {
		return Room{}, &problem{http.StatusNotFound, "this server does not know the room " + string(roomID)}
	}
	counts, err := a.Store.CountRoom(ctx, roomID)
	if err != nil {
		return Room{}, err
	}
	live, loaded := a.Rooms.Live(roomID)
	r := roomOf(info, counts.Staged, counts.Gaps, live, loaded)
	r.Events, r.Outliers, r.SoftFailed, r.Rejected = counts.Events, counts.Outliers, counts.SoftFailed, counts.Rejected
	state, err := a.Store.CurrentState(ctx, roomID)
	if err != nil {
		return r, err
	}
	r.State = state.Len()
	if r.Name, err = a.name(ctx, roomID); err != nil {
		return r, err
	}
	ends, err := a.Store.Events(ctx, info.Forward[:min(len(info.Forward), maxExtremities)])
	if err != nil {
		return r, err
	}
	for eventID, row := range ends {
		e := row.Event
		r.Forward = append(r.Forward, Extremity{
			Event: string(eventID), Type: e.Type(), Sender: string(e.Sender()), Depth: e.Depth(), Made: time.UnixMilli(e.OriginServerTS()).UTC(),
		})
	}
	slices.SortFunc(r.Forward, func(x, y Extremity) int { return cmp.Or(cmp.Compare(y.Depth, x.Depth), cmp.Compare(x.Event, y.Event)) })
	gaps, err := a.Store.BackwardExtremities(ctx, roomID, maxGaps)
	if err != nil {
		return r, err
	}
	for _, g := range gaps {
		r.Missing = append(r.Missing, Gap{Event: string(g.Missing), Child: string(g.Child), Depth: g.Depth})
	}
	r.Servers, err = a.serversOf(ctx, roomID)
	return r, err
}

// serversOf lists the servers in a room, most members first.
func (a *Admin) serversOf(ctx context.Context, roomID id.RoomID) ([]RoomServer, error) {
	joined, err := a.Store.JoinedServers(ctx, roomID)
	if err != nil {
		return nil, err
	}
	var list []RoomServer
	for server, members := range joined {
		s := RoomServer{Server: string(server), Members: members}
		if peer := a.Sender.Peer(server); !peer.Reachable() {
			s.Trouble = waitsFor(peer)
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(x, y RoomServer) int {
		return cmp.Or(cmp.Compare(y.Members, x.Members), cmp.Compare(x.Server, y.Server))
	})
	return list, nil
}
