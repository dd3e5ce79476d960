package admin

import (
	"context"
	"fmt"
	"time"

	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/sender"
	"hanse/node/store"
)

// Sent is an event's way to one other server.
type Sent struct {
	Server string     `json:"server"`
	State  string     `json:"state"` // taken, waiting, behind, refused
	At     *time.Time `json:"at,omitempty"`
	Why    string     `json:"why,omitempty"`
}

// explainSending tells to which servers an event went, or why not.
func (a *Admin) explainSending(ctx context.Context, x *Explanation, row store.EventRow) error {
	shipments, err := a.Store.Shipments(ctx, row.Event.ID())
	if err != nil {
		return err
	}
	for _, s := range shipments {
		x.Sent = append(x.Sent, a.sent(row.Event.ID(), s))
	}
	if len(shipments) > 0 {
		return nil
	}
	switch {
	case row.Status != room.Accepted || row.Backfilled:
	case row.Event.Sender().Server() != a.Self:
		x.say("It came from another server, whose business it is to send it to others.")
	default:
		others, err := a.Store.JoinedServers(ctx, row.RoomID)
		if err != nil {
			return err
		}
		delete(others, a.Self)
		if len(others) == 0 {
			x.say("No other server is in the room.")
		} else {
			x.say("Nothing of it waits for any server: all that were to get it have taken or refused it. "+
				"Which servers these were is known of the last events since the start at %s alone.", a.started.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// sent tells of one server.
func (a *Admin) sent(eventID id.EventID, s store.Shipment) Sent {
	peer := a.Sender.Peer(s.Server)
	sent := Sent{Server: string(s.Server), State: "taken"}
	for _, refused := range peer.Refused {
		if refused.Event == eventID {
			at := refused.At.UTC()
			return Sent{Server: string(s.Server), State: "refused", At: &at, Why: refused.Why}
		}
	}
	switch {
	case s.Behind:
		sent.State = "behind"
		sent.Why = "it was away for so long that it gets the room's newest events first, and asks for this one then; " + waitsFor(peer)
	case !s.Done:
		sent.State, sent.Why = "waiting", waitsFor(peer)
	default:
		if at, known := a.Sender.TakenAt(s.Server, s.Position); known {
			at = at.UTC()
			sent.At = &at
		} else {
			sent.Why = "when isn't known any more: it was before the start at " + a.started.UTC().Format(time.RFC3339) + ", or many transactions ago"
		}
	}
	return sent
}

// waitsFor says why something that waits for a server isn't sent now.
func waitsFor(p sender.Peer) string {
	switch {
	case p.Reachable() && p.Busy:
		return "it is being sent"
	case p.Reachable():
		return "it is about to be sent"
	}
	text := fmt.Sprintf("%s: it has not taken anything since %s (%s)", p.Kind, p.Since.UTC().Format(time.RFC3339), p.Why)
	if p.Busy {
		return text + "; it is being tried just now"
	}
	return text + "; next try at " + p.Until.UTC().Format(time.RFC3339)
}
