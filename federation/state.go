package federation

import (
	"encoding/json"
	"errors"
	"io"

	"hanse/federation/exactjson"
	"hanse/federation/id"
)

// StateRequest is what GET /state and /state_ids ask: the room's state before an event.
type StateRequest struct {
	RoomID  id.RoomID
	EventID id.EventID
}

// StateResponse is the answer of GET /state/{roomId}. It may be large: it is written piece by piece (EncodeJSON) and
// read so (DecodeState).
//
// spec:server-server-api#retrieving-events
type StateResponse struct {
	AuthChain []json.RawMessage
	PDUs      []json.RawMessage
	// PDUsStream and AuthChainStream are what SendJoinResponse's streams are.
	PDUsStream, AuthChainStream Stream
}

// EncodeJSON writes the answer; the events are written as they are.
func (r *StateResponse) EncodeJSON(to io.Writer) error {
	w := writer{w: to}
	w.text(`{"pdus":`)
	w.list(r.PDUs, r.PDUsStream)
	w.text(`,"auth_chain":`)
	w.list(r.AuthChain, r.AuthChainStream)
	w.text(`}`)
	return w.err
}

// StateEvents gets the events of an answer with a state, and of its auth chain, as they come, in place of lists: the state of a large room
// need not be held as texts, and is read while it comes. An error ends the reading.
type StateEvents struct {
	State, AuthChain func(json.RawMessage) error
}

// DecodeState reads an answer of /state from a stream, which the caller bounds.
func DecodeState(from io.Reader) (r StateResponse, err error) {
	err = DecodeStateEvents(from, StateEvents{State: appendTo(&r.PDUs), AuthChain: appendTo(&r.AuthChain)})
	return r, err
}

// DecodeStateEvents is DecodeState that gives the events away.
func DecodeStateEvents(from io.Reader, events StateEvents) error {
	hasPDUs := false
	d := newDecoder(from)
	d.object(func(name string) {
		switch name {
		case "auth_chain":
			d.each(MaxListPDUs, events.AuthChain)
		case "pdus":
			d.each(MaxListPDUs, events.State)
			hasPDUs = true
		default:
			d.skip()
		}
	})
	if d.err == nil && !hasPDUs {
		d.err = errors.New("the answer has no pdus")
	}
	return d.err
}

// StateIDsResponse is the answer of GET /state_ids/{roomId}.
//
// spec:server-server-api#retrieving-events
type StateIDsResponse struct {
	AuthChainIDs []id.EventID `json:"auth_chain_ids"`
	PDUIDs       []id.EventID `json:"pdu_ids"`
}

// UnmarshalJSON reads an answer. A text that is no event ID makes the answer worthless: a state with holes is a
// different state.
func (r *StateIDsResponse) UnmarshalJSON(data []byte) error {
	var wire struct {
		AuthChainIDs []string  `json:"auth_chain_ids"`
		PDUIDs       *[]string `json:"pdu_ids"`
	}
	if err := exactjson.Unmarshal(data, &wire); err != nil {
		return err
	}
	if wire.PDUIDs == nil {
		return errors.New("the answer has no pdu_ids")
	}
	var out StateIDsResponse
	var err error
	if out.AuthChainIDs, err = eventIDs(wire.AuthChainIDs, MaxListPDUs, "auth_chain_ids"); err != nil {
		return err
	}
	if out.PDUIDs, err = eventIDs(*wire.PDUIDs, MaxListPDUs, "pdu_ids"); err != nil {
		return err
	}
	*r = out
	return nil
}

// MarshalJSON writes empty lists as [], not as null.
func (r StateIDsResponse) MarshalJSON() ([]byte, error) {
	type plain StateIDsResponse
	if r.AuthChainIDs == nil {
		r.AuthChainIDs = []id.EventID{}
	}
	if r.PDUIDs == nil {
		r.PDUIDs = []id.EventID{}
	}
	return json.Marshal(plain(r))
}
