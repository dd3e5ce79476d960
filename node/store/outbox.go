package store

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"sync"
	"time"

	"hanse/federation"
	"hanse/federation/id"
)

// outbox is what is to be sent to other servers.
//
// It is a log, one row an event or EDU, however many servers get it, and a cursor a destination: what lies beyond the
// cursor and is for the destination waits for it. Sets of destinations are stored once and named by number. A
// destination that is further behind than the log may be long is moved to catch-up: one row a room, from which it gets
// the room's newest events; it asks for what lies between by /get_missing_events, as deployed servers do. So a dead
// server costs a row a room, and the log is short.
//
// The log is in memory too, but for the EDUs' content; the tables are what counts at the next start.
type outbox struct {
	store *Store

	mu          sync.Mutex
	log         []outboxRow                         // guarded by mu: in order of position
	servers     serverNumbers                       // guarded by mu: of the sets
	byHash      map[[sha256.Size]byte]*destinations // guarded by mu: a cache of sets that are stored
	cursors     map[id.ServerName]Position          // guarded by mu: up to where it went out
	out         Position                            // guarded by mu: up to here the log went out everywhere
	behind      map[id.ServerName]uint64            // guarded by mu: has rows of catch-up or kept EDUs; see lag
	lags        uint64                              // guarded by mu: counts the calls of lag
	outstanding map[id.ServerName]*catchup          // guarded by mu: catch-up batches not done yet
	grown       map[id.ServerName]bool              // guarded by mu: more is kept for them than when it was last looked at
	forgotten   map[id.ServerName]bool              // guarded by mu: something was dropped for them
	recent      []outboxRow                         // guarded by mu: events that left the log, for Shipments
	unsaved     map[id.ServerName]struct{}          // guarded by mu: their cursors have moved since the table was told

	news chan struct{} // capacity 1: there are cursors to be saved

	lastServers []id.ServerName // owned by the committer: the slice of the event before
	lastSet     *destinations   // owned by the committer
}

// outboxRow is a row of the log: of an event, or, if eventID is empty, of an EDU.
type outboxRow struct {
	position Position
	room     int64
	eventID  id.EventID
	set      *destinations
	keep     bool
	subject  string
	queued   time.Time // of what was there at the start: then
}

// QueuedEDU is an EDU to be delivered over restarts.
type QueuedEDU struct {
	Type         string
	Content      json.RawMessage
	Destinations []id.ServerName
	// Keep says that it must not be dropped when a destination falls behind (messages to devices), unless there are too many; see
	// forget. Others lose their meaning with time (receipts).
	Keep bool
	// Subject is what it is about, if one that is kept needn't be for a server that is far behind when there is a newer one of
	// the same subject; "" if it is of none. So what waits for a server that is gone for good doesn't grow with each change.
	Subject string
}

func newOutbox(s *Store) *outbox {
	return &outbox{
		store: s, servers: serverNumbers{numbers: map[id.ServerName]int{}}, byHash: map[[sha256.Size]byte]*destinations{},
		cursors: map[id.ServerName]Position{}, behind: map[id.ServerName]uint64{}, outstanding: map[id.ServerName]*catchup{},
		grown: map[id.ServerName]bool{}, forgotten: map[id.ServerName]bool{},
		unsaved: map[id.ServerName]struct{}{}, news: make(chan struct{}, 1),
	}
}

func (o *outbox) addEDUs(t *writeTx, edus []QueuedEDU) error {
	for _, e := range edus {
		content, err := json.Marshal(federation.EDU{Type: e.Type, Content: e.Content})
		if err != nil {
			return fmt.Errorf("store: an EDU to be sent: %w", err)
		}
		if err := o.addRow(t, outboxRow{keep: e.Keep, subject: e.Subject}, content, e.Destinations); err != nil {
			return err
		}
	}
	return nil
}

// add puts an event into the log.
func (o *outbox) add(t *writeTx, row outboxRow, servers []id.ServerName) error {
	return o.addRow(t, row, nil, servers)
}

func (o *outbox) addRow(t *writeTx, row outboxRow, edu []byte, servers []id.ServerName) error {
	if len(servers) == 0 {
		return nil
	}
	var err error
	if row.set, err = o.setOf(t, servers); err != nil {
		return err
	}
	row.position = t.next()
	err = t.insert(insertOutbox, int64(row.position), row.room, string(row.eventID), row.set.number, edu, flag(row.keep), row.subject)
	if err != nil {
		return err
	}
	t.then(func() { o.appended(row) })
	if o.length() > outboxLog && !t.collapsed {
		t.collapsed = true
		return o.collapse(t)
	}
	return nil
}

func (o *outbox) length() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.log)
}

func (o *outbox) appended(row outboxRow) {
	o.mu.Lock()
	defer o.mu.Unlock()
	row.queued = time.Now()
	o.log = append(o.log, row)
	o.byHash[row.set.hash] = row.set
}

// setOf finds or stores a set of destinations.
func (o *outbox) setOf(t *writeTx, servers []id.ServerName) (*destinations, error) {
	if sameSlice(servers, o.lastServers) {
		return o.lastSet, nil
	}
	sorted := slices.Clone(servers)
	slices.Sort(sorted)
	sorted = slices.Compact(sorted)
	encoded := encodeIDs(sorted)
	hash := sha256.Sum256(encoded)
	o.mu.Lock()
	set := o.byHash[hash]
	stored := set != nil
	if !stored {
		set = &destinations{hash: hash, servers: o.servers.set(sorted)}
	}
	o.mu.Unlock()
	if !stored {
		found, err := t.found("SELECT destinations FROM outbox_destinations WHERE hash = $1", []any{hash[:]}, &set.number)
		if err != nil {
			return nil, err
		}
		if !found {
			set.number = int64(t.next())
			if err := t.insert(insertDestinations, set.number, hash[:], encoded); err != nil {
				return nil, err
			}
		}
	}
	t.then(func() { o.lastServers, o.lastSet = servers, set })
	return set, nil
}

// Destinations lists the servers for which something waits.
func (s *Store) Destinations(context.Context) ([]id.ServerName, error) {
	return s.outbox.waitedFor(), nil
}

// waitedFor are the servers for which something waits, in order.
func (o *outbox) waitedFor() []id.ServerName {
	o.mu.Lock()
	defer o.mu.Unlock()
	newest := map[*destinations]Position{}
	for _, row := range o.log {
		newest[row.set] = row.position
	}
	all := slices.Collect(maps.Keys(o.behind))
	waiting := make([]bool, len(o.servers.names))
	for set, position := range newest {
		for number, server := range o.servers.of(set) {
			if !waiting[number] && o.cursors[server] < position {
				waiting[number] = true
				all = append(all, server)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Next gives the oldest of what waits for a server; see sender.Outbox.
func (s *Store) Next(ctx context.Context, server id.ServerName, maxPDUs, maxEDUs int) (federation.Batch, error) {
	batch, found, err := s.nextCatchup(ctx, server, maxPDUs, maxEDUs)
	if err != nil || found {
		return batch, err
	}
	var events []id.EventID
	var edus []Position
	for _, row := range s.outbox.waiting(server, maxPDUs, maxEDUs) {
		if row.eventID != "" {
			events = append(events, row.eventID)
		} else {
			edus = append(edus, row.position)
		}
		batch.Upto = int64(row.position)
	}
	if batch.PDUs, err = s.pdus(ctx, events); err != nil {
		return federation.Batch{}, err
	}
	batch.EDUs, err = s.edus(ctx, "SELECT position, edu FROM outbox_log WHERE position IN (%s)", nil, edus)
	return batch, err
}

// waiting are the oldest rows of the log that are for a server and did not go out.
func (o *outbox) waiting(server id.ServerName, maxPDUs, maxEDUs int) []outboxRow {
	o.mu.Lock()
	defer o.mu.Unlock()
	cursor := o.cursors[server]
	number, known := o.servers.numbers[server]
	if !known {
		return nil
	}
	start := sort.Search(len(o.log), func(i int) bool { return o.log[i].position > cursor })
	var rows []outboxRow
	var set *destinations // of the row before, most often that of the next one
	for has := false; start < len(o.log); start++ {
		row := o.log[start]
		if row.set != set {
			set, has = row.set, row.set.has(number)
		}
		if !has {
			continue
		}
		left := &maxPDUs
		if row.eventID == "" {
			left = &maxEDUs
		}
		if *left == 0 {
			break
		}
		*left--
		rows = append(rows, row)
	}
	return rows
}

// pdus are events as they are sent, in the order given.
func (s *Store) pdus(ctx context.Context, ids []id.EventID) ([]json.RawMessage, error) {
	rows, err := s.stored(ctx, ids)
	if err != nil {
		return nil, err
	}
	var pdus []json.RawMessage
	for _, e := range ids {
		row := rows[e]
		if row == nil {
			return nil, fmt.Errorf("store: the event %s is to be sent, but not stored", e)
		}
		pdus = append(pdus, row.served().JSON())
	}
	return pdus, nil
}

// Done notes that a batch went out; durably if there are EDUs in it, or catch-up. Events alone may be sent once more after a kill, since
// every server knows again what it has.
func (s *Store) Done(ctx context.Context, server id.ServerName, batch federation.Batch) error {
	if batch.Upto < 0 {
		return s.catchupDone(ctx, server, batch)
	}
	o := s.outbox
	if len(batch.EDUs) == 0 {
		o.went(server, Position(batch.Upto))
		return nil
	}
	return s.commit.write(ctx, func(t *writeTx) error {
		upto := max(Position(batch.Upto), o.cursor(server))
		if err := t.insert(insertCursor, string(server), int64(upto)); err != nil {
			return err
		}
		t.then(func() { o.moved(server, upto) })
		return o.trim(t, outboxTrim)
	})
}

func (o *outbox) cursor(server id.ServerName) Position {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.cursors[server]
}

func (o *outbox) moved(server id.ServerName, upto Position) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.cursors[server] = max(o.cursors[server], upto)
}

// outboxTrim is how many rows must be done before they are deleted, so that most batches needn't.
const outboxTrim = 256

// trim deletes the rows at the log's beginning that went out everywhere, if they are at least so many.
func (o *outbox) trim(t *writeTx, least int) error {
	o.mu.Lock()
	count := sort.Search(len(o.log), func(i int) bool { return o.log[i].position > o.out })
	lowest := map[*destinations]Position{}
	for _, row := range o.log[count:] {
		upto, known := lowest[row.set]
		if !known {
			upto = o.lowest(row.set)
			lowest[row.set] = upto
		}
		if row.position > upto {
			break
		}
		count++
		o.out = row.position
	}
	if count < max(least, 1) {
		o.mu.Unlock()
		return nil
	}
	upto := o.log[count-1].position
	o.mu.Unlock()
	if _, err := t.exec("DELETE FROM outbox_log WHERE position <= $1", int64(upto)); err != nil {
		return err
	}
	t.then(func() { o.cut(upto) })
	return nil
}

// lowest is the lowest cursor of a set; mu is held.
func (o *outbox) lowest(set *destinations) Position {
	upto := Position(1 << 62)
	for _, server := range o.servers.of(set) {
		upto = min(upto, o.cursors[server])
	}
	return upto
}

// cut drops the rows up to a position.
func (o *outbox) cut(upto Position) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := sort.Search(len(o.log), func(i int) bool { return o.log[i].position > upto })
	o.remember(o.log[:n])
	o.log = slices.Clone(o.log[n:])
	if len(o.byHash) > destinationSets {
		clear(o.byHash)
	}
}

// forgetSets deletes the sets that no row of the log has. With NOT EXISTS SQLite would go through the log for each.
const forgetSets = "DELETE FROM outbox_destinations WHERE destinations NOT IN (SELECT destinations FROM outbox_log)"

// tidy deletes rows that went out everywhere, sets that no row has, and cursors that say nothing any more.
func (o *outbox) tidy(t *writeTx) error {
	if err := o.trim(t, 1); err != nil {
		return err
	}
	_, err := t.exec(forgetSets)
	if err != nil {
		return err
	}
	_, err = t.exec("DELETE FROM outbox_cursors WHERE position < (SELECT COALESCE(MIN(position), 0) FROM outbox_log)")
	if err != nil {
		return err
	}
	// No set from memory may be used that is deleted, even one whose rows are in the log until they are cut: from here on the
	// table is asked. What came earlier in this transaction is in the log's table, so that its sets are not deleted.
	o.lastServers, o.lastSet = nil, nil
	o.mu.Lock()
	clear(o.byHash)
	o.mu.Unlock()
	t.then(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		for server, position := range o.cursors {
			if len(o.log) > 0 && position < o.log[0].position {
				delete(o.cursors, server)
			}
		}
	})
	return nil
}
