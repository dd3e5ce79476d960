package rooms

import (
	"context"
	"slices"

	"hanse/federation/authrules"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/node/store"
)

// redactions finds the redactions that are to be applied with a commit: accepted redactions whose target is known, and
// those that came before the target which comes now. A redaction without power over its target is an event like any
// other and has no effect.
//
// spec:rooms/v12#handling-redactions
func (a *actor) redactions(ctx context.Context, t *task, c room.Commit, src source) (store.CommitOptions, error) {
	opts := t.opts
	_, proposed := t.input.(room.Propose)
	// made tells of an event that it was made just now: nobody can have redacted it before. One of our users' that comes from another
	// server, as where our database was lost, may well have been.
	made := func(e room.Committed) bool { return proposed && e.Event.Sender().Server() == a.r.self }
	if !slices.ContainsFunc(c.Events, func(e room.Committed) bool { return e.Event.Type() == typeRedaction || !made(e) }) {
		return opts, nil // a message of ours, as mostly
	}
	inCommit := make(map[id.EventID]*event.Event, len(c.Events))
	for _, e := range c.Events {
		inCommit[e.Event.ID()] = e.Event
	}
	find := func(eventID id.EventID) (*event.Event, error) {
		if e := inCommit[eventID]; e != nil {
			return e, nil
		}
		found, err := src.Events([]id.EventID{eventID})
		return found[eventID].Event, err
	}
	apply := func(redaction, target *event.Event, before roomstate.Map) error {
		// The state before the redaction may name events of this commit.
		state := stateOf{before, withCommit{src, inCommit}}
		ok, err := authrules.MayRedact(redaction, target, state)
		if ok {
			opts.Redactions = append(opts.Redactions, store.Redaction{Target: target.ID(), By: redaction.ID()})
		}
		return err
	}
	for _, e := range c.Events {
		if e.Outlier || e.Status != room.Accepted {
			continue
		}
		if targetID, ok := e.Event.Redacts(); ok && e.Event.Type() == typeRedaction {
			target, err := find(targetID)
			if err != nil {
				return opts, err
			}
			if target != nil {
				if err := apply(e.Event, target, e.Before); err != nil {
					return opts, err
				}
			}
		}
		if made(e) {
			continue
		}
		if err := a.earlierRedactions(ctx, e.Event, src, apply); err != nil {
			return opts, err
		}
	}
	return opts, nil
}

// InEffect gives whether events may be shown to clients, which it finds out for all of them at once: any but redactions that were
// not applied, because their senders may not, or their targets aren't here. Such a one waits for its target, as far as clients
// know it doesn't exist.
//
// spec:rooms/v12#handling-redactions
func InEffect(ctx context.Context, s *store.Store, rows []store.EventRow) (shown func(store.EventRow) bool, err error) {
	var targets []id.EventID
	for _, row := range rows {
		if target, _ := awaited(row); target != "" {
			targets = append(targets, target)
		}
	}
	var found map[id.EventID]store.EventRow
	if len(targets) > 0 {
		found, err = s.Events(ctx, targets)
	}
	return func(row store.EventRow) bool { return applied(row, found) }, err
}

// awaited is the target, "" if it names none, of an event that is in effect only if it was applied to that; false for all others.
func awaited(row store.EventRow) (target id.EventID, waits bool) {
	if row.Event.Type() != typeRedaction || row.Event.Rules().RedactionAuthRule || row.RedactedBy != "" {
		return "", false
	}
	target, _ = row.Event.Redacts()
	return target, true
}

// applied tells whether an event is in effect where the targets are among the events found.
func applied(row store.EventRow, found map[id.EventID]store.EventRow) bool {
	target, waits := awaited(row)
	return !waits || found[target].RoomID == row.RoomID && found[target].RedactedBy != ""
}

// earlierRedactions applies the redactions that arrived before their target.
func (a *actor) earlierRedactions(ctx context.Context, target *event.Event, src source,
	apply func(redaction, target *event.Event, before roomstate.Map) error) error {
	ids, err := a.r.store.PendingRedactions(ctx, target.ID())
	if err != nil || len(ids) == 0 {
		return err
	}
	found, err := src.Events(ids)
	if err != nil {
		return err
	}
	for redactionID, redaction := range found {
		// A redaction doesn't change the state: after is before.
		before, ok, err := src.StateAfter(redactionID)
		if err != nil {
			return err
		}
		if ok {
			if err := apply(redaction.Event, target, before); err != nil {
				return err
			}
		}
	}
	return nil
}

// withCommit is a source that also knows the events of a commit that is being made.
type withCommit struct {
	source
	events map[id.EventID]*event.Event
}

func (w withCommit) Events(ids []id.EventID) (map[id.EventID]room.Stored, error) {
	if len(ids) == 1 && w.events[ids[0]] != nil {
		return map[id.EventID]room.Stored{ids[0]: {Event: w.events[ids[0]]}}, nil
	}
	return w.source.Events(ids)
}
