package users

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
)

// cheap are costs for tests.
func cheap() Passwords {
	return Passwords{MemoryKiB: 64, Passes: 1, Threads: 1, BcryptCost: 4, Parallel: 2}
}

// always allows a check.
func always() error { return nil }

// uncounted is for wrong passwords that nobody counts.
func uncounted() {}

func TestHashAndCheck(t *testing.T) {
	for _, scheme := range []string{"argon2id", "bcrypt"} {
		cost := cheap()
		cost.Scheme = scheme
		h, err := newHasher(cost)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := h.hash(t.Context(), "correct horse")
		if err != nil {
			t.Fatal(err)
		}
		again, err := h.hash(t.Context(), "correct horse")
		if err != nil || again == stored {
			t.Errorf("%s: two hashes of a password are the same: no salt? %v", scheme, err)
		}
		for password, want := range map[string]bool{"correct horse": true, "correct horsf": false, "": false} {
			if got := h.check(stored, password); got != want {
				t.Errorf("%s: check(%q) = %v", scheme, password, got)
			}
		}
		if h.check("", "correct horse") {
			t.Errorf("%s: an account without a password let somebody in", scheme)
		}
		if h.outdated(stored) {
			t.Errorf("%s: a fresh hash counts as outdated", scheme)
		}
	}
}

// A hash says with what it was made: other settings than today's still check, and are told apart.
func TestOtherSettings(t *testing.T) {
	old, err := newHasher(Passwords{Scheme: "bcrypt", BcryptCost: 4})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := old.hash(t.Context(), "secret")
	if err != nil {
		t.Fatal(err)
	}
	now, err := newHasher(cheap())
	if err != nil {
		t.Fatal(err)
	}
	if !now.check(stored, "secret") {
		t.Error("an old hash is no good any more")
	}
	if !now.outdated(stored) {
		t.Error("a bcrypt hash is not outdated where argon2id is configured")
	}
}

func TestMatchesRefusesNonsense(t *testing.T) {
	for _, stored := range []string{
		"", "x", "$argon2id$", "$argon2id$v=19$m=64,t=1,p=1$$", "$argon2id$v=19$m=64,t=0,p=1$AAAA$AAAA",
		"$argon2id$v=19$m=64,t=1,p=0$AAAA$AAAA", "$argon2id$v=18$m=64,t=1,p=1$AAAA$AAAA",
		"$argon2id$v=19$m=4294967295,t=1,p=1$AAAA$AAAA", "$argon2id$v=19$m=64,t=1,p=1$!$AAAA", "$argon2id$v=19$m=64$AAAA$AAAA",
		"$argon2id$v=19$m=64,t=1,p=1$AAAA$" + strings.Repeat("A", 4096),
	} {
		if matches(stored, "secret") {
			t.Errorf("%q matches a password", stored)
		}
	}
}

func TestValidate(t *testing.T) {
	err := Passwords{Scheme: "md5", BcryptCost: 99, Parallel: -1, MemoryKiB: 1 << 30, Passes: 1000}.Validate()
	if err == nil {
		t.Fatal("nonsense is taken")
	}
	for _, name := range []string{"scheme", "bcrypt_cost", "parallel", "memory_kib", "passes"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q is not reported: %v", name, err)
		}
	}
	if err := (Passwords{}).Validate(); err != nil {
		t.Errorf("the zero value is refused: %v", err)
	}
}

func TestHashingIsBounded(t *testing.T) {
	h, err := newHasher(cheap())
	if err != nil {
		t.Fatal(err)
	}
	h.turns.free = 0
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.hash(ctx, "secret"); !errors.Is(err, context.Canceled) {
		t.Errorf("while others compute: %v", err)
	}
}

// Whether a check may be made is asked when it is its turn, not before.
func TestChecksAreAllowedInTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := newHasher(cheap())
		if err != nil {
			t.Fatal(err)
		}
		h.turns.free = 0
		asked := false
		no := errors.New("not any more")
		answer := make(chan error, 1)
		go func() {
			_, err := (&Users{self: self, hasher: h}).CheckPassword(t.Context(), "@alice:example.org", "secret", func() error {
				asked = true
				return no
			}, uncounted)
			answer <- err
		}()
		synctest.Wait()
		if asked {
			t.Error("it is asked before it is its turn")
		}
		h.turns.give()
		if err := <-answer; !errors.Is(err, no) {
			t.Error(err)
		}
		if h.turns.free != 1 {
			t.Error("the turn is not given back")
		}
	})
}

func BenchmarkArgon2id(b *testing.B) {
	h, err := newHasher(Passwords{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := h.hash(b.Context(), "correct horse battery staple"); err != nil {
			b.Fatal(err)
		}
	}
}

// A wrong password is counted before the next one has its turn, which may not be tried any more then.
func TestAWrongPasswordIsCountedInItsTurn(t *testing.T) {
	h, err := newHasher(cheap())
	if err != nil {
		t.Fatal(err)
	}
	h.turns.free = 1
	counted := false
	good, err := (&Users{self: self, hasher: h}).CheckPassword(t.Context(), "@alice:elsewhere.org", "secret", always, func() {
		if counted = true; h.turns.free != 0 {
			t.Error("the next one has its turn already")
		}
	})
	if good || err != nil || !counted {
		t.Error(good, err, counted)
	}
}
