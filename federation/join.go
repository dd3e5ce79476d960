package federation

import (
	"encoding/json"
	"errors"
	"io"

	"hanse/federation/id"
)

// SendJoinResponse is the answer of PUT /send_join: the state of the room before the join, and the auth events of
// that. It may be large, so it is written piece by piece (EncodeJSON) and read so (DecodeSendJoin).
//
// spec:server-server-api#joining-rooms
type SendJoinResponse struct {
	AuthChain []json.RawMessage
	State     []json.RawMessage
	// StateStream and AuthChainStream, which may be nil, are written behind State and AuthChain: first the one, then the other. What is
	// read is never in them.
	StateStream, AuthChainStream Stream
	// Event is the join event with the resident server's signature; needed in restricted rooms; may be empty.
	Event json.RawMessage
	// MembersOmitted: membership events are missing from State (partial state).
	MembersOmitted bool
	// ServersInRoom is given when MembersOmitted.
	ServersInRoom []id.ServerName
	// Origin is the answering server, which old servers (v1) send and expect.
	Origin id.ServerName
}

// EncodeJSON writes the answer of v2. The events are written as they are.
func (r *SendJoinResponse) EncodeJSON(to io.Writer) error {
	w := writer{w: to}
	w.text(`{"members_omitted":`)
	w.value(r.MembersOmitted)
	if len(r.Event) > 0 {
		w.text(`,"event":`)
		w.raw(r.Event)
	}
	if r.Origin != "" {
		w.text(`,"origin":`)
		w.value(r.Origin)
	}
	if r.ServersInRoom != nil {
		w.text(`,"servers_in_room":`)
		w.value(r.ServersInRoom)
	}
	w.text(`,"state":`)
	w.list(r.State, r.StateStream)
	w.text(`,"auth_chain":`)
	w.list(r.AuthChain, r.AuthChainStream)
	w.text(`}`)
	return w.err
}

// DecodeSendJoin reads an answer of send_join from a stream, which the caller bounds; old is the form of v1, an array
// of 200 and the answer.
func DecodeSendJoin(from io.Reader, old bool) (SendJoinResponse, error) {
	var state, authChain []json.RawMessage
	r, err := DecodeSendJoinEvents(from, old, StateEvents{State: appendTo(&state), AuthChain: appendTo(&authChain)})
	r.State, r.AuthChain = state, authChain
	return r, err
}

// DecodeSendJoinEvents is DecodeSendJoin that gives the events away.
func DecodeSendJoinEvents(from io.Reader, old bool, events StateEvents) (SendJoinResponse, error) {
	var r SendJoinResponse
	d := newDecoder(from)
	if old {
		d.openPair()
	}
	hasState := false
	d.object(func(name string) {
		switch name {
		case "auth_chain":
			d.each(MaxListPDUs, events.AuthChain)
		case "state":
			d.each(MaxListPDUs, events.State)
			hasState = true
		case "event":
			r.Event = d.raw()
		case "members_omitted":
			d.value(&r.MembersOmitted)
		case "servers_in_room":
			var names []string
			d.value(&names)
			r.ServersInRoom = serverNames(names, MaxListPDUs)
		case "origin":
			var origin string
			d.value(&origin)
			r.Origin, _ = id.ParseServerName(origin) // nothing depends on it
		default:
			d.skip()
		}
	})
	if d.err == nil && !hasState {
		d.err = errors.New("the answer has no state")
	}
	if string(r.Event) == "null" {
		r.Event = nil
	}
	return r, d.err
}
