package clientapi

import (
	"encoding/json"
	"net/http"
	"slices"

	"hanse/federation/id"
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
	Rooms       []string `json:"rooms"`
	NotRooms    []string `json:"not_rooms"`
	LazyMembers bool     `json:"lazy_load_members"`
	Redundant   bool     `json:"include_redundant_members"`
	ContainsURL *bool    `json:"contains_url"`
	BySenders   []string `json:"related_by_senders"`
	ByRelTypes  []string `json:"related_by_rel_types"`
}

// check refuses lists of rooms and users that hold something else: such a filter would never match, and whoever wrote it
// meant something.
func (f *filterForm) check() error {
	parts := []*eventsForm{f.Presence, f.AccountData}
	if f.Room != nil {
		parts = append(parts, f.Room.Ephemeral, f.Room.State, f.Room.Timeline, f.Room.AccountData)
		if err := checkRooms(f.Room.Rooms, f.Room.NotRooms); err != nil {
			return err
		}
	}
	for _, part := range parts {
		if part == nil {
			continue
		}
		if err := checkRooms(part.Rooms, part.NotRooms); err != nil {
			return err
		}
		for _, text := range slices.Concat(part.Senders, part.NotSenders, part.BySenders) {
			if _, err := id.ParseUserID(text); err != nil {
				return badJSON("senders and not_senders must be user IDs: %q is none", text)
			}
		}
	}
	return nil
}

func checkRooms(rooms, notRooms []string) error {
	for _, text := range slices.Concat(rooms, notRooms) {
		if _, err := id.ParseRoomID(text); err != nil {
			return badJSON("rooms and not_rooms must be room IDs: %q is none", text)
		}
	}
	return nil
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
	if err := form.check(); err != nil {
		return nil, err
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
