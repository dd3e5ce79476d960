package clientapi

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"hanse/federation/id"
)

// Limit is how often something may be done: so many a second in the long run, and so many at once after a pause.
type Limit struct {
	PerSecond float64 `yaml:"per_second"`
	Burst     int     `yaml:"burst"`
}

// RateLimits bounds what clients may ask. The zero value is on; a Limit left out has the default beside it.
type RateLimits struct {
	// Off turns them all off: for tests and benchmarks.
	Off bool `yaml:"off"`
	// Requests, per user or, without one, per address: 50 a second, 200 at once.
	Requests Limit `yaml:"requests"`
	// Events sent, per user: 10 a second, 50 at once.
	Events Limit `yaml:"events"`
	// Joins, and other things that make us work for or at other servers, per user: 1 a second, 20 at once.
	Joins Limit `yaml:"joins"`
	// Logins tried, per address and per account: one in 2 seconds, 10 at once.
	Logins Limit `yaml:"logins"`
	// Registrations, per address: one in 5 seconds, 10 at once.
	Registrations Limit `yaml:"registrations"`
	// Mails to users, per address of the one who asks, and per e-mail address: one in 5 minutes, 5 at once.
	Mails Limit `yaml:"mails"`
	// Mails to all users together: one in 5 seconds, 200 at once.
	AllMails Limit `yaml:"all_mails"`
	// Files uploaded, per user: 2 a second, 50 at once.
	Uploads Limit `yaml:"uploads"`
	// Files and previews asked for, per user or address: 50 a second, 500 at once, as a room full of pictures needs.
	Downloads Limit `yaml:"downloads"`
}

// limitClass is what a route counts as.
type limitClass int

const (
	ordinary limitClass = iota
	sendsEvent
	joins
	logsIn
	registers
	mails
	allMails
	uploads
	downloads
	toDevice  // bytes of messages to devices: of one user to another
	toDevices // and of one to all
)

func (l Limit) or(perSecond float64, burst int) Limit {
	if l.PerSecond <= 0 {
		l.PerSecond = perSecond
	}
	if l.Burst <= 0 {
		l.Burst = burst
	}
	return l
}

// limiter holds a token bucket for each (class, user or address) seen of late. Safe for concurrent use.
type limiter struct {
	off    bool
	limits map[limitClass]Limit // immutable

	mu      sync.Mutex
	buckets map[bucketKey]*list.Element // guarded by mu; of *bucket
	recent  *list.List                  // guarded by mu; the one used last in front
}

type bucketKey struct {
	class limitClass
	who   string
}

type bucket struct {
	key   bucketKey
	limit *rate.Limiter
}

func newLimiter(r RateLimits) *limiter {
	return &limiter{
		off: r.Off,
		limits: map[limitClass]Limit{
			ordinary:   r.Requests.or(50, 200),
			sendsEvent: r.Events.or(10, 50),
			joins:      r.Joins.or(1, 20),
			logsIn:     r.Logins.or(0.5, 10),
			registers:  r.Registrations.or(0.2, 10),
			mails:      r.Mails.or(1.0/300, 5),
			allMails:   r.AllMails.or(0.2, 200),
			uploads:    r.Uploads.or(2, 50),
			downloads:  r.Downloads.or(50, 500),
			// Some hundred times what clients send who share keys with all devices of a room of thousands.
			toDevice:  {PerSecond: 2 << 10, Burst: 16 << 20},
			toDevices: {PerSecond: 64 << 10, Burst: 128 << 20},
		},
		buckets: make(map[bucketKey]*list.Element),
		recent:  list.New(),
	}
}

// take takes one from the bucket of a user or, without a user, of an address; a *limitedError says when to come back.
func (l *limiter) take(class limitClass, user id.UserID, addr netip.Addr) error {
	if user != "" {
		return l.takeFor(class, string(user))
	}
	return l.takeFor(class, "ip "+limitedPrefix(addr))
}

// limitStranger lets somebody who is not logged in, or only a guest, make us ask another server, but not often.
func (a *API) limitStranger(r *request) error {
	if r.user != "" && !a.config.Users.Restrictions(r.user).Guest {
		return nil
	}
	return a.limiter.take(joins, "", a.address(r.Request))
}

// limitedPrefix is the address, or for IPv6 its /64: who has one has all of it.
func limitedPrefix(addr netip.Addr) string {
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			return p.String()
		}
	}
	return addr.String()
}

func (l *limiter) takeFor(class limitClass, who string) error {
	_, err := l.takeMany(class, who, 1)
	return err
}

// takeMany takes so many from a bucket; more than are ever in it are as many as that. putBack puts them back.
func (l *limiter) takeMany(class limitClass, who string, n int) (putBack func(), err error) {
	if l.off {
		return func() {}, nil
	}
	bucket, now := l.bucket(bucketKey{class, who}), time.Now()
	reservation := bucket.ReserveN(now, min(n, bucket.Burst()))
	if wait := reservation.DelayFrom(now); wait > 0 {
		reservation.CancelAt(now)
		return nil, &limitedError{after: wait.Round(time.Millisecond)}
	}
	return func() { reservation.CancelAt(now) }, nil
}

// left is the error that takeFor would give, and takes nothing.
func (l *limiter) left(class limitClass, who string) error {
	if l.off {
		return nil
	}
	if tokens := l.bucket(bucketKey{class, who}).Tokens(); tokens < 1 {
		wait := time.Duration((1 - tokens) / l.limits[class].PerSecond * float64(time.Second))
		return &limitedError{after: max(wait.Round(time.Millisecond), time.Millisecond)}
	}
	return nil
}

func (l *limiter) bucket(key bucketKey) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.buckets[key]; ok {
		l.recent.MoveToFront(e)
		return e.Value.(*bucket).limit
	}
	if l.recent.Len() >= maxLimiters {
		oldest := l.recent.Back()
		delete(l.buckets, l.recent.Remove(oldest).(*bucket).key)
	}
	limit := l.limits[key.class]
	b := &bucket{key: key, limit: rate.NewLimiter(rate.Limit(limit.PerSecond), limit.Burst)}
	l.buckets[key] = l.recent.PushFront(b)
	return b.limit
}
