package node

import (
	"encoding/json"
	"fmt"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/node/inbound"
	"hanse/node/telemetry"
)

// What the parts tell of events on their way goes to three places: the metrics of the stages, the journal of refusals and,
// while they are switched on, the traces.

// watchInbound is told of the events of transactions before their rooms see them.
func (n *Node) watchInbound() inbound.Watch {
	return inbound.Watch{
		Received: func(events, edus int) {
			n.metrics.received.Add(float64(events))
			n.metrics.receivedEDUs.Add(float64(edus))
			n.metrics.transactionEvents.Observe(float64(events))
		},
		Verified: func(origin id.ServerName, e *event.Event, err error) {
			n.metrics.verified.Inc()
			if n.telemetry.Traces.On() {
				detail := "from " + string(origin)
				if err != nil {
					detail += ": " + err.Error()
				}
				n.telemetry.Traces.Mark(string(e.ID()), telemetry.Verified, detail)
			}
		},
		Dropped: func(d inbound.Dropped) {
			n.refused(telemetry.Refusal{Server: string(d.Origin), Room: string(d.Room), Event: string(d.Event), What: nameOf(d.Check), Why: d.Why})
		},
	}
}

func nameOf(c inbound.Check) string {
	switch c {
	case inbound.CheckFormat:
		return telemetry.RefusedFormat
	case inbound.CheckACL:
		return telemetry.RefusedACL
	case inbound.CheckSignature:
		return telemetry.RefusedSignature
	}
	return telemetry.RefusedRoom
}

// watchRequest is told of requests of other servers that were refused.
func (n *Node) watchRequest(origin id.ServerName, endpoint string, why *federation.Error) {
	what := telemetry.RefusedRequest
	if why.Code == federation.CodeLimitExceeded {
		what = telemetry.RefusedBusy
	}
	n.refused(telemetry.Refusal{Server: string(origin), What: what, Why: endpoint + ": " + why.Error()})
}

func (n *Node) refused(r telemetry.Refusal) {
	n.metrics.refused.WithLabelValues(r.What).Inc()
	n.telemetry.Journal.Note(r)
}

// watchVerdicts is told what a room made of events.
func (n *Node) watchVerdicts(roomID id.RoomID, origin id.ServerName, verdicts []room.Verdict) {
	tracing := n.telemetry.Traces.On()
	for _, v := range verdicts {
		n.metrics.judged[v.Status].Inc()
		if v.Status == room.Dropped && !v.Duplicate {
			n.refused(telemetry.Refusal{Server: string(origin), Room: string(roomID), Event: string(v.EventID), What: telemetry.RefusedMissing, Why: v.Reason})
		}
		if tracing {
			detail := v.Status.String()
			if v.Duplicate {
				detail += " (known before)"
			}
			if v.Reason != "" {
				detail += ": " + v.Reason
			}
			n.telemetry.Traces.Mark(string(v.EventID), telemetry.Stepped, detail)
		}
	}
}

// watchCommit is told of what is on disk.
func (n *Node) watchCommit(c room.Commit) {
	n.metrics.committed.Add(float64(len(c.Events)))
	n.metrics.commitEvents.Observe(float64(len(c.Events)))
	for _, s := range c.Send {
		n.metrics.fanOut.Observe(float64(len(s.Servers)))
	}
	if !n.telemetry.Traces.On() {
		return
	}
	for _, e := range c.Events {
		n.telemetry.Traces.Mark(string(e.Event.ID()), telemetry.Committed, fmt.Sprintf("with %d others", len(c.Events)-1))
	}
	for _, s := range c.Send {
		n.telemetry.Traces.Mark(string(s.Event.ID()), telemetry.Queued, fmt.Sprintf("for %d servers", len(s.Servers)))
	}
}

// watchSent is told of what another server took. It answers by the events' IDs, which are not said beside the events.
func (n *Node) watchSent(server id.ServerName, pdus []json.RawMessage, results federation.PDUResults) {
	n.metrics.sentEvents.Observe(float64(len(pdus)))
	if !n.telemetry.Traces.On() {
		return
	}
	for eventID, result := range results {
		detail := "by " + string(server)
		if result.Error != "" {
			detail += ", which reports: " + result.Error
		}
		n.telemetry.Traces.Mark(string(eventID), telemetry.Sent, detail)
	}
}
