package peer

import (
	"encoding/json"
	"net/http"
	"slices"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
)

// Received is an event that came in a transaction.
type Received struct {
	Origin id.ServerName
	Txn    string
	Raw    json.RawMessage
	Event  *event.Event // nil where the peer is not in the event's room, or it can't be read
	Err    error        // why it can't be read
}

// ReceivedEDU is an EDU that came in a transaction.
type ReceivedEDU struct {
	Origin id.ServerName
	federation.EDU
}

// serveSend takes a transaction: every event goes into its room, whatever it is.
//
// spec:server-server-api#transactions
func (p *Peer) serveSend(w http.ResponseWriter, r Request) {
	var txn federation.Transaction
	if err := json.Unmarshal(r.Body, &txn); err != nil {
		answerError(w, http.StatusBadRequest, federation.CodeBadJSON, err.Error())
		return
	}
	results := federation.PDUResults{}
	for _, raw := range txn.PDUs {
		received := Received{Origin: r.Origin, Txn: r.path("txn"), Raw: raw}
		var header struct {
			RoomID id.RoomID `json:"room_id"`
		}
		received.Err = json.Unmarshal(raw, &header)
		if room := p.Room(header.RoomID); room != nil && received.Err == nil {
			if received.Event, received.Err = event.Parse(room.Rules, raw); received.Err == nil {
				room.receive(received.Event)
				results[received.Event.ID()] = federation.PDUResult{}
			}
		}
		p.mu.Lock()
		p.inbox = append(p.inbox, received)
		p.mu.Unlock()
	}
	p.mu.Lock()
	for _, edu := range txn.EDUs {
		p.edus = append(p.edus, ReceivedEDU{Origin: r.Origin, EDU: edu})
	}
	p.mu.Unlock()
	answerJSON(w, federation.SendResponse{PDUs: results})
}

// Inbox are the events that came in transactions, oldest first.
func (p *Peer) Inbox() []Received {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.inbox)
}

// Received finds an event that came in a transaction.
func (p *Peer) Received(eventID id.EventID) (Received, bool) {
	for _, received := range p.Inbox() {
		if received.Event != nil && received.Event.ID() == eventID {
			return received, true
		}
	}
	return Received{}, false
}

// EDUs are the EDUs of a type that came, oldest first.
func (p *Peer) EDUs(eduType string) []ReceivedEDU {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []ReceivedEDU
	for _, edu := range p.edus {
		if edu.Type == eduType {
			found = append(found, edu)
		}
	}
	return found
}
