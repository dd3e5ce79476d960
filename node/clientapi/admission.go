package clientapi

import (
	"context"
	"io"
	"math"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hanse/federation/places"
)

// lane bounds how many requests of a kind are worked on at once. Others wait for their turn in the order in which they
// came, for a bounded time, and are then told to come again: what is taken on stays quick, whatever is asked for.
// Safe for concurrent use.
type lane struct {
	slots   chan struct{} // holds a value for each request being worked on
	most    int64         // requests that may wait
	waiting atomic.Int64
	each    *places.Places[string] // bounds the slots of one user or address; nil: nothing does

	patient, floods int // how many of one may be there that the next waits long, and at all
}

func newLane(slots, most int) *lane {
	return &lane{slots: make(chan struct{}, slots), most: int64(most)}
}

// sharedLane is a lane of which one user or address has so many slots at most.
func sharedLane(slots, most, each int) *lane {
	l := newLane(slots, most)
	l.each = places.New[string](each, math.MaxInt32) // how many there are together is for slots and most
	l.patient, l.floods = each+patientEach, each+patientEach+most
	return l
}

// enterFor waits until fewer requests of the same one are worked on than may be: who asks too much at once waits for themselves, and keeps
// nobody else out. leave must follow unless there is an error.
func (l *lane) enterFor(ctx context.Context, who string) (leave func(), err error) {
	if l.each == nil || who == "" {
		return func() {}, nil
	}
	if leave, ok := l.each.Try(who); ok {
		return leave, nil
	}
	patience := ownPatience
	switch there := l.each.Of(who); {
	case there >= l.floods:
		return nil, &limitedError{after: busyRetry}
	case there >= l.patient:
		patience = maxQueueWait
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	leave, err = l.each.Take(ctx, who)
	if err != nil {
		return nil, &limitedError{after: busyRetry}
	}
	return leave, nil
}

// full tells whether nobody more may wait.
func (l *lane) full() bool { return len(l.slots) == cap(l.slots) && l.waiting.Load() >= l.most }

// enter waits for a slot; leave must follow unless there is an error.
func (l *lane) enter(ctx context.Context) error {
	select {
	case l.slots <- struct{}{}:
		return nil
	default:
	}
	defer l.waiting.Add(-1)
	if l.waiting.Add(1) > l.most {
		return &limitedError{after: busyRetry}
	}
	patience := time.NewTimer(maxQueueWait)
	defer patience.Stop()
	select {
	case l.slots <- struct{}{}:
		return nil
	case <-patience.C:
		return &limitedError{after: busyRetry}
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *lane) leave() { <-l.slots }

// turn is a request's slot in a lane, and its part of what one user or address may have there. Not safe for concurrent use.
type turn struct {
	lane     *lane // nil: it was left
	who      string
	leaveOwn func()
}

// take waits for a turn as enterFor and enter do; leave must follow unless there is an error.
func (l *lane) take(ctx context.Context, who string) (*turn, error) {
	leaveOwn, err := l.enterFor(ctx, who)
	if err != nil {
		return nil, err
	}
	if err := l.enter(ctx); err != nil {
		leaveOwn()
		return nil, err
	}
	return &turn{l, who, leaveOwn}, nil
}

// leave lets others have it, unless they do already.
func (t *turn) leave() {
	if t.lane != nil {
		t.lane.leave()
		t.leaveOwn()
		t.lane = nil
	}
}

// lend lets others have it, and then those of the same user or address too, until takeBack is called, which waits for it.
func (t *turn) lend() (takeBack func()) {
	l := t.lane
	t.leave()
	return func() {
		if l.each != nil && t.who != "" {
			t.leaveOwn, _ = l.each.Take(context.Background(), t.who) // whose error is the context's
		}
		l.slots <- struct{}{}
		t.lane = l
	}
}

// lanes are the kinds of work. None can take what another needs.
type lanes struct {
	sends    *lane // waits for the room and the disk most of its time
	large    *lane // answers made of whole rooms: memory and processors
	ordinary *lane
	asking   *lane // may wait for other servers, for seconds
	logins   *lane // they wait for passwords to be hashed
	remote   *lane // may wait for other servers, for minutes
	waiting  *lane // /sync and the like, for news: a connection and little more
	uploads  *lane // files on their way in: a connection, and the disk
	files    *lane // files on their way out: they may wait for other servers
	previews *lane // those files that are made of web pages; they have places in files, too

	unread *places.Unread[string] // answers whose places others have, by whose they are and what they hold, in bytes
}

func newLanes() lanes {
	large := max(4, 2*runtime.GOMAXPROCS(0))
	return lanes{
		sends: sharedLane(maxSends, maxQueue, maxSends/2), large: sharedLane(large, maxQueue, large/2),
		ordinary: sharedLane(maxOrdinary, maxQueue, maxOrdinary/4), asking: sharedLane(maxAsking, maxQueue, maxAskingEach),
		logins: newLane(maxLogins, 0),
		remote: sharedLane(maxRemote, 0, maxRemoteEach), waiting: sharedLane(maxSyncs, 0, maxSyncsEach),
		uploads: newLane(maxUploads, maxUploads), files: newLane(maxFiles, maxFiles), previews: sharedLane(maxFiles, 0, maxPreviewsEach),
		unread: places.NewUnread[string](maxUnread),
	}
}

// writer is the writer of the answer to a request that has a turn, which holds so many bytes of memory.
func (a *API) writer(w http.ResponseWriter, r *request, t *turn, held int64) *places.Writer {
	return a.lanes.unread.Writer(w, reading, a.who(r), min(held, maxUnread/8), t.lend)
}

// lane is the one of a request.
func (a *API) lane(r *request, route route) *lane {
	switch {
	case route.class == logsIn, route.class == registers:
		return a.lanes.logins
	case len(r.read) > largeBody:
		return a.lanes.large
	case route.class == sendsEvent:
		return a.lanes.sends
	case route.class == joins:
		return a.lanes.remote
	case route.class == uploads:
		return a.lanes.uploads
	case route.class == downloads:
		return a.lanes.files
	case route.path == "/sync":
		query := r.URL.Query()
		timeout := query.Get("timeout")
		whole, _ := r.queryBool("full_state") // what is neither is refused in any lane
		switch {
		case query.Get("since") == "" || whole:
			return a.lanes.large
		case timeout != "" && timeout != "0":
			return a.lanes.waiting
		}
	case route.path == slidingSyncPath:
		query := r.URL.Query()
		timeout := query.Get("timeout")
		switch {
		case query.Get("pos") == "":
			return a.lanes.large
		case timeout != "" && timeout != "0":
			return a.lanes.waiting
		}
	case route.path == "/events":
		if r.URL.Query().Get("timeout") != "0" { // it waits also where the client doesn't say for how long
			return a.lanes.waiting
		}
	case strings.HasSuffix(route.path, "/members"), strings.HasSuffix(route.path, "/joined_members"), route.path == "/rooms/{roomId}/state",
		strings.HasSuffix(route.path, "/initialSync"), route.path == "/search":
		return a.lanes.large
	case asksOthers(route.path):
		return a.lanes.asking
	}
	return a.lanes.ordinary
}

// asksOthers tells whether what is asked may have this server ask others: it then takes as long as they like.
func asksOthers(path string) bool {
	switch path {
	case "/keys/query", "/keys/claim", "/profile/{userId}", "/profile/{userId}/{keyName}", "/directory/room/{roomAlias}", "/publicRooms",
		"/rooms/{roomId}/messages", "/rooms/{roomId}/context/{eventId}", "/rooms/{roomId}/timestamp_to_event", "/rooms/{roomId}/leave",
		"/rooms/{roomId}/hierarchy", "/appservice/{appserviceId}/ping":
		return true
	}
	return strings.Contains(path, "/{roomIdOrAlias}") || strings.HasPrefix(path, "/thirdparty/")
}

// sharer is who shares a lane's slots with others; "" is nobody in particular: an application service without limits.
func (a *API) sharer(r *request) string {
	if r.service != nil && !r.service.Limited(r.user) {
		return ""
	}
	return a.who(r)
}

// readAhead reads the body before the request takes a place in its lane: clients that send slowly keep nobody out. The
// bytes of all bodies are bounded together, and those of each user or address; release gives them back.
func (a *API) readAhead(r *request) (release func(), err error) {
	if r.ContentLength == 0 {
		return func() {}, nil
	}
	counted := &countedBody{ReadCloser: r.Request.Body, bodies: a.bodies, who: a.who(r)}
	r.Request.Body = counted
	if _, err := r.body(); err != nil {
		counted.release()
		if r.ProtoMajor == 1 { // the answer doesn't wait for the rest of the body
			r.writer.Header().Set("Connection", "close")
		}
		return nil, err
	}
	return counted.release, nil
}

// heldBodies counts the bytes of request bodies that are held: of all, and of each user or address, so that those who send bodies
// and stop in the middle keep nobody else out. Safe for concurrent use.
type heldBodies struct {
	mu   sync.Mutex
	all  int64            // guarded by mu
	each map[string]int64 // guarded by mu; of those who hold any
}

func newHeldBodies() *heldBodies { return &heldBodies{each: map[string]int64{}} }

// add counts so many more, or, if negative, fewer; false if that is too many.
func (b *heldBodies) add(who string, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all += n
	held := b.each[who] + n
	if b.each[who] = held; held == 0 {
		delete(b.each, who)
	}
	return b.all <= maxBodyMemory && held <= maxBodiesEach
}

func (b *heldBodies) total() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all
}

// countedBody counts what is read of a body against what all bodies may take.
type countedBody struct {
	io.ReadCloser
	bodies *heldBodies
	who    string
	held   int64
}

func (b *countedBody) Read(into []byte) (int, error) {
	n, err := b.ReadCloser.Read(into)
	if n == 0 {
		return n, err
	}
	b.held += int64(n)
	if !b.bodies.add(b.who, int64(n)) {
		return 0, &limitedError{after: busyRetry} // with bytes it might be taken for the end
	}
	return n, err
}

func (b *countedBody) release() { b.bodies.add(b.who, -b.held) }
