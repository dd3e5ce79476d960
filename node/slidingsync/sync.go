// Package slidingsync says what is new for a user in the rooms that a client looks at: the content of the answers of Simplified Sliding
// Sync, which Element X and other clients made with matrix-rust-sdk speak in place of /sync.
//
// It follows MSC4186 as it is served under its unstable name, and the extensions for messages to devices (MSC3885), encryption
// (MSC3884), account data (MSC3959), receipts (MSC3960) and typing (MSC3961). The requests have the form that deployed clients send and
// Synapse takes: pos, timeout and set_presence in the query, `ranges`, `required_state` in pairs; of what MSC4186 has changed since,
// `range`, `is_invited`, the `membership` of a room, a `name` and `avatar` of null where they were taken away, and `is_dm` when it
// changes are there too; not the new form of `required_state`, nor stubs for state that is there no more, which deployed clients would take
// for events. What the user may see, and when, is as in /sync: it is read by
// node/clientsync.
//
// Where the proposal and Synapse differ, or leave it open:
//
//   - The order of a list is that of rooms' newest commits. `bump_stamp` has the proposal's types of events.
//   - What a list or subscription wants beyond before, of state and of the timeline, is told at once, as the proposal has it and Synapse
//     does since 2026. A list that wants less, then again as much, gets no state twice that hasn't changed.
//   - ["*","*"] with other elements narrows, as in MSC3575; Synapse gives all state then. See [Required].
//   - `notification_count` and `highlight_count` are right, threads among them; Synapse always says 0. Who reads a room on one device
//     is told so on the others.
//   - `room_name_like` and `spaces` work; Synapse refuses them.
//   - Heroes are told again when members have changed, as they may have other names. That nobody types any more is told where it was told
//     that somebody does.
//   - An invite is shown, and chosen by filters, by what it told, not by what has changed in the room since.
//   - Who was invited or removed and was never in the room gets no state of it but their own membership.
//   - A room that was left is told of once on each connection that showed it.
//   - A pos that isn't known, or isn't one, is M_UNKNOWN_POS: connections are kept in memory, so all begin anew after a restart. A
//     connection without lists and subscriptions, as clients have one for encryption, needs no memory: its pos stays good.
//   - An answer has a bounded number of rooms; those left out come with the next.
package slidingsync

import (
	"context"
	"runtime"
	"strings"
	"time"

	"hanse/federation/id"
	"hanse/node/clientsync"
	"hanse/node/ephemeral"
	"hanse/node/store"
	"hanse/node/stream"
)

// Syncer builds answers. Safe for concurrent use.
type Syncer struct {
	server      id.ServerName
	store       *store.Store
	stream      *stream.Stream
	ephemeral   *ephemeral.Ephemeral
	rooms       *clientsync.Syncer
	connections *connections
	users       *clientsync.Cache[id.UserID, *userRooms]
	traits      *clientsync.Cache[id.RoomID, traitEvents]
	spaces      *clientsync.Cache[id.RoomID, space]
	// large holds a value for each answer in the making that has many rooms from the start: few are made at a time, so that those who
	// wait for a word in a room they know get it soon.
	large chan struct{}
}

// New makes a Syncer for the server of that name.
func New(server id.ServerName, s *store.Store, places *stream.Stream, e *ephemeral.Ephemeral, rooms *clientsync.Syncer) *Syncer {
	return &Syncer{
		server: server, store: s, stream: places, ephemeral: e, rooms: rooms, connections: newConnections(),
		users:  clientsync.NewCache[id.UserID, *userRooms](maxUsers),
		traits: clientsync.NewCache[id.RoomID, traitEvents](maxRooms), spaces: clientsync.NewCache[id.RoomID, space](maxSpaces),
		large: make(chan struct{}, max(4, 2*runtime.GOMAXPROCS(0))),
	}
}

// Sync answers as soon as there is something new, or at the timeout with an answer that has nothing but the lists. The error is
// ErrUnknownPos, clientsync.ErrLoggedOut, ctx's, or our own trouble.
func (s *Syncer) Sync(ctx context.Context, r *Request) (*Answer, error) {
	watch := s.stream.Watch(r.User)
	defer watch.Close()
	t, err := s.turn(ctx, r)
	if err != nil {
		return nil, err
	}
	defer t.cancel()
	if r.extensions.encryption {
		if err := s.store.ForgetClaimed(ctx, r.User, r.Device, t.since.Position); err != nil {
			return nil, err
		}
	}
	timeout := time.NewTimer(r.Timeout)
	defer timeout.Stop()
	for now := s.stream.Now(); ; now = s.stream.Now() {
		if err := s.rooms.LoggedIn(ctx, r.User, r.Device); err != nil {
			return nil, err
		}
		answer, joined, err := t.attempt(ctx, now)
		if answer != nil || err != nil {
			return answer, err
		}
		if watch.Rooms(joined) && s.stream.Now() != now {
			continue // something came before the rooms were being watched
		}
		select {
		case <-watch.C:
		case <-timeout.C:
			t.last = true
		case <-t.ended.Done():
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return t.superseded(), nil
		case <-t.replaced:
			return t.superseded(), nil
		}
	}
}

// turn is one request on its connection.
type turn struct {
	*Syncer
	request    *Request
	connection *connection // nil: there is none to be kept
	serial     int64       // what the request follows on
	since      stream.Token
	begins     bool // it follows on nothing
	last       bool // the answer is given even if there is nothing new

	ended    context.Context // the client has gone, or has asked anew
	cancel   context.CancelFunc
	replaced <-chan struct{} // closed when it has begun anew
}

// turn finds the connection of a request, and ends the waiting of the one before it.
func (s *Syncer) turn(ctx context.Context, r *Request) (*turn, error) {
	t := &turn{Syncer: s, request: r, begins: r.Pos == ""}
	key := connectionKey{r.User, r.Device, r.connection}
	kept := len(r.lists)+len(r.subscriptions) > 0
	now := s.stream.Now()
	switch {
	case t.begins:
		t.since = stream.Token{}
	case strings.HasPrefix(r.Pos, tokenPrefix):
		at, err := stream.ParseToken(r.Pos)
		if err != nil {
			return nil, ErrUnknownPos
		}
		t.since = earliest(at, now)
	default:
		if t.connection, t.serial = s.connections.find(key, r.Pos); t.connection == nil {
			return nil, ErrUnknownPos
		}
	}
	if t.connection == nil && kept {
		t.connection = s.connections.begin(key, t.since)
	}
	t.last = t.begins || r.Timeout <= 0
	t.ended, t.cancel = context.WithCancel(ctx)
	if t.connection == nil {
		return t, nil
	}
	t.replaced = t.connection.replaced
	t.connection.mu.Lock()
	defer t.connection.mu.Unlock()
	if err := t.connection.begin(t.serial); err != nil {
		t.cancel()
		return nil, err
	}
	if before := t.connection.newest; before != nil {
		before.cancel()
	}
	t.connection.newest = t
	t.since = earliest(t.connection.told.stream, now)
	return t, nil
}

// tokenPrefix begins a pos of a connection of which nothing is kept: it is a token of /sync.
const tokenPrefix = "s"

// earliest is a token that isn't of the future, as one from before the database was put back would be.
func earliest(t, now stream.Token) stream.Token {
	return stream.Token{Position: min(t.Position, now.Position), Typing: min(t.Typing, now.Typing), ToDevice: min(t.ToDevice, now.ToDevice)}
}

// superseded is the answer to a request whose client has asked again on the same connection: it says nothing, so that the client
// loses nothing if it takes it.
func (t *turn) superseded() *Answer {
	return &Answer{Pos: t.request.Pos, Lists: map[string]List{}, Rooms: map[id.RoomID]*Room{}}
}

// attempt answers if there is something new, or the turn is to end.
func (t *turn) attempt(ctx context.Context, now stream.Token) (*Answer, []id.RoomID, error) {
	told := newTold(t.since)
	if c := t.connection; c != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.newest != t {
			return t.superseded(), nil, nil
		}
		told = c.told
	}
	reader, err := t.rooms.Reader(ctx, t.request.User, t.request.Device, now)
	if err != nil {
		return nil, nil, err
	}
	b := &builder{
		Syncer: t.Syncer, request: t.request, reader: reader, told: told, news: newNews(now), now: now, since: t.since, begins: t.begins,
		answer: &Answer{Lists: map[string]List{}, Rooms: map[id.RoomID]*Room{}},
	}
	if err := b.build(ctx); err != nil {
		return nil, nil, err
	}
	if !b.newsworthy && !t.last {
		// There was nothing to tell of what was looked at; it needn't be looked at again.
		b.news.stream = told.stream
		told.take(b.news)
		return nil, reader.Joined(), nil
	}
	if t.connection == nil {
		b.answer.Pos = now.String()
		return b.answer, nil, nil
	}
	b.answer.Pos = t.connection.answered(b.news)
	if told.bytes > maxWishBytes {
		t.connections.forget(t.connection)
	} else {
		t.connections.keeps(t.connection, told.size()+len(b.news.rooms))
	}
	return b.answer, nil, nil
}
