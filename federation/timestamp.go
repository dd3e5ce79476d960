package federation

import (
	"errors"
	"fmt"

	"hanse/federation/exactjson"
	"hanse/federation/id"
)

// TimestampRequest is what GET /timestamp_to_event/{roomId} asks: the event closest to a time.
//
// spec:server-server-api#get_matrixfederationv1timestamp_to_eventroomid
type TimestampRequest struct {
	RoomID  id.RoomID
	TS      int64 // milliseconds since the epoch
	Forward bool  // the first at or after TS; otherwise the last at or before it
}

// TimestampResponse is the answer of GET /timestamp_to_event/{roomId}.
type TimestampResponse struct {
	EventID        id.EventID `json:"event_id"`
	OriginServerTS int64      `json:"origin_server_ts"`
}

// UnmarshalJSON reads an answer; both members are needed.
func (r *TimestampResponse) UnmarshalJSON(data []byte) error {
	var wire struct {
		EventID        string `json:"event_id"`
		OriginServerTS *int64 `json:"origin_server_ts"`
	}
	if err := exactjson.Unmarshal(data, &wire); err != nil {
		return err
	}
	if wire.OriginServerTS == nil {
		return errors.New("the answer has no origin_server_ts")
	}
	event, err := id.ParseEventID(wire.EventID)
	if err != nil {
		return fmt.Errorf("event_id: %w", err)
	}
	*r = TimestampResponse{EventID: event, OriginServerTS: *wire.OriginServerTS}
	return nil
}
