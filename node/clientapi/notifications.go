package clientapi

import (
	"encoding/json"
	"net/http"
	"time"

	"hanse/federation/id"
	"hanse/node/clientsync"
)

func (a *API) notificationRoutes() []route {
	return []route{{http.MethodGet, "/notifications", stable, withUser, ordinary, a.notifications}}
}

// notificationForm is one entry of the list.
type notificationForm struct {
	Actions []json.RawMessage `json:"actions"`
	Event   *clientEvent      `json:"event"`
	Read    bool              `json:"read"`
	RoomID  id.RoomID         `json:"room_id"`
	TS      int64             `json:"ts"`
}

// spec:client-server-api#get_matrixclientv3notifications
func (a *API) notifications(r *request) (any, error) {
	query := r.URL.Query()
	limit, err := r.queryInt("limit", defaultNotifications, maxNotifications)
	if err != nil {
		return nil, err
	}
	from, err := clientsync.ParseNotificationPlace(query.Get("from"))
	if err != nil {
		return nil, invalidParam("from: %v", err)
	}
	list, next, err := a.config.Sync.Notifications(r.Context(), r.user, r.device, from, max(limit, 1), query.Get("only") == "highlight")
	if err != nil {
		return nil, err
	}
	answer := struct {
		NextToken     string             `json:"next_token,omitempty"`
		Notifications []notificationForm `json:"notifications"`
	}{next, []notificationForm{}}
	now := time.Now()
	for _, n := range list {
		answer.Notifications = append(answer.Notifications, notificationForm{
			Actions: n.Outcome.Actions, Event: decoratedEvent(n.Decorated, now), Read: n.Read,
			RoomID: n.Event.RoomID(), TS: n.Event.OriginServerTS(),
		})
	}
	return answer, nil
}
