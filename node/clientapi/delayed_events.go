package clientapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"hanse/federation/id"
	"hanse/node/delayed"
	"hanse/node/rooms"
)

// delayedFeature is the name under which MSC4140 is served while it is no part of the specification.
const delayedFeature = "org.matrix.msc4140"

func (a *API) delayedRoutes() []route {
	if a.config.Delayed == nil {
		return nil
	}
	unstable := prefixes{"/_matrix/client/unstable/" + delayedFeature}
	return []route{
		{http.MethodGet, "/delayed_events", unstable, withUser, ordinary, a.delayedEvents},
		// The ID is the key: what sees to calls on a client's behalf knows nothing else. The newer way has the action in the path.
		{http.MethodPost, "/delayed_events/{delayId}", unstable, withoutUser, ordinary, a.actOnDelayed},
		{http.MethodPost, "/delayed_events/{delayId}/{action}", unstable, withoutUser, ordinary, a.actOnDelayed},
	}
}

// delay is how long an event is to wait; 0: not at all.
func (r *request) delay() (time.Duration, error) {
	text := r.URL.Query().Get(delayedFeature + ".delay")
	if text == "" || r.api.config.Delayed == nil {
		return 0, nil
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ms <= 0 {
		return 0, invalidParam("the delay must be a number of milliseconds, more than 0")
	}
	return time.Duration(min(ms, delayed.MaxDelay.Milliseconds()+1)) * time.Millisecond, nil
}

// schedule keeps an event for later, if reading its delay was no error.
func (r *request) schedule(req rooms.SendRequest, delay time.Duration, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	membership, err := r.api.config.Users.MembershipIn(r.Context(), req.Sender, req.Room)
	if err == nil && membership != "join" {
		err = forbidden("you are not in this room")
	}
	if err != nil {
		return nil, err
	}
	delayID, err := r.api.config.Delayed.Schedule(r.Context(), req, delay)
	if long, ok := errors.AsType[delayed.TooLongError](err); ok {
		return answer{status: http.StatusBadRequest, body: map[string]any{
			"errcode": "M_UNKNOWN", "error": long.Error(),
			delayedFeature + ".errcode": "M_MAX_DELAY_EXCEEDED", delayedFeature + ".max_delay": delayed.MaxDelay.Milliseconds(),
		}}, nil
	}
	return scheduledEvent{delayID}, err
}

// scheduledEvent is the answer to the sending of a delayed event.
type scheduledEvent struct {
	DelayID string `json:"delay_id"`
}

// delayedForm is a scheduled event. Its times are in ms.
type delayedForm struct {
	DelayID      string          `json:"delay_id"`
	Room         id.RoomID       `json:"room_id"`
	Type         string          `json:"type"`
	StateKey     *string         `json:"state_key,omitempty"`
	Delay        int64           `json:"delay"`
	RunningSince int64           `json:"running_since"`
	Content      json.RawMessage `json:"content"`
}

// delayedEvents lists those of the user that are scheduled, under the names of both forms of the proposal.
func (a *API) delayedEvents(r *request) (any, error) {
	events, err := a.config.Delayed.Of(r.Context(), r.user)
	forms := make([]delayedForm, 0, len(events))
	for _, e := range events {
		forms = append(forms, delayedForm{e.ID, e.Room, e.Type, e.StateKey, e.Delay.Milliseconds(), e.RunningSince.UnixMilli(), e.Content})
	}
	return map[string]any{"delayed_events": forms, "scheduled": forms, "finalised": []delayedForm{}}, err
}

func (a *API) actOnDelayed(r *request) (any, error) {
	action := r.PathValue("action")
	inPath := action != ""
	if !inPath {
		var body struct {
			Action string `json:"action"`
		}
		if err := r.decode(&body); err != nil {
			return nil, err
		}
		if action = body.Action; action == "" {
			return nil, missingParam("action")
		}
	}
	events, delayID := a.config.Delayed, r.PathValue("delayId")
	if len(delayID) > maxTxnIDBytes {
		return nil, notFound("there is no such delayed event")
	}
	switch action {
	case "send":
		return nil, events.Send(r.Context(), delayID)
	case "restart":
		return nil, events.Restart(r.Context(), delayID)
	case "cancel":
		return nil, events.Cancel(r.Context(), delayID)
	}
	if inPath {
		return nil, unrecognized(http.StatusNotFound, "no such path")
	}
	return nil, invalidParam("the action must be send, restart or cancel")
}
