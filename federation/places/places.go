// Package places bounds how much is done at a time for others: for each by itself, so that it comes up against its own bound before
// others feel it, and for all of them together; and for how long who reads slowly has an answer.
package places

import (
	"context"
	"net/http"
	"sync"

	"hanse/federation/id"
)

// Places are so many for each server, and so many for all. Safe for concurrent use.
type Places struct {
	each   int
	all    chan struct{} // a value for each that is taken
	unread *Unread[id.ServerName]

	mu      sync.Mutex
	servers map[id.ServerName]*own // guarded by mu: those with places, or waiting for one
}

// own are the places of one server.
type own struct {
	taken chan struct{}
	users int // those with a place or waiting; guarded by Places.mu
}

// New makes places: each for one server, all for all of them, both at least 1. As many as for all are lent at a time.
func New(each, all int) *Places {
	return &Places{each: each, all: make(chan struct{}, all), unread: NewUnread[id.ServerName](int64(all)), servers: map[id.ServerName]*own{}}
}

// Take waits for a place until release is called, which must be, once. The error is that of ctx.
func (p *Places) Take(ctx context.Context, server id.ServerName) (release func(), err error) {
	o := p.arrive(server)
	// Its own first: what one server has too much of waits for itself, in none of the places of all.
	if err = take(ctx, o.taken); err == nil {
		if err = take(ctx, p.all); err == nil {
			return func() { <-p.all; <-o.taken; p.leave(server) }, nil
		}
		<-o.taken
	}
	p.leave(server)
	return nil, err
}

// Writer is the writer of the answer to a server that has a place, which others have while the server doesn't read. Of the places of each it
// stays one.
func (p *Places) Writer(w http.ResponseWriter, pace Pace, server id.ServerName) *Writer {
	return p.unread.Writer(w, pace, server, 1, p.all)
}

// Servers is how many servers have places or wait for one.
func (p *Places) Servers() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.servers)
}

func take(ctx context.Context, taken chan struct{}) error {
	select {
	case taken <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *Places) arrive(server id.ServerName) *own {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.servers[server]
	if o == nil {
		o = &own{taken: make(chan struct{}, p.each)}
		p.servers[server] = o
	}
	o.users++
	return o
}

func (p *Places) leave(server id.ServerName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.servers[server]
	if o.users--; o.users == 0 {
		delete(p.servers, server)
	}
}
