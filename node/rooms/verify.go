package rooms

import (
	"context"
	"encoding/json"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup" // one parser a core

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
	good, _ := r.verifiedLists(ctx, rules, roomID, raws, nil)
	return good
}

// verifiedLists is verified for two lists whose events are checked together; an event that is in both is in the first. It takes the
// texts over, so that those of a large room need not be in memory twice.
func (r *Rooms) verifiedLists(ctx context.Context, rules *roomversion.Rules, roomID id.RoomID, first, second []json.RawMessage) (a, b []*event.Event) {
	raws := slices.Concat(first, second)
	clear(first)
	clear(second)
	parsed := parseAll(rules, raws)
	seen := make(map[id.EventID]bool, len(parsed))
	var check []*event.Event
	inFirst := 0 // how many of check
	for i, e := range parsed {
		if e == nil || e.RoomID() != roomID || seen[e.ID()] {
			continue
		}
		seen[e.ID()] = true
		check = append(check, e)
		if i < len(first) {
			inFirst++
		}
	}
	for i, err := range r.checkSignatures(ctx, check) {
		switch {
		case err != nil:
			r.log.Debug("an event is left out: its signature is not good", "room", roomID, "event", check[i].ID(), "err", err)
		case i < inFirst:
			a = append(a, check[i])
		default:
			b = append(b, check[i])
		}
	}
	if dropped := len(parsed) - len(a) - len(b); dropped > 0 {
		r.log.Debug("events of another server were left out", "room", roomID, "given", len(parsed), "dropped", dropped)
	}
	return a, b
}

// signaturesAtOnce bounds the events whose signed texts are in memory at a time.
const signaturesAtOnce = 10_000

// checkSignatures checks the signatures of events, one error an event. Of many the keys are had first, all at once.
func (r *Rooms) checkSignatures(ctx context.Context, events []*event.Event) []error {
	if len(events) <= signaturesAtOnce {
		return r.cfg.Ring.VerifyEvents(ctx, events)
	}
	seen := make(map[id.ServerName]bool)
	var one []*event.Event // of each server
	for _, e := range events {
		if server := e.Sender().Server(); !seen[server] {
			seen[server] = true
			one = append(one, e)
		}
	}
	r.cfg.Ring.VerifyEvents(ctx, one)
	errs := make([]error, 0, len(events))
	for chunk := range slices.Chunk(events, signaturesAtOnce) {
		errs = append(errs, r.cfg.Ring.VerifyEvents(ctx, chunk)...)
	}
	return errs
}

// parseAll parses events on all cores; nil stands for what is no valid event. It takes the texts over.
func parseAll(rules *roomversion.Rules, raws []json.RawMessage) []*event.Event {
	events := make([]*event.Event, len(raws))
	parse := func(i int) {
		e, err := event.Parse(rules, raws[i])
		raws[i] = nil
		if err != nil {
			return
		}
		if !e.ContentHashMatches() {
			e = e.Redacted()
		}
		events[i] = e
	}
	const few = 64 // not worth a goroutine
	if len(raws) <= few {
		for i := range raws {
			parse(i)
		}
		return events
	}
	var group errgroup.Group
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		group.Go(func() error {
			for i := w; i < len(raws); i += workers {
				parse(i)
			}
			return nil
		})
	}
	_ = group.Wait() // no worker fails
	return events
}
