package directory

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	"hanse/federation"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/store"
)

// spaceType is the type of rooms that are spaces.
const spaceType = "m.space"

// child is a room of a space. spec:client-server-api#mspacechild
type child struct {
	room id.RoomID
	via  []id.ServerName
	// order and ts are where it stands among the others.
	order string
	ts    int64
}

// childOf reads an m.space.child event; false if it is none any more, or not wanted.
func childOf(e federation.SpaceChild, suggestedOnly bool) (child, bool) {
	var content struct {
		Via       []string        `json:"via"`
		Order     json.RawMessage `json:"order"`
		Suggested json.RawMessage `json:"suggested"`
	}
	room, err := id.ParseRoomID(e.StateKey)
	if err != nil || exactjson.Unmarshal(e.Content, &content) != nil || suggestedOnly && string(content.Suggested) != "true" {
		return child{}, false
	}
	c := child{room: room, ts: e.OriginServerTS}
	for _, name := range content.Via[:min(len(content.Via), maxVia)] {
		if server, err := id.ParseServerName(name); err == nil {
			c.via = append(c.via, server)
		}
	}
	if exactjson.Unmarshal(content.Order, &c.order) != nil || !validOrder(c.order) {
		c.order = ""
	}
	return c, len(c.via) > 0 // without via it is no child
}

// validOrder tells whether an order counts: printable ASCII, and no more than 50 of it.
//
// spec:client-server-api#ordering-of-children-within-a-space
func validOrder(order string) bool {
	for _, b := range []byte(order) {
		if b < 0x20 || b > 0x7e {
			return false
		}
	}
	return len(order) <= 50
}

// childrenOf are the children of a space, in their order: those with an order by that, then the others by their age.
//
// spec:client-server-api#ordering-of-children-within-a-space
func childrenOf(events []federation.SpaceChild, suggestedOnly bool) []child {
	var children []child
	for _, e := range events {
		if c, ok := childOf(e, suggestedOnly); ok {
			children = append(children, c)
		}
	}
	slices.SortFunc(children, func(a, b child) int {
		if (a.order == "") != (b.order == "") {
			return cmp.Compare(b.order, a.order) // who has one comes first
		}
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.ts, b.ts), cmp.Compare(a.room, b.room))
	})
	return children[:min(len(children), federation.MaxSpaceChildren)]
}

// space is a room of ours with its children; false if we don't take part in it, so that what we know of it may be old.
func (d *Directory) space(ctx context.Context, room id.RoomID, suggestedOnly bool) (federation.SpaceRoom, bool, error) {
	info, ok, err := d.store.Room(ctx, room)
	if err != nil || !ok || !info.Created || !info.Resident {
		return federation.SpaceRoom{}, false, err
	}
	summary, err := d.summary(ctx, info)
	if err != nil {
		return federation.SpaceRoom{}, false, err
	}
	s := federation.SpaceRoom{RoomSummary: summary}
	if s.RoomType == spaceType {
		s.ChildrenState, err = d.childEvents(ctx, info, suggestedOnly)
	}
	return s, true, err
}

// childEvents are the valid m.space.child events of a room.
func (d *Directory) childEvents(ctx context.Context, info store.RoomInfo, suggestedOnly bool) ([]federation.SpaceChild, error) {
	state, err := d.store.CurrentState(ctx, info.RoomID)
	if err != nil {
		return nil, err
	}
	var ids []id.EventID
	for child, err := range state.OfType("m.space.child") {
		if err != nil {
			return nil, err
		}
		ids = append(ids, child.Event)
	}
	rows, err := d.store.Events(ctx, ids)
	if err != nil {
		return nil, err
	}
	var events []federation.SpaceChild
	for _, row := range rows {
		key, _ := row.Event.StateKey()
		e := federation.SpaceChild{
			Type: row.Event.Type(), StateKey: key, Content: row.Event.Content(), Sender: row.Event.Sender(), OriginServerTS: row.Event.OriginServerTS(),
		}
		if _, ok := childOf(e, suggestedOnly); ok {
			events = append(events, e)
		}
	}
	slices.SortFunc(events, func(a, b federation.SpaceChild) int {
		return cmp.Or(cmp.Compare(a.OriginServerTS, b.OriginServerTS), cmp.Compare(a.StateKey, b.StateKey))
	})
	return events[:min(len(events), federation.MaxSpaceChildren)], nil
}

// Hierarchy answers another server: a room, and those of its children that the server's users may join.
//
// spec:server-server-api#get_matrixfederationv1hierarchyroomid
func (d *Directory) Hierarchy(ctx context.Context, origin id.ServerName, q federation.HierarchyRequest) (federation.HierarchyResponse, error) {
	unknown := federation.NotFound("this server doesn't know the room, or your users can't join it")
	space, known, err := d.space(ctx, q.RoomID, q.SuggestedOnly)
	if err != nil {
		return federation.HierarchyResponse{}, err
	}
	if !known {
		return federation.HierarchyResponse{}, unknown
	}
	if shown, err := d.shownToServer(ctx, origin, space.RoomSummary); err != nil || !shown {
		return federation.HierarchyResponse{}, cmp.Or(err, error(unknown))
	}
	answer := federation.HierarchyResponse{Room: space}
	for _, c := range childrenOf(space.ChildrenState, q.SuggestedOnly) {
		info, ok, err := d.store.Room(ctx, c.room)
		if err != nil {
			return answer, err
		}
		if !ok || !info.Created || !info.Resident {
			continue // others may know more
		}
		summary, err := d.summary(ctx, info)
		if err != nil {
			return answer, err
		}
		shown, err := d.shownToServer(ctx, origin, summary)
		switch {
		case err != nil:
			return answer, err
		case shown:
			answer.Children = append(answer.Children, summary)
		default:
			answer.InaccessibleChildren = append(answer.InaccessibleChildren, c.room)
		}
	}
	return answer, nil
}
