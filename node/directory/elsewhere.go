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

	mu    sync.Mutex
	known map[federation.HierarchyRequest]keptAnswer // guarded by mu
}

// keptAnswer is what was told, or that nobody told anything.
type keptAnswer struct {
	answer federation.HierarchyResponse
	found  bool
	until  time.Time
}

func newAnswers() *answers { return &answers{known: map[federation.HierarchyRequest]keptAnswer{}} }

func (a *answers) find(q federation.HierarchyRequest) (keptAnswer, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	kept, ok := a.known[q]
	return kept, ok && time.Now().Before(kept.until)
}

func (a *answers) keep(q federation.HierarchyRequest, kept keptAnswer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for other := range a.known {
		if len(a.known) < maxAnswers {
			break
		}
		delete(a.known, other) // any one
	}
	a.known[q] = kept
}

// elsewhere asks servers, one after the other, for a room that we aren't in; false if none tells of it. The answer is kept
// for a while, and the silence for a shorter one; a refusal isn't, as it may end with the next join. It is whichever came
// first: who may see what is for the caller to tell.
func (d *Directory) elsewhere(ctx context.Context, via []id.ServerName, q federation.HierarchyRequest) (federation.HierarchyResponse, bool) {
	if kept, ok := d.answers.find(q); ok {
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
		if kept.found || ctx.Err() == nil && kept.until.After(time.Now()) {
			d.answers.keep(q, kept)
		}
		return kept, nil
	})
	kept := got.(keptAnswer)
	return kept.answer, kept.found
}

// askElsewhere asks. What it doesn't find is not to be kept where nobody could be asked, or those who were refused.
func (d *Directory) askElsewhere(ctx context.Context, via []id.ServerName, q federation.HierarchyRequest) keptAnswer {
	var none keptAnswer
	asked := map[id.ServerName]bool{d.self: true}
	for _, server := range via {
		if asked[server] || len(asked) > maxAsked || ctx.Err() != nil {
			continue
		}
		asked[server] = true
		one, cancel := context.WithTimeout(ctx, askTimeout)
		answer, err := d.client.Hierarchy(one, server, q)
		cancel()
		if err == nil && answer.Room.RoomID == q.RoomID {
			return keptAnswer{answer, true, time.Now().Add(keepAnswers)}
		}
		if refusal, ok := errors.AsType[*client.Error](err); !ok || refusal.Matrix == nil || refusal.Temporary {
			none.until = time.Now().Add(keepSilence)
		}
		d.log.Debug("a server doesn't tell of a room", "server", server, "room", q.RoomID, "error", err)
	}
	return none
}
