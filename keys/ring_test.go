package keys

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
)

// in runs a test in a bubble: its clock starts in 2000 and runs only when all wait.
func in(t *testing.T, w func() *world, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, w()) })
}

func plain() *world      { return newWorld() }
func withNotary() *world { return newWorld("n.test") }

func (w *world) expect(t *testing.T, what string, q Request, want Kind) {
	t.Helper()
	if err := w.verify(q); kindOf(err) != want {
		t.Errorf("%s: %v, want kind %d", what, err, want)
	}
}

func TestRequestsAndTheirVerdicts(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		a := w.peers["a.test"]
		a.old = map[id.KeyID]OldVerifyKey{"ed25519:0": {Key: signingKey("0", 7).Public(), ExpiredTS: time.Now().UnixMilli()}}
		now := time.Now()
		forged := request("a.test", signingKey("1", 5))
		both := request("a.test", a.keys[0])
		both.Signatures["ed25519:zzz"] = []byte("x")
		both.Signatures["rsa:1"] = []byte("x")
		other := request("a.test", a.keys[0])
		other.Signatures = map[id.KeyID][]byte{"rsa:1": other.Signatures["ed25519:1"]}
		unsigned := request("a.test", a.keys[0])
		unsigned.Signatures = nil

		w.expect(t, "request, good", request("a.test", a.keys[0]), good)
		w.expect(t, "request, one of several signatures good", both, good)
		w.expect(t, "request, forged", forged, BadSignature)
		w.expect(t, "request, unknown key", request("a.test", signingKey("2", 1)), NoSuchKey)
		w.expect(t, "request, unknown algorithm", other, NoSuchKey)
		w.expect(t, "request, not signed", unsigned, NoSuchKey)
		w.expect(t, "request, old key", request("a.test", signingKey("0", 7)), Expired)
		w.expect(t, "request, server unknown", request("c.test", a.keys[0]), Unreachable)
		w.expect(t, "event, good", request("a.test", a.keys[0]).at(now), good)
		w.expect(t, "event, of the past", request("a.test", a.keys[0]).at(now.AddDate(-5, 0, 0)), good)
		w.expect(t, "event, old key, before it expired", request("a.test", signingKey("0", 7)).at(now.Add(-time.Second)), good)
		w.expect(t, "event, old key, after it expired", request("a.test", signingKey("0", 7)).at(now.Add(time.Second)), Expired)
		w.expect(t, "old room version, old key, after it expired", request("a.test", signingKey("0", 7)).at(now.Add(time.Second)).unenforced(), good)
		w.expect(t, "event, after the key's validity", request("a.test", a.keys[0]).at(now.Add(25*time.Hour)), Expired)
		w.expect(t, "old room version, after the key's validity", request("a.test", a.keys[0]).at(now.Add(25*time.Hour)).unenforced(), good)
		w.expect(t, "event, far in the future", request("a.test", a.keys[0]).at(now.AddDate(1, 0, 0)), Expired)
	})
}

// spec:rooms/v5#signing-key-validity-period
func TestValidityIsCappedAtSevenDays(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		a := w.peers["a.test"]
		a.valid = 365 * 24 * time.Hour
		w.expect(t, "six days ahead", request("a.test", a.keys[0]).at(time.Now().Add(6*24*time.Hour)), good)
		w.expect(t, "eight days ahead", request("a.test", a.keys[0]).at(time.Now().Add(8*24*time.Hour)), Expired)
		a.down = true
		time.Sleep(8 * 24 * time.Hour)
		w.expect(t, "request eight days later, the server is down", request("a.test", a.keys[0]), Unreachable)
		w.expect(t, "event of before", request("a.test", a.keys[0]).at(time.Now().Add(-2*24*time.Hour)), good)
		a.down = false
		time.Sleep(time.Minute)
		w.expect(t, "request, the server is back", request("a.test", a.keys[0]), good)
	})
}

func TestOurOwnSignatures(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		w.expect(t, "current", request(self, signingKey("self", 42)), good)
		w.expect(t, "published", request(self, signingKey("next", 43)), good)
		w.expect(t, "old", request(self, signingKey("old", 44)).at(time.UnixMilli(999)), good)
		w.expect(t, "old, for a request", request(self, signingKey("old", 44)), Expired)
		w.expect(t, "foreign", request(self, signingKey("x", 45)), NoSuchKey)
		if w.store.reads > 0 {
			t.Error("the store was asked for our own keys")
		}
	})
}

func TestMemoryStoreServer(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		a := w.peers["a.test"]
		for range 3 {
			w.expect(t, "request", request("a.test", a.keys[0]), good)
		}
		if a.fetches != 1 || w.store.reads != 1 {
			t.Errorf("%d fetches, %d reads; want one of each", a.fetches, w.store.reads)
		}
		w.restart()
		w.expect(t, "after a restart", request("a.test", a.keys[0]), good)
		if a.fetches != 1 || w.store.reads != 2 {
			t.Errorf("%d fetches, %d reads after the restart; want 1 and 2", a.fetches, w.store.reads)
		}
		w.store.broken = true
		w.restart()
		w.expect(t, "without a store", request("a.test", a.keys[0]), good)
	})
}

func TestNewKeyIsFetched(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		a := w.peers["a.test"]
		w.expect(t, "first key", request("a.test", a.keys[0]), good)
		first := a.keys[0]
		a.keys = []SigningKey{signingKey("2", 3)}
		time.Sleep(2 * minRefetch)
		w.expect(t, "second key", request("a.test", a.keys[0]), good)
		w.expect(t, "event by the first key, which isn't published any more", request("a.test", first).at(time.Now().Add(-time.Minute)), good)
		a.old = map[id.KeyID]OldVerifyKey{first.ID: {Key: first.Public(), ExpiredTS: time.Now().Add(-time.Hour).UnixMilli()}}
		time.Sleep(2 * minRefetch)
		w.expect(t, "third key", request("a.test", signingKey("3", 4)), NoSuchKey)
		w.expect(t, "event by the first key, which is now declared old", request("a.test", first).at(time.Now().Add(-time.Minute)), Expired)
	})
}

// What a server doesn't list any more is known after a restart too, from the server itself or from a notary: events that it signed stay.
func TestForgottenKeysOutliveARestart(t *testing.T) {
	for from, newWorld := range map[string]func() *world{"the server": plain, "a notary": withNotary} {
		t.Run(from, func(t *testing.T) {
			in(t, newWorld, func(t *testing.T, w *world) {
				a, n := w.peers["a.test"], w.peers["n.test"]
				first, then := a.keys[0], time.Now()
				event := request("a.test", first).at(then)
				if from == "a notary" {
					n.notary["a.test"] = a.document("a.test")
				} else {
					w.expect(t, "first key", request("a.test", first), good)
				}
				a.keys = []SigningKey{signingKey("2", 3)}
				time.Sleep(time.Hour)
				w.expect(t, "second key", request("a.test", a.keys[0]), good)
				w.expect(t, "event by the first key", event, good)
				n.down = true
				for range 2 { // what is read is kept when a newer document is stored
					w.restart()
					w.expect(t, "event by the first key after a restart", event, good)
					w.expect(t, "event made when the first key was no more", event.at(then.Add(30*time.Hour)), Expired)
					docs := w.answer(t, NotaryRequest{ServerKeys: map[id.ServerName]map[id.KeyID]Criteria{"a.test": {first.ID: {MinimumValidUntilTS: 1}}}})["a.test"]
					if !listed(docs, first.ID) {
						t.Errorf("as a notary we don't give the first key, in %d documents", len(docs))
					}
					if docs := w.answer(t, NotaryRequestFor("a.test", 1))["a.test"]; len(docs) != 2 || !docs[0].lists(a.keys[0].ID) || !docs[1].lists(first.ID) {
						t.Errorf("as a notary, asked for all keys, we give %d documents, or not the newest first", len(docs))
					}
					time.Sleep(48 * time.Hour)
				}
				a.old = map[id.KeyID]OldVerifyKey{first.ID: {Key: first.Public(), ExpiredTS: then.UnixMilli() - 1}}
				w.expect(t, "request, for which the server is asked again", request("a.test", a.keys[0]), good)
				w.restart()
				w.expect(t, "event by the first key, which the server now says was old", event, Expired)
			})
		})
	}
}

func TestUnknownKeysDontFlood(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		for i := range 50 {
			w.expect(t, "invented key", request("a.test", signingKey(fmt.Sprint("x", i), 1)), NoSuchKey)
			time.Sleep(minRefetch / 10)
		}
		if n := w.peers["a.test"].fetches; n > 6 {
			t.Errorf("%d fetches for 50 invented keys within five seconds", n)
		}
	})
}

func TestManyCallersOneFetch(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		a := w.peers["a.test"]
		a.slow = time.Second
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() { w.expect(t, "request", request("a.test", a.keys[0]), good) })
		}
		group.Wait()
		if a.fetches != 1 {
			t.Errorf("%d fetches", a.fetches)
		}
	})
}

func TestACallerThatGivesUpDoesntHarmTheOthers(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		a := w.peers["a.test"]
		a.slow = 2 * time.Second
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var group sync.WaitGroup
		group.Go(func() {
			if err := w.ring.Verify(ctx, []Request{request("a.test", a.keys[0])})[0]; kindOf(err) != Unreachable {
				t.Errorf("who gave up got %v", err)
			}
		})
		synctest.Wait()
		group.Go(func() { w.expect(t, "who stays", request("a.test", a.keys[0]), good) })
		group.Wait()
		if a.fetches != 2 {
			t.Errorf("%d fetches", a.fetches)
		}
	})
}

func TestManyServersAtOnce(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		var reqs []Request
		for i := range 200 {
			name := id.ServerName(fmt.Sprintf("s%d.test", i))
			w.peers[name] = &peer{keys: []SigningKey{signingKey("1", byte(i))}, valid: time.Hour, slow: time.Second, down: i%10 == 0}
			for range 3 {
				reqs = append(reqs, request(name, w.peers[name].keys[0]))
			}
		}
		start := time.Now()
		errs := w.ring.Verify(t.Context(), reqs)
		for i, err := range errs {
			want := good
			if (i/3)%10 == 0 {
				want = Unreachable
			}
			if kindOf(err) != want {
				t.Errorf("request %d: %v", i, err)
			}
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("took %s", took)
		}
		if w.store.reads != 1 || len(w.store.docs) != 180 {
			t.Errorf("%d reads, %d documents stored", w.store.reads, len(w.store.docs))
		}
	})
}

func TestBackoff(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		a := w.peers["a.test"]
		a.down = true
		event := request("a.test", a.keys[0]).at(time.Now())
		for range 24 * 60 {
			w.expect(t, "event", event, Unreachable)
			time.Sleep(time.Minute)
		}
		if a.fetches < 24 || a.fetches > 24+10 {
			t.Errorf("%d fetches in a day from a server that is down", a.fetches)
		}
		a.down = false
		w.expect(t, "event, still in the pause", event, Unreachable)
		w.expect(t, "the server itself asks", request("a.test", a.keys[0]), good)
		w.expect(t, "event, then", event, good)
	})
}

func TestSlowServersAreBounded(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		w.peers["a.test"].slow = time.Hour
		start := time.Now()
		w.expect(t, "request", request("a.test", signingKey("1", 1)), Unreachable)
		if took := time.Since(start); took > fetchTimeout {
			t.Errorf("took %s", took)
		}
	})
}

func TestBadAnswers(t *testing.T) {
	for name, raw := range map[string]string{
		"no JSON":         `<html>`,
		"another server":  string((&peer{keys: []SigningKey{signingKey("1", 1)}, valid: time.Hour}).document("b.test")),
		"not signed":      `{"server_name":"a.test","valid_until_ts":4000000000000,"verify_keys":{"ed25519:1":{"key":"iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w"}}}`,
		"no key":          `{"server_name":"a.test","valid_until_ts":4000000000000,"verify_keys":{},"signatures":{}}`,
		"no validity":     `{"server_name":"a.test","verify_keys":{"ed25519:1":{"key":"iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w"}}}`,
		"key not Base64":  `{"server_name":"a.test","valid_until_ts":4000000000000,"verify_keys":{"ed25519:1":{"key":"!"}}}`,
		"no server name":  `{"server_name":"a b","valid_until_ts":4000000000000,"verify_keys":{}}`,
		"duplicate names": `{"server_name":"a.test","server_name":"a.test"}`,
	} {
		in(t, plain, func(t *testing.T, w *world) {
			w.peers["a.test"].raw = raw
			w.expect(t, name, request("a.test", signingKey("1", 1)), Unreachable)
			if len(w.store.docs) > 0 {
				t.Errorf("%s: was stored", name)
			}
		})
	}
}

func TestNotary(t *testing.T) {
	in(t, withNotary, func(t *testing.T, w *world) {
		a, n := w.peers["a.test"], w.peers["n.test"]
		n.notary["a.test"] = a.document("a.test")
		a.down = true
		at := time.Now().Add(time.Hour)
		w.expect(t, "event of a server that is down", request("a.test", a.keys[0]).at(at), good)
		if len(n.queries) != 1 || n.queries[0].ServerKeys["a.test"][a.keys[0].ID].MinimumValidUntilTS != at.UnixMilli() {
			t.Errorf("queries: %v", n.queries)
		}
		w.expect(t, "request by it", request("a.test", a.keys[0]), good)
		if _, ok := w.store.docs["a.test"]; !ok {
			t.Error("not stored")
		}
		// A notary isn't asked for ever.
		w.peers["b.test"].down = true
		for range 60 {
			w.expect(t, "a server that nobody knows", request("b.test", signingKey("1", 2)).at(at), Unreachable)
			time.Sleep(time.Second)
		}
		if len(n.queries) > 3 {
			t.Errorf("%d queries", len(n.queries))
		}
	})
}

// A server that doesn't help with others' keys may still be asked for its own.
func TestAMuteNotarysOwnKeys(t *testing.T) {
	in(t, withNotary, func(t *testing.T, w *world) {
		a, n := w.peers["a.test"], w.peers["n.test"]
		a.down, n.mute = true, true
		lost := request("a.test", a.keys[0]).at(time.Now())
		for range 11*60 + 30 {
			w.expect(t, "event of a server that is down", lost, Unreachable)
			time.Sleep(time.Minute)
		}
		if len(n.queries) < 11 || len(n.queries) > 12*60/5 {
			t.Errorf("%d queries in half a day to a notary that doesn't answer", len(n.queries))
		}
		n.keys = []SigningKey{signingKey("m", 10)}
		time.Sleep(minRefetch)
		w.expect(t, "event by the notary's new key", request("n.test", n.keys[0]).at(time.Now()), good)
		n.mute, n.notary["a.test"] = false, a.document("a.test")
		time.Sleep(notaryPause)
		w.expect(t, "event, once it answers", lost, good)
	})
}

func TestNotaryHasForgottenKeys(t *testing.T) {
	in(t, withNotary, func(t *testing.T, w *world) {
		a, n := w.peers["a.test"], w.peers["n.test"]
		first := a.keys[0]
		n.notary["a.test"] = a.document("a.test")
		a.keys = []SigningKey{signingKey("2", 3)}
		time.Sleep(time.Hour)
		w.expect(t, "event by a key that its server has forgotten", request("a.test", first).at(time.Now().Add(-time.Hour)), good)
		w.expect(t, "request by the new one", request("a.test", a.keys[0]), good)
		queries := len(n.queries)
		w.expect(t, "request by an unknown one", request("a.test", signingKey("3", 3)), NoSuchKey)
		if len(n.queries) != queries {
			t.Error("a notary was asked although the server itself has answered a request's question")
		}
	})
}

func TestNotaryMustSign(t *testing.T) {
	in(t, withNotary, func(t *testing.T, w *world) {
		a, n := w.peers["a.test"], w.peers["n.test"]
		n.notary["a.test"] = a.document("a.test")
		n.notary["b.test"] = w.peers["b.test"].document("a.test") // not what was asked for
		n.cosign = false
		a.down, w.peers["b.test"].down = true, true
		w.expect(t, "not signed by the notary", request("a.test", a.keys[0]).at(time.Now()), Unreachable)
		n.cosign = true
		time.Sleep(2 * notaryPause)
		w.expect(t, "another server's document", request("b.test", signingKey("1", 2)).at(time.Now()), Unreachable)
		w.expect(t, "signed by the notary", request("a.test", a.keys[0]).at(time.Now()), good)
	})
}

func TestWhoGaveTheEventsHasTheKeys(t *testing.T) {
	given := func(w *world, q Request) error {
		return w.ring.Verify(GivenBy(context.Background(), "n.test"), []Request{q})[0]
	}
	in(t, plain, func(t *testing.T, w *world) {
		a, n := w.peers["a.test"], w.peers["n.test"]
		n.cosign = false // it is nobody's notary
		w.expect(t, "event, good", request("a.test", a.keys[0]).at(time.Now()), good)
		a.down = true
		time.Sleep(25 * time.Hour)
		event := request("a.test", a.keys[0]).at(time.Now())
		n.notary["a.test"] = a.document("a.test")
		w.expect(t, "the keys have run out, nobody gave the event", event, Unreachable)
		if err := given(w, event); err != nil {
			t.Errorf("who gave the event has the keys: %v", err)
		}
		w.expect(t, "and now they are known", event, good)
		w.restart()
		w.expect(t, "over a restart", event, good)
	})
	for name, vouch := range map[string]func(w *world) json.RawMessage{
		"a key that was never seen": func(w *world) json.RawMessage {
			liar := &peer{keys: []SigningKey{signingKey("2", 66)}, valid: 24 * time.Hour}
			return liar.document("a.test")
		},
		"the known key's name with another key": func(w *world) json.RawMessage {
			liar := &peer{keys: []SigningKey{signingKey("1", 66)}, valid: 24 * time.Hour}
			return liar.document("a.test")
		},
		"the known key listed, not signing": func(w *world) json.RawMessage {
			liar := signingKey("2", 66)
			doc := document{ServerName: "a.test", ValidUntilTS: time.Now().Add(24 * time.Hour).UnixMilli(), VerifyKeys: map[id.KeyID]wireKey{
				liar.ID: {signedjson.EncodeBase64(liar.Public())}, "ed25519:1": {signedjson.EncodeBase64(signingKey("1", 1).Public())},
			}}
			signed, err := signedjson.Sign(mustCanonical(doc), "a.test", liar)
			if err != nil {
				panic(err)
			}
			return signed
		},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, plain, func(t *testing.T, w *world) {
				a := w.peers["a.test"]
				w.expect(t, "event, good", request("a.test", a.keys[0]).at(time.Now()), good)
				a.down = true
				time.Sleep(25 * time.Hour)
				w.peers["n.test"].notary["a.test"] = vouch(w)
				for _, key := range []SigningKey{a.keys[0], signingKey("1", 66), signingKey("2", 66)} {
					if err := given(w, request("a.test", key).at(time.Now())); err == nil {
						t.Error("believed")
					}
				}
			})
		})
	}
	// A key that its server has given up, perhaps since it was stolen, vouches for nothing, though an older document is kept for another key in it.
	for name, still := range map[string]map[id.KeyID]OldVerifyKey{
		"a key given up, listed as old": {"ed25519:1": {Key: signingKey("1", 1).Public(), ExpiredTS: 1}},
		"a key given up, not listed":    nil,
	} {
		t.Run(name, func(t *testing.T) {
			in(t, plain, func(t *testing.T, w *world) {
				a := w.peers["a.test"]
				a.keys = []SigningKey{signingKey("1", 1), signingKey("other", 2)}
				w.expect(t, "event of before", request("a.test", a.keys[0]).at(time.Now()), good)
				time.Sleep(time.Minute)
				a.keys, a.old = []SigningKey{signingKey("3", 3)}, still
				w.expect(t, "event, good", request("a.test", a.keys[0]).at(time.Now()), good)
				a.down = true
				time.Sleep(25 * time.Hour)
				thief := &peer{keys: []SigningKey{signingKey("1", 1), signingKey("2", 66)}, valid: 48 * time.Hour}
				w.peers["n.test"].notary["a.test"] = thief.document("a.test")
				if err := given(w, request("a.test", thief.keys[1]).at(time.Now())); err == nil {
					t.Error("believed")
				}
			})
		})
	}
	in(t, plain, func(t *testing.T, w *world) {
		w.peers["a.test"].down = true
		w.peers["n.test"].notary["a.test"] = w.peers["a.test"].document("a.test")
		if err := given(w, request("a.test", w.peers["a.test"].keys[0]).at(time.Now())); kindOf(err) != Unreachable {
			t.Errorf("of a server of which nothing is known: %v", err)
		}
		if n := len(w.peers["n.test"].queries); n != 0 {
			t.Errorf("%d queries that can't help", n)
		}
	})
}

func TestNotariesInTheirOrder(t *testing.T) {
	in(t, func() *world { return newWorld("m.test", self, "n.test") }, func(t *testing.T, w *world) {
		a, n := w.peers["a.test"], w.peers["n.test"]
		n.notary["a.test"] = a.document("a.test")
		a.down = true
		w.expect(t, "the first notary is down", request("a.test", a.keys[0]).at(time.Now()), good)
	})
}

func TestManyCallersOneQuery(t *testing.T) {
	in(t, withNotary, func(t *testing.T, w *world) {
		a, n := w.peers["a.test"], w.peers["n.test"]
		n.notary["a.test"] = a.document("a.test")
		a.down, n.slow = true, time.Second
		var group sync.WaitGroup
		for range 10 {
			group.Go(func() { w.expect(t, "event", request("a.test", a.keys[0]).at(time.Now()), good) })
		}
		group.Wait()
		if len(n.queries) != 1 || a.fetches != 1 {
			t.Errorf("%d queries, %d fetches", len(n.queries), a.fetches)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		reqs := make([]Request, maxServers+500)
		for i := range reqs {
			reqs[i] = request(id.ServerName(fmt.Sprintf("s%d.test", i)), signingKey("1", 1))
		}
		w.ring.Verify(t.Context(), reqs)
		if n := len(w.ring.servers); n > maxServers {
			t.Errorf("%d servers in memory", n)
		}
	})
}

func TestVerifyEvents(t *testing.T) {
	for _, rules := range roomversion.All() {
		in(t, plain, func(t *testing.T, w *world) {
			make := func(sender string, at time.Time, key SigningKey) *event.Event {
				d := event.Draft{RoomID: "!room:a.test", Type: "m.room.message", Sender: id.UserID(sender), Content: json.RawMessage(`{"body":"x"}`),
					Depth: 2, OriginServerTS: at.UnixMilli()}
				if rules.RoomIDIsCreateEvent {
					d.RoomID = "!AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
				}
				e, err := d.Sign(rules, d.Sender.Server(), key)
				if err != nil {
					t.Fatal(err)
				}
				return e
			}
			a := w.peers["a.test"].keys[0]
			late := good
			if rules.EnforceKeyValidity {
				late = Expired
			}
			events := []*event.Event{
				make("@u:a.test", time.Now(), a),
				make("@u:b.test", time.Now(), a),
				make("@u:c.test", time.Now(), a),
				make("@u:a.test", time.Now().Add(25*time.Hour), a),
			}
			for i, want := range []Kind{good, BadSignature, Unreachable, late} {
				if err := w.ring.VerifyEvents(t.Context(), events)[i]; kindOf(err) != want {
					t.Errorf("room version %s, event %d: %v, want kind %d", rules.Version, i, err, want)
				}
			}
		})
	}
}

// The year 1 is Go's zero time, which is how requests are told from events: an event that says to be of then is an event all the same. Its
// server's old key is good for it, as for one of a millisecond before or after, and its server doesn't get the places of those who ask us something.
func TestAnEventOfTheYearOneIsNoRequest(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		rules, _ := roomversion.Lookup(roomversion.V11)
		old := signingKey("old", 7)
		w.peers["a.test"].old = map[id.KeyID]OldVerifyKey{old.ID: {Key: old.Public(), ExpiredTS: time.Now().UnixMilli()}}
		for _, ts := range []int64{time.Time{}.UnixMilli() - 1, time.Time{}.UnixMilli(), time.Time{}.UnixMilli() + 1} {
			e, err := event.Draft{RoomID: "!room:a.test", Type: "m.room.message", Sender: "@u:a.test", Depth: 2, OriginServerTS: ts}.Sign(rules, "a.test", old)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.ring.VerifyEvents(t.Context(), []*event.Event{e})[0]; err != nil {
				t.Errorf("an event of %d: %v", ts, err)
			}
			wants := wantsOf(requestsOf(e), time.Now())
			if wants[0].itAsks() || !wants[0].hasEvents() {
				t.Errorf("an event of %d counts as a request by its server", ts)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	w := newWorld()
	reqs := make([]Request, 1000)
	for i := range reqs {
		reqs[i] = request("a.test", w.peers["a.test"].keys[0])
	}
	for b.Loop() {
		for _, err := range w.ring.Verify(b.Context(), reqs) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N)*float64(len(reqs))/b.Elapsed().Seconds(), "signatures/s")
}

func TestOnlyWhoAsksOtherServersPauses(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		pauses, paused := 0, 0
		ctx := WhileAsking(t.Context(), func() func() {
			pauses, paused = pauses+1, paused+1
			return func() { paused-- }
		})
		for i, want := range []int{1, 1} { // then the key is known
			if err := w.ring.Verify(ctx, []Request{request("a.test", w.peers["a.test"].keys[0])})[0]; err != nil {
				t.Fatal(err)
			}
			if pauses != want || paused != 0 {
				t.Errorf("lookup %d: %d pauses, %d of them not ended", i+1, pauses, paused)
			}
		}
	})
}

// An event of ours with a key that our file doesn't list is told of, as the key may have been lost; once in a while, as anybody can make
// such events up.
func TestEventsOfOursWithAnUnknownKeyAreToldOf(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		var told bytes.Buffer
		w.ring.log = slog.New(slog.NewTextHandler(&told, nil))
		lost := request(self, signingKey("lost", 50))
		w.expect(t, "request", lost, NoSuchKey)
		w.expect(t, "another server's event", request("a.test", signingKey("lost", 50)).at(time.Now()), NoSuchKey)
		if told.Len() > 0 {
			t.Errorf("told of what is no event of ours: %s", told.String())
		}
		for range 2 {
			w.expect(t, "event", lost.at(time.Now()), NoSuchKey)
		}
		if got := told.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "key=ed25519:lost") {
			t.Errorf("told: %s", got)
		}
	})
}
