package keys

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ed25519" // the algorithm of every Matrix signature; the house uses this import throughout

	"hanse/federation/id"
	"hanse/federation/signedjson"
)

// found is what a lookup has brought of one server. Immutable.
type found struct {
	docs []ServerKeys // the newest first
	err  error        // why there is not more, nil when the server itself has answered
}

// usable are the key IDs of the request's signatures that can be tried at all, in order. There are as many as an event has room for:
// which of them count is known only with the keys.
func (q *Request) usable() []id.KeyID {
	ids := make([]id.KeyID, 0, len(q.Signatures))
	for keyID := range q.Signatures {
		if keyID.Algorithm() == signedjson.Algorithm {
			ids = append(ids, keyID)
		}
	}
	slices.Sort(ids)
	return ids
}

// hopeless tells whether no key will ever be valid for the request: it is for an event too far in the future.
//
// spec:rooms/v5#signing-key-validity-period
func (q *Request) hopeless(now time.Time) bool {
	return q.EnforceValidity && q.At.After(now.Add(validityCap))
}

// find looks for a key among a server's documents, of which the newest that knows it decides: the key if it may be
// used for this request, and whether one of that ID is known at all.
func find(docs []ServerKeys, keyID id.KeyID, q *Request, now time.Time) (key ed25519.PublicKey, known bool) {
	at := q.At.UnixMilli()
	if q.At.IsZero() {
		at = now.UnixMilli()
	}
	for _, doc := range docs {
		if public, ok := doc.VerifyKeys[keyID]; ok {
			if !q.EnforceValidity || at <= doc.ValidUntil() {
				return public, true
			}
			return nil, true
		}
		if old, ok := doc.OldVerifyKeys[keyID]; ok {
			if !q.At.IsZero() && (!q.EnforceValidity || at <= old.ExpiredTS) {
				return old.Key, true
			}
			return nil, true
		}
	}
	return nil, false
}

// satisfied tells whether the documents have a key that may be used for the request.
func satisfied(docs []ServerKeys, q *Request, now time.Time) bool {
	for _, keyID := range q.usable() {
		if key, _ := find(docs, keyID, q, now); key != nil {
			return true
		}
	}
	return false
}

// appendTrials appends the signatures of the request by all keys that it may be used with. Those by unknown or expired keys are skipped.
func (q *Request) appendTrials(trials []trial, docs []ServerKeys, now time.Time) []trial {
	if q.hopeless(now) {
		return trials
	}
	for _, keyID := range q.usable() {
		if public, _ := find(docs, keyID, q, now); public != nil {
			trials = append(trials, trial{keyID: keyID, public: public, message: q.Message, signature: q.Signatures[keyID]})
		}
	}
	return trials
}

// verdict is what comes of a request whose signatures were tried, with what is known of its server: nil, or an *Error.
func verdict(q *Request, tried []trial, f found, now time.Time) error {
	for i := range tried {
		if !tried[i].good {
			return &Error{Server: q.Server, KeyID: tried[i].keyID, Kind: BadSignature}
		}
	}
	if len(tried) > 0 {
		return nil
	}
	ids := q.usable()
	if len(ids) == 0 {
		return &Error{Server: q.Server, Kind: NoSuchKey, Err: errors.New("it has not signed")}
	}
	if q.hopeless(now) {
		return &Error{Server: q.Server, KeyID: ids[0], Kind: Expired, Err: errors.New("no key is valid that far ahead")}
	}
	failure := &Error{Server: q.Server, KeyID: ids[0], Kind: NoSuchKey}
	for _, keyID := range ids {
		if _, known := find(f.docs, keyID, q, now); known {
			failure = &Error{Server: q.Server, KeyID: keyID, Kind: Expired}
			break
		}
	}
	if f.err != nil { // a newer document might list it
		failure.Kind, failure.Err = Unreachable, f.err
	}
	return failure
}

// parallel calls do for 0 … n-1 on all cores and returns when all calls have.
func parallel(n int, do func(int)) { spread(n, runtime.GOMAXPROCS(0), do) }

// spread calls do for 0 … n-1, at most so many at once, and returns when all calls have. If one panics, so does spread: who handles a
// request is prepared for that, but a goroutine of its own would end the process.
func spread(n, atOnce int, do func(int)) {
	workers := min(atOnce, n)
	if workers <= 1 {
		for i := range n {
			do(i)
		}
		return
	}
	var next atomic.Int64
	var fault atomic.Pointer[string]
	var group sync.WaitGroup
	work := func() {
		defer func() {
			if p := recover(); p != nil {
				text := fmt.Sprintf("%v\n%s", p, debug.Stack())
				fault.Store(&text)
			}
		}()
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			do(i)
		}
	}
	for range workers - 1 {
		group.Go(work)
	}
	work() // rather than be woken at the end
	group.Wait()
	if text := fault.Load(); text != nil {
		panic(*text)
	}
}
