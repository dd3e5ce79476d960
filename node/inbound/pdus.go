package inbound

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"hanse/federation"
	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/federation/server"
	"hanse/keys"
	"hanse/node/rooms"
)

// place is a room that a transaction has events for.
type place struct {
	room     id.RoomID
	rules    *roomversion.Rules // nil: the room is not known at all
	resident bool               // we are in it
	outside  bool               // not in it, but a user of ours is invited or has knocked: its events may end that
	denied   bool               // the server ACL denies the origin
	events   []*event.Event     // valid; after verify: verified
}

// parse makes events of the raw ones and sorts them by room. What isn't valid is dropped, what has a wrong hash is redacted, which
// changes nothing about its signatures.
//
// spec:server-server-api#checks-performed-on-receipt-of-a-pdu 1, 3
func (d *delivery) parse(ctx context.Context, raws []json.RawMessage) error {
	known := make([]arrival, 0, len(raws))
	for _, raw := range raws {
		room, eventID := head(raw)
		roomID, err := id.ParseRoomID(room)
		if err != nil {
			d.drop(CheckFormat, eventID, "", "it has no valid room_id")
			continue
		}
		p, err := d.place(ctx, roomID)
		if err != nil {
			return err
		}
		if p.rules == nil {
			d.drop(CheckRoom, eventID, roomID, "this server is not in its room")
			continue
		}
		known = append(known, arrival{place: p, raw: raw, eventID: eventID})
	}
	onAllCores(known, d.in.parse)
	for _, a := range known {
		p, e := a.place, a.event
		switch {
		case a.err != nil:
			d.drop(CheckFormat, a.eventID, p.room, fmt.Sprintf("it is not a valid event: %v", a.err))
		case p.denied:
			// spec:server-server-api#server-access-control-lists-acls
			d.refuse(CheckACL, e, "your server is denied access to this room by its server ACL")
		case !p.resident && !p.outside:
			d.refuse(CheckRoom, e, "this server is not in its room")
		default:
			p.events = append(p.events, e)
		}
	}
	return nil
}

// arrival is a PDU of a room that we know.
type arrival struct {
	place   *place
	raw     json.RawMessage
	eventID string // where events carry theirs
	event   *event.Event
	err     error
}

// parse makes the event. A panic is this event's error: it is in a goroutine of its own.
func (i *Inbound) parse(a *arrival) {
	defer func() {
		if p := recover(); p != nil {
			a.err = errors.New("this server fails to read it")
			i.log.Error("a PDU can't be read", "room", a.place.room, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	a.event, a.err = event.Received(a.place.rules, a.raw)
}

// onAllCores calls do for all items and returns when all calls have. Each core takes a few at a time: one that had to wake up first does
// less.
func onAllCores[T any](items []T, do func(*T)) {
	var taken atomic.Int64
	work := func() {
		for end := int(taken.Add(fewItems)); end-fewItems < len(items); end = int(taken.Add(fewItems)) {
			for i := end - fewItems; i < min(end, len(items)); i++ {
				do(&items[i])
			}
		}
	}
	var others sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(items)/fewItems) - 1 {
		others.Go(work)
	}
	work()
	others.Wait()
}

// fewItems aren't worth a goroutine of their own.
const fewItems = 4

// head is what tells an event from others before it is parsed: its room and, in room versions 1 and 2, its ID. What isn't a
// string is empty.
func head(canonical []byte) (room, eventID string) {
	for key, value := range canonicaljson.Members(canonical) {
		switch string(key) {
		case "room_id":
			room, _ = canonicaljson.String(value)
		case "event_id":
			eventID, _ = canonicaljson.String(value)
		}
	}
	return room, eventID
}

// drop notes that something was dropped before it was an event. Its ID is known only where events carry it.
func (d *delivery) drop(check Check, eventID string, roomID id.RoomID, why string) {
	d.in.log.Debug("a PDU was dropped", "origin", d.origin, "room", roomID, "why", why)
	parsed, err := id.ParseEventID(eventID)
	if err == nil {
		d.result(parsed, federation.PDUResult{Error: why})
	}
	d.in.cfg.Watch.dropped(Dropped{Origin: d.origin, Room: roomID, Event: parsed, Check: check, Why: why})
}

// refuse notes that an event isn't handed to its room.
func (d *delivery) refuse(check Check, e *event.Event, why string) {
	result := federation.PDUResult{Error: why}
	if check == CheckACL {
		result.Code = federation.CodeForbidden
	}
	d.result(e.ID(), result)
	d.in.cfg.Watch.dropped(Dropped{Origin: d.origin, Room: e.RoomID(), Event: e.ID(), Check: check, Why: why})
}

// place looks a room up, once a transaction.
func (d *delivery) place(ctx context.Context, roomID id.RoomID) (*place, error) {
	if p := d.rooms[roomID]; p != nil {
		return p, nil
	}
	p := &place{room: roomID}
	info, known, err := d.in.cfg.Rooms.Info(ctx, roomID)
	if err == nil && (!known || !info.Resident) && d.awaitJoin(ctx, roomID) {
		info, known, err = d.in.cfg.Rooms.Info(ctx, roomID)
	}
	if err != nil {
		return nil, err
	}
	if known {
		p.rules, p.resident, p.outside = info.Rules, info.Resident, !info.Resident
		allowed, err := d.in.cfg.Rooms.Allowed(ctx, roomID, d.origin)
		if err != nil {
			return nil, err
		}
		p.denied = !allowed
	}
	d.rooms[roomID] = p
	return p, nil
}

// awaitJoin waits for a join that is under way.
func (d *delivery) awaitJoin(ctx context.Context, roomID id.RoomID) bool {
	defer server.Pause(ctx)()
	return d.in.cfg.Rooms.AwaitJoin(ctx, roomID)
}

// eventIDs are those of all events.
func (d *delivery) eventIDs() []id.EventID {
	var ids []id.EventID
	for _, p := range d.rooms {
		for _, e := range p.events {
			ids = append(ids, e.ID())
		}
	}
	return ids
}

// verify checks the signatures of all events together, so that all keys are looked up at once.
//
// spec:server-server-api#checks-performed-on-receipt-of-a-pdu 2
func (d *delivery) verify(ctx context.Context) {
	var all []*event.Event
	var of []*place
	for _, p := range d.rooms {
		for _, e := range p.events {
			all, of = append(all, e), append(of, p)
		}
		p.events = nil
	}
	if len(all) == 0 {
		return
	}
	for i, err := range d.in.cfg.Verifier.VerifyEvents(keys.GivenBy(ctx, d.origin), all) {
		e := all[i]
		d.in.cfg.Watch.verified(d.origin, e, err)
		if err != nil {
			d.in.log.Debug("a PDU was dropped: its signatures are not good", "origin", d.origin, "room", e.RoomID(), "event", e.ID(), "error", err)
			d.refuse(CheckSignature, e, fmt.Sprintf("its signatures are not good: %v", err))
			continue
		}
		of[i].events = append(of[i].events, e)
	}
}

// submit hands rooms that we are in their events.
func (d *delivery) submit(ctx context.Context, places []*place) error {
	submissions := make([]rooms.Submission, len(places))
	for i, p := range places {
		submissions[i] = rooms.Submission{Room: p.room, Events: p.events}
	}
	verdicts, err := d.in.cfg.Rooms.SubmitTogether(ctx, d.origin, submissions)
	for i, p := range places {
		d.judged(p, verdicts[i])
	}
	return retryLater(err)
}

// judged notes what the room made of its events.
func (d *delivery) judged(p *place, verdicts []room.Verdict) {
	sent := make(map[id.EventID]bool, len(p.events))
	for _, e := range p.events {
		sent[e.ID()] = true
	}
	for _, v := range verdicts {
		if !sent[v.EventID] {
			continue // one that waited, or was fetched
		}
		// Waiting, soft-failed and rejected events were handled: the sender has nothing to mend.
		var result federation.PDUResult
		if v.Status == room.Dropped {
			result.Error = v.Reason
		}
		d.result(v.EventID, result)
	}
}

// rescindAll handles the events of a room that we aren't in.
func (d *delivery) rescindAll(ctx context.Context, events []*event.Event) error {
	for _, e := range events {
		if err := d.rescind(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// rescind handles an event of a room that we aren't in: it may end an invite or a knock.
func (d *delivery) rescind(ctx context.Context, e *event.Event) error {
	err := d.in.cfg.Rooms.Rescind(ctx, d.origin, e)
	switch wire, refused := errors.AsType[*federation.Error](err); {
	case err == nil:
		d.result(e.ID(), federation.PDUResult{})
	case refused && wire.Status < http.StatusInternalServerError:
		d.refuse(CheckRoom, e, "this server is not in its room")
	default:
		return err // it must come again
	}
	return nil
}

// retryLater turns what keeps us from handling events now into an answer after which servers send again: a room that
// has too much to do is a 503 to them, not a limit on them.
func retryLater(err error) error {
	if wire, ok := errors.AsType[*federation.Error](err); ok && wire.Status == http.StatusTooManyRequests {
		busy := federation.NewError(http.StatusServiceUnavailable, federation.CodeLimitExceeded, "this room is busy; send again later")
		busy.RetryAfterMS = wire.RetryAfterMS
		return busy
	}
	return err
}
