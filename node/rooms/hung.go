package rooms

import (
	"context"
	"slices"
	"sync"
	"time"

	"hanse/federation/id"
)

const (
	// hungTime is for how long a server that has let a question hang is asked behind others.
	hungTime = 5 * time.Minute
	// maxHung bounds the servers of which that is remembered.
	maxHung = 1000
	// missingTime bounds how long one server is waited for that is asked for some tens of events, where another can be asked.
	missingTime = 10 * time.Second
)

// hung remembers which servers have let questions hang, so that not each next one waits for them too. Safe for concurrent use.
type hung struct {
	mu    sync.Mutex
	since map[id.ServerName]time.Time // guarded by mu; at most maxHung
}

// last gives servers in their order, but those behind the others that hang.
func (h *hung) last(servers []id.ServerName) []id.ServerName {
	h.mu.Lock()
	defer h.mu.Unlock()
	var order, behind []id.ServerName
	for _, server := range servers {
		if since, hangs := h.since[server]; hangs && time.Since(since) < hungTime {
			behind = append(behind, server)
		} else {
			order = append(order, server)
		}
	}
	return slices.Concat(order, behind)
}

// asked notes how a question ended that was asked with ctx at a time. Who gives up a question says nothing about the server.
func (h *hung) asked(ctx context.Context, server id.ServerName, at time.Time, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil:
		delete(h.since, server)
	case context.Cause(ctx) == context.Canceled || time.Since(at) < patience:
	default:
		if h.since == nil || len(h.since) >= maxHung {
			h.since = make(map[id.ServerName]time.Time)
		}
		h.since[server] = time.Now()
	}
}
