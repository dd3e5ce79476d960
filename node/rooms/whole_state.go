package rooms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"hanse/federation"
	"hanse/federation/client"
	"hanse/federation/dag"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/keys"
	"hanse/node/store"
)

const (
	// wholeTime bounds what one server may take.
	wholeTime = 15 * time.Minute
	// wholePasses bounds how often the events of an answer are gone through: each time those are taken whose auth events are known by then.
	// Few need more than two or three.
	wholePasses = 50
	// keysMost is how many events are kept to be checked again; where there are more, nobody waits.
	keysMost = 5000
)

// errKeys is the pause for keys.
var errKeys = errors.New("the keys of some members' servers can't be had now")

// errWhole ends the work on a room that needs none any more.
var errWhole = errors.New("rooms: the state is whole")

// unfitState is an answer that was given, but isn't good.
type unfitState struct{ reason string }

func (u *unfitState) Error() string { return u.reason }

// whole is the work with one server.
type whole struct {
	r       *Rooms
	server  id.ServerName
	partial store.PartialRoom
	rules   *roomversion.Rules
	strict  bool
	// unsigned are events whose signatures can't be checked, as their servers' keys are not to be had, and what rests on them: no other
	// server can give them better. Of the first ones the text is kept, to be checked again.
	unsigned map[id.EventID]json.RawMessage
	keys     bool // such keys are waited for
}

// get gets the state and has the room take it.
func (w *whole) get(ctx context.Context) (err error) {
	select {
	case w.r.wholes <- struct{}{}:
		defer func() { <-w.r.wholes }()
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, wholeTime)
	defer cancel()
	defer func() {
		if err != nil && !errors.Is(err, errKeys) { // for keys it waits a moment only
			w.forget()
		}
	}()
	if err := w.needed(ctx); err != nil {
		return err
	}
	row, ok, err := w.r.store.Event(ctx, w.partial.Join)
	if err != nil || !ok {
		return errors.Join(err, fmt.Errorf("our join %s is not stored", w.partial.Join))
	}
	w.rules = row.Event.Rules()
	again := parseAll(w.rules, slices.DeleteFunc(slices.Collect(maps.Values(w.unsigned)), func(raw json.RawMessage) bool { return raw == nil }))
	clear(w.unsigned)
	missing, err := w.missing(ctx, idsOf(again))
	if err != nil {
		return err
	}
	if _, err := w.takeAll(ctx, again, missing); err != nil {
		return err
	}
	states, err := w.states(ctx, row.Event)
	if err != nil {
		return err
	}
	return w.complete(ctx, states)
}

// forget has the room let go of the part of the state that it keeps in memory: it may be long before there is more.
func (w *whole) forget() {
	_ = w.r.enqueue(w.partial.RoomID, &task{look: func(m *room.Machine, _ room.Source) error { // fails only at the end of Run
		m.Forget()
		return nil
	}}, math.MaxInt)
}

// leaveOut notes an unsigned event.
func (w *whole) leaveOut(e *event.Event) {
	w.unsigned[e.ID()] = nil
	if len(w.unsigned) <= keysMost {
		w.unsigned[e.ID()] = e.JSON()
	}
}

// isUnsigned tells whether an event is one of those.
func (w *whole) isUnsigned(e id.EventID) bool {
	_, ok := w.unsigned[e]
	return ok
}

// needed tells, by errWhole, that nobody needs the state any more: it is whole, or was left.
func (w *whole) needed(ctx context.Context) error {
	now, ok, err := w.r.store.PartialRoom(ctx, w.partial.RoomID)
	if err == nil && (!ok || now.Join != w.partial.Join) {
		err = errWhole
	}
	return err
}

// states gets the state before our join: by those after its prev events, as deployed servers ask, since every server in the room has
// them, or that before the join itself, which those have who were told of it.
func (w *whole) states(ctx context.Context, joined *event.Event) ([][]id.EventID, error) {
	var states [][]id.EventID
	var refused error
	for _, prev := range joined.PrevEvents() {
		state, err := w.stateAt(ctx, prev)
		if err != nil {
			refused = err
			break
		}
		states = append(states, append([]id.EventID{prev}, state...)) // first: it replaces what it is the successor of
	}
	if refused == nil && len(states) > 0 {
		return states, nil
	}
	if wireError(refused) == nil || ctx.Err() != nil {
		return nil, refused // it isn't there: asking again won't help
	}
	state, err := w.stateAt(ctx, joined.ID())
	if err != nil {
		return nil, errors.Join(refused, err)
	}
	return [][]id.EventID{state}, nil
}

// stateAt gets the state before an event, and stores those of its events, of its auth chain and the event itself that aren't stored.
func (w *whole) stateAt(ctx context.Context, at id.EventID) ([]id.EventID, error) {
	ids, missing, err := w.r.stateIDs(ctx, w.server, w.partial.RoomID, at)
	if err != nil {
		return nil, err
	}
	missing = slices.DeleteFunc(missing, w.isUnsigned)
	if len(missing) > fewEvents {
		if missing, err = w.takeState(ctx, at, missing); err != nil {
			return nil, err
		}
	}
	if len(missing) > 0 && len(missing) <= fewEvents {
		raws, failed := w.r.fetchRaws(ctx, w.server, missing)
		if missing, err = w.takeAll(ctx, parseAll(w.rules, raws), missing); err != nil {
			return nil, err
		}
		if failed != nil && len(missing) > 0 && w.strict {
			return nil, fmt.Errorf("%d events of the state it gave are not to be had from it: %w", len(missing), failed)
		}
	}
	if len(missing) > 0 && w.strict {
		return nil, &unfitState{fmt.Sprintf("%d events of the state it gave are not to be had from it, or not valid", len(missing))}
	}
	slices.Sort(ids.PDUIDs) // as they were stored, and so are found next to each other
	return ids.PDUIDs, nil
}

// takeState stores those events of a whole state that are missing, and tells which still are.
func (w *whole) takeState(ctx context.Context, at id.EventID, missing []id.EventID) ([]id.EventID, error) {
	ctx, release := client.Hold(ctx)
	defer release()
	state, authChain := newStreamed(w.rules, w.r.limits.StateEvents), newStreamed(w.rules, w.r.limits.StateEvents)
	err := w.r.cfg.Client.StateEvents(ctx, w.server, w.partial.RoomID, at, federation.StateEvents{State: state.take, AuthChain: authChain.take})
	events := slices.Concat(authChain.all(), state.all())
	if err != nil {
		return nil, err
	}
	return w.takeAll(ctx, events, missing)
}

// takeAll stores those of the events that are missing, auth events before what cites them, and tells which still are. nil stands for what is
// no valid event.
func (w *whole) takeAll(ctx context.Context, events []*event.Event, missing []id.EventID) ([]id.EventID, error) {
	left := inTurn(w.verified(ctx, events, missing))
	taken := make(map[id.EventID]bool, len(left))
	for range wholePasses {
		later, err := w.pass(ctx, left, taken)
		if err != nil {
			return nil, err
		}
		stuck := len(later) == len(left)
		if left = later; stuck || len(left) == 0 {
			break
		}
	}
	w.giveUp(left)
	return slices.DeleteFunc(missing, func(e id.EventID) bool { return taken[e] || w.isUnsigned(e) }), nil
}

// giveUp notes those of the events that rest on unsigned ones: they can't be judged either. Of events that name each other in a circle, as
// room versions 1 and 2 let them, not all are noted; the others are lacking, like those that can't be had.
func (w *whole) giveUp(events []*event.Event) {
	for _, e := range dag.SortTopologically(events) {
		if !w.isUnsigned(e.ID()) && slices.ContainsFunc(e.AuthEvents(), w.isUnsigned) {
			w.leaveOut(e)
		}
	}
}

// missing are those of the events that aren't stored and could be.
func (w *whole) missing(ctx context.Context, ids []id.EventID) ([]id.EventID, error) {
	missing, err := w.r.unknown(ctx, ids)
	return slices.DeleteFunc(missing, w.isUnsigned), err
}

// pass stores those of the events whose auth events are known by then, and notes that; the others are returned. While a chunk is written the
// next one is judged. What was handed in is let go of.
func (w *whole) pass(ctx context.Context, events []*event.Event, taken map[id.EventID]bool) (left []*event.Event, err error) {
	var before handedIn
	for chunk := range slices.Chunk(events, w.r.limits.StateChunk) {
		next, err := w.handIn(ctx, chunk)
		if err != nil {
			return nil, err
		}
		if left, err = before.stored(ctx, taken, left); err != nil {
			return nil, err
		}
		before = next
	}
	return before.stored(ctx, taken, left)
}

// handedIn are events on their way to the disk.
type handedIn struct {
	task   *task
	events []*event.Event // part of the slice that pass was given
}

// handIn has the room take in events, and doesn't wait for that.
func (w *whole) handIn(ctx context.Context, events []*event.Event) (handedIn, error) {
	if err := w.needed(ctx); err != nil {
		return handedIn{}, err
	}
	t := &task{input: room.Outliers{Events: slices.Clone(events)}, answer: make(chan answer, 1)}
	return handedIn{t, events}, w.r.enqueue(w.partial.RoomID, t, w.r.limits.Mailbox)
}

// stored waits until the events are on disk, and notes them; those whose auth events aren't known yet are added to left.
func (h handedIn) stored(ctx context.Context, taken map[id.EventID]bool, left []*event.Event) ([]*event.Event, error) {
	if h.task == nil {
		return left, nil
	}
	result, err := h.task.await(ctx)
	if err != nil {
		return nil, err
	}
	later := make(map[id.EventID]bool)
	for _, v := range result.Verdicts {
		later[v.EventID] = v.Status == room.Dropped
	}
	for i, e := range h.events {
		if later[e.ID()] {
			left = append(left, e)
		} else {
			taken[e.ID()] = true
		}
		h.events[i] = nil
	}
	return left, nil
}

// verified are those of the events that are missing, each once, with good signatures.
func (w *whole) verified(ctx context.Context, events []*event.Event, missing []id.EventID) []*event.Event {
	wanted := make(map[id.EventID]bool, len(missing))
	for _, e := range missing {
		wanted[e] = true
	}
	var check, good []*event.Event
	for _, e := range events {
		if e != nil && e.RoomID() == w.partial.RoomID && wanted[e.ID()] {
			delete(wanted, e.ID())
			check = append(check, e)
		}
	}
	for i, err := range w.r.checkSignatures(keys.GivenBy(ctx, w.server), check) {
		if err == nil {
			good = append(good, check[i])
			continue
		}
		if failed, ok := errors.AsType[*keys.Error](err); ok && failed.Temporary() {
			w.leaveOut(check[i])
		}
		w.r.log.Debug("an event of a state is left out: its signature is not good", "room", w.partial.RoomID, "event", check[i].ID(), "error", err)
	}
	return good
}

// complete has the room take the state.
func (w *whole) complete(ctx context.Context, states [][]id.EventID) error {
	if w.keys && len(w.unsigned) > 0 && len(w.unsigned) <= keysMost {
		return errKeys
	}
	full := false
	err := w.r.look(ctx, w.partial.RoomID, func(m *room.Machine, _ room.Source) error {
		full = m.Full()
		return nil
	})
	if err != nil {
		return err
	}
	result, err := w.r.step(ctx, w.partial.RoomID, room.Complete{Join: w.partial.Join, States: states, Strict: w.strict}, store.CommitOptions{})
	if err != nil {
		return err
	}
	v, ok := result.Verdict(w.partial.Join)
	switch {
	case !ok:
		return errWhole
	case v.Status != room.Accepted:
		return &unfitState{why(v)}
	}
	for _, v := range result.Verdicts {
		if v.EventID != w.partial.Join {
			w.r.log.Info("with the whole state of a room an event is judged otherwise", "room", w.partial.RoomID, "event", v.EventID, "status", v.Status, "why", why(v))
		}
	}
	if full { // what came since was dropped
		return w.catchUp(ctx)
	}
	return nil
}

// catchUp asks for what happened in the room while it took no more.
func (w *whole) catchUp(ctx context.Context) error {
	info, ok, err := w.r.store.Room(ctx, w.partial.RoomID)
	if err != nil || !ok {
		return err
	}
	if err := w.r.catchUpRoom(ctx, info, &asking{failures: make(map[id.ServerName]int)}); err != nil {
		w.r.log.Info("nobody told what happened in a room while its members were missing; it shows when somebody speaks", "room", info.RoomID, "error", err)
	}
	return nil
}
