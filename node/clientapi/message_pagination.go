package clientapi

import (
	"net/http"

	"hanse/federation/id"
	"hanse/node/clientsync"
	"hanse/node/rooms"
	"hanse/node/stream"
)

func (a *API) messageRoutes() []route {
	return []route{
		{http.MethodGet, "/rooms/{roomId}/messages", stable, withUser, ordinary, a.messages},
		{http.MethodGet, "/rooms/{roomId}/context/{eventId}", stable, withUser, ordinary, a.context},
	}
}

// point reads a token: a place in the room's history, or one in /sync.
func point(name, text string) (rooms.Point, error) {
	if text == "" {
		return rooms.Point{}, nil
	}
	if place, err := stream.ParsePlace(text); err == nil {
		return rooms.Point{Topological: place.At, Below: place.Below, Told: place.Told}, nil
	}
	token, err := stream.ParseToken(text)
	if err != nil {
		return rooms.Point{}, invalidParam("%s: %q is not a token that this server gave", name, text)
	}
	return rooms.Point{Stream: token.Position}, nil
}

func formatPoint(p rooms.Point) string {
	if p.Stream > 0 {
		return stream.Token{Position: p.Stream}.String()
	}
	return stream.Place{At: p.Topological, Below: p.Below}.String()
}

// eventFilter reads the filter parameter of a request about one room.
func (r *request) eventFilter() (clientsync.RoomEventFilter, error) {
	text := r.URL.Query().Get("filter")
	if text == "" {
		return clientsync.RoomEventFilter{}, nil
	}
	filter, err := clientsync.ParseRoomEventFilter([]byte(text))
	if err != nil {
		return filter, invalidParam("filter: %v", err)
	}
	return filter, nil
}

// matches chooses the events that a filter wants and whose senders the user doesn't ignore.
func (r *request) matches(filter clientsync.RoomEventFilter) (func(clientsync.EventRow) bool, error) {
	ignored, err := r.api.config.Sync.Ignored(r.Context(), r.user)
	return func(row clientsync.EventRow) bool {
		if !filter.MatchEvent(row.Event) || !row.Event.IsState() && ignored[row.Event.Sender()] {
			return false
		}
		related, err := r.api.config.Sync.Related(r.Context(), filter, row)
		if err != nil && r.Context().Err() == nil {
			r.api.log.Error("what relates to an event could not be read", "event", row.Event.ID(), "error", err)
		}
		return related
	}, err
}

// spec:client-server-api#get_matrixclientv3roomsroomidmessages
func (a *API) messages(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	req := rooms.MessagesRequest{User: r.user, Room: room}
	switch query.Get("dir") {
	case "b":
		req.Backwards = true
	case "f", "": // deployed servers go forwards where the direction is left out
	default:
		return nil, invalidParam("dir must be b or f")
	}
	if req.From, err = point("from", query.Get("from")); err != nil {
		return nil, err
	}
	if req.To, err = point("to", query.Get("to")); err != nil {
		return nil, err
	}
	filter, err := r.eventFilter()
	if err != nil {
		return nil, err
	}
	if req.Limit, err = r.queryInt("limit", filter.AtMost(maxPage, defaultPage), maxPage); err != nil {
		return nil, err
	}
	if req.Match, err = r.matches(filter); err != nil {
		return nil, err
	}
	page, err := a.config.Rooms.Messages(r.Context(), req)
	if err != nil {
		return nil, err
	}
	chunk, err := r.decorated(page.Events)
	if err != nil {
		return nil, err
	}
	answer := map[string]any{"start": formatPoint(page.Start), "chunk": chunk}
	if from := query.Get("from"); from != "" {
		answer["start"] = from
	}
	if page.More {
		// As with other deployed servers it is an empty page that tells the end of history, so that a client may go on from
		// behind the last event: in the other direction, or once there is more.
		answer["end"] = formatPoint(page.End)
	}
	if filter.LazyLoadMembers && len(page.Events) > 0 {
		members, err := a.config.Sync.Senders(r.Context(), page.Events)
		if err != nil {
			return nil, err
		}
		answer["state"] = plainEvents(members)
	}
	return answer, nil
}

// spec:client-server-api#get_matrixclientv3roomsroomidcontexteventid
func (a *API) context(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	eventID, err := r.eventID()
	if err != nil {
		return nil, err
	}
	filter, err := r.eventFilter()
	if err != nil {
		return nil, err
	}
	limit, err := r.queryInt("limit", defaultPage, maxPage)
	if err != nil {
		return nil, err
	}
	match, err := r.matches(filter)
	if err != nil {
		return nil, err
	}
	around, err := a.config.Rooms.Context(r.Context(), r.user, room, eventID, limit, match)
	if err != nil {
		return nil, err
	}
	middle, err := r.decorated([]clientsync.EventRow{around.Event})
	if err != nil {
		return nil, err
	}
	before, err := r.decorated(around.Before)
	if err != nil {
		return nil, err
	}
	after, err := r.decorated(around.After)
	if err != nil {
		return nil, err
	}
	senders := map[string]bool{string(around.Event.Event.Sender()): true}
	for _, row := range append(around.Before, around.After...) {
		senders[string(row.Event.Sender())] = true
	}
	state := r.laterEvents(room, around.State.Len(), func() (ids []id.EventID, err error) {
		for e, err := range around.State.Entries() {
			if err != nil {
				return nil, err
			}
			if !filter.LazyLoadMembers || e.Type != "m.room.member" || senders[e.StateKey] {
				ids = append(ids, e.Event)
			}
		}
		return ids, nil
	})
	return map[string]any{
		"event": middle[0], "events_before": before, "events_after": after, "state": state,
		"start": formatPoint(around.Start), "end": formatPoint(around.End),
	}, nil
}
