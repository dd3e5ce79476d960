package directory

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup" // children on other servers are asked for some at a time

	"hanse/federation"
	"hanse/federation/exactjson"
	"hanse/federation/id"
)

// HierarchyQuery asks for the rooms of a space, for a user.
type HierarchyQuery struct {
	User          id.UserID
	Room          id.RoomID
	SuggestedOnly bool
	MaxDepth      int // 0: the space alone; -1: as deep as it goes
	Limit         int
	From          string // "": the space itself
}

// hierarchyToken is a place in the walk over a space: so many rooms were shown, and how they were asked for.
type hierarchyToken struct {
	Shown     int  `json:"n"`
	Suggested bool `json:"s"`
	MaxDepth  int  `json:"d"`
}

func (t hierarchyToken) String() string {
	raw, err := json.Marshal(t)
	if err != nil {
		panic("directory: " + err.Error()) // numbers encode
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// place reads where a page begins.
func (q HierarchyQuery) place() (hierarchyToken, error) {
	start := hierarchyToken{Suggested: q.SuggestedOnly, MaxDepth: q.MaxDepth}
	if q.From == "" {
		return start, nil
	}
	var from hierarchyToken
	raw, err := base64.RawURLEncoding.DecodeString(q.From)
	if err != nil || len(q.From) > maxTokenBytes || exactjson.Unmarshal(raw, &from) != nil || from.Shown < 0 {
		return from, federation.InvalidParam("from is not a token of this server")
	}
	if start.Shown = from.Shown; start != from {
		return from, federation.InvalidParam("suggested_only and max_depth cannot change on paginated requests")
	}
	return from, nil
}

// RoomsOf walks over a space, depth first, and gives a page of the rooms that the user is shown. Rooms that this server
// isn't in are asked for at the servers that their space names, some at a time; those that nobody tells of are left out. A
// room that is met twice is shown once. M_FORBIDDEN if the user may not see the space.
//
// spec:client-server-api#get_matrixclientv1roomsroomidhierarchy
func (d *Directory) RoomsOf(ctx context.Context, q HierarchyQuery) (rooms []federation.SpaceRoom, next string, err error) {
	place, err := q.place()
	if err != nil {
		return nil, "", err
	}
	limit := min(max(q.Limit, 1), maxSpaceRooms)
	depth := maxSpaceDepth
	if q.MaxDepth >= 0 {
		depth = min(q.MaxDepth, maxSpaceDepth)
	}
	ctx, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	w := &spaceWalk{d: d, query: q, depth: depth, met: map[id.RoomID]bool{}, remote: map[id.RoomID]federation.RoomSummary{}, hidden: map[id.RoomID]bool{}}
	via, err := d.viaOf(ctx, q.User, q.Room)
	if err != nil {
		return nil, "", err
	}
	w.stack = []step{{child: child{room: q.Room, via: via}}}
	first := true
	for shown := 0; len(w.stack) > 0 && len(w.met) < maxSpaceWalk; {
		room, ok, err := w.next(ctx)
		if err != nil {
			return nil, "", err
		}
		switch {
		case !ok && first:
			return nil, "", federation.Forbidden("you are not allowed to view this room")
		case !ok:
			continue
		}
		first = false
		if len(rooms) == limit {
			place.Shown = shown
			return rooms, place.String(), nil
		}
		if shown++; shown > place.Shown {
			rooms = append(rooms, room)
		}
	}
	return rooms, "", nil
}

// step is a room to visit.
type step struct {
	child
	depth int
}

// spaceWalk is a walk over a space. Owned by its call.
type spaceWalk struct {
	d      *Directory
	query  HierarchyQuery
	depth  int
	stack  []step // the last comes next
	met    map[id.RoomID]bool
	remote map[id.RoomID]federation.RoomSummary // of rooms that other servers told of with their space
	hidden map[id.RoomID]bool                   // rooms that nobody told of when they were asked for ahead
}

// next visits a room; false if it is not shown.
func (w *spaceWalk) next(ctx context.Context) (federation.SpaceRoom, bool, error) {
	at := w.stack[len(w.stack)-1]
	w.stack = w.stack[:len(w.stack)-1]
	if w.met[at.room] {
		return federation.SpaceRoom{}, false, nil
	}
	w.met[at.room] = true
	room, found, err := w.visit(ctx, at)
	if err != nil || !found {
		return room, false, err
	}
	if shown, err := w.d.shownToUser(ctx, w.query.User, room.RoomSummary); err != nil || !shown {
		return room, false, err
	}
	if room.RoomType != spaceType {
		room.ChildrenState = nil
	}
	if at.depth < w.depth {
		children := childrenOf(room.ChildrenState, w.query.SuggestedOnly)
		for _, c := range slices.Backward(children) {
			w.stack = append(w.stack, step{c, at.depth + 1})
		}
		w.ahead(ctx, children)
	}
	return room, true, nil
}

// visit finds out about a room: here, from what came with its space, or by asking.
func (w *spaceWalk) visit(ctx context.Context, at step) (federation.SpaceRoom, bool, error) {
	room, found, err := w.d.space(ctx, at.room, w.query.SuggestedOnly)
	if err != nil || found {
		return room, found, err
	}
	if told, ok := w.remote[at.room]; ok && told.RoomType != spaceType {
		return federation.SpaceRoom{RoomSummary: told}, true, nil
	}
	if w.hidden[at.room] {
		return room, false, nil
	}
	answer, found := w.d.elsewhere(ctx, at.via, federation.HierarchyRequest{RoomID: at.room, SuggestedOnly: w.query.SuggestedOnly}, w.query.From != "")
	for _, told := range answer.Children {
		w.remote[told.RoomID] = told
	}
	for _, hidden := range answer.InaccessibleChildren {
		if _, here, err := w.d.space(ctx, hidden, false); err != nil {
			return room, false, err
		} else if !here {
			w.met[hidden] = true // nobody else tells more of it
		}
	}
	return answer.Room, found, nil
}

// ahead asks for those children that have to be asked for, some at a time, so that one after the other finds its answer.
func (w *spaceWalk) ahead(ctx context.Context, children []child) {
	var group errgroup.Group
	group.SetLimit(spaceParallel)
	var mu sync.Mutex // for hidden
	asked := 0
	for _, c := range children {
		told, known := w.remote[c.room]
		if w.met[c.room] || known && told.RoomType != spaceType || asked == maxSpaceRooms {
			continue
		}
		if info, ok, err := w.d.store.Room(ctx, c.room); err != nil || ok && info.Created && info.Resident {
			continue
		}
		asked++
		group.Go(func() error {
			q := federation.HierarchyRequest{RoomID: c.room, SuggestedOnly: w.query.SuggestedOnly}
			if _, found := w.d.elsewhere(ctx, c.via, q, w.query.From != ""); !found {
				mu.Lock()
				defer mu.Unlock()
				w.hidden[c.room] = true
			}
			return nil
		})
	}
	_ = group.Wait() // there are no errors: who doesn't answer tells nothing
}

// viaOf are the servers that may know a room that we aren't in: whoever invited the user, and who made it.
func (d *Directory) viaOf(ctx context.Context, user id.UserID, room id.RoomID) ([]id.ServerName, error) {
	var via []id.ServerName
	member, ok, err := d.store.Membership(ctx, room, user)
	if ok && member.Sender != "" {
		via = append(via, member.Sender.Server())
	}
	if server, named := room.Server(); named {
		via = append(via, server)
	}
	return via, err
}

// Preview is a room as it shows itself to a user.
type Preview struct {
	federation.RoomSummary
	Membership string `json:"membership,omitempty"` // the user's; "" for nobody
}

// Preview shows a room to a user ("" is nobody in particular), as it is known here or at one of the servers. It is
// M_NOT_FOUND also where it isn't to be shown.
//
// spec:client-server-api#get_matrixclientv1room_summaryroomidoralias
func (d *Directory) Preview(ctx context.Context, user id.UserID, room id.RoomID, via []id.ServerName) (Preview, error) {
	unknown := federation.NotFound("the room is not known, or not shown to you")
	found, here, err := d.space(ctx, room, false)
	if err != nil {
		return Preview{}, err
	}
	if !here {
		more, err := d.viaOf(ctx, user, room)
		if err != nil {
			return Preview{}, err
		}
		ctx, cancel := context.WithTimeout(ctx, remoteTimeout)
		defer cancel()
		answer, ok := d.elsewhere(ctx, append(slices.Clone(via), more...), federation.HierarchyRequest{RoomID: room}, false)
		if !ok {
			return Preview{}, unknown
		}
		found = answer.Room
	}
	preview := Preview{RoomSummary: found.RoomSummary}
	shown, _ := mayEnter(preview.RoomSummary)
	if user != "" {
		if shown, err = d.shownToUser(ctx, user, preview.RoomSummary); err != nil {
			return Preview{}, err
		}
		member, ok, err := d.store.Membership(ctx, room, user)
		if err != nil {
			return Preview{}, err
		}
		if preview.Membership = "leave"; ok {
			preview.Membership = member.Membership
		}
	}
	if !shown {
		return Preview{}, unknown
	}
	return preview, nil
}
