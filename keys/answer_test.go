package keys

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"hanse/federation/id"
	"hanse/federation/signedjson"
)

// answer asks us as a notary and gives the documents by server.
func (w *world) answer(t *testing.T, q NotaryRequest) map[id.ServerName][]ServerKeys {
	t.Helper()
	raws, err := w.ring.Answer(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	docs := map[id.ServerName][]ServerKeys{}
	for _, raw := range raws {
		doc, err := ParseServerKeys(raw)
		if err != nil {
			t.Error(err)
		}
		if err := signedjson.Verify(raw, string(self), "ed25519:self", signingKey("self", 42).Public()); err != nil {
			t.Errorf("not signed by us: %v", err)
		}
		docs[doc.ServerName] = append(docs[doc.ServerName], doc)
	}
	return docs
}

// spec:server-server-api#querying-keys-through-another-server
func TestAnswerAsANotary(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		a := w.peers["a.test"]
		docs := w.answer(t, NotaryRequestFor("a.test", 0))
		if len(docs["a.test"]) != 1 || len(docs["a.test"][0].VerifyKeys) != 1 {
			t.Fatalf("got %v", docs)
		}
		if docs := w.answer(t, NotaryRequestFor("c.test", 0)); len(docs) > 0 {
			t.Errorf("keys of a server that isn't there: %v", docs)
		}
		if docs := w.answer(t, NotaryRequestFor(self, 0)); len(docs[self]) != 1 || len(docs[self][0].OldVerifyKeys) != 1 {
			t.Errorf("our own: %v", docs)
		}
		// Cached for half of the lifetime.
		time.Sleep(11 * time.Hour)
		w.answer(t, NotaryRequestFor("a.test", 0))
		if a.fetches != 1 {
			t.Errorf("%d fetches within half of the lifetime", a.fetches)
		}
		time.Sleep(2 * time.Hour)
		w.answer(t, NotaryRequestFor("a.test", 0))
		if a.fetches != 2 {
			t.Errorf("%d fetches after half of the lifetime", a.fetches)
		}
		// A longer validity is asked for: fetched again, and what there is is returned.
		time.Sleep(time.Hour)
		if docs := w.answer(t, NotaryRequestFor("a.test", time.Now().AddDate(0, 1, 0).UnixMilli())); len(docs["a.test"]) != 1 || a.fetches != 3 {
			t.Errorf("%v, %d fetches", docs, a.fetches)
		}
		// So is a key we don't know.
		time.Sleep(time.Minute)
		w.answer(t, NotaryRequest{ServerKeys: map[id.ServerName]map[id.KeyID]Criteria{"a.test": {"ed25519:new": {}}}})
		if a.fetches != 4 {
			t.Errorf("%d fetches after an unknown key", a.fetches)
		}
		// The last document of a server that is down, after a restart too.
		a.down = true
		w.restart()
		time.Sleep(48 * time.Hour)
		if docs := w.answer(t, NotaryRequestFor("a.test", 0)); len(docs["a.test"]) != 1 {
			t.Errorf("a server that is down: %v", docs)
		}
	})
}

func TestAnswerHasKeysThatTheirServerHasForgotten(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		a := w.peers["a.test"]
		w.answer(t, NotaryRequestFor("a.test", 0))
		a.keys = []SigningKey{signingKey("2", 3)}
		time.Sleep(time.Minute)
		q := func(keys ...id.KeyID) NotaryRequest {
			wanted := map[id.KeyID]Criteria{}
			for _, k := range keys {
				wanted[k] = Criteria{}
			}
			return NotaryRequest{ServerKeys: map[id.ServerName]map[id.KeyID]Criteria{"a.test": wanted, "b.test": nil}}
		}
		if docs := w.answer(t, q("ed25519:1", "ed25519:2")); len(docs["a.test"]) != 2 || len(docs["b.test"]) != 1 {
			t.Errorf("got %v", docs)
		}
		if docs := w.answer(t, q("ed25519:2")); len(docs["a.test"]) != 1 {
			t.Errorf("got %v", docs)
		}
	})
}

// spec:server-server-api#querying-keys-through-another-server
func TestAnswerIsNoOlderThanAskedFor(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		a := w.peers["a.test"]
		ask := func(until time.Time, fetches int) []ServerKeys {
			t.Helper()
			q := NotaryRequest{ServerKeys: map[id.ServerName]map[id.KeyID]Criteria{"a.test": {"ed25519:1": {MinimumValidUntilTS: until.UnixMilli()}}}}
			docs := w.answer(t, q)["a.test"]
			if a.fetches != fetches {
				t.Errorf("%d fetches, not %d", a.fetches, fetches)
			}
			return docs
		}
		start := time.Now()
		first := ask(start, 1)
		if len(first) != 1 {
			t.Fatalf("got %v", first)
		}
		valid := time.UnixMilli(first[0].ValidUntilTS)
		ask(valid, 1)
		// A moment is waited for rather than answered with what isn't good enough.
		ask(valid.Add(time.Second), 2)
		if waited := time.Since(start); waited < minRefetch || waited > 2*minRefetch {
			t.Errorf("waited for %s", waited)
		}
		// What is over is known: nothing newer says more about it.
		time.Sleep(48 * time.Hour)
		ask(valid, 2)
		// The key is not published any more: it is in the first document of the answer.
		a.keys = []SigningKey{signingKey("2", 3)}
		ask(time.Now(), 3)
		docs := ask(valid, 3)
		if len(docs) != 2 || !docs[0].lists("ed25519:1") || !docs[1].lists("ed25519:2") {
			t.Errorf("got %v", docs)
		}
		// One that refuses at once is asked again soon.
		a.down = true
		ask(time.Now(), 4)
		ask(time.Now(), 5)
		a.down = false
		time.Sleep(minRefetch)
		ask(time.Now(), 6)
	})
}

// TestAnswerWaitsOnce: who waits until a server may be asked again takes what another brought meanwhile.
func TestAnswerWaitsOnce(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		w.answer(t, NotaryRequestFor("a.test", 0))
		start := time.Now()
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() { w.answer(t, NotaryRequestFor("a.test", start.Add(48*time.Hour).UnixMilli())) })
		}
		group.Wait()
		if waited := time.Since(start); waited != minRefetch || w.peers["a.test"].fetches != 2 {
			t.Errorf("%d fetches, after %s", w.peers["a.test"].fetches, waited)
		}
	})
}

// TestAnswersDoNotHoldUpChecks: who asks us again and again for the keys of a server that is starting doesn't have us wait for it longer
// with what it has signed.
func TestAnswersDoNotHoldUpChecks(t *testing.T) {
	in(t, plain, func(t *testing.T, w *world) {
		a := w.peers["a.test"]
		a.down = true
		for range 10 {
			w.answer(t, NotaryRequestFor("a.test", 0))
			time.Sleep(minRefetch)
		}
		a.down = false
		if a.fetches != 10 {
			t.Errorf("%d fetches", a.fetches)
		}
		time.Sleep(firstBackoff)
		w.expect(t, "an event", request("a.test", a.keys[0]).at(time.Now()), good)
	})
}

func TestNotaryRequestsAreBounded(t *testing.T) {
	var servers []string
	for i := range maxNotaryServers + 1 {
		servers = append(servers, fmt.Sprintf(`"s%d.test":{}`, i))
	}
	body := func(n int) []byte { return []byte(`{"server_keys":{` + strings.Join(servers[:n], ",") + `}}`) }
	if _, err := ParseNotaryRequest(body(maxNotaryServers)); err != nil {
		t.Error(err)
	}
	if _, err := ParseNotaryRequest(body(maxNotaryServers + 1)); !errors.Is(err, ErrTooManyServers) {
		t.Errorf("got %v", err)
	}
	for _, bad := range []string{``, `[]`, `{}`, `{"server_keys":null}`, `{"server_keys":{"a b":{}}}`, `{"server_keys":{"a":{"ed25519:1":{"minimum_valid_until_ts":"x"}}}}`} {
		if _, err := ParseNotaryRequest([]byte(bad)); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func TestNotaryRequestOnTheWire(t *testing.T) {
	const body = `{"server_keys":{"a.test":{"ed25519:1":{"minimum_valid_until_ts":5},"ed25519:2":{"minimum_valid_until_ts":0}}}}`
	q, err := ParseNotaryRequest([]byte(strings.Replace(body, `"minimum_valid_until_ts":0`, ``, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := json.Marshal(q); err != nil || string(raw) != body { // Synapse refuses a request in which a key has none
		t.Errorf("got %s, %v", raw, err)
	}
}
