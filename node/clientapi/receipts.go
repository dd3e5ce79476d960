package clientapi

import (
	"encoding/json"
	"net/http"

	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/clientsync"
	"hanse/node/ephemeral"
)

func (a *API) receiptRoutes() []route {
	return []route{
		{http.MethodPost, "/rooms/{roomId}/receipt/{receiptType}/{eventId}", stable, withUser, ordinary, a.sendReceipt},
		{http.MethodPost, "/rooms/{roomId}/read_markers", stable, withUser, ordinary, a.setReadMarkers},
	}
}

// spec:client-server-api#post_matrixclientv3roomsroomidreceiptreceipttypeeventid
func (a *API) sendReceipt(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	event, err := r.eventID()
	if err != nil {
		return nil, err
	}
	var req struct {
		Thread json.RawMessage `json:"thread_id"`
	}
	if err := r.decodeOptional(&req); err != nil {
		return nil, err
	}
	typ := r.PathValue("receiptType")
	thread, err := threadID(typ, req.Thread)
	if err != nil {
		return nil, err
	}
	return nil, a.mark(r, room, typ, event, thread)
}

// threadID reads thread_id: "main" or the ID of a thread's root; "" when it is not there.
func threadID(typ string, raw json.RawMessage) (string, error) {
	if len(raw) == 0 {
		return "", nil
	}
	var thread string
	if exactjson.Unmarshal(raw, &thread) != nil || thread == "" || string(raw) == "null" {
		return "", invalidParam("thread_id must be a text, not empty")
	}
	if typ == ephemeral.FullyRead {
		return "", invalidParam("%s has no thread_id", typ)
	}
	if thread != clientsync.MainThread {
		if _, err := id.ParseEventID(thread); err != nil {
			return "", invalidParam("thread_id must be main or an event ID")
		}
	}
	return thread, nil
}

// mark sets a receipt or the read marker. The event must be one of the room that the user may see, and of the thread.
func (a *API) mark(r *request, room id.RoomID, typ string, event id.EventID, thread string) (err error) {
	defer func() {
		if err == nil {
			r.active()
		}
	}()
	switch typ {
	case ephemeral.Read, ephemeral.ReadPrivate, ephemeral.FullyRead:
	default:
		return invalidParam("%q is not a type of receipt", typ)
	}
	row, err := a.config.Rooms.Event(r.Context(), r.user, room, event)
	if err != nil {
		return err
	}
	if typ == ephemeral.FullyRead {
		return a.config.Ephemeral.SetFullyRead(r.Context(), room, r.user, event)
	}
	if thread != "" {
		switch in, err := a.config.Sync.InThread(r.Context(), row.Event, thread); {
		case err != nil:
			return err
		case !in:
			return invalidParam("%s is not in the thread %s", event, thread)
		}
	}
	return a.config.Ephemeral.SetReceipt(r.Context(), room, r.user, typ, event, thread)
}

// spec:client-server-api#post_matrixclientv3roomsroomidread_markers
func (a *API) setReadMarkers(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	var req struct {
		FullyRead   string `json:"m.fully_read"`
		Read        string `json:"m.read"`
		ReadPrivate string `json:"m.read.private"`
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	for _, m := range []struct{ typ, event string }{
		{ephemeral.Read, req.Read}, {ephemeral.ReadPrivate, req.ReadPrivate}, {ephemeral.FullyRead, req.FullyRead},
	} {
		if m.event == "" {
			continue
		}
		event, err := id.ParseEventID(m.event)
		if err != nil {
			return nil, invalidParam("%s: %q is not an event ID", m.typ, m.event)
		}
		if err := a.mark(r, room, m.typ, event, ""); err != nil {
			return nil, err
		}
	}
	return nil, nil
}
