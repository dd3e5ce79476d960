package ephemeral

import (
	"context"
	"maps"
	"time"

	"hanse/federation/id"
)

// keepStatus reads the status messages that users of ours had before the start, and writes those that change until ctx ends: every
// statusGap, of all users together, and at the end. What a crash takes is younger than that.
func (p *presence) keepStatus(ctx context.Context) {
	for !p.loadStatus(ctx) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(retellPause):
		}
	}
	ticker := time.NewTicker(statusGap)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			p.saveStatus(context.WithoutCancel(ctx))
			return
		case <-ticker.C:
			p.saveStatus(context.WithoutCancel(ctx))
		}
	}
}

func (p *presence) loadStatus(ctx context.Context) (done bool) {
	messages, err := p.statusOf(ctx)
	if err != nil {
		if ctx.Err() == nil {
			p.e.log.Warn("users' status messages can't be read; it is tried again", "error", err)
		}
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for user, message := range messages {
		if _, said := p.unwritten[user]; said {
			continue // meanwhile
		}
		w, known := p.users[user]
		if known {
			p.changed(user, w, func(w *who, _ time.Time) { w.status = message }, time.Now())
			continue
		}
		w = p.add(user)
		w.status, w.told.status, w.sent.status = message, message, message
	}
	return true
}

// saveStatus writes what has changed since it was last called.
func (p *presence) saveStatus(ctx context.Context) {
	p.mu.Lock()
	changed := p.unwritten
	p.unwritten = map[id.UserID]string{}
	p.mu.Unlock()
	if len(changed) == 0 {
		return
	}
	if err := p.saveStatusOf(ctx, changed); err != nil {
		p.e.log.Warn("users' status messages can't be stored; it is tried again", "users", len(changed), "error", err)
		p.mu.Lock()
		defer p.mu.Unlock()
		maps.Copy(changed, p.unwritten)
		p.unwritten = changed
	}
}
