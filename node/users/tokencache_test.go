package users

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"hanse/federation/id"
	"hanse/node/store"
)

func TestTokenCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTokenCache()
		hash := store.HashToken("secret")
		session := Session{User: "@alice:example.org", Device: "A"}
		if !c.add(hash, session, c.generation()) {
			t.Error("the first use of a device is not noted")
		}
		got, due, ok := c.find(hash)
		if !ok || got != session || due {
			t.Errorf("find: %v %v %v", got, due, ok)
		}
		time.Sleep(tokenCacheLife + time.Second)
		if _, _, ok := c.find(hash); ok {
			t.Error("an entry outlives its time")
		}
	})
}

func TestTokenCacheForgets(t *testing.T) {
	c := newTokenCache()
	for _, device := range []string{"A", "B"} {
		c.add(store.HashToken(device), Session{User: "@alice:example.org", Device: device}, c.generation())
	}
	c.forgetDevice("@alice:example.org", "A")
	if _, _, ok := c.find(store.HashToken("A")); ok {
		t.Error("a revoked token is still known")
	}
	if _, _, ok := c.find(store.HashToken("B")); !ok {
		t.Error("another device's token is forgotten")
	}
	c.forgetUser("@alice:example.org")
	if _, _, ok := c.find(store.HashToken("B")); ok {
		t.Error("a user's token is still known")
	}
}

// What was read before a revocation must not be remembered after it.
func TestTokenCacheGenerations(t *testing.T) {
	c := newTokenCache()
	generation := c.generation()
	c.forgetUser("@alice:example.org")
	c.add(store.HashToken("x"), Session{User: "@alice:example.org"}, generation)
	if _, _, ok := c.find(store.HashToken("x")); ok {
		t.Error("a token read before a revocation is remembered after it")
	}
}

func TestTokenCacheIsBounded(t *testing.T) {
	c := newTokenCache()
	for i := range tokenCacheSize + 10 {
		c.add(store.HashToken(fmt.Sprint(i)), Session{User: id.UserID("@a:b")}, c.generation())
	}
	if len(c.entries) != tokenCacheSize || c.recent.Len() != tokenCacheSize {
		t.Errorf("%d entries, %d in the list", len(c.entries), c.recent.Len())
	}
	if _, _, ok := c.find(store.HashToken("0")); ok {
		t.Error("the oldest is still there")
	}
}

// Every request of a client comes through here.
func BenchmarkTokenCacheFind(b *testing.B) {
	c := newTokenCache()
	hashes := make([]store.TokenHash, 1000)
	for i := range hashes {
		hashes[i] = store.HashToken(fmt.Sprint(i))
		c.add(hashes[i], Session{User: "@alice:example.org"}, c.generation())
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, _, ok := c.find(hashes[i%len(hashes)]); !ok {
			b.Fatal("forgotten")
		}
	}
}
