package keys

import (
	"context"
	"sync"

	"hanse/federation/id"
)

// places bounds the fetches of keys under way. A server that sends us a request, and whose keys we need for that, has them fetched in places
// of their own; events and notaries' questions, which name any servers, in others, and those that one server gave us in a part of these: of
// servers that exist to be slow it could name hundreds, and nobody's keys could be had for minutes.
type places struct {
	itself, others chan struct{}

	mu     sync.Mutex
	givers map[id.ServerName]*giverPlaces // guarded by mu: those of whose events keys are fetched
}

// giverPlaces are the places of what one server gave us; of "" those of notaries' questions, which anybody may ask.
type giverPlaces struct {
	places chan struct{}
	users  int // fetches under way or waiting; guarded by places.mu
}

func newPlaces() *places {
	return &places{
		itself: make(chan struct{}, maxFetches), others: make(chan struct{}, maxFetchesForOthers),
		givers: make(map[id.ServerName]*giverPlaces),
	}
}

// take waits for a place until release is called.
func (p *places) take(ctx context.Context, itself bool) (release func(), err error) {
	if itself {
		return take(ctx, p.itself)
	}
	giver, _ := ctx.Value(giverKey{}).(id.ServerName)
	own := p.arrive(giver)
	releaseOwn, err := take(ctx, own.places)
	if err != nil {
		p.leave(giver)
		return nil, err
	}
	releaseOthers, err := take(ctx, p.others)
	if err != nil {
		releaseOwn()
		p.leave(giver)
		return nil, err
	}
	return func() { releaseOthers(); releaseOwn(); p.leave(giver) }, nil
}

func take(ctx context.Context, places chan struct{}) (release func(), err error) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *places) arrive(giver id.ServerName) *giverPlaces {
	p.mu.Lock()
	defer p.mu.Unlock()
	own := p.givers[giver]
	if own == nil {
		own = &giverPlaces{places: make(chan struct{}, maxFetches)}
		p.givers[giver] = own
	}
	own.users++
	return own
}

func (p *places) leave(giver id.ServerName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	own := p.givers[giver]
	if own.users--; own.users == 0 {
		delete(p.givers, giver)
	}
}
