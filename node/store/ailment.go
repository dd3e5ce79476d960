package store

import (
	"sync"
	"sync/atomic"
	"time"
)

// ailment is a state in which the database doesn't work as it should. The log says once that it begins and once that it ends,
// and not again within sayPause where it comes and goes: a full disk may have room for the small and none for the large. Safe
// for concurrent use.
type ailment struct {
	over  chan<- struct{} // gets a value when it ends, if there is room
	began chan struct{}   // capacity 1: it has begun since this was read last

	ill  atomic.Bool // it has begun
	told atomic.Bool // the log has said so

	mu   sync.Mutex
	said time.Time // guarded by mu: when the log last said so
}

// probing is how long somebody who looks whether an ailment is over waits between two looks: longer each time, and short again once it was
// over for sayPause. What follows an end (see Store.Usable) is much where it comes and goes. The zero value is ready.
type probing struct {
	pause time.Duration
	until time.Time // the ailment was last seen then
}

// next is the pause before the next look.
func (p *probing) next(now time.Time) time.Duration {
	if p.pause == 0 || now.Sub(p.until) > sayPause {
		p.pause = probePause / 2
	}
	p.pause = min(2*p.pause, probePauseMax)
	p.until = now.Add(p.pause)
	return p.pause
}

// begins tells whether the log must say now that the ailment has begun.
func (a *ailment) begins() bool {
	if a.ill.CompareAndSwap(false, true) {
		select {
		case a.began <- struct{}{}:
		default:
		}
	}
	if a.told.Load() {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.told.Load() || time.Since(a.said) < sayPause {
		return false
	}
	a.said = time.Now()
	a.told.Store(true)
	return true
}

// ends tells whether the log must say now that the ailment has ended.
func (a *ailment) ends() bool {
	if a.ill.Load() && a.ill.CompareAndSwap(true, false) {
		select {
		case a.over <- struct{}{}:
		default:
		}
	}
	return a.told.Load() && a.told.CompareAndSwap(true, false)
}
