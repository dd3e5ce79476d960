package clientapi

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"

	"hanse/federation/event"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/clientsync"
	"hanse/node/search"
)

func (a *API) searchRoutes() []route {
	if a.config.Search == nil {
		return nil
	}
	return []route{{http.MethodPost, "/search", stable, withUser, ordinary, a.search}}
}

// searchForm is the category room_events of a search.
type searchForm struct {
	Term         *string         `json:"search_term"`
	Keys         []string        `json:"keys"`
	Filter       json.RawMessage `json:"filter"`
	OrderBy      string          `json:"order_by"`
	EventContext *struct {
		Before  *int `json:"before_limit"`
		After   *int `json:"after_limit"`
		Profile bool `json:"include_profile"`
	} `json:"event_context"`
	IncludeState bool `json:"include_state"`
	Groupings    struct {
		GroupBy []struct {
			Key string `json:"key"`
		} `json:"group_by"`
	} `json:"groupings"`
}

// searchToken is next_batch: where the next page begins, and the group it is of.
type searchToken struct {
	search.Place
	Key, Value string `json:",omitempty"`
}

func (t searchToken) String() string {
	raw, err := json.Marshal(t)
	if err != nil {
		panic("clientapi: " + err.Error()) // numbers and texts encode
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

func parseSearchToken(text string) (token searchToken, err error) {
	if text == "" {
		return token, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = exactjson.Unmarshal(raw, &token)
	}
	if err != nil || token.Skip < 0 {
		return token, invalidParam("next_batch: %q is not a token that this server gave", text)
	}
	return token, nil
}

// spec:client-server-api#post_matrixclientv3search
func (a *API) search(r *request) (any, error) {
	var req struct {
		Categories *struct {
			RoomEvents *searchForm `json:"room_events"`
		} `json:"search_categories"`
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if req.Categories == nil {
		return nil, missingParam("search_categories")
	}
	form := req.Categories.RoomEvents
	if form == nil {
		return map[string]any{"search_categories": map[string]any{}}, nil
	}
	token, err := parseSearchToken(r.URL.Query().Get("next_batch"))
	if err != nil {
		return nil, err
	}
	query, err := r.searchQuery(form, token)
	if err != nil {
		return nil, err
	}
	found, err := a.config.Search.Find(r.Context(), query)
	if err != nil {
		return nil, err
	}
	answer, err := r.searchAnswer(form, found, token)
	if err != nil {
		return nil, err
	}
	if found.Next != nil {
		answer["next_batch"] = searchToken{*found.Next, token.Key, token.Value}.String()
	}
	return map[string]any{"search_categories": map[string]any{"room_events": answer}}, nil
}

// searchQuery reads what is searched for.
func (r *request) searchQuery(form *searchForm, token searchToken) (search.Query, error) {
	query := search.Query{User: r.user, Keys: form.Keys, From: token.Place, Limit: defaultResults}
	switch {
	case form.Term == nil:
		return query, missingParam("search_term")
	case len(*form.Term) > maxTermBytes:
		return query, invalidParam("search_term has at most %d bytes", maxTermBytes)
	}
	query.Term = *form.Term
	for _, key := range form.Keys {
		if key != search.KeyBody && key != search.KeyName && key != search.KeyTopic {
			return query, invalidParam("keys: %q is not searched", key)
		}
	}
	switch form.OrderBy {
	case "recent":
		query.Recent = true
	case "", "rank":
	default:
		return query, invalidParam("order_by must be recent or rank")
	}
	for _, group := range form.Groupings.GroupBy {
		if group.Key != "room_id" && group.Key != "sender" {
			return query, invalidParam("group_by: the key must be room_id or sender")
		}
	}
	var filter clientsync.RoomEventFilter
	if len(form.Filter) > 0 {
		var err error
		if filter, err = clientsync.ParseRoomEventFilter(form.Filter); err != nil {
			return query, invalidParam("filter: %v", err)
		}
	}
	query.Limit = filter.AtMost(maxResults, query.Limit)
	query.Rooms = filter.Rooms
	if token.Key == "room_id" {
		query.Rooms = slices.DeleteFunc([]id.RoomID{id.RoomID(token.Value)}, func(room id.RoomID) bool { return !filter.MatchRoom(room) })
	}
	matches, err := r.matches(filter)
	query.Match = func(row clientsync.EventRow) bool {
		return matches(row) && (token.Key != "sender" || string(row.Event.Sender()) == token.Value)
	}
	return query, err
}

// searchAnswer gives what was found the form of the API.
func (r *request) searchAnswer(form *searchForm, found search.Results, token searchToken) (map[string]any, error) {
	type group struct {
		Results   []id.EventID `json:"results"`
		Order     int          `json:"order"`
		NextBatch string       `json:"next_batch,omitempty"`
	}
	groups := map[string]map[string]*group{}
	for _, by := range form.Groupings.GroupBy {
		groups[by.Key] = map[string]*group{}
	}
	results := make([]map[string]any, 0, len(found.Hits))
	states := map[id.RoomID]*later{}
	surroundings := 0 // bytes of events
	for i, hit := range found.Hits {
		formatted, err := r.decorated([]clientsync.EventRow{hit.EventRow})
		if err != nil {
			return nil, err
		}
		formatted[0].UserID = formatted[0].Sender
		result := map[string]any{"rank": hit.Rank, "result": formatted[0]}
		if form.EventContext != nil {
			if result["context"], err = r.surroundings(form, hit.EventRow, &surroundings); err != nil {
				return nil, err
			}
		}
		results = append(results, result)
		if _, have := states[hit.RoomID]; form.IncludeState && !have {
			state, err := r.api.config.Rooms.StateMap(r.Context(), r.user, hit.RoomID)
			if err != nil {
				return nil, err
			}
			states[hit.RoomID] = r.laterState(hit.RoomID, state)
		}
		for key, value := range map[string]string{"room_id": string(hit.RoomID), "sender": string(hit.Event.Sender())} {
			in, wanted := groups[key]
			if !wanted {
				continue
			}
			if in[value] == nil {
				in[value] = &group{Order: i + 1}
			}
			in[value].Results = append(in[value].Results, hit.Event.ID())
			switch {
			case found.Next == nil:
			case token.Key == key:
				in[value].NextBatch = searchToken{*found.Next, key, value}.String()
			case token == searchToken{}: // the first page: so many of the group were told
				in[value].NextBatch = searchToken{search.Place{Upto: found.Upto, Skip: len(in[value].Results)}, key, value}.String()
			}
		}
	}
	answer := map[string]any{"count": found.Count, "highlights": append([]string{}, found.Words...), "results": results}
	if form.IncludeState {
		answer["state"] = states
	}
	if len(groups) > 0 {
		answer["groups"] = groups
	}
	return answer, nil
}

// surroundings are the events around a result, as form.EventContext asks for them; none once those of the results before have too many
// bytes, which are counted.
func (r *request) surroundings(form *searchForm, row clientsync.EventRow, bytes *int) (map[string]any, error) {
	asked := form.EventContext
	limit := func(n *int) int {
		if *bytes > maxSurroundingBytes {
			return 0
		}
		if n == nil {
			return defaultSurroundings
		}
		return min(max(*n, 0), maxSurroundings)
	}
	match, err := r.matches(clientsync.RoomEventFilter{})
	if err != nil {
		return nil, err
	}
	around, err := r.api.config.Rooms.Around(r.Context(), r.user, row.RoomID, row.Event.ID(), limit(asked.Before), limit(asked.After), match)
	if err != nil {
		return nil, err
	}
	for _, row := range slices.Concat(around.Before, around.After) {
		*bytes += row.Event.Size()
	}
	before, err := r.decorated(around.Before)
	if err != nil {
		return nil, err
	}
	after, err := r.decorated(around.After)
	if err != nil {
		return nil, err
	}
	answer := map[string]any{
		"start": formatPoint(around.Start), "end": formatPoint(around.End), "events_before": before, "events_after": after,
	}
	if asked.Profile {
		members, err := r.api.config.Sync.Senders(r.Context(), slices.Concat(around.Before, []clientsync.EventRow{row}, around.After))
		if err != nil {
			return nil, err
		}
		answer["profile_info"] = profilesOf(members)
	}
	return answer, nil
}

// profilesOf are the names and avatars in membership events.
func profilesOf(members []*event.Event) map[string]map[string]string {
	profiles := map[string]map[string]string{}
	for _, member := range members {
		user, _ := member.StateKey()
		profiles[user] = map[string]string{}
		for _, field := range []string{"displayname", "avatar_url"} {
			if text := contentText(member, field); text != "" {
				profiles[user][field] = text
			}
		}
	}
	return profiles
}
