package rooms

import (
	"context"
	"encoding/json"
	"fmt"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/node/store"
)

// PDU answers /event: one event, if the asking server may see it or its room at all.
//
// spec:server-server-api#retrieving-events
func (r *Rooms) PDU(ctx context.Context, origin id.ServerName, eventID id.EventID) (json.RawMessage, error) {
	unknown := federation.NotFound(fmt.Sprintf("could not find event %s", eventID))
	row, ok, err := r.store.Event(ctx, eventID)
	if err != nil {
		return nil, err
	}
	if !ok || r.mayRead(ctx, origin, row.RoomID) != nil {
		return nil, unknown
	}
	if row.Outlier {
		return row.Event.JSON(), nil // state or auth events: who is in the room may have them
	}
	events, err := r.shownToServer(ctx, origin, []store.EventRow{row})
	if err != nil {
		return nil, err
	}
	return events[0].JSON(), nil
}

// ServerState answers /state: the state before an event and the auth chain of that state.
//
// spec:server-server-api#retrieving-events
func (r *Rooms) ServerState(ctx context.Context, origin id.ServerName, req federation.StateRequest) (federation.StateResponse, error) {
	given, err := r.stateAt(ctx, origin, req)
	if err != nil {
		return federation.StateResponse{}, err
	}
	return federation.StateResponse{PDUsStream: given.events(ctx), AuthChainStream: given.authChain(ctx)}, nil
}

// ServerStateIDs answers /state_ids.
//
// spec:server-server-api#retrieving-events
func (r *Rooms) ServerStateIDs(ctx context.Context, origin id.ServerName, req federation.StateRequest) (federation.StateIDsResponse, error) {
	given, err := r.stateAt(ctx, origin, req)
	if err != nil {
		return federation.StateIDsResponse{}, err
	}
	chain, err := given.chainOnly(ctx)
	return federation.StateIDsResponse{PDUIDs: given.state, AuthChainIDs: chain}, err
}

// stateAt is the state before an event that a server asks about.
func (r *Rooms) stateAt(ctx context.Context, origin id.ServerName, req federation.StateRequest) (*givenState, error) {
	if _, err := r.eventFor(ctx, origin, req.RoomID, req.EventID); err != nil {
		return nil, err
	}
	if err := r.whole(ctx, req.RoomID); err != nil {
		return nil, err
	}
	before, ok, err := r.store.StateBefore(ctx, req.EventID)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, federation.NotFound(fmt.Sprintf("the state at event %s is not known", req.EventID))
	}
	return r.giveState(req.RoomID, before)
}

// EventAuth answers /event_auth: the auth chain of an event. It is known also while the state of the room isn't whole, and servers that are
// sent an event need it.
//
// spec:server-server-api#retrieving-event-authorisation-information
func (r *Rooms) EventAuth(ctx context.Context, origin id.ServerName, req federation.EventAuthRequest) (federation.EventAuthResponse, error) {
	row, err := r.eventFor(ctx, origin, req.RoomID, req.EventID)
	if err != nil {
		return federation.EventAuthResponse{}, err
	}
	given := r.givePart(req.RoomID, nil)
	given.cites(row.Event.AuthEvents())
	return federation.EventAuthResponse{AuthChainStream: given.authChain(ctx)}, nil
}

// ServerBackfill answers /backfill: events and those before them, newest first.
//
// spec:server-server-api#backfilling-and-retrieving-missing-events
func (r *Rooms) ServerBackfill(ctx context.Context, origin id.ServerName, req federation.BackfillRequest) ([]json.RawMessage, error) {
	if err := r.mayRead(ctx, origin, req.RoomID); err != nil {
		return nil, err
	}
	rows, err := r.store.History(ctx, req.RoomID, req.V, min(max(req.Limit, 0), r.limits.Backfill))
	if err != nil {
		return nil, fmt.Errorf("rooms: backfill: %w", err)
	}
	events, err := r.shownToServer(ctx, origin, rows)
	return wire(events), err
}

// ServerMissingEvents answers /get_missing_events: what lies between two sets of events, oldest first.
//
// spec:server-server-api#backfilling-and-retrieving-missing-events
func (r *Rooms) ServerMissingEvents(ctx context.Context, origin id.ServerName, req federation.MissingEventsRequest) ([]json.RawMessage, error) {
	if err := r.mayRead(ctx, origin, req.RoomID); err != nil {
		return nil, err
	}
	limit := min(max(req.Limit, 0), r.limits.Missing)
	rows, err := r.store.MissingEvents(ctx, req.RoomID, req.LatestEvents, req.EarliestEvents, req.MinDepth, limit)
	if err != nil {
		return nil, fmt.Errorf("rooms: get_missing_events: %w", err)
	}
	events, err := r.shownToServer(ctx, origin, rows)
	return wire(events), err
}

// whole refuses what can't be answered while the state of the room isn't whole: states.
func (r *Rooms) whole(ctx context.Context, roomID id.RoomID) error {
	info, _, err := r.store.Room(ctx, roomID)
	if err == nil && info.Partial {
		err = federation.PartialState()
	}
	return err
}

// mayRead tells whether a server may ask for a room's events: it is in the room and not kept out by its ACL. Where our last user has
// left, it was in it then: what was said before stands below the leave, and nobody else may have it.
func (r *Rooms) mayRead(ctx context.Context, origin id.ServerName, roomID id.RoomID) error {
	if _, err := r.knows(ctx, origin, roomID); err != nil {
		return err
	}
	joined, err := r.store.ServersIn(ctx, roomID)
	if err != nil {
		return err
	}
	if _, in := joined[origin]; !in {
		return federation.Forbidden("your server is not in this room")
	}
	return nil
}

// eventFor is an event of a room that a server asks about.
func (r *Rooms) eventFor(ctx context.Context, origin id.ServerName, roomID id.RoomID, eventID id.EventID) (store.EventRow, error) {
	if err := r.mayRead(ctx, origin, roomID); err != nil {
		return store.EventRow{}, err
	}
	row, ok, err := r.store.Event(ctx, eventID)
	if err != nil {
		return store.EventRow{}, err
	}
	if !ok || row.RoomID != roomID {
		return store.EventRow{}, federation.NotFound(fmt.Sprintf("could not find event %s", eventID))
	}
	return row, nil
}

func idsOf(events []*event.Event) []id.EventID {
	ids := make([]id.EventID, len(events))
	for i, e := range events {
		ids[i] = e.ID()
	}
	return ids
}
