package clientapi

import (
	"encoding/json"
	"net/http"

	"hanse/federation/id"
	"hanse/node/rooms"
)

func (a *API) sendRoutes() []route {
	return []route{
		{http.MethodPut, "/rooms/{roomId}/send/{eventType}/{txnId}", stable, withUser, sendsEvent, a.sendEvent},
		{http.MethodPut, "/rooms/{roomId}/redact/{eventId}/{txnId}", stable, withUser, sendsEvent, a.redact},
		// Before transaction IDs were needed, clients posted; some still do.
		{http.MethodPost, "/rooms/{roomId}/send/{eventType}", stable, withUser, sendsEvent, a.sendEvent},
		{http.MethodPost, "/rooms/{roomId}/redact/{eventId}", stable, withUser, sendsEvent, a.redact},
	}
}

// txnID reads the path's {txnId}; "" where there is none.
func (r *request) txnID() (string, error) {
	txn := r.PathValue("txnId")
	if len(txn) > maxTxnIDBytes {
		return "", invalidParam("a transaction ID has at most %d bytes", maxTxnIDBytes)
	}
	return txn, nil
}

// spec:client-server-api#put_matrixclientv3roomsroomidsendeventtypetxnid
func (a *API) sendEvent(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	txn, err := r.txnID()
	if err != nil {
		return nil, err
	}
	typ, err := r.name("eventType")
	if err != nil {
		return nil, err
	}
	req := rooms.SendRequest{Room: room, Sender: r.user, Type: typ, Device: r.txnDevice(), TxnID: txn}
	if req.Content, err = r.content(); err != nil {
		return r.sentBefore(req, err)
	}
	if req.TS, err = r.timestamp(); err != nil {
		return nil, err
	}
	if req.Type == "m.room.redaction" {
		if req.Redacts, err = redacts(req.Content); err != nil {
			return nil, err
		}
	}
	return r.send(req)
}

// sentBefore answers a request whose body is wrong as the first of its transaction was answered; with the error if there was none.
//
// spec:client-server-api#transaction-identifiers
func (r *request) sentBefore(req rooms.SendRequest, wrong error) (any, error) {
	if delay, err := r.delay(); err == nil && delay > 0 {
		if delayID, found, err := r.api.config.Delayed.Scheduled(r.Context(), req); err != nil || found {
			return scheduledEvent{delayID}, err
		}
	} else if eventID, found, err := r.api.config.Rooms.Sent(r.Context(), req); err != nil || found {
		return sentEvent{eventID}, err
	}
	return nil, wrong
}

// redacts reads which event a redaction sent as an ordinary event is for.
func redacts(content json.RawMessage) (id.EventID, error) {
	var c struct {
		Redacts string `json:"redacts"`
	}
	if err := decodeObject(content, &c); err != nil {
		return "", err
	}
	event, err := id.ParseEventID(c.Redacts)
	if err != nil {
		return "", badJSON("redacts must be the ID of the event to redact")
	}
	return event, nil
}

// spec:client-server-api#put_matrixclientv3roomsroomidredacteventidtxnid
func (a *API) redact(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	target, err := r.eventID()
	if err != nil {
		return nil, err
	}
	txn, err := r.txnID()
	if err != nil {
		return nil, err
	}
	var req struct {
		Reason string `json:"reason"`
	}
	if err := r.decodeOptional(&req); err != nil {
		return nil, err
	}
	if len(req.Reason) > maxReasonBytes {
		return nil, invalidParam("the reason has at most %d bytes", maxReasonBytes)
	}
	content := json.RawMessage(`{}`)
	if req.Reason != "" {
		if content, err = marshal(map[string]string{"reason": req.Reason}); err != nil {
			return nil, err
		}
	}
	return r.send(rooms.SendRequest{
		Room: room, Sender: r.user, Type: "m.room.redaction", Content: content, Redacts: target, Device: r.txnDevice(), TxnID: txn,
	})
}
