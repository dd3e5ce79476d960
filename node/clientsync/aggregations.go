package clientsync

import (
	"context"
	"slices"

	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/node/store"
)

const (
	// maxReferences bounds the references to an event that are bundled with it; the rest is found by /relations.
	maxReferences = 100
	// maxCandidates is how many of the latest events of a thread, and replacements of an event, are looked at to find one
	// that counts and that the user may see.
	maxCandidates = 20
)

// Aggregations sum up what relates to an event. spec:client-server-api#aggregations-of-child-events
type Aggregations struct {
	Replace    *Decorated // the newest valid edit
	Thread     *Thread
	References []id.EventID
}

// Thread is the thread that begins with an event. spec:client-server-api#server-side-aggregation-of-mthread-relationships
type Thread struct {
	Latest       Decorated
	Count        int
	Participated bool // the asking user wrote in it, or began it
}

// Related tells whether an event is related to as a filter wants it. Where the filter wants nothing of it, nothing is read.
//
// spec:client-server-api#filtering
func (s *Syncer) Related(ctx context.Context, f RoomEventFilter, row store.EventRow) (bool, error) {
	if f.RelatedBySenders == nil && f.RelatedByRelTypes == nil {
		return true, nil
	}
	return s.store.RelatedBy(ctx, row.RoomID, row.Event.ID(), f.RelatedBySenders, f.RelatedByRelTypes)
}

// Aggregate adds to events of one room what relates to them. Where nothing does that costs one read for all.
func (s *Syncer) Aggregate(ctx context.Context, user id.UserID, device string, decorated []Decorated) error {
	a := aggregator{Syncer: s, user: user, device: device}
	return a.add(ctx, decorated, true)
}

// aggregator adds up relations for a user. Owned by the call that made it.
type aggregator struct {
	*Syncer
	user    id.UserID
	device  string
	ignored map[id.UserID]bool
}

// add adds up what relates to events of one room; threads unless they are the latest in a thread themselves.
func (a *aggregator) add(ctx context.Context, decorated []Decorated, threads bool) error {
	var targets []id.EventID
	for _, d := range decorated {
		if !d.Event.IsState() {
			targets = append(targets, d.Event.ID())
		}
	}
	if len(targets) == 0 {
		return nil
	}
	counts, err := a.store.RelationCounts(ctx, decorated[0].RoomID, targets)
	if err != nil || len(counts) == 0 {
		return err
	}
	if a.ignored, err = a.Ignored(ctx, a.user); err != nil {
		return err
	}
	byTarget := map[id.EventID][]store.RelationCount{}
	for _, c := range counts {
		if !a.ignored[c.Sender] {
			byTarget[c.Target] = append(byTarget[c.Target], c)
		}
	}
	for i := range decorated {
		d := &decorated[i]
		counts := byTarget[d.Event.ID()]
		if len(counts) == 0 || d.Event.IsState() {
			continue
		}
		var sum Aggregations
		if sum.Replace, err = a.replacement(ctx, d.EventRow, counts); err != nil {
			return err
		}
		if sum.References, err = a.references(ctx, d.EventRow, counts); err != nil {
			return err
		}
		if threads {
			if sum.Thread, err = a.thread(ctx, d.EventRow, counts); err != nil {
				return err
			}
		}
		if sum.Replace != nil || sum.Thread != nil || len(sum.References) > 0 {
			d.Aggregations = &sum
		}
	}
	return nil
}

// replacement is the newest valid edit of an event.
//
// spec:client-server-api#validity-of-replacement-events
func (a *aggregator) replacement(ctx context.Context, row store.EventRow, counts []store.RelationCount) (*Decorated, error) {
	sender := row.Event.Sender()
	edited := slices.ContainsFunc(counts, func(c store.RelationCount) bool { return c.Type == store.RelationReplace && c.Sender == sender })
	if relation, relates := store.RelationOf(row.Event); !edited || row.RedactedBy != "" || relates && relation.Type == store.RelationReplace {
		return nil, nil
	}
	ids, err := a.store.Related(ctx, row.RoomID, row.Event.ID(), store.RelationReplace, sender, maxCandidates)
	if err != nil {
		return nil, err
	}
	found, err := a.store.Events(ctx, ids)
	if err != nil {
		return nil, err
	}
	var valid []store.EventRow
	for edit := range inOrder(ids, found) {
		if edit.RedactedBy == "" && replaces(edit.Event, row.Event) {
			valid = append(valid, edit)
		}
	}
	return a.first(ctx, row.RoomID, valid)
}

// replaces tells whether an event of the same sender is a valid edit of another.
func replaces(edit, original *event.Event) bool {
	if edit.Type() != original.Type() || edit.IsState() {
		return false
	}
	content, there := canonicaljson.Get(edit.Content(), "m.new_content")
	return there && canonicaljson.IsObject(content) || edit.Type() == "m.room.encrypted"
}

// references are the events that refer to an event, the oldest first.
func (a *aggregator) references(ctx context.Context, row store.EventRow, counts []store.RelationCount) ([]id.EventID, error) {
	if !slices.ContainsFunc(counts, func(c store.RelationCount) bool { return c.Type == store.RelationReference }) {
		return nil, nil
	}
	rows, err := a.store.RelatedPage(ctx, row.RoomID, []id.EventID{row.Event.ID()}, store.RelationReference, "", store.Beginning(), store.Forward, maxReferences)
	if err != nil {
		return nil, err
	}
	visible, err := a.visible(ctx, row.RoomID, rows)
	ids := make([]id.EventID, len(visible))
	for i, row := range visible {
		ids[i] = row.Event.ID()
	}
	return ids, err
}

// thread sums up the thread that begins with an event.
func (a *aggregator) thread(ctx context.Context, row store.EventRow, counts []store.RelationCount) (*Thread, error) {
	sum := Thread{Participated: row.Event.Sender() == a.user}
	for _, c := range counts {
		if c.Type == store.RelationThread {
			sum.Count += c.Count
			sum.Participated = sum.Participated || c.Sender == a.user
		}
	}
	if sum.Count == 0 {
		return nil, nil
	}
	rows, err := a.store.LatestRelated(ctx, row.RoomID, row.Event.ID(), store.RelationThread, maxCandidates)
	if err != nil {
		return nil, err
	}
	latest, err := a.first(ctx, row.RoomID, rows)
	if err != nil || latest == nil {
		return nil, err
	}
	one := []Decorated{*latest}
	if err := a.add(ctx, one, false); err != nil {
		return nil, err
	}
	sum.Latest = one[0]
	return &sum, nil
}

// first is the first of the events that the user is to be shown, with what they are told beside it; nil if there is none.
func (a *aggregator) first(ctx context.Context, room id.RoomID, rows []store.EventRow) (*Decorated, error) {
	visible, err := a.visible(ctx, room, rows)
	if err != nil || len(visible) == 0 {
		return nil, err
	}
	entries, err := a.entries(ctx, visible[:1])
	if err != nil {
		return nil, err
	}
	decorated, err := a.decorate(ctx, a.user, a.device, entries)
	if err != nil {
		return nil, err
	}
	return &decorated[0], nil
}

// visible keeps the events that the user may see and whose senders they don't ignore.
func (a *aggregator) visible(ctx context.Context, room id.RoomID, rows []store.EventRow) ([]store.EventRow, error) {
	rows = slices.DeleteFunc(rows, func(row store.EventRow) bool { return a.ignored[row.Event.Sender()] })
	if len(rows) == 0 {
		return nil, nil
	}
	return a.rooms.Visible(ctx, a.user, room, rows)
}
