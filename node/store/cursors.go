package store

import (
	"context"
	"maps"
	"slices"
	"time"

	"hanse/federation/id"
)

const (
	// cursorPause is how long the table of cursors may be behind what went out. A process that is killed meanwhile has what went out in that
	// time sent again by the next one, to servers that know it already.
	cursorPause = time.Second
	// cursorRows bounds the cursors of one write: whoever shares its transaction waits for them.
	cursorRows = 500
	// cursorsTimeout bounds the writing of the last cursors before the writer ends.
	cursorsTimeout = 10 * time.Second
)

// went notes that the log went out to a server up to a position. The table is told later, of many servers at once: an event for a thousand
// servers would otherwise be a thousand writes, which clients' commits have to share a transaction with.
func (o *outbox) went(server id.ServerName, upto Position) {
	o.moved(server, upto)
	o.notSaved([]id.ServerName{server})
}

// saveRegularly writes the cursors that have moved until ctx ends, and then the last ones.
func (o *outbox) saveRegularly(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-o.news:
		case <-ctx.Done():
			continue
		}
		select {
		case <-time.After(cursorPause):
		case <-ctx.Done():
		}
		o.save(ctx)
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), cursorsTimeout)
	defer cancel()
	o.save(last)
}

// save writes the cursors that have moved. What can't be written stays for the next time.
func (o *outbox) save(ctx context.Context) {
	servers := o.takeMoved()
	for len(servers) > 0 {
		some := servers[:min(len(servers), cursorRows)]
		if o.store.commit.write(ctx, func(t *writeTx) error { return o.saveCursors(t, some) }) != nil {
			o.notSaved(servers)
			return // the committer tells what the trouble is
		}
		servers = servers[len(some):]
	}
}

func (o *outbox) saveCursors(t *writeTx, servers []id.ServerName) error {
	for _, server := range servers {
		if err := t.insert(insertCursor, string(server), int64(o.cursor(server))); err != nil {
			return err
		}
	}
	return o.trim(t, outboxTrim)
}

// takeMoved are the servers whose cursors have moved since it was called last.
func (o *outbox) takeMoved() []id.ServerName {
	o.mu.Lock()
	defer o.mu.Unlock()
	servers := slices.Collect(maps.Keys(o.unsaved))
	clear(o.unsaved)
	return servers
}

// notSaved has takeMoved give servers.
func (o *outbox) notSaved(servers []id.ServerName) {
	o.mu.Lock()
	for _, server := range servers {
		o.unsaved[server] = struct{}{}
	}
	o.mu.Unlock()
	o.tell()
}

func (o *outbox) tell() {
	select {
	case o.news <- struct{}{}:
	default: // it is known that there are some
	}
}
