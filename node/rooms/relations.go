package rooms

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/store"
)

const (
	// recursion is how far relations of relations are followed: a thread, what is said in it, and edits of and reactions to that.
	recursion = 3
	// recursionEvents bounds the events whose relations are looked for.
	recursionEvents = 1000
	// threadPage is how many threads are read at a time, while those are looked for that the user wants.
	threadPage = 50
)

// RelationsRequest asks for the events that relate to an event.
type RelationsRequest struct {
	User      id.UserID
	Room      id.RoomID
	Event     id.EventID
	RelType   string // "": all
	EventType string // "": all
	From, To  Point  // the zero value: the newest event, or the oldest if Forward; no end
	Forward   bool
	Recurse   bool // relations of relations too
	Limit     int
	// Match chooses events; nil: all that the user may see.
	Match func(store.EventRow) bool
}

// RelationsPage is the answer.
type RelationsPage struct {
	Page
	Depth int // how far relations of relations were followed; 0 if they weren't
}

// Relations are the events that relate to an event and that the user may see. M_NOT_FOUND if they may not see that event.
//
// spec:client-server-api#relationships-api
func (r *Rooms) Relations(ctx context.Context, req RelationsRequest) (RelationsPage, error) {
	var page RelationsPage
	if _, err := r.Event(ctx, req.User, req.Room, req.Event); err != nil {
		return page, err
	}
	s, err := r.sightOf(ctx, req.User, req.Room)
	if err != nil {
		return page, err
	}
	targets := []id.EventID{req.Event}
	if req.Recurse {
		if targets, page.Depth, err = r.related(ctx, req); err != nil {
			return page, err
		}
	}
	messages := MessagesRequest{From: req.From, To: req.To, Backwards: !req.Forward}
	from, to, dir := r.from(messages), messages.until(), store.Backward
	if req.Forward {
		dir = store.Forward
	}
	limit := min(max(req.Limit, 1), r.limits.Page)
	page.Start = from.point()
	at := from.at
	if req.Forward && from.byPosition() {
		at = store.Beginning()
	} else if req.Forward && at != store.Beginning() {
		at.Position-- // a place is before the event that it is named by
	}
	for scan := r.limits.Scan; scan > 0; {
		rows, err := r.store.RelatedPage(ctx, req.Room, targets, req.RelType, req.EventType, at, dir, limit+1)
		if err != nil {
			return page, err
		}
		visible, err := r.visible(ctx, s, between(rows, from, to, req.Forward))
		if err != nil {
			return page, err
		}
		for _, row := range visible {
			if req.Match != nil && !req.Match(row) {
				continue
			}
			if len(page.Events) == limit {
				page.More = true
				break
			}
			page.Events = append(page.Events, row)
		}
		if page.More || len(rows) <= limit {
			break
		}
		scan -= len(rows)
		at = rows[len(rows)-1].Topological()
	}
	if n := len(page.Events); n > 0 {
		end := page.Events[n-1].Topological()
		if req.Forward {
			end.Position++
		}
		page.End = place{end, from.below}.point()
		if req.Forward {
			page.End = place{end, anywhere}.point()
		}
	}
	return page, nil
}

// between keeps the rows that are between two places.
func between(rows []store.EventRow, from, to place, forward bool) []store.EventRow {
	return slices.DeleteFunc(slices.Clone(rows), func(row store.EventRow) bool {
		if forward {
			return from.follows(row) || !to.follows(row)
		}
		return !from.follows(row) || to.follows(row)
	})
}

// related are an event and those that relate to it over some steps, of whatever kind these are: of those at the end of them the request
// chooses.
func (r *Rooms) related(ctx context.Context, req RelationsRequest) (all []id.EventID, depth int, err error) {
	all = []id.EventID{req.Event}
	seen := map[id.EventID]bool{req.Event: true}
	for last := all; depth < recursion-1 && len(last) > 0 && len(all) < recursionEvents; depth++ {
		found, err := r.store.RelatingIDs(ctx, req.Room, last, "", "", recursionEvents-len(all))
		if err != nil {
			return nil, 0, err
		}
		last = nil
		for _, e := range found {
			if !seen[e] {
				seen[e] = true
				last = append(last, e)
			}
		}
		all = append(all, last...)
	}
	return all, recursion, nil
}

// ThreadsRequest asks for the threads of a room.
type ThreadsRequest struct {
	User         id.UserID
	Room         id.RoomID
	Participated bool  // only those in which the user wrote, or that begin with an event of theirs
	From         Point // the zero value: the newest
	Limit        int
	Ignored      map[id.UserID]bool // whose events don't count, and are shown redacted
}

// Threads are the roots of a room's threads, those that were written to last first.
//
// spec:client-server-api#querying-threads-in-a-room
func (r *Rooms) Threads(ctx context.Context, req ThreadsRequest) (Page, error) {
	var page Page
	if _, err := r.stateFor(ctx, req.User, req.Room); err != nil {
		return page, err
	}
	s, err := r.sightOf(ctx, req.User, req.Room)
	if err != nil {
		return page, err
	}
	at, limit := store.End(), min(max(req.Limit, 1), r.limits.Page)
	if req.From != (Point{}) {
		at = req.From.place().at
	}
	for scan := r.limits.Scan; scan > 0; scan -= threadPage {
		threads, err := r.store.Threads(ctx, req.Room, at, threadPage)
		if err != nil {
			return page, err
		}
		roots, err := r.threadRoots(ctx, s, req, threads)
		if err != nil {
			return page, err
		}
		for _, thread := range threads {
			row, wanted := roots[thread.Root]
			if wanted && len(page.Events) == limit {
				page.More, page.End = true, Point{Topological: at}
				return page, nil
			}
			if wanted {
				page.Events = append(page.Events, row)
			}
			at = thread.Latest
		}
		if len(threads) < threadPage {
			return page, nil
		}
	}
	page.More, page.End = true, Point{Topological: at}
	return page, nil
}

// threadRoots are those roots that the user may see and wants to.
func (r *Rooms) threadRoots(ctx context.Context, s sight, req ThreadsRequest, threads []store.Thread) (map[id.EventID]store.EventRow, error) {
	ids := make([]id.EventID, len(threads))
	for i, thread := range threads {
		ids[i] = thread.Root
	}
	found, err := r.store.Events(ctx, ids)
	if err != nil {
		return nil, err
	}
	var rows []store.EventRow
	for _, row := range found {
		if row.RoomID == req.Room {
			rows = append(rows, row)
		}
	}
	visible, err := r.visible(ctx, s, rows)
	if err != nil {
		return nil, err
	}
	counts, err := r.store.RelationCounts(ctx, req.Room, ids)
	if err != nil {
		return nil, err
	}
	alive, wrote := map[id.EventID]bool{}, map[id.EventID]bool{}
	for _, c := range counts {
		if c.Type == store.RelationThread && !req.Ignored[c.Sender] {
			alive[c.Target] = true
			wrote[c.Target] = wrote[c.Target] || c.Sender == req.User
		}
	}
	roots := map[id.EventID]store.EventRow{}
	for _, row := range visible {
		e := row.Event
		if !alive[e.ID()] || req.Participated && !wrote[e.ID()] && e.Sender() != req.User {
			continue
		}
		if req.Ignored[e.Sender()] {
			row.Event = e.Redacted()
		}
		roots[e.ID()] = row
	}
	return roots, nil
}

// mayRelate refuses an event that relates to another as none should: M_DUPLICATE_ANNOTATION if its sender has annotated
// that so already, M_UNKNOWN if a thread were to begin with what relates to something else itself, or there is no such event in the room.
// Called in the room's turn.
//
// spec:client-server-api#avoiding-duplicate-annotations
// spec:client-server-api#validation-of-mthread-relationships
func (r *Rooms) mayRelate(ctx context.Context, req SendRequest) error {
	relation, relates := store.RelationIn(req.Content)
	if !relates {
		return nil
	}
	row, known, err := r.store.Event(ctx, relation.Target)
	if err != nil {
		return err
	}
	if !known || row.RoomID != req.Room {
		// Of an event that hasn't come here, those that have may tell.
		others, err := r.store.RelatingIDs(ctx, req.Room, []id.EventID{relation.Target}, "", "", 1)
		if err != nil || len(others) > 0 && !known {
			return err
		}
		return federation.NewError(http.StatusBadRequest, federation.CodeUnknown, fmt.Sprintf("there is no event %s in this room to relate to", relation.Target))
	}
	switch relation.Type {
	case store.RelationAnnotation:
		twice, err := r.store.Annotated(ctx, req.Room, relation.Target, req.Sender, req.Type, relation.Key)
		if err != nil || !twice {
			return err
		}
		return federation.NewError(http.StatusBadRequest, "M_DUPLICATE_ANNOTATION", "you have annotated that event so already")
	case store.RelationThread:
		if _, relates := store.RelationOf(row.Event); relates {
			return federation.NewError(http.StatusBadRequest, federation.CodeUnknown,
				fmt.Sprintf("a thread can't begin with %s, which relates to another event itself", relation.Target))
		}
	}
	return nil
}
