package users

import (
	"container/list"
	"sync"
	"time"

	"hanse/federation/id"
	"hanse/node/store"
)

// tokenCache remembers whom recent access tokens stand for. Safe for concurrent use.
//
// A token that is looked up while it is being revoked must not stay: every revocation starts a new generation, and
// what was read in an older one is not remembered.
type tokenCache struct {
	mu      sync.Mutex
	entries map[store.TokenHash]*list.Element // guarded by mu; of *tokenEntry
	recent  *list.List                        // guarded by mu; the one used last in front
	gen     uint64                            // guarded by mu
}

type tokenEntry struct {
	hash    store.TokenHash
	session Session
	expires time.Time
	seen    time.Time // when the device's last use was last handed on
}

func newTokenCache() *tokenCache {
	return &tokenCache{entries: make(map[store.TokenHash]*list.Element), recent: list.New()}
}

func (c *tokenCache) generation() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gen
}

// find returns the session; due says that the device's last use should be written down.
func (c *tokenCache) find(hash store.TokenHash) (session Session, due, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.entries[hash]
	if !ok {
		return Session{}, false, false
	}
	entry, now := element.Value.(*tokenEntry), time.Now()
	if now.After(entry.expires) {
		c.remove(element)
		return Session{}, false, false
	}
	c.recent.MoveToFront(element)
	if now.Sub(entry.seen) >= lastSeenEvery {
		entry.seen, due = now, true
	}
	return entry.session, due, true
}

// add remembers what was read from the store in the given generation; true: note the device's use.
func (c *tokenCache) add(hash store.TokenHash, session Session, generation uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if generation != c.gen {
		return false
	}
	if element, ok := c.entries[hash]; ok {
		c.remove(element)
	}
	if c.recent.Len() >= tokenCacheSize {
		c.remove(c.recent.Back())
	}
	now := time.Now()
	c.entries[hash] = c.recent.PushFront(&tokenEntry{hash: hash, session: session, expires: now.Add(tokenCacheLife), seen: now})
	return true
}

func (c *tokenCache) remove(element *list.Element) {
	delete(c.entries, c.recent.Remove(element).(*tokenEntry).hash)
}

func (c *tokenCache) forgetUser(user id.UserID) {
	c.forget(func(s Session) bool { return s.User == user })
}

func (c *tokenCache) forgetDevice(user id.UserID, device string) {
	c.forget(func(s Session) bool { return s.User == user && s.Device == device })
}

// forget walks the whole cache: revocations are rare beside uses.
func (c *tokenCache) forget(which func(Session) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gen++
	for element := c.recent.Front(); element != nil; {
		next := element.Next()
		if which(element.Value.(*tokenEntry).session) {
			c.remove(element)
		}
		element = next
	}
}
