package store

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/id"
)

// The types of relations that the server knows. spec:client-server-api#relationship-types
const (
	RelationThread     = "m.thread"
	RelationReplace    = "m.replace"
	RelationReference  = "m.reference"
	RelationAnnotation = "m.annotation"
)

// maxRelationType bounds the type of a relation that is looked for, and an annotation's key; longer ones relate nothing.
const maxRelationType = 255

var (
	insertRelation = &insertion{
		into: "relations (target, rel_type, sender, position, room, depth, number, ts, type, key, event_id)", columns: 11, key: 0,
		conflict: "ON CONFLICT DO NOTHING",
	}
	insertThread = &insertion{
		into: "threads (room, root, depth, position)", columns: 4, key: 2,
		conflict: `ON CONFLICT (room, root) DO UPDATE SET depth = excluded.depth, position = excluded.position
			WHERE (threads.depth, threads.position) < (excluded.depth, excluded.position)`,
	}
)

// Relation is what an event says in m.relates_to.
type Relation struct {
	Target id.EventID
	Type   string
	Key    string // an annotation's
}

// RelationOf reads what an event relates to; false if it relates to nothing.
//
// spec:client-server-api#forming-relationships-between-events
func RelationOf(e *event.Event) (Relation, bool) { return RelationIn(e.Content()) }

// RelationIn is RelationOf for a content, which is canonical JSON.
func RelationIn(content []byte) (Relation, bool) {
	if !bytes.Contains(content, []byte(`"m.relates_to"`)) {
		return Relation{}, false // nearly always, and far cheaper than reading it
	}
	relates, ok := canonicaljson.Get(content, "m.relates_to")
	if !ok {
		return Relation{}, false
	}
	text := func(key string) string {
		value, _ := canonicaljson.Get(relates, key)
		text, _ := canonicaljson.String(value)
		return text
	}
	target, err := id.ParseEventID(text("event_id"))
	relation := Relation{Target: target, Type: text("rel_type")}
	if err != nil || relation.Type == "" || len(relation.Type) > maxRelationType {
		return Relation{}, false
	}
	if key := text("key"); relation.Type == RelationAnnotation && len(key) <= maxRelationType {
		relation.Key = key
	}
	return relation, true
}

// writeRelation makes an event findable by what it relates to.
func (s *Store) writeRelation(t *writeTx, ref *roomRef, e *event.Event, place tailEntry) error {
	relation, ok := RelationOf(e)
	if !ok {
		return nil
	}
	err := t.insert(insertRelation, string(relation.Target), []byte(relation.Type), string(e.Sender()), int64(place.position), ref.number,
		place.depth, int64(place.number), e.OriginServerTS(), []byte(e.Type()), []byte(relation.Key), string(e.ID()))
	if err != nil || relation.Type != RelationThread {
		return err
	}
	return t.insert(insertThread, ref.number, string(relation.Target), place.depth, int64(place.position))
}

// breakRelation takes an event that is redacted out: what it relates to is not in its redacted form.
func (s *Store) breakRelation(t *writeTx, number Position) error {
	var room int64
	var root string
	var relType []byte
	found, err := t.found("SELECT room, target, rel_type FROM relations WHERE number = $1", []any{int64(number)}, &room, &root, &relType)
	if err != nil || !found {
		return err
	}
	if _, err := t.exec("DELETE FROM relations WHERE number = $1", int64(number)); err != nil || string(relType) != RelationThread {
		return err
	}
	// The thread's latest event may be another now, or there may be no thread any more.
	if _, err := t.exec("DELETE FROM threads WHERE room = $1 AND root = $2", room, root); err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO threads (room, root, depth, position) SELECT room, target, depth, position FROM relations
		WHERE room = $1 AND target = $2 AND rel_type = $3 ORDER BY depth DESC, position DESC LIMIT 1`, room, root, relType)
	return err
}

// RelationCount is how many events of one sender relate to an event in one way.
type RelationCount struct {
	Target id.EventID
	Type   string
	Sender id.UserID
	Count  int
}

// RelationCounts counts what relates to events of a room by those types of relation that are aggregated: threads,
// replacements and references.
func (s *Store) RelationCounts(ctx context.Context, r id.RoomID, targets []id.EventID) ([]RelationCount, error) {
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return nil, err
	}
	return readList(ctx, s, `SELECT target, rel_type, sender, COUNT(*) FROM relations WHERE room = $1 AND rel_type IN ($2, $3, $4) AND target IN (%s)
		GROUP BY target, rel_type, sender`,
		[]any{ref.number, []byte(RelationThread), []byte(RelationReplace), []byte(RelationReference)}, targets,
		func(c *RelationCount) []any { return []any{&c.Target, &c.Type, &c.Sender, &c.Count} })
}

// Related are the newest events, by their own times, of one sender that relate to an event in one way.
func (s *Store) Related(ctx context.Context, r id.RoomID, target id.EventID, relType string, sender id.UserID, limit int) ([]id.EventID, error) {
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return nil, err
	}
	return readAll[id.EventID](ctx, s, `SELECT event_id FROM relations WHERE target = $1 AND rel_type = $2 AND sender = $3 AND room = $4
		ORDER BY ts DESC, event_id DESC LIMIT $5`, string(target), []byte(relType), string(sender), ref.number, limit)
}

// Annotated tells whether a user has annotated an event so already.
func (s *Store) Annotated(ctx context.Context, r id.RoomID, target id.EventID, sender id.UserID, typ, key string) (bool, error) {
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return false, err
	}
	var one int
	return s.read.found(ctx, `SELECT 1 FROM relations WHERE target = $1 AND rel_type = $2 AND sender = $3 AND room = $4 AND type = $5 AND key = $6
		LIMIT 1`, []any{string(target), []byte(RelationAnnotation), string(sender), ref.number, []byte(typ), []byte(key)}, &one)
}

// RelatedPage reads the events of a room that relate to one of the targets, in order of depth, then position: strictly
// beyond from in the direction given. relType and typ narrow it unless they are "".
func (s *Store) RelatedPage(ctx context.Context, r id.RoomID, targets []id.EventID, relType, typ string, from Topological, dir Direction, limit int) ([]EventRow, error) {
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return nil, err
	}
	bounds, order := "(relations.depth, relations.position) < ($2, $3)", "relations.depth DESC, relations.position DESC"
	if dir == Forward {
		bounds, order = "(relations.depth, relations.position) > ($2, $3)", "relations.depth ASC, relations.position ASC"
	}
	narrow, fixed := narrowRelations(relType, typ, ref.number, from.Depth, int64(from.Position))
	var events []EventRow
	err = list(`SELECT `+eventColumns+` FROM (SELECT number FROM relations WHERE room = $1 AND `+bounds+narrow+` AND target IN (%s) ORDER BY `+order,
		fixed, targets, func(query string, args []any) error {
			query += fmt.Sprintf(" LIMIT $%d) AS page JOIN events ON events.number = page.number", len(args)+1)
			rows, err := s.eventRows(ctx, query, append(args, limit)...)
			events = append(events, rows...)
			return err
		})
	slices.SortFunc(events, func(a, b EventRow) int { return dir.compare(a.Topological(), b.Topological()) })
	return events[:min(len(events), limit)], err
}

// narrowRelations are the conditions for a type of relation and of event, unless they are "", and the arguments with theirs.
func narrowRelations(relType, typ string, fixed ...any) (conditions string, args []any) {
	for _, n := range []struct{ column, value string }{{"rel_type", relType}, {"type", typ}} {
		if n.value != "" {
			fixed = append(fixed, []byte(n.value))
			conditions += fmt.Sprintf(" AND %s = $%d", n.column, len(fixed))
		}
	}
	return conditions, fixed
}

// RelatingIDs are events of a room that relate to one of the targets, at most limit. relType and typ narrow it unless they
// are "".
func (s *Store) RelatingIDs(ctx context.Context, r id.RoomID, targets []id.EventID, relType, typ string, limit int) ([]id.EventID, error) {
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return nil, err
	}
	narrow, fixed := narrowRelations(relType, typ, ref.number)
	var found []id.EventID
	err = list("SELECT event_id FROM relations WHERE room = $1"+narrow+" AND target IN (%s)", fixed, targets,
		func(query string, args []any) error {
			more, err := readAll[id.EventID](ctx, s, query+fmt.Sprintf(" LIMIT $%d", len(args)+1), append(args, limit)...)
			found = append(found, more...)
			return err
		})
	return found[:min(len(found), limit)], err
}

// LatestRelated are the newest events that relate to an event in one way, the newest in the order of the room first.
func (s *Store) LatestRelated(ctx context.Context, r id.RoomID, target id.EventID, relType string, limit int) ([]EventRow, error) {
	return s.RelatedPage(ctx, r, []id.EventID{target}, relType, "", last, Backward, limit)
}

// RelatedBy tells whether an event of a room is related to by one of the senders and in one of the ways; nil stands for all.
func (s *Store) RelatedBy(ctx context.Context, r id.RoomID, target id.EventID, senders []id.UserID, relTypes []string) (bool, error) {
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return false, err
	}
	related, err := readRows(ctx, s, "SELECT DISTINCT rel_type, sender FROM relations WHERE target = $1 AND room = $2",
		[]any{string(target), ref.number}, func(c *RelationCount) []any { return []any{&c.Type, &c.Sender} })
	return slices.ContainsFunc(related, func(c RelationCount) bool {
		return (senders == nil || slices.Contains(senders, c.Sender)) && (relTypes == nil || slices.Contains(relTypes, c.Type))
	}), err
}

// Thread is a thread's root, with the place of its latest event.
type Thread struct {
	Root   id.EventID
	Latest Topological
}

// Threads lists the threads of a room whose latest event is before a place, the latest first.
func (s *Store) Threads(ctx context.Context, r id.RoomID, before Topological, limit int) ([]Thread, error) {
	ref, err := s.rooms.find(ctx, r)
	if err != nil || ref == nil {
		return nil, err
	}
	return readRows(ctx, s, `SELECT root, depth, position FROM threads WHERE room = $1 AND (depth, position) < ($2, $3)
		ORDER BY depth DESC, position DESC LIMIT $4`, []any{ref.number, before.Depth, int64(before.Position), limit},
		func(t *Thread) []any { return []any{&t.Root, &t.Latest.Depth, &t.Latest.Position} })
}
