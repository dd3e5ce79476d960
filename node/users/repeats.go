package users

import (
	"context"
	"sync"
	"time"

	"hanse/node/store"
)

// repeats are what refresh tokens of the OAuth 2.0 API gave of late, for those that come again at once. They are in memory: after a restart, and when
// there are too many, a token that comes again is taken for one that was stolen if what it gave has been used. The zero value is ready. Safe for
// concurrent use.
type repeats struct {
	mu  sync.Mutex
	all map[store.TokenHash]*repeat // guarded by mu; by the refresh token
}

type repeat struct {
	begun time.Time // immutable

	mu    sync.Mutex // held while the token is looked up and replaced: others who have it wait for what it gives
	login Login      // guarded by mu; the zero value: it hasn't given anything
}

// do refreshes, or gives what the token gave within refreshRepeats, if that is still good.
func (r *repeats) do(token store.TokenHash, good func(Login) (bool, error), refresh func() (Login, error)) (Login, error) {
	one := r.of(token)
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.login.AccessToken != "" {
		if still, err := good(one.login); err != nil || still {
			again := one.login
			again.Life -= time.Since(one.begun).Truncate(time.Second)
			return again, err
		}
	}
	login, err := refresh()
	if err == nil {
		one.login = login
	}
	return login, err
}

func (r *repeats) of(token store.TokenHash) *repeat {
	r.mu.Lock()
	defer r.mu.Unlock()
	for other, one := range r.all { // there are few: a client refreshes every quarter of an hour
		if time.Since(one.begun) >= refreshRepeats {
			delete(r.all, other)
		}
	}
	one, ok := r.all[token]
	if ok {
		return one
	}
	one = &repeat{begun: time.Now()}
	if r.all == nil {
		r.all = map[store.TokenHash]*repeat{}
	}
	if len(r.all) < maxRefreshRepeats {
		r.all[token] = one
	}
	return one
}

// stillGood tells whether the tokens of a login are the newest, or as good as these.
func (u *Users) stillGood(ctx context.Context) func(Login) (bool, error) {
	return func(l Login) (bool, error) {
		_, known, err := u.store.Access(ctx, store.HashToken(l.AccessToken))
		return known, err
	}
}
