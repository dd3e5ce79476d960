package rooms

import (
	"context"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/node/store"
)

// Visible returns those of the events (all of one room) that a user may see, in the same order
// (spec:client-server-api/modules/history_visibility#server-behaviour).
func (r *Rooms) Visible(ctx context.Context, user id.UserID, room id.RoomID, events []store.EventRow) ([]store.EventRow, error) {
	return nil, nil
}

// Event returns one event of a room if the user may see it; M_NOT_FOUND otherwise.
func (r *Rooms) Event(ctx context.Context, user id.UserID, room id.RoomID, eventID id.EventID) (store.EventRow, error) {
	return store.EventRow{}, nil
}

// Messages returns a page of history, asking other servers when ours ends.
func (r *Rooms) Messages(ctx context.Context, req MessagesRequest) (Page, error) { return Page{}, nil }

// Context returns an event with up to limit events around it.
func (r *Rooms) Context(ctx context.Context, user id.UserID, room id.RoomID, eventID id.EventID, limit int, match func(store.EventRow) bool) (Context, error) {
	return Context{}, nil
}

// State returns the room's state as the user may see it: now if joined (or world readable), when they left otherwise.
func (r *Rooms) State(ctx context.Context, user id.UserID, room id.RoomID) ([]*event.Event, error) {
	return nil, nil
}

// StateEvent returns one event of what State returns; M_NOT_FOUND if there is none.
func (r *Rooms) StateEvent(ctx context.Context, user id.UserID, room id.RoomID, typ, stateKey string) (*event.Event, error) {
	return nil, nil
}

// Members returns the membership events of the state that the user may see.
func (r *Rooms) Members(ctx context.Context, req MembersRequest) ([]*event.Event, error) {
	return nil, nil
}

// JoinedMembers returns the membership events of who is joined; the user must be joined.
func (r *Rooms) JoinedMembers(ctx context.Context, user id.UserID, room id.RoomID) ([]*event.Event, error) {
	return nil, nil
}
