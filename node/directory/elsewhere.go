package directory

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/singleflight" // equal questions at a time are asked once

	"hanse/federation"
	"hanse/federation/client"
	"hanse/federation/id"
)

// answers keeps what other servers told of rooms. Safe for concurrent use.
type answers struct {
	flights singleflight.Group

	mu      sync.Mutex
	known   map[federation.HierarchyRequest]keptAnswer // guarded by mu: what was told
	unknown map[federation.HierarchyRequest]keptAnswer // guarded by mu: where nobody told anything
}

// keptAnswer is what was told, or that nobody told anything.
type keptAnswer struct {
	answer federation.HierarchyResponse
	found  bool
	fresh  time.Time // until then it does for whoever asks
	until  time.Time // until then it does for who goes on with a walk
}

func newAnswers() *answers {
	return &answers{known: map[federation.HierarchyRequest]keptAnswer{}, unknown: map[federation.HierarchyRequest]keptAnswer{}}
}

func (a *answers) find(q federation.HierarchyRequest) (keptAnswer, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	kept, ok := a.known[q]
	if !ok {
		kept, ok = a.unknown[q]
	}
	return kept, ok && time.Now().Before(kept.until)
}

func (a *answers) keep(q federation.HierarchyRequest, kept keptAnswer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.known, q)
	delete(a.unknown, q)
	among, most := a.known, maxAnswers
	if !kept.found {
		among, most = a.unknown, maxRefusals
	}
	for other := range among {
		if len(among) < most {
			break
		}
		delete(among, other) // any one
	}
	among[q] = kept
}

// elsewhere asks servers, one after the other, for a room that we aren't in; false if none tells of it. The answer is kept
// for a while, and the silence for a shorter one. A refusal may end with the next join, so that it is asked for anew, but by who
// goes on with a walk, which further says: its pages agree. It is whichever came first: who may see what is for the caller to tell.
func (d *Directory) elsewhere(ctx context.Context, via []id.ServerName, q federation.HierarchyRequest, further bool) (federation.HierarchyResponse, bool) {
	if kept, ok := d.answers.find(q); ok && (further || time.Now().Before(kept.fresh)) {
		return kept.answer, kept.found
	}
	if d.client == nil {
		return federation.HierarchyResponse{}, false
	}
	key := string(q.RoomID)
	if q.SuggestedOnly {
		key += " suggested"
	}
	got, _, _ := d.answers.flights.Do(key, func() (any, error) {
		kept := d.askElsewhere(ctx, via, q)
		if kept.found || ctx.Err() == nil && !kept.until.IsZero() {
			d.answers.keep(q, kept)
		}
		return kept, nil
	})
	kept := got.(keptAnswer)
	return kept.answer, kept.found
}

// askElsewhere asks. Where nobody could be asked, nothing is to be kept: until is zero.
func (d *Directory) askElsewhere(ctx context.Context, via []id.ServerName, q federation.HierarchyRequest) keptAnswer {
	asked, none := map[id.ServerName]bool{d.self: true}, keptAnswer{}
	for _, server := range via {
		if asked[server] || len(asked) > maxAsked || ctx.Err() != nil {
			continue
		}
		asked[server] = true
		one, cancel := context.WithTimeout(ctx, askTimeout)
		answer, err := d.client.Hierarchy(one, server, q)
		cancel()
		until := time.Now().Add(keepAnswers)
		if err == nil && answer.Room.RoomID == q.RoomID {
			return keptAnswer{answer: answer, found: true, fresh: until, until: until}
		}
		none.until = until
		if refusal, ok := errors.AsType[*client.Error](err); !ok || refusal.Matrix == nil || refusal.Temporary {
			none.fresh = time.Now().Add(keepSilence)
		}
		d.log.Debug("a server doesn't tell of a room", "server", server, "room", q.RoomID, "error", err)
	}
	return none
}
