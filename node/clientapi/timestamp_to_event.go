package clientapi

import (
	"net/http"
	"strconv"

	"hanse/federation"
)

func (a *API) timestampRoutes() []route {
	return []route{{http.MethodGet, "/rooms/{roomId}/timestamp_to_event", v1, withUser, ordinary, a.timestampToEvent}}
}

// spec:client-server-api#get_matrixclientv1roomsroomidtimestamp_to_event
func (a *API) timestampToEvent(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	if query.Get("ts") == "" {
		return nil, missingParam("ts")
	}
	ts, err := strconv.ParseInt(query.Get("ts"), 10, 64)
	if err != nil || ts < 0 {
		return nil, invalidParam("ts must be a time in milliseconds since 1970")
	}
	dir := query.Get("dir")
	if dir == "" {
		return nil, missingParam("dir")
	}
	if dir != "f" && dir != "b" {
		return nil, invalidParam("dir must be f or b")
	}
	return a.config.Rooms.TimestampToEvent(r.Context(), r.user, federation.TimestampRequest{RoomID: room, TS: ts, Forward: dir == "f"})
}
