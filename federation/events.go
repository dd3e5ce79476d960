package federation

import (
	"encoding/json"
	"errors"
	"io"

	"hanse/federation/id"
)

// EventAuthRequest is what GET /event_auth asks.
type EventAuthRequest struct {
	RoomID  id.RoomID
	EventID id.EventID
}

// EventAuthResponse is the answer of GET /event_auth/{roomId}/{eventId}: the auth chain of an event.
//
// spec:server-server-api#retrieving-event-authorisation-information
type EventAuthResponse struct {
	AuthChain []json.RawMessage
	// AuthChainStream is what it is of a SendJoinResponse.
	AuthChainStream Stream
}

// EncodeJSON writes the answer; the events are written as they are.
func (r *EventAuthResponse) EncodeJSON(to io.Writer) error {
	w := writer{w: to}
	w.text(`{"auth_chain":`)
	w.list(r.AuthChain, r.AuthChainStream)
	w.text(`}`)
	return w.err
}

// DecodeEventAuth reads an answer of /event_auth from a stream, which the caller bounds.
func DecodeEventAuth(from io.Reader) (EventAuthResponse, error) {
	var r EventAuthResponse
	found := false
	d := newDecoder(from)
	d.object(func(name string) {
		if name != "auth_chain" {
			d.skip()
			return
		}
		r.AuthChain = d.list(MaxListPDUs)
		found = true
	})
	if d.err == nil && !found {
		d.err = errors.New("the answer has no auth_chain")
	}
	return r, d.err
}

// DecodeEvent reads an answer of GET /event/{eventId}: a transaction of one PDU, which it returns.
//
// spec:server-server-api#retrieving-events
func DecodeEvent(data []byte) (json.RawMessage, error) {
	var t Transaction
	if err := t.decode(data, 1, MaxTransactionEDUs); err != nil {
		return nil, err
	}
	if len(t.PDUs) == 0 {
		return nil, errors.New("the answer has no event")
	}
	return t.PDUs[0], nil
}
