package server

import (
	"context"
	"sync"
	"time"

	"hanse/federation/id"
)

// lane bounds the requests that a few bytes make much work of: large answers, from the moment they are made up to when the peer has read
// them. Each server has a few places, all together have more; who finds none waits for a moment and is told to come again then. Without
// that, a server in a large room could have its state made a thousand times at once, and read none of it.
type lane struct {
	perOrigin int
	places    chan struct{} // a place for each request in the lane

	mu      sync.Mutex
	origins map[id.ServerName]*originPlaces // guarded by mu: those with requests here
}

// originPlaces are the places of one server.
type originPlaces struct {
	places chan struct{}
	users  int // requests in the lane or waiting; guarded by lane.mu
}

func newLane(perOrigin, all int) *lane {
	return &lane{perOrigin: perOrigin, places: make(chan struct{}, all), origins: make(map[id.ServerName]*originPlaces)}
}

// enter waits for a place, lanePatience at most; false means that there is none. leave must follow otherwise.
func (l *lane) enter(ctx context.Context, origin id.ServerName) bool {
	ctx, cancel := context.WithTimeout(ctx, lanePatience)
	defer cancel()
	own := l.arrive(origin)
	if take(ctx, own.places) { // its own first: a server's many requests have few of those that wait for the others' places
		if take(ctx, l.places) {
			return true
		}
		<-own.places
	}
	l.forget(origin)
	return false
}

// leave gives a place back.
func (l *lane) leave(origin id.ServerName) {
	l.mu.Lock()
	own := l.origins[origin]
	l.mu.Unlock()
	<-l.places
	<-own.places
	l.forget(origin)
}

func take(ctx context.Context, places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *lane) arrive(origin id.ServerName) *originPlaces {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := l.origins[origin]
	if own == nil {
		own = &originPlaces{places: make(chan struct{}, l.perOrigin)}
		l.origins[origin] = own
	}
	own.users++
	return own
}

func (l *lane) forget(origin id.ServerName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := l.origins[origin]
	if own.users--; own.users == 0 {
		delete(l.origins, origin)
	}
}

// answerTime is how long a peer may take to read an answer of so many bytes.
func answerTime(size int64) time.Duration {
	return answerPatience + time.Duration(size/answerPace)*time.Second
}
