package slidingsync

import (
	"container/list"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"hanse/federation/id"
	"hanse/node/clientsync"
	"hanse/node/ephemeral"
	"hanse/node/store"
	"hanse/node/stream"
)

// ErrUnknownPos says that a request follows on an answer that isn't known (any more): the client is to begin anew.
var ErrUnknownPos = errors.New("slidingsync: unknown pos")

// connectionKey names a connection.
type connectionKey struct {
	user   id.UserID
	device string
	name   string
}

// connection is what a client has been told by one chain of requests. It knows two places of it: the one of the last request, and
// the answer to that, of which it is not known yet whether it arrived. A request that follows on either is answered, so a client
// whose answer was lost asks again.
type connection struct {
	key   connectionKey
	name  string        // by which its answers are told from those of others, and of other runs of the server
	place *list.Element // guarded by the table's mu
	used  time.Time     // likewise
	kept  int           // likewise: of how many rooms something is kept

	replaced chan struct{} // closed when the client has begun anew in place of it

	mu      sync.Mutex
	serial  int64 // guarded by mu: of the newest answer
	told    *told // guarded by mu
	at      int64 // guarded by mu: the serial that told is at
	pending *news // guarded by mu: what the newest answer said beyond told; nil: nothing
	newest  *turn // guarded by mu: the newest request
}

// told is what a client knows.
type told struct {
	stream   stream.Token
	rooms    map[id.RoomID]toldRoom
	data     map[id.RoomID]struct{}         // rooms whose account data was told, and is as it was
	receipts map[id.RoomID]store.Position   // up to where receipts were told
	members  int                            // how many members rooms have
	wishes   map[string]*Required           // those that rooms have, by name: each is kept once, however many requests had it
	bytes    int                            // of the names of wishes
	leaving  map[id.RoomID]struct{}         // rooms that were left, which it wasn't told yet
	typing   map[id.RoomID]ephemeral.Serial // rooms where it believes that somebody types, and since which change
}

func newTold(at stream.Token) *told {
	return &told{
		stream: at, rooms: map[id.RoomID]toldRoom{}, data: map[id.RoomID]struct{}{},
		receipts: map[id.RoomID]store.Position{}, leaving: map[id.RoomID]struct{}{}, wishes: map[string]*Required{},
		typing: map[id.RoomID]ephemeral.Serial{},
	}
}

// size is how much is kept, as a number of rooms.
func (t *told) size() int {
	return max(len(t.rooms), len(t.data), len(t.receipts)) + t.members/membersPerRoom + t.bytes/wishBytesPerRoom
}

// kept is a union made of the wishes that are kept.
func (t *told) kept(u union) union {
	same := u
	for i, r := range u {
		known, there := t.wishes[r.name]
		if !there {
			t.wishes[r.name], known = r, r
			t.bytes += len(r.name)
		}
		if known != r {
			if &same[0] == &u[0] {
				same = slices.Clone(u)
			}
			same[i] = known
		}
	}
	return same
}

// toldRoom is what a client knows of a room.
type toldRoom struct {
	upto       store.Position // what happened up to there
	membership string         // the user's
	timeline   int            // as many of the newest events it has, if there are so many
	required   union          // state that it has, up to upto
	bump       store.Position
	unread     clientsync.Unread
	direct     bool
	members    map[id.UserID]id.EventID // those that were loaded lazily
}

// news is what an answer adds to told.
type news struct {
	stream   stream.Token
	rooms    map[id.RoomID]roomNews
	data     map[id.RoomID]bool // false: it has changed, and wasn't told
	receipts map[id.RoomID]store.Position
	leaving  map[id.RoomID]bool             // false: it was told
	typing   map[id.RoomID]ephemeral.Serial // 0: nobody types any more
}

// roomNews is what a client knows of a room from an answer on; members are those added by it, all of them if it is the first.
type roomNews struct {
	toldRoom
	first bool
}

func newNews(at stream.Token) *news {
	return &news{
		stream: at, rooms: map[id.RoomID]roomNews{}, data: map[id.RoomID]bool{},
		receipts: map[id.RoomID]store.Position{}, leaving: map[id.RoomID]bool{}, typing: map[id.RoomID]ephemeral.Serial{},
	}
}

// take adds what an answer said, which has arrived.
func (t *told) take(n *news) {
	t.stream = n.stream
	for room, r := range n.rooms {
		members := t.rooms[room].members
		t.members -= len(members)
		if r.first || members == nil {
			members = r.members
		} else {
			maps.Copy(members, r.members)
		}
		t.members += len(members)
		r.members, r.required = members, t.kept(r.required)
		t.rooms[room] = r.toldRoom
	}
	if t.members > maxMembersKept {
		t.members = 0
		for room, r := range t.rooms {
			r.members = nil
			t.rooms[room] = r
		}
	}
	for room, whole := range n.data {
		if delete(t.data, room); whole {
			t.data[room] = struct{}{}
		}
	}
	maps.Copy(t.receipts, n.receipts)
	for room, left := range n.leaving {
		if delete(t.leaving, room); left {
			t.leaving[room] = struct{}{}
		}
	}
	for room, serial := range n.typing {
		if delete(t.typing, room); serial > 0 {
			t.typing[room] = serial
		}
	}
}

// begin finds what a request follows on; the caller holds mu.
func (c *connection) begin(serial int64) error {
	switch {
	case serial == c.at:
		c.pending = nil // the answer was lost, or thrown away
	case c.pending != nil && serial == c.serial:
		c.told.take(c.pending)
		c.at, c.pending = serial, nil
	default:
		return ErrUnknownPos
	}
	return nil
}

// answered notes what the answer says, and gives it its pos; the caller holds mu.
func (c *connection) answered(n *news) (pos string) {
	c.serial++
	c.pending = n
	return c.name + "_" + strconv.FormatInt(c.serial, 10)
}

// connections are those that are known, the one used last first. Safe for concurrent use.
type connections struct {
	mu    sync.Mutex
	known map[connectionKey]*connection          // guarded by mu
	used  *list.List                             // guarded by mu
	each  map[deviceKey]map[*connection]struct{} // guarded by mu: those of a device
	kept  int                                    // guarded by mu: of how many rooms something is kept
}

type deviceKey struct {
	user   id.UserID
	device string
}

func newConnections() *connections {
	return &connections{known: map[connectionKey]*connection{}, used: list.New(), each: map[deviceKey]map[*connection]struct{}{}}
}

func (k connectionKey) of() deviceKey { return deviceKey{k.user, k.device} }

// begin makes a new connection in place of the one of that name, whose waiting ends.
func (c *connections) begin(key connectionKey, at stream.Token) *connection {
	fresh := &connection{key: key, name: rand.Text()[:10], told: newTold(at), replaced: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.known[key]; old != nil {
		c.drop(old)
		close(old.replaced)
	}
	for len(c.each[key.of()]) >= maxConnectionsEach {
		c.dropOf(key.of())
	}
	fresh.place, fresh.used = c.used.PushFront(fresh), time.Now()
	c.known[key] = fresh
	if c.each[key.of()] == nil {
		c.each[key.of()] = map[*connection]struct{}{}
	}
	c.each[key.of()][fresh] = struct{}{}
	c.tidy()
	return fresh
}

// find gives the connection that made a pos; nil: it is not known. serial says which answer it was.
func (c *connections) find(key connectionKey, pos string) (found *connection, serial int64) {
	name, number, _ := strings.Cut(pos, "_")
	serial, err := strconv.ParseInt(number, 10, 64)
	c.mu.Lock()
	defer c.mu.Unlock()
	found = c.known[key]
	if err != nil || found == nil || found.name != name || time.Since(found.used) > idle {
		return nil, 0
	}
	found.used = time.Now()
	c.used.MoveToFront(found.place)
	return found, serial
}

// keeps notes of how many rooms a connection keeps something; it may be forgotten over that.
func (c *connections) keeps(it *connection, rooms int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known[it.key] == it {
		c.kept += rooms - it.kept
		it.kept = rooms
		c.tidy()
	}
}

// forget forgets one, if it is known.
func (c *connections) forget(it *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known[it.key] == it {
		c.drop(it)
	}
}

// tidy forgets the connections used least recently that are too many, or idle; the caller holds mu.
func (c *connections) tidy() {
	for last := c.used.Back(); last != nil; last = c.used.Back() {
		oldest := last.Value.(*connection)
		if len(c.known) <= maxConnections && c.kept <= maxRoomsKept && time.Since(oldest.used) <= idle {
			return
		}
		c.drop(oldest)
	}
}

// dropOf forgets the one of a device that was used least recently; the caller holds mu.
func (c *connections) dropOf(device deviceKey) {
	var oldest *connection
	for it := range c.each[device] {
		if oldest == nil || it.used.Before(oldest.used) {
			oldest = it
		}
	}
	c.drop(oldest)
}

// drop forgets one; the caller holds mu.
func (c *connections) drop(it *connection) {
	delete(c.known, it.key)
	c.used.Remove(it.place)
	c.kept -= it.kept
	device := it.key.of()
	if delete(c.each[device], it); len(c.each[device]) == 0 {
		delete(c.each, device)
	}
}
