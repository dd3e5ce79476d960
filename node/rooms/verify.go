package rooms

import (
	"context"
	"encoding/json"
	"slices"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

// verified reads events that another server gave us, and takes their texts over: those of the room that are valid events
// with good signatures, each once, in the order given; one whose content hash is wrong comes redacted. The rest is left
// out: what depends on it will be missing, and that is for the machine to judge.
//
// spec:server-server-api#checks-performed-on-receipt-of-a-pdu 1 to 3
func (r *Rooms) verified(ctx context.Context, rules *roomversion.Rules, roomID id.RoomID, raws []json.RawMessage) []*event.Event {
	good, _ := r.verifiedLists(ctx, roomID, parseAll(rules, raws), nil)
	return good
}

// verifiedLists is verified for two lists of parsed events, which are checked together; an event that is in both is in the first. nil stands
// for what is no valid event.
func (r *Rooms) verifiedLists(ctx context.Context, roomID id.RoomID, first, second []*event.Event) (a, b []*event.Event) {
	seen := make(map[id.EventID]bool, len(first)+len(second))
	check := make([]*event.Event, 0, len(first)+len(second))
	dropped := 0
	sift := func(list []*event.Event) {
		for _, e := range list {
			switch {
			case e == nil || e.RoomID() != roomID:
				dropped++
			case !seen[e.ID()]:
				seen[e.ID()] = true
				check = append(check, e)
			}
		}
	}
	sift(first)
	inFirst := len(check)
	sift(second)
	for i, err := range r.checkSignatures(ctx, check) {
		switch {
		case err != nil:
			dropped++
			r.log.Debug("an event is left out: its signature is not good", "room", roomID, "event", check[i].ID(), "error", err)
		case i < inFirst:
			a = append(a, check[i])
		default:
			b = append(b, check[i])
		}
	}
	if dropped > 0 {
		r.log.Debug("events of another server were left out", "room", roomID, "given", len(first)+len(second), "dropped", dropped)
	}
	return a, b
}

// signaturesAtOnce bounds the events whose signed texts are in memory at a time.
const signaturesAtOnce = 1000

// checkSignatures checks the signatures of events, one error an event. Of many the keys are had first, all at once.
func (r *Rooms) checkSignatures(ctx context.Context, events []*event.Event) []error {
	if len(events) <= signaturesAtOnce {
		return r.cfg.Ring.VerifyEvents(ctx, events)
	}
	errs := make([]error, len(events))
	seen := make(map[id.ServerName]bool)
	var first, others []int // of each server; the rest
	for i, e := range events {
		if server := e.Sender().Server(); !seen[server] {
			seen[server] = true
			first = append(first, i)
		} else {
			others = append(others, i)
		}
	}
	check := func(indexes []int) {
		chunk := make([]*event.Event, len(indexes))
		for at, i := range indexes {
			chunk[at] = events[i]
		}
		for at, err := range r.cfg.Ring.VerifyEvents(ctx, chunk) {
			errs[indexes[at]] = err
		}
	}
	check(first)
	for chunk := range slices.Chunk(others, signaturesAtOnce) {
		check(chunk)
	}
	return errs
}
