package server

import (
	"encoding/json"
	"fmt"
	"time"

	"hanse/federation"
	"hanse/federation/id"
)

// event is GET /event/{eventID}.
//
// spec:server-server-api#retrieving-events
func (a *api) event(q *request) (any, error) {
	wanted, err := q.eventID()
	if err != nil {
		return nil, err
	}
	event, err := a.Handlers.Events.Event(q.ctx(), q.origin, wanted)
	return a.wrap(event), err
}

// wrap puts events into a transaction of ours, as /event and /backfill answer.
func (a *api) wrap(events ...json.RawMessage) federation.Transaction {
	return federation.Transaction{Origin: a.Self, OriginServerTS: time.Now().UnixMilli(), PDUs: events}
}

// stateRequest reads what /state and /state_ids have in common.
func stateRequest(q *request) (out federation.StateRequest, err error) {
	if out.RoomID, err = q.roomID(); err != nil {
		return out, err
	}
	text := q.URL.Query().Get("event_id")
	if text == "" {
		return out, federation.MissingParam("event_id is missing")
	}
	if out.EventID, err = id.ParseEventID(text); err != nil {
		return out, federation.InvalidParam("event_id is not an event ID")
	}
	return out, nil
}

// state is GET /state/{roomID}.
//
// spec:server-server-api#retrieving-events
func (a *api) state(q *request) (any, error) {
	wanted, err := stateRequest(q)
	if err != nil {
		return nil, err
	}
	answer, err := a.Handlers.Events.State(q.ctx(), q.origin, wanted)
	return &answer, err
}

// stateIDs is GET /state_ids/{roomID}.
//
// spec:server-server-api#retrieving-events
func (a *api) stateIDs(q *request) (any, error) {
	wanted, err := stateRequest(q)
	if err != nil {
		return nil, err
	}
	return a.Handlers.Events.StateIDs(q.ctx(), q.origin, wanted)
}

// eventAuth is GET /event_auth/{roomID}/{eventID}.
//
// spec:server-server-api#retrieving-event-authorisation-information
func (a *api) eventAuth(q *request) (any, error) {
	var wanted federation.EventAuthRequest
	var err error
	if wanted.RoomID, err = q.roomID(); err != nil {
		return nil, err
	}
	if wanted.EventID, err = q.eventID(); err != nil {
		return nil, err
	}
	answer, err := a.Handlers.Events.EventAuth(q.ctx(), q.origin, wanted)
	return &answer, err
}

// backfill is GET /backfill/{roomID}.
//
// spec:server-server-api#backfilling-and-retrieving-missing-events
func (a *api) backfill(q *request) (any, error) {
	var wanted federation.BackfillRequest
	var err error
	if wanted.RoomID, err = q.roomID(); err != nil {
		return nil, err
	}
	from := q.URL.Query()["v"]
	if len(from) == 0 {
		return nil, federation.MissingParam("v is missing")
	}
	if len(from) > federation.MaxEventIDs {
		return nil, federation.InvalidParam(fmt.Sprintf("more than %d events to start from", federation.MaxEventIDs))
	}
	for _, text := range from {
		event, err := id.ParseEventID(text)
		if err != nil {
			return nil, federation.InvalidParam("v is not an event ID")
		}
		wanted.V = append(wanted.V, event)
	}
	limit, given, err := q.number("limit")
	if err != nil {
		return nil, err
	}
	if !given {
		return nil, federation.MissingParam("limit is missing")
	}
	wanted.Limit = int(min(limit, federation.MaxListPDUs))
	events, err := a.Handlers.Events.Backfill(q.ctx(), q.origin, wanted)
	return a.wrap(events...), err
}

// missingEvents is POST /get_missing_events/{roomID}.
//
// spec:server-server-api#backfilling-and-retrieving-missing-events
func (a *api) missingEvents(q *request) (any, error) {
	room, err := q.roomID()
	if err != nil {
		return nil, err
	}
	var wanted federation.MissingEventsRequest
	if err := decode(q, &wanted); err != nil {
		return nil, err
	}
	wanted.RoomID = room
	events, err := a.Handlers.Events.MissingEvents(q.ctx(), q.origin, wanted)
	return federation.MissingEventsResponse{Events: events}, err
}

// timestampToEvent is GET /timestamp_to_event/{roomID}.
//
// spec:server-server-api#get_matrixfederationv1timestamp_to_eventroomid
func (a *api) timestampToEvent(q *request) (any, error) {
	room, err := q.roomID()
	if err != nil {
		return nil, err
	}
	ts, given, err := q.number("ts")
	if err != nil {
		return nil, err
	}
	if !given {
		return nil, federation.MissingParam("ts is missing")
	}
	dir := q.URL.Query().Get("dir")
	if dir != "f" && dir != "b" {
		return nil, federation.InvalidParam("dir must be f or b")
	}
	return a.Handlers.Events.TimestampToEvent(q.ctx(), q.origin, federation.TimestampRequest{RoomID: room, TS: ts, Forward: dir == "f"})
}
