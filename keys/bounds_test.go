package keys

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hanse/federation/id"
	"hanse/federation/signedjson"
)

// Servers that know one of the keys take what it has signed, however many names of unknown keys stand before it.
func TestUnknownKeysDoNotHideAGoodSignature(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		a := w.peers["a.test"]
		q := request("a.test", a.keys[0])
		for i := range 2 * maxDocumentKeys {
			q.Signatures[id.KeyID(fmt.Sprintf("ed25519:0%d", i))] = []byte("x") // sorts before the good one
		}
		w.expect(t, "useless signatures and a good one", q, good)
		delete(q.Signatures, a.keys[0].ID)
		w.expect(t, "useless signatures", q.at(time.Now()), NoSuchKey)
	})
}

// spec:server-server-api#validating-hashes-and-signatures-on-received-events
func TestAllSignaturesByKnownKeysCount(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		a := w.peers["a.test"]
		old := signingKey("0", 7)
		a.keys = append(a.keys, signingKey("2", 8))
		a.old = map[id.KeyID]OldVerifyKey{old.ID: {Key: old.Public(), ExpiredTS: time.Now().Add(-time.Hour).UnixMilli()}}
		with := func(keyID id.KeyID, signature []byte) Request {
			q := request("a.test", a.keys[0]).at(time.Now())
			q.Signatures[keyID] = signature
			return q
		}
		second := request("a.test", a.keys[1]).Signatures["ed25519:2"]
		w.expect(t, "two good ones", with("ed25519:2", second), good)
		w.expect(t, "a good and a forged one", with("ed25519:2", request("a.test", signingKey("2", 9)).Signatures["ed25519:2"]), BadSignature)
		w.expect(t, "a good one and one that could not be decoded", with("ed25519:2", nil), BadSignature)
		w.expect(t, "a forged one by a key that had expired", with(old.ID, second), good)
		w.expect(t, "a forged one by a key that had not", with(old.ID, second).at(time.Now().Add(-2*time.Hour)), BadSignature)
	})
}

func TestOlderDocumentsAreBounded(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		a := w.peers["a.test"]
		for i := range 3 * maxExtraDocuments {
			a.keys = []SigningKey{signingKey(fmt.Sprint("k", i), byte(i+1))}
			w.expect(t, "request", request("a.test", a.keys[0]), good)
			time.Sleep(2 * minRefetch)
		}
		if n := len(w.ring.servers["a.test"].docs); n != 1+maxExtraDocuments {
			t.Errorf("%d documents held", n)
		}
	})
}

// Documents of a server that lists nearly as many keys as may be are large; the older ones are few then.
func TestOlderDocumentsAreBoundedInSize(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		a := w.peers["a.test"]
		a.old = map[id.KeyID]OldVerifyKey{}
		for i := range maxDocumentKeys - 1 {
			a.old[id.KeyID(fmt.Sprint("ed25519:", strings.Repeat("x", 100), i))] = OldVerifyKey{Key: a.keys[0].Public(), ExpiredTS: 1}
		}
		for i := range 2 * maxExtraDocuments {
			a.keys = []SigningKey{signingKey(fmt.Sprint("k", i), byte(i+1))}
			w.expect(t, "request", request("a.test", a.keys[0]), good)
			time.Sleep(2 * minRefetch)
		}
		size := 0
		docs := w.ring.servers["a.test"].docs
		for _, doc := range docs[1:] {
			size += len(doc.Raw)
		}
		if len(docs) < 2 || size > maxExtraSize {
			t.Errorf("%d documents held, all but the newest of %d bytes", len(docs), size)
		}
	})
}

// A server that gives events of very many servers, whose keys don't come, holds up neither those who ask us something nor others' events.
func TestSlowServersHoldUpWhoNamesThem(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		const transactions, servers = 16, 50
		for i := range transactions * servers {
			w.peers[id.ServerName(fmt.Sprintf("slow%d.test", i))] = &peer{keys: []SigningKey{signingKey("1", 1)}, valid: time.Hour, slow: time.Hour}
		}
		var all sync.WaitGroup
		for n := range transactions {
			var reqs []Request
			for i := range servers {
				name := id.ServerName(fmt.Sprintf("slow%d.test", servers*n+i))
				reqs = append(reqs, request(name, w.peers[name].keys[0]).at(time.Now()))
			}
			all.Go(func() { w.ring.Verify(GivenBy(t.Context(), "evil.test"), reqs) })
		}
		synctest.Wait()
		began := time.Now()
		a, b := w.peers["a.test"], w.peers["b.test"]
		all.Go(func() { // it names them too, who come behind the others
			w.ring.Verify(GivenBy(t.Context(), "evil.test"), []Request{request("a.test", a.keys[0]).at(began), request("b.test", b.keys[0]).at(began)})
		})
		synctest.Wait()
		w.expect(t, "request", request("a.test", a.keys[0]), good)
		for _, err := range w.ring.Verify(GivenBy(t.Context(), "c.test"), []Request{request("b.test", b.keys[0]).at(time.Now())}) {
			if err != nil {
				t.Errorf("another server's event: %v", err)
			}
		}
		if waited := time.Since(began); waited > 0 { // in virtual time: nobody else's fetch has ended
			t.Errorf("they waited for %v", waited)
		}
		all.Wait()
		if n := w.ring.asking.Owners() + w.ring.given.Owners(); n != 0 {
			t.Errorf("%d servers are counted at the end", n)
		}
	})
}

func TestADocumentSaysUntilWhen(t *testing.T) {
	for _, until := range []int64{0, -1} {
		raw := mustCanonical(document{ServerName: "a.test", ValidUntilTS: until,
			VerifyKeys: map[id.KeyID]wireKey{"ed25519:1": {signedjson.EncodeBase64(signingKey("1", 1).Public())}}})
		if _, err := LoadServerKeys(raw, 0); err == nil || !strings.Contains(err.Error(), "until when") {
			t.Errorf("valid until %d: %v", until, err)
		}
	}
}

func TestANotaryWhoseKeysHaveRunOut(t *testing.T) {
	in(t, withNotary, func(t *testing.T, w *world) {
		a, n := w.peers["a.test"], w.peers["n.test"]
		n.notary["a.test"] = a.document("a.test")
		n.valid, a.down = -time.Hour, true
		w.expect(t, "event", request("a.test", a.keys[0]).at(time.Now()), Unreachable)
		if len(n.queries) > 0 {
			t.Error("it was asked although its answer couldn't be checked")
		}
	})
}

func TestWeAreNotOurOwnNotary(t *testing.T) {
	in(t, func() *world { return newWorld(self) }, func(t *testing.T, w *world) {
		w.peers[self] = &peer{keys: []SigningKey{signingKey("self", 42)}, valid: time.Hour, notary: map[id.ServerName]json.RawMessage{}}
		w.expect(t, "event", request("c.test", signingKey("1", 1)).at(time.Now()), Unreachable)
		if len(w.peers[self].queries) > 0 {
			t.Error("we have asked ourselves")
		}
	})
}

func TestWithoutAnybodyToAsk(t *testing.T) {
	ring := NewRing(RingConfig{Self: self, Notaries: []id.ServerName{"n.test"}})
	errs := ring.Verify(t.Context(), []Request{request("a.test", signingKey("1", 1)), request("a.test", signingKey("1", 1)).at(time.Now())})
	for _, err := range errs {
		if kindOf(err) != Unreachable {
			t.Errorf("got %v", err)
		}
	}
	if _, err := ring.Answer(t.Context(), NotaryRequestFor("a.test", 0)); err == nil {
		t.Error("a notary without a key")
	}
}
