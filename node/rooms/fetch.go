package rooms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"golang.org/x/sync/errgroup" // a few events at a time from one server

	"hanse/federation"
	"hanse/federation/client"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/keys"
)

const (
	// fewEvents is up to how many events that are missing from a state are asked for one by one; beyond it one answer
	// with the whole state costs less than the round trips.
	fewEvents = 50
	// eventsAtOnce is how many single events are asked of one server at a time.
	eventsAtOnce = 8
)

// fetch starts what the machine asked for. Each fetch is answered by one Provide, which never finds the mailbox full.
func (a *actor) fetch(fetches []room.Fetch) {
	machine, r := a.machine, a.r
	for _, f := range fetches {
		r.addFetching(a, 1)
		started := r.start(func(ctx context.Context) {
			defer r.addFetching(a, -1)
			select {
			case r.fetches <- struct{}{}:
				defer func() { <-r.fetches }()
			case <-ctx.Done():
				return
			}
			ctx, cancel := context.WithTimeout(ctx, r.limits.FetchTime)
			defer cancel()
			ctx, release := client.Hold(ctx)
			defer release()
			provide := r.fetchAny(ctx, a.room, machine.Rules(), f)
			_ = r.enqueue(a.room, &task{input: provide, of: machine}, math.MaxInt) // fails only at the end of Run
		})
		if !started {
			r.addFetching(a, -1)
		}
	}
}

// fetchAny asks the servers of a fetch in order until one gives a usable answer. Of states of which some events can't be had
// from the server that names them, or not verified now, the one that lacks the fewest is the last resort: what it lacks is
// not part of the room's state here.
func (r *Rooms) fetchAny(ctx context.Context, roomID id.RoomID, rules *roomversion.Rules, f room.Fetch) room.Provide {
	errs := []error{errors.New("no server to ask")}
	var best *room.Provide
	fewest := math.MaxInt // events that the best answer lacks
	refusals := 0
	for i, server := range r.hung.last(f.From) {
		others := i < len(f.From)-1
		asking, end := share(ctx, others)
		provide, lacks, err := r.fetchFrom(asking, server, others, roomID, rules, f)
		end()
		if err == nil {
			provide.Fetch, provide.From = f, server
			if lacks == 0 {
				return provide
			}
			if lacks < fewest {
				best, fewest = &provide, lacks
			}
			err = fmt.Errorf("%d events of the state it names can't be had", lacks)
		}
		r.log.Debug("a fetch failed", "what", f.Kind, "room", roomID, "server", server, "error", err)
		errs = append(errs, err)
		// Who told nothing refuses if the events came from it, which is named first: others may not have heard of them.
		if _, nothing := errors.AsType[tellsNothingError](err); refuses(err) || nothing && server == f.From[0] {
			refusals++
		}
		if ctx.Err() != nil {
			break
		}
	}
	if best != nil {
		return *best
	}
	if len(errs) > 1 {
		errs = errs[1:]
	}
	return room.Provide{Fetch: f, Err: errors.Join(errs...), Refused: refusals > 0 && refusals == len(f.From)}
}

// tellsNothingError says that a server was asked for events and gave none that ever is an event of the room.
type tellsNothingError struct{ given int }

func (e tellsNothingError) Error() string {
	return fmt.Sprintf("none of the %d events it gave is an event of this room", e.given)
}

// refuses tells whether a server answered that it doesn't want to answer, or has no such thing: neither that it can't yet, nor what a
// proxy says in front of a server that is down.
func refuses(err error) bool {
	remote, ok := errors.AsType[*client.Error](err)
	return ok && remote.Matrix != nil && (remote.Matrix.Code == federation.CodeForbidden || remote.Matrix.Code == federation.CodeNotFound)
}

// fetchFrom asks one server; others tells whether another one can be asked.
func (r *Rooms) fetchFrom(ctx context.Context, server id.ServerName, others bool, roomID id.RoomID, rules *roomversion.Rules, f room.Fetch) (
	provide room.Provide, lacks int, err error) {
	ctx = keys.GivenBy(ctx, server)
	switch f.Kind {
	case room.FetchMissing:
		raws, err := r.missingFrom(ctx, server, others, federation.MissingEventsRequest{
			RoomID: roomID, LatestEvents: f.Latest, EarliestEvents: f.Earliest, MinDepth: f.MinDepth, Limit: f.Limit,
		})
		provide, err = r.usable(ctx, roomID, recent(parseAll(rules, raws)), err)
		r.noteOwn(ctx, provide.Events)
		provide.Events = r.policed(ctx, roomID, provide.Events)
		return provide, 0, err
	case room.FetchAuth:
		provide, err = r.fetchAuth(ctx, server, roomID, rules, f)
	case room.FetchState:
		return r.fetchState(ctx, server, roomID, rules, f.At)
	default:
		err = fmt.Errorf("rooms: unknown fetch %v", f.Kind)
	}
	return provide, 0, err
}

// missingFrom asks one server for missing events. New ones of the room wait for the answer.
func (r *Rooms) missingFrom(ctx context.Context, server id.ServerName, others bool, req federation.MissingEventsRequest) ([]json.RawMessage, error) {
	if others {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, missingTime)
		defer cancel()
	}
	began := time.Now()
	raws, err := r.cfg.Client.MissingEvents(ctx, server, req)
	r.hung.asked(ctx, server, began, err)
	return raws, err
}

// usable verifies an answer that is a list of events: one without a single good event is no answer.
func (r *Rooms) usable(ctx context.Context, roomID id.RoomID, given []*event.Event, err error) (room.Provide, error) {
	if err != nil {
		return room.Provide{}, err
	}
	events, _ := r.verifiedLists(ctx, roomID, given, nil)
	switch {
	case len(events) > 0:
		return room.Provide{Events: events}, nil
	case slices.ContainsFunc(given, func(e *event.Event) bool { return e != nil && e.RoomID() == roomID }):
		return room.Provide{}, fmt.Errorf("none of the %d events it gave is usable", len(given))
	default:
		return room.Provide{}, tellsNothingError{len(given)}
	}
}

// recent takes out what must not be new, as what comes between new events and those that we have is.
//
// spec:server-server-api#get_matrixfederationv1backfillroomid
func recent(events []*event.Event) []*event.Event {
	for i, e := range events {
		if e != nil && e.CheckReferences() != nil {
			events[i] = nil
		}
	}
	return events
}

// fetchAuth asks for the auth chain of an event, and for the missing ones themselves where that is refused.
func (r *Rooms) fetchAuth(ctx context.Context, server id.ServerName, roomID id.RoomID, rules *roomversion.Rules, f room.Fetch) (room.Provide, error) {
	raws, err := r.cfg.Client.EventAuth(ctx, server, roomID, f.At)
	provide, err := r.usable(ctx, roomID, parseAll(rules, raws), err)
	if err == nil || ctx.Err() != nil {
		return provide, err
	}
	events, failed := r.fetchEvents(ctx, server, roomID, rules, f.Events)
	if len(events) == 0 {
		return room.Provide{}, errors.Join(err, failed)
	}
	return room.Provide{Events: events}, nil
}

// fetchState asks for the state before an event: its IDs, then those events that aren't stored. It tells how many of these
// could not be had.
func (r *Rooms) fetchState(ctx context.Context, server id.ServerName, roomID id.RoomID, rules *roomversion.Rules, at id.EventID) (provide room.Provide, lacks int, err error) {
	ids, missing, err := r.stateIDs(ctx, server, roomID, at)
	if err != nil {
		return room.Provide{}, 0, err
	}
	provide.State = &room.StateAt{At: at, State: ids.PDUIDs, AuthChain: ids.AuthChainIDs}
	if len(missing) <= fewEvents {
		provide.Events, err = r.fetchEvents(ctx, server, roomID, rules, missing)
		if len(provide.Events) == 0 && err != nil {
			return room.Provide{}, 0, err
		}
	} else {
		state, err := r.cfg.Client.State(ctx, server, roomID, at)
		if err != nil {
			return room.Provide{}, 0, err
		}
		raws := slices.Concat(state.PDUs, state.AuthChain)
		if event, err := r.cfg.Client.Event(ctx, server, at); err == nil {
			raws = append(raws, event)
		}
		provide.Events = r.verified(ctx, rules, roomID, raws)
	}
	had := make(map[id.EventID]bool, len(provide.Events))
	for _, e := range provide.Events {
		had[e.ID()] = true
	}
	for _, e := range missing {
		if !had[e] && e != at { // at may be among those that wait
			lacks++
		}
	}
	return provide, lacks, nil
}

// stateIDs asks for the state before an event and its auth chain, and tells which of these events, and of that one, aren't stored.
func (r *Rooms) stateIDs(ctx context.Context, server id.ServerName, roomID id.RoomID, at id.EventID) (ids federation.StateIDsResponse, missing []id.EventID, err error) {
	began := time.Now()
	ids, err = r.cfg.Client.StateIDs(ctx, server, roomID, at)
	r.hung.asked(ctx, server, began, err)
	if err != nil {
		return ids, nil, err
	}
	if len(ids.PDUIDs) > r.limits.StateEvents || len(ids.AuthChainIDs) > r.limits.StateEvents {
		return ids, nil, &unfitState{fmt.Sprintf("the state it gave has more than %d events", r.limits.StateEvents)}
	}
	missing, err = r.unknown(ctx, slices.Concat(ids.PDUIDs, ids.AuthChainIDs, []id.EventID{at}))
	return ids, missing, err
}

// unknown gives those of the events, each once, that aren't stored.
func (r *Rooms) unknown(ctx context.Context, ids []id.EventID) ([]id.EventID, error) {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	var missing []id.EventID
	for chunk := range slices.Chunk(ids, 1000) {
		known, err := r.store.Known(ctx, chunk)
		if err != nil {
			return nil, err
		}
		for _, eventID := range chunk {
			if !known[eventID] {
				missing = append(missing, eventID)
			}
		}
	}
	return missing, nil
}

// fetchEvents asks one server for single events. Those that could be had and verified are returned, with the errors of
// the others.
func (r *Rooms) fetchEvents(ctx context.Context, server id.ServerName, roomID id.RoomID, rules *roomversion.Rules, ids []id.EventID) ([]*event.Event, error) {
	raws, err := r.fetchRaws(ctx, server, ids)
	return r.verified(ctx, rules, roomID, raws), err
}

// fetchRaws asks one server for single events. Those that could be had are returned, with the errors of the others.
func (r *Rooms) fetchRaws(ctx context.Context, server id.ServerName, ids []id.EventID) ([]json.RawMessage, error) {
	raws := make([]json.RawMessage, len(ids))
	errs := make([]error, len(ids))
	var group errgroup.Group
	group.SetLimit(eventsAtOnce)
	for i, eventID := range ids {
		group.Go(func() error {
			raws[i], errs[i] = r.cfg.Client.Event(ctx, server, eventID)
			return nil
		})
	}
	_ = group.Wait() // errors are in errs
	return slices.DeleteFunc(raws, func(raw json.RawMessage) bool { return raw == nil }), errors.Join(errs...)
}
