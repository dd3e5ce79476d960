package clientapi

import (
	"net/http"
	"time"

	"hanse/federation/id"
	"hanse/node/clientsync"
	"hanse/node/rooms"
)

func (a *API) relationRoutes() []route {
	return []route{
		{http.MethodGet, "/rooms/{roomId}/relations/{eventId}", v1Unstable, withUser, ordinary, a.relations},
		{http.MethodGet, "/rooms/{roomId}/relations/{eventId}/{relType}", v1Unstable, withUser, ordinary, a.relations},
		{http.MethodGet, "/rooms/{roomId}/relations/{eventId}/{relType}/{eventType}", v1Unstable, withUser, ordinary, a.relations},
		{http.MethodGet, "/rooms/{roomId}/threads", v1, withUser, ordinary, a.threads},
	}
}

type (
	// relationsForm is m.relations. spec:client-server-api#aggregations-of-child-events
	relationsForm struct {
		Replace   *clientEvent    `json:"m.replace,omitempty"`
		Thread    *threadForm     `json:"m.thread,omitempty"`
		Reference *referencesForm `json:"m.reference,omitempty"`
	}
	threadForm struct {
		Latest       *clientEvent `json:"latest_event"`
		Count        int          `json:"count"`
		Participated bool         `json:"current_user_participated"`
	}
	referencesForm struct {
		Chunk []referenceForm `json:"chunk"`
	}
	referenceForm struct {
		EventID id.EventID `json:"event_id"`
	}
)

func formatRelations(sum clientsync.Aggregations, now time.Time) *relationsForm {
	form := &relationsForm{}
	if sum.Replace != nil {
		form.Replace = decoratedEvent(*sum.Replace, now)
	}
	if t := sum.Thread; t != nil {
		form.Thread = &threadForm{Latest: decoratedEvent(t.Latest, now), Count: t.Count, Participated: t.Participated}
	}
	if len(sum.References) > 0 {
		form.Reference = &referencesForm{}
		for _, eventID := range sum.References {
			form.Reference.Chunk = append(form.Reference.Chunk, referenceForm{eventID})
		}
	}
	return form
}

// spec:client-server-api#get_matrixclientv1roomsroomidrelationseventid
func (a *API) relations(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	eventID, err := r.eventID()
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	req := rooms.RelationsRequest{
		User: r.user, Room: room, Event: eventID, RelType: r.PathValue("relType"), EventType: r.PathValue("eventType"),
	}
	switch query.Get("dir") {
	case "", "b":
	case "f":
		req.Forward = true
	default:
		return nil, invalidParam("dir must be b or f")
	}
	switch query.Get("recurse") {
	case "", "false":
	case "true":
		req.Recurse = true
	default:
		return nil, invalidParam("recurse must be true or false")
	}
	if req.From, err = point("from", query.Get("from")); err != nil {
		return nil, err
	}
	if req.To, err = point("to", query.Get("to")); err != nil {
		return nil, err
	}
	if req.Limit, err = r.pageSize(defaultRelations, maxRelations); err != nil {
		return nil, err
	}
	if req.Match, err = r.matches(clientsync.RoomEventFilter{}); err != nil {
		return nil, err
	}
	page, err := a.config.Rooms.Relations(r.Context(), req)
	if err != nil {
		return nil, err
	}
	chunk, err := r.decorated(page.Events)
	if err != nil {
		return nil, err
	}
	answer := map[string]any{"chunk": chunk}
	if page.More {
		answer["next_batch"] = formatPoint(page.End)
	}
	if from := query.Get("from"); from != "" {
		answer["prev_batch"] = from
	}
	if req.Recurse {
		answer["recursion_depth"] = page.Depth
	}
	return answer, nil
}

// pageSize reads limit, which must be greater than zero.
func (r *request) pageSize(fallback, most int) (int, error) {
	limit, err := r.queryInt("limit", fallback, most)
	if err == nil && limit == 0 {
		err = invalidParam("limit must be greater than zero")
	}
	return limit, err
}

// spec:client-server-api#get_matrixclientv1roomsroomidthreads
func (a *API) threads(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	req := rooms.ThreadsRequest{User: r.user, Room: room}
	switch query.Get("include") {
	case "", "all":
	case "participated":
		req.Participated = true
	default:
		return nil, invalidParam("include must be all or participated")
	}
	if req.From, err = point("from", query.Get("from")); err != nil {
		return nil, err
	}
	if req.Limit, err = r.pageSize(defaultRelations, maxRelations); err != nil {
		return nil, err
	}
	if req.Ignored, err = a.config.Sync.Ignored(r.Context(), r.user); err != nil {
		return nil, err
	}
	page, err := a.config.Rooms.Threads(r.Context(), req)
	if err != nil {
		return nil, err
	}
	chunk, err := r.decorated(page.Events)
	if err != nil {
		return nil, err
	}
	answer := map[string]any{"chunk": chunk}
	if page.More {
		answer["next_batch"] = formatPoint(page.End)
	}
	return answer, nil
}
