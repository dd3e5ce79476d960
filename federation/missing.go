package federation

import (
	"encoding/json"

	"hanse/federation/exactjson"
	"hanse/federation/id"
)

// DefaultMissingEvents is the limit of get_missing_events when the body gives none.
const DefaultMissingEvents = 10

// MissingEventsRequest is the body of POST /get_missing_events/{roomId}: the events before Latest, breadth first,
// without Earliest and what is before them.
//
// spec:server-server-api#backfilling-and-retrieving-missing-events
type MissingEventsRequest struct {
	RoomID         id.RoomID    `json:"-"` // from the path
	EarliestEvents []id.EventID `json:"earliest_events"`
	LatestEvents   []id.EventID `json:"latest_events"`
	Limit          int          `json:"limit"`
	MinDepth       int64        `json:"min_depth"`
}

// UnmarshalJSON reads the body: a missing limit is DefaultMissingEvents, a missing depth 0.
func (r *MissingEventsRequest) UnmarshalJSON(data []byte) error {
	wire := struct {
		EarliestEvents []string `json:"earliest_events"`
		LatestEvents   []string `json:"latest_events"`
		Limit          *int     `json:"limit"`
		MinDepth       int64    `json:"min_depth"`
	}{}
	if err := exactjson.Unmarshal(data, &wire); err != nil {
		return err
	}
	out := MissingEventsRequest{RoomID: r.RoomID, Limit: DefaultMissingEvents, MinDepth: wire.MinDepth}
	if wire.Limit != nil {
		out.Limit = max(*wire.Limit, 0)
	}
	var err error
	if out.EarliestEvents, err = eventIDs(wire.EarliestEvents, MaxEventIDs, "earliest_events"); err != nil {
		return err
	}
	if out.LatestEvents, err = eventIDs(wire.LatestEvents, MaxEventIDs, "latest_events"); err != nil {
		return err
	}
	*r = out
	return nil
}

// MarshalJSON writes empty lists as [], not as null.
func (r MissingEventsRequest) MarshalJSON() ([]byte, error) {
	type plain MissingEventsRequest
	if r.EarliestEvents == nil {
		r.EarliestEvents = []id.EventID{}
	}
	if r.LatestEvents == nil {
		r.LatestEvents = []id.EventID{}
	}
	return json.Marshal(plain(r))
}

// MissingEventsResponse is the answer of POST /get_missing_events/{roomId}.
type MissingEventsResponse struct {
	Events []json.RawMessage
}

// UnmarshalJSON reads an answer with at most MaxListPDUs events.
func (r *MissingEventsResponse) UnmarshalJSON(data []byte) error {
	var wire struct {
		Events json.RawMessage `json:"events"`
	}
	if err := exactjson.Unmarshal(data, &wire); err != nil {
		return err
	}
	list, err := splitList(wire.Events, MaxListPDUs, "events")
	r.Events = list
	return err
}

// MarshalJSON writes the events as they are.
func (r MissingEventsResponse) MarshalJSON() ([]byte, error) {
	dst := append(make([]byte, 0, size(r.Events)+16), `{"events":`...)
	return append(appendList(dst, r.Events), '}'), nil
}
