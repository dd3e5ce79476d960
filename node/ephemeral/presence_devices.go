package ephemeral

import (
	"time"

	"hanse/federation/id"
)

// device is one of a user's devices that is there. A user is as much there as the device that is most: online before
// unavailable before offline.
type device struct {
	said   string    // the state it gave itself
	active time.Time // when something was done on it
	syncs  int       // its requests that wait for news
	seen   time.Time // when it last asked for something, or the last of syncs ended
}

// state is what a device counts as: one that says it is online and where nothing is done is unavailable, one that asks for
// nothing is offline.
//
// spec:client-server-api/modules/presence#idle-timeout
func (d *device) state(now time.Time) string {
	switch {
	case d.gone(now):
		return Offline
	case d.said == Online && now.Sub(d.active) > idleAfter:
		return Unavailable
	}
	return d.said
}

func (d *device) gone(now time.Time) bool { return d.syncs == 0 && now.Sub(d.seen) > offlineAfter }

// device finds one of a user's devices, which is made where it is new; nil if there are too many that wait for news.
func (w *who) device(name string, now time.Time) *device {
	if d := w.devices[name]; d != nil {
		return d
	}
	if len(w.devices) >= maxPresentDevices {
		oldest := ""
		for other, d := range w.devices {
			if d.syncs == 0 && (oldest == "" || d.seen.Before(w.devices[oldest].seen)) {
				oldest = other
			}
		}
		if oldest == "" {
			return nil
		}
		delete(w.devices, oldest)
	}
	if w.devices == nil {
		w.devices = map[string]*device{}
	}
	d := &device{said: Offline, seen: now}
	w.devices[name] = d
	return d
}

// settle works out what is shown of a user of ours.
func (w *who) settle(now time.Time) {
	w.state = Offline
	for _, d := range w.devices {
		switch d.state(now) {
		case Online:
			w.state = Online
		case Unavailable:
			if w.state == Offline {
				w.state = Unavailable
			}
		}
	}
	w.currently = w.state == Online && now.Sub(w.active) <= activeFor
}

// expireDevices forgets devices that ask for nothing.
func (w *who) expireDevices(now time.Time) {
	for name, d := range w.devices {
		if d.gone(now) {
			delete(w.devices, name)
		}
	}
}

// acts notes that a user did something on a device of theirs.
func (w *who) acts(d *device, now time.Time) { d.said, d.active, w.active = Online, now, now }

// SetPresence is what a user of ours says of themselves on a device: one of the three states, which is the device's, and
// the user's message.
//
// spec:client-server-api#put_matrixclientv3presenceuseridstatus
func (e *Ephemeral) SetPresence(user id.UserID, name, state, status string) {
	p := e.presence
	p.change(user, func(w *who, now time.Time) {
		if w.status != status {
			w.status, p.unwritten[user] = status, status
		}
		d := w.device(name, now)
		if d == nil {
			return
		}
		d.said, d.seen = state, now
		if state == Online {
			w.acts(d, now)
		}
	})
}

// Active notes that a user of ours did something on a device. Who is unavailable is online by it. A device that is offline
// stays it, also one that says so while it waits for news: who is not to be seen there may write, as with deployed servers, and
// it isn't shown when.
//
// spec:client-server-api/modules/presence#last-active-ago
func (e *Ephemeral) Active(user id.UserID, name string) {
	e.presence.change(user, func(w *who, now time.Time) {
		if d := w.devices[name]; d != nil && d.said != Offline {
			d.seen = now
			w.acts(d, now)
		}
	})
}

// BeginSync notes that a device of a user of ours waits for news, and what its client says to be; "" is online. What it says
// holds at once, in place of what the device said before, also by SetPresence: so the specification has it, and deployed
// servers do. A client that says to be online again and again does nothing by it; one that comes back, or no longer says to
// be unavailable, does. One that says to be offline is as if it weren't there. Of two requests of a device that wait at once, the
// one that says online counts: else each would change what the other waits for, and both would be answered without end. The
// function that it gives is to be called when the request ends.
//
// spec:client-server-api#get_matrixclientv3sync
func (e *Ephemeral) BeginSync(user id.UserID, name, state string) (end func()) {
	p := e.presence
	if p == nil || state == Offline {
		return func() {}
	}
	var d *device
	p.change(user, func(w *who, now time.Time) {
		if d = w.device(name, now); d == nil {
			return
		}
		back := d.gone(now)
		p.waiting++
		d.syncs++
		switch {
		case state == Unavailable:
			if d.syncs == 1 || d.said != Online {
				d.said = Unavailable
			}
		case d.said != Online || back:
			w.acts(d, now)
		}
	})
	if d == nil {
		return func() {}
	}
	return func() {
		p.change(user, func(_ *who, now time.Time) {
			p.waiting--
			d.syncs, d.seen = d.syncs-1, now
		})
	}
}

// DevicesGone notes that devices of a user of ours were logged out: those that gone says it of. They count no more.
func (e *Ephemeral) DevicesGone(user id.UserID, gone func(device string) bool) {
	p := e.presence
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.users[user]; w != nil {
		p.changed(user, w, func(w *who, _ time.Time) {
			for name := range w.devices {
				if gone(name) {
					delete(w.devices, name)
				}
			}
		}, time.Now())
	}
}

// AccountGone notes that an account of ours has ended: its devices count no more, and what the user said is forgotten, also where it
// waits to be stored, or is being stored just now.
func (e *Ephemeral) AccountGone(user id.UserID) {
	p := e.presence
	p.change(user, func(w *who, _ time.Time) {
		clear(w.devices)
		w.status, p.unwritten[user] = "", ""
	})
}
