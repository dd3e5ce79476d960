// Package places bounds how much is done at a time for others: for each by itself, so that it comes up against its own bound before
// others feel it, and for all of them together; and for how long who reads slowly has an answer.
package places

import (
	"context"
	"net/http"
	"sync"
)

// Places are so many for each server or user, and so many for all. Safe for concurrent use.
type Places[Who comparable] struct {
	each   int
	all    chan struct{} // a value for each that is taken
	unread *Unread[Who]

	mu     sync.Mutex
	owners map[Who]*own // guarded by mu: those with places, or waiting for one
}

// own are the places of one of them.
type own struct {
	taken chan struct{}
	users int // those with a place or waiting; guarded by Places.mu
}

// New makes places: each for one of those who have them, all for all of them, both at least 1. As many as for all are lent at a time.
func New[Who comparable](each, all int) *Places[Who] {
	return &Places[Who]{each: each, all: make(chan struct{}, all), unread: NewUnread[Who](int64(all)), owners: map[Who]*own{}}
}

// Take waits for a place until release is called, which must be, once. The error is that of ctx.
func (p *Places[Who]) Take(ctx context.Context, who Who) (release func(), err error) {
	o := p.arrive(who)
	// Its own first: what one of them has too much of waits for itself, in none of the places of all.
	if err = take(ctx, o.taken); err == nil {
		if err = take(ctx, p.all); err == nil {
			return p.release(who, o), nil
		}
		<-o.taken
	}
	p.leave(who)
	return nil, err
}

// Try takes a place as Take does, if there is one now.
func (p *Places[Who]) Try(who Who) (release func(), taken bool) {
	o := p.arrive(who)
	select {
	case o.taken <- struct{}{}:
		select {
		case p.all <- struct{}{}:
			return p.release(who, o), true
		default:
			<-o.taken
		}
	default:
	}
	p.leave(who)
	return nil, false
}

func (p *Places[Who]) release(who Who, o *own) func() {
	return func() { <-p.all; <-o.taken; p.leave(who) }
}

// Writer is the writer of the answer to who has a place, which others have while it isn't read. Of the places of each it stays one.
func (p *Places[Who]) Writer(w http.ResponseWriter, pace Pace, who Who) *Writer {
	return p.unread.Writer(w, pace, who, 1, func() func() {
		<-p.all
		return func() { p.all <- struct{}{} }
	})
}

// Of is how many places one of them has or waits for.
func (p *Places[Who]) Of(who Who) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o := p.owners[who]; o != nil {
		return o.users
	}
	return 0
}

// Owners is how many have places or wait for one.
func (p *Places[Who]) Owners() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.owners)
}

func take(ctx context.Context, taken chan struct{}) error {
	select {
	case taken <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *Places[Who]) arrive(who Who) *own {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.owners[who]
	if o == nil {
		o = &own{taken: make(chan struct{}, p.each)}
		p.owners[who] = o
	}
	o.users++
	return o
}

func (p *Places[Who]) leave(who Who) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.owners[who]
	if o.users--; o.users == 0 {
		delete(p.owners, who)
	}
}
