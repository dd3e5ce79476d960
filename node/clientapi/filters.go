package clientapi

import (
	"encoding/json"
	"net/http"
)

func (a *API) filterRoutes() []route {
	return []route{
		{http.MethodPost, "/user/{userId}/filter", stable, withUser, ordinary, a.saveFilter},
		{http.MethodGet, "/user/{userId}/filter/{filterId}", stable, withUser, ordinary, a.getFilter},
	}
}

// filterForm is the form of a filter, as far as a wrong one is refused when it is stored.
type filterForm struct {
	EventFields []string    `json:"event_fields"`
	EventFormat string      `json:"event_format"`
	Presence    *eventsForm `json:"presence"`
	AccountData *eventsForm `json:"account_data"`
	Room        *struct {
		Rooms        []string    `json:"rooms"`
		NotRooms     []string    `json:"not_rooms"`
		IncludeLeave bool        `json:"include_leave"`
		Ephemeral    *eventsForm `json:"ephemeral"`
		State        *eventsForm `json:"state"`
		Timeline     *eventsForm `json:"timeline"`
		AccountData  *eventsForm `json:"account_data"`
	} `json:"room"`
}

type eventsForm struct {
	Limit       *int     `json:"limit"`
	Types       []string `json:"types"`
	NotTypes    []string `json:"not_types"`
	Senders     []string `json:"senders"`
	NotSenders  []string `json:"not_senders"`
	LazyMembers bool     `json:"lazy_load_members"`
	Redundant   bool     `json:"include_redundant_members"`
	ContainsURL *bool    `json:"contains_url"`
}

// spec:client-server-api#post_matrixclientv3useruseridfilter
func (a *API) saveFilter(r *request) (any, error) {
	if err := r.ownUser(); err != nil {
		return nil, err
	}
	raw, err := r.object()
	if err != nil {
		return nil, err
	}
	var form filterForm
	if err := decodeObject(raw, &form); err != nil {
		return nil, err
	}
	switch form.EventFormat {
	case "", "client", "federation":
	default:
		return nil, badJSON("event_format must be client or federation")
	}
	filterID, err := a.config.Users.SaveFilter(r.Context(), r.user, raw)
	return map[string]any{"filter_id": filterID}, err
}

// spec:client-server-api#get_matrixclientv3useruseridfilterfilterid
func (a *API) getFilter(r *request) (any, error) {
	if err := r.ownUser(); err != nil {
		return nil, err
	}
	filter, err := a.config.Users.Filter(r.Context(), r.user, r.PathValue("filterId"))
	return json.RawMessage(filter), err
}
