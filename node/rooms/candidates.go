package rooms

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hanse/federation"
	"hanse/federation/client"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/store"
)

// candidates are the servers to ask for help with a room, each once: those we were told of, the one whose
// user invited ours, and those whose users made the state that came with an invite or knock. Where we are in the room, or were told
// of none, these are also the one that the room's ID names, and those that are in the room, or were when we last knew it. Otherwise
// who names servers means these.
func (r *Rooms) candidates(ctx context.Context, user id.UserID, roomID id.RoomID, via []id.ServerName) ([]id.ServerName, error) {
	list := slices.Clone(via)
	m, ok, err := r.store.Membership(ctx, roomID, user)
	if err != nil {
		return nil, err
	}
	if ok && m.Sender != user && m.Sender != "" {
		list = append(list, m.Sender.Server())
	}
	list = append(list, sendersOf(m.Stripped)...)
	info, _, err := r.store.Room(ctx, roomID)
	if err != nil {
		return nil, err
	}
	if info.Resident || !slices.ContainsFunc(via, func(server id.ServerName) bool { return server != r.self }) {
		if server, ok := roomID.Server(); ok {
			list = append(list, server)
		}
		joined, err := r.store.ServersIn(ctx, roomID)
		if err != nil {
			return nil, err
		}
		list = append(list, byUsers(joined)...)
	}
	var once []id.ServerName
	for _, server := range list {
		if server != r.self && !slices.Contains(once, server) && len(once) < r.limits.Candidates {
			once = append(once, server)
		}
	}
	if len(once) == 0 {
		return nil, federation.NotFound(fmt.Sprintf("no server is known that is in the room %s; give one (via, server_name) or use an alias", roomID))
	}
	return once, nil
}

// sendersOf are the servers of the senders of stripped state.
func sendersOf(stripped []json.RawMessage) []id.ServerName {
	var servers []id.ServerName
	for _, raw := range stripped {
		var e struct {
			Sender string `json:"sender"`
		}
		if exactjson.Unmarshal(raw, &e) != nil {
			continue
		}
		if user, err := id.ParseUserID(e.Sender); err == nil {
			servers = append(servers, user.Server())
		}
	}
	return servers
}

// byUsers sorts servers: most joined users first, then by name.
func byUsers(joined map[id.ServerName]int) []id.ServerName {
	return slices.SortedFunc(maps.Keys(joined), func(a, b id.ServerName) int {
		return cmp.Or(cmp.Compare(joined[b], joined[a]), cmp.Compare(a, b))
	})
}

// patience is how long one candidate may keep the next one from being asked too: servers that are alive mostly answer within a second.
const patience = 4 * time.Second

// handshake is what is done with one server. It calls turn, once, before it does what must be done with one server at a time: handing in
// the event, with the context that turn gives. An error of turn ends it.
type handshake func(ctx context.Context, server id.ServerName, turn turnTaker) error

// turnTaker waits for the turn. The context ends when the server has had its share of the time: half of what is left, as long as another
// one could be asked. So a server that hangs in the middle of its answer, or lets it trickle, doesn't keep the others from theirs.
type turnTaker func(context.Context) (handingIn context.Context, err error)

// tryEach does a handshake with one candidate after the other until one succeeds; one that is slow isn't waited for. Whatever goes wrong
// at one may go well at the next, but for an answer that only depends on us.
func (r *Rooms) tryEach(ctx context.Context, what string, roomID id.RoomID, candidates []id.ServerName, with handshake) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	turn := make(chan struct{}, 1) // full: taken
	type outcome struct {
		server id.ServerName
		err    error
	}
	outcomes := make(chan outcome, len(candidates))
	asked, failed := 0, 0
	var hopes atomic.Int32 // candidates that haven't failed
	hopes.Store(int32(len(candidates)))
	ask := func() {
		if asked == len(candidates) {
			return
		}
		server := candidates[asked]
		asked++
		running.Go(func() {
			taken, end := false, func() {}
			defer func() { end() }()
			err := with(ctx, server, func(ctx context.Context) (context.Context, error) {
				select {
				case turn <- struct{}{}:
					taken = true
				case <-ctx.Done():
					return nil, ctx.Err()
				}
				if deadline, bounded := ctx.Deadline(); bounded && hopes.Load() > 1 {
					ctx, end = context.WithTimeout(ctx, time.Until(deadline)/2)
				}
				return ctx, nil
			})
			if err != nil {
				hopes.Add(-1)
			}
			if outcomes <- (outcome{server, err}); taken && err != nil {
				<-turn
			}
		})
	}
	ask()
	var errs []error
	for failed < asked {
		select {
		case o := <-outcomes:
			if o.err == nil {
				return nil
			}
			failed++
			r.log.Info("a handshake failed with one server", "what", what, "room", roomID, "server", o.server, "error", o.err)
			errs = append(errs, o.err)
			if ctx.Err() != nil || final(o.err) {
				return explain(what, roomID, candidates, errs)
			}
			ask()
		case <-time.After(patience):
			ask()
		}
	}
	return explain(what, roomID, candidates, errs)
}

// share is the context of a question to one server of several: where others can be asked after it, it has half of the time that is left.
func share(ctx context.Context, others bool) (context.Context, context.CancelFunc) {
	if deadline, bounded := ctx.Deadline(); bounded && others {
		return context.WithTimeout(ctx, time.Until(deadline)/2)
	}
	return context.WithCancel(ctx)
}

// final tells that with no other server it will end otherwise: it is the room's version, or our own database.
func final(err error) bool {
	if store.Unavailable(err) {
		return true
	}
	wire := wireError(err)
	return wire != nil && (wire.Code == federation.CodeIncompatibleRoomVersion || wire.Code == federation.CodeUnsupportedRoomVersion)
}

// wireError is the protocol's error in err: the other server's word or ours; nil if there is none.
func wireError(err error) *federation.Error {
	if remote, ok := errors.AsType[*client.Error](err); ok {
		return remote.Matrix
	}
	wire, _ := errors.AsType[*federation.Error](err)
	return wire
}

// explain makes one error for the user of those of all servers: the one that says most. What the user can do nothing
// about is a 5xx.
//
// spec:server-server-api#put_matrixfederationv2send_joinroomideventid
func explain(what string, roomID id.RoomID, servers []id.ServerName, errs []error) error {
	var best *federation.Error
	for _, err := range errs {
		if store.Unavailable(err) {
			return err
		}
		if wire := wireError(err); wire != nil && telling(wire) > telling(best) {
			best = wire
		}
	}
	if telling(best) > 0 { // the other fields speak of sessions and limits of the other server's users
		told := federation.NewError(best.Status, best.Code, best.Message)
		told.RoomVersion = best.RoomVersion
		return told
	}
	last := "no answer"
	if len(errs) > 0 {
		last = errs[len(errs)-1].Error()
	}
	return federation.NewError(502, federation.CodeUnknown,
		fmt.Sprintf("the %s of %s failed with all %d servers asked; the last said: %s", what, roomID, len(servers), last))
}

// telling grades errors of other servers; 0 is of no use to the user.
func telling(e *federation.Error) int {
	switch {
	case e == nil, e.Status != 400 && e.Status != 403 && e.Status != 404:
		return 0
	case e.Code == federation.CodeIncompatibleRoomVersion, e.Code == federation.CodeUnsupportedRoomVersion:
		return 4
	case e.Code == federation.CodeForbidden && e.Status == 403, e.Code == federation.CodeInviteBlocked:
		return 3
	case e.Code == federation.CodeUnableToAuthoriseJoin, e.Code == federation.CodeUnableToGrantJoin:
		return 2
	case !aboutUs[e.Code] && !strings.HasPrefix(e.Code, "M_USER_"):
		return 1
	}
	return 0
}

// aboutUs are the codes by which a server complains about our request rather than about what the user wants, and those that a client
// takes for its own server's word about its account, as it does all that begin with M_USER_.
var aboutUs = map[string]bool{
	federation.CodeUnauthorized: true, federation.CodeUnknownToken: true, federation.CodeMissingToken: true,
	federation.CodeBadJSON: true, federation.CodeNotJSON: true, federation.CodeMissingParam: true, federation.CodeInvalidParam: true,
	federation.CodeTooLarge: true, federation.CodeUnrecognized: true, federation.CodeUnknown: true, federation.CodeLimitExceeded: true,
	federation.CodePartialState: true, "M_RESOURCE_LIMIT_EXCEEDED": true, "M_CONSENT_NOT_GIVEN": true,
}
