package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"hanse/federation"
	"hanse/federation/exactjson"
	"hanse/federation/id"
)

// catchup is a batch for a server that was moved to catch-up, until it is done: given again as it is.
type catchup struct {
	batch federation.Batch
	pdus  int // the bounds it was made for
	edus  int
	rooms []catchupRow
	kept  []Position
}

// answers says whether the batch is what these bounds ask for: those it was made for, or, as after a failure, its own
// size. So a batch that failed is tried again as it was, under the same ID.
func (c *catchup) answers(maxPDUs, maxEDUs int) bool {
	return c.pdus == maxPDUs && c.edus == maxEDUs || len(c.batch.PDUs) == maxPDUs && len(c.batch.EDUs) == maxEDUs
}

// catchupRow says that a server lacks the events of a room up to one that was to be sent to it.
type catchupRow struct {
	room     int64
	eventID  id.EventID
	position Position
}

// collapse moves the destinations that hold the older half of the log to catch-up, and deletes that half.
func (o *outbox) collapse(t *writeTx) error {
	o.mu.Lock()
	log, cursors, numbers := o.log, map[id.ServerName]Position{}, map[id.ServerName]int{}
	cut, end := log[len(log)-outboxBehind].position, log[len(log)-1].position
	newest := map[*destinations]map[int64]outboxRow{} // by room
	kept := map[*destinations][]outboxRow{}
	for _, row := range log {
		if newest[row.set] == nil {
			newest[row.set] = map[int64]outboxRow{}
		}
		if row.eventID != "" {
			newest[row.set][row.room] = row
		} else if row.keep {
			kept[row.set] = append(kept[row.set], row)
		}
		if row.position > cut {
			continue
		}
		for number, server := range o.servers.of(row.set) {
			if at := o.cursors[server]; at < row.position {
				cursors[server], numbers[server] = at, number
			}
		}
	}
	o.mu.Unlock()
	for server, cursor := range cursors {
		if err := moveToCatchup(t, server, numbers[server], cursor, newest, kept); err != nil {
			return err
		}
		if err := t.insert(insertCursor, string(server), int64(end)); err != nil {
			return err
		}
		t.then(func() { o.fellBehind(server, end) })
	}
	if _, err := t.exec("DELETE FROM outbox_log WHERE position <= $1", int64(cut)); err != nil {
		return err
	}
	t.then(func() { o.cut(cut) })
	return nil
}

func (o *outbox) fellBehind(server id.ServerName, upto Position) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lag(server)
	o.grown[server], o.cursors[server] = true, max(o.cursors[server], upto)
}

// lag notes that there is (more of) catch-up for a server. With mu held.
func (o *outbox) lag(server id.ServerName) {
	o.lags++
	o.behind[server] = o.lags
}

// caughtUp is told that there was no catch-up left for a server when it was behind as given. It is false where there has come some since.
// With mu held.
func (o *outbox) caughtUp(server id.ServerName, behind uint64) bool {
	if o.behind[server] != behind {
		return false
	}
	delete(o.behind, server)
	return true
}

// moveToCatchup writes a row for each room, and each EDU to be kept, that waits for a server beyond its cursor.
func moveToCatchup(t *writeTx, server id.ServerName, serverNumber int, cursor Position, newest map[*destinations]map[int64]outboxRow,
	kept map[*destinations][]outboxRow) error {
	last := map[int64]outboxRow{}
	var waiting []outboxRow
	for set, rooms := range newest {
		if !set.has(serverNumber) {
			continue
		}
		for number, row := range rooms {
			if row.position > max(cursor, last[number].position) {
				last[number] = row
			}
		}
		for _, row := range kept[set] {
			if row.position > cursor {
				waiting = append(waiting, row)
			}
		}
	}
	if err := keepEDUs(t, server, waiting); err != nil {
		return err
	}
	for number, row := range last {
		if err := t.insert(insertCatchup, string(server), number, string(row.eventID), int64(row.position)); err != nil {
			return err
		}
	}
	return nil
}

// keepEDUs keeps EDUs of the log for a server: of a subject the newest, in place of older ones that are kept already.
func keepEDUs(t *writeTx, server id.ServerName, rows []outboxRow) error {
	newest := map[string]Position{}
	for _, row := range rows {
		newest[row.subject] = max(newest[row.subject], row.position)
	}
	delete(newest, "")
	exec := func(query string, args []any) error {
		_, err := t.exec(query, args...)
		return err
	}
	err := list("DELETE FROM outbox_kept WHERE destination = $1 AND subject IN (%s)", []any{string(server)},
		slices.Collect(maps.Keys(newest)), exec)
	if err != nil {
		return err
	}
	var kept []Position
	for _, row := range rows {
		if row.subject == "" || newest[row.subject] == row.position {
			kept = append(kept, row.position)
		}
	}
	return listPositions(`INSERT INTO outbox_kept (destination, position, edu, subject, since)
		SELECT $1, position, edu, subject, CAST($2 AS BIGINT) FROM outbox_log WHERE position IN (%s)`, []any{string(server), time.Now().UnixMilli()}, kept, exec)
}

// nextCatchup gives a batch of catch-up; found is false when the server has none (any more).
func (s *Store) nextCatchup(ctx context.Context, server id.ServerName, maxPDUs, maxEDUs int) (batch federation.Batch, found bool, err error) {
	o := s.outbox
	o.mu.Lock()
	behind, outstanding := o.behind[server], o.outstanding[server]
	o.mu.Unlock()
	if outstanding != nil && outstanding.answers(maxPDUs, maxEDUs) {
		return outstanding.batch, true, nil
	}
	if behind == 0 && outstanding == nil {
		return federation.Batch{}, false, nil
	}
	c, err := s.makeCatchup(ctx, server, maxPDUs, maxEDUs)
	if err != nil {
		return federation.Batch{}, false, err
	}
	o.mu.Lock()
	if c != nil {
		o.outstanding[server] = c
		o.mu.Unlock()
		return c.batch, true, nil
	}
	delete(o.outstanding, server)
	one := maxPDUs == 0 || maxEDUs == 0 // there may be some of the other kind
	done := one || o.caughtUp(server, behind)
	o.mu.Unlock()
	if !done {
		return s.nextCatchup(ctx, server, maxPDUs, maxEDUs)
	}
	return federation.Batch{}, one, nil
}

// makeCatchup takes the rooms that wait longest: of each the forward extremities, since from them the server finds all
// it lacks, or, if it has left the room, the last event that was to be sent to it.
func (s *Store) makeCatchup(ctx context.Context, server id.ServerName, maxPDUs, maxEDUs int) (*catchup, error) {
	c := &catchup{pdus: maxPDUs, edus: maxEDUs}
	rows, err := readRows(ctx, s, `SELECT room, event_id, position FROM outbox_catchup WHERE destination = $1
		ORDER BY position LIMIT $2`, []any{string(server), maxPDUs}, func(row *catchupRow) []any {
		return []any{&row.room, &row.eventID, &row.position}
	})
	if err != nil {
		return nil, err
	}
	var events []id.EventID
	for _, row := range rows {
		heads, err := s.heads(ctx, server, row)
		if err != nil {
			return nil, err
		}
		if heads = heads[:min(len(heads), maxPDUs)]; len(events)+len(heads) > maxPDUs {
			break
		}
		events, c.rooms = append(events, heads...), append(c.rooms, row)
	}
	if c.batch.PDUs, err = s.pdus(ctx, events); err != nil {
		return nil, err
	}
	if c.kept, err = s.keptEDUs(ctx, server, maxEDUs); err != nil {
		return nil, err
	}
	c.batch.EDUs, err = s.edus(ctx, "SELECT position, edu FROM outbox_kept WHERE destination = $1 AND position IN (%s)",
		[]any{string(server)}, c.kept)
	if err != nil || c.batch.Empty() && len(c.rooms) == 0 {
		return nil, err
	}
	c.batch.Upto = c.mark()
	return c, nil
}

// keptEDUs are the oldest EDUs that are kept for a server, at most limit.
func (s *Store) keptEDUs(ctx context.Context, server id.ServerName, limit int) ([]Position, error) {
	read := func() ([]Position, error) {
		return readAll[Position](ctx, s, "SELECT position FROM outbox_kept WHERE destination = $1 ORDER BY position LIMIT $2",
			string(server), limit)
	}
	kept, err := read()
	if err != nil || len(kept) >= limit {
		return kept, err
	}
	if err := s.remind(ctx, server, limit-len(kept)); err != nil {
		return nil, err
	}
	return read()
}

// mark names what a batch was made from, so that a batch that is made again after a restart is the same, and goes out
// under the same ID, unless its rooms went on meanwhile. Below 0, where no position is.
func (c *catchup) mark() int64 {
	var from []byte
	for _, row := range c.rooms {
		from = binary.BigEndian.AppendUint64(from, uint64(row.room))
		from = binary.BigEndian.AppendUint64(from, uint64(row.position))
	}
	for _, position := range c.kept { // no two rows have a position in common
		from = binary.BigEndian.AppendUint64(from, uint64(position))
	}
	sum := sha256.Sum256(from)
	return -1 - int64(binary.BigEndian.Uint64(sum[:])>>1)
}

// heads are the events of a room that a server which was away gets.
func (s *Store) heads(ctx context.Context, server id.ServerName, row catchupRow) ([]id.EventID, error) {
	var forward []byte
	found, err := s.read.found(ctx, `SELECT forward FROM rooms WHERE room = $1
		AND ($2 IN (SELECT server FROM room_servers WHERE room = $1 AND joined > 0) OR $2 IN (SELECT server FROM partial_servers WHERE room = $1))`, []any{row.room, string(server)}, &forward)
	if err != nil || !found {
		return []id.EventID{row.eventID}, err
	}
	return decodeIDs[id.EventID](forward)
}

// edus reads EDUs in order of their positions.
func (s *Store) edus(ctx context.Context, format string, fixed []any, positions []Position) ([]federation.EDU, error) {
	var edus []federation.EDU
	slices.Sort(positions)
	err := listPositions(format+" ORDER BY position", fixed, positions, func(query string, args []any) error {
		return s.read.each(ctx, query, args, func(rows *sql.Rows) error {
			var position Position
			var content []byte
			if err := rows.Scan(&position, &content); err != nil {
				return err
			}
			var e federation.EDU
			if err := exactjson.Unmarshal(content, &e); err != nil {
				return fmt.Errorf("a stored EDU: %w", err)
			}
			edus = append(edus, e)
			return nil
		})
	})
	return edus, err
}

// catchupDone deletes what a batch of catch-up was made from. What came to its rooms since stays.
func (s *Store) catchupDone(ctx context.Context, server id.ServerName, batch federation.Batch) error {
	o := s.outbox
	o.mu.Lock()
	c := o.outstanding[server]
	o.mu.Unlock()
	if c == nil || c.batch.Upto != batch.Upto {
		return errors.New("store: this batch of catch-up is not under way")
	}
	return s.commit.write(ctx, func(t *writeTx) error {
		for _, row := range c.rooms {
			_, err := t.exec("DELETE FROM outbox_catchup WHERE destination = $1 AND room = $2 AND position = $3",
				string(server), row.room, int64(row.position))
			if err != nil {
				return err
			}
		}
		err := listPositions("DELETE FROM outbox_kept WHERE destination = $1 AND position IN (%s)", []any{string(server)}, c.kept,
			func(query string, args []any) error {
				_, err := t.exec(query, args...)
				return err
			})
		if err != nil {
			return err
		}
		t.then(func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			delete(o.outstanding, server)
		})
		return nil
	})
}

// load reads the log and the cursors.
func (o *outbox) load(ctx context.Context) error {
	s, started := o.store, time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	sets := map[int64]*destinations{}
	err := s.read.each(ctx, "SELECT destinations, hash, servers FROM outbox_destinations", nil, func(rows *sql.Rows) error {
		var d destinations
		var hash, servers []byte
		if err := rows.Scan(&d.number, &hash, &servers); err != nil {
			return err
		}
		copy(d.hash[:], hash)
		names, err := decodeIDs[id.ServerName](servers)
		d.servers = o.servers.set(names)
		sets[d.number], o.byHash[d.hash] = &d, &d
		return err
	})
	if err != nil {
		return err
	}
	err = s.read.each(ctx, "SELECT position, room, event_id, destinations, keep, subject FROM outbox_log ORDER BY position", nil,
		func(rows *sql.Rows) error {
			var row outboxRow
			var number int64
			if err := rows.Scan(&row.position, &row.room, &row.eventID, &number, &row.keep, &row.subject); err != nil {
				return err
			}
			row.set, row.queued = sets[number], started
			if row.set == nil {
				return fmt.Errorf("the outbox names the set of destinations %d, which is not stored", number)
			}
			o.log = append(o.log, row)
			return nil
		})
	if err != nil {
		return err
	}
	if o.cursors, err = readMap[id.ServerName, Position](ctx, s, "SELECT destination, position FROM outbox_cursors"); err != nil {
		return err
	}
	behind, err := readAll[id.ServerName](ctx, s, "SELECT destination FROM outbox_catchup UNION SELECT destination FROM outbox_kept")
	if err != nil {
		return err
	}
	for _, server := range behind {
		o.lag(server)
		o.grown[server] = true
	}
	forgotten, err := readAll[id.ServerName](ctx, s, "SELECT destination FROM outbox_forgotten")
	for _, server := range forgotten {
		o.lag(server)
		o.forgotten[server] = true
	}
	return err
}
