package keys

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"hanse/federation/id"
)

// entry is what the ring remembers of a server. All fields are guarded by Ring.mu.
type entry struct {
	docs   []ServerKeys // the newest first; the slice is replaced, never changed
	stored bool         // the store has been asked
	used   time.Time    // for eviction

	fetch    *flight   // the fetch from the server under way, nil when there is none
	answered time.Time // the last fetch that brought a document
	own      failures  // fetches that brought none since
	queries  failures  // questions for other servers' keys that it didn't answer

	notaries      *flight   // the query to notaries under way
	notariesAgain time.Time // not asked before this time

	giver      *flight       // the query to who gave us events, under way
	givenBy    id.ServerName // who that was, last
	giverAgain time.Time     // that one is not asked before this time
}

// flight is something under way that others wait for.
type flight struct {
	done      chan struct{} // closed when it is over
	abandoned bool          // whoever started it gave up: its outcome says nothing. Set before done is closed
}

// entry is the server's entry, made if need be. r.mu is held.
func (r *Ring) entry(server id.ServerName, now time.Time) *entry {
	e := r.servers[server]
	if e == nil {
		if len(r.servers) >= maxServers {
			r.evict()
		}
		e = &entry{}
		r.servers[server] = e
	}
	e.used = now
	return e
}

// evict drops an entry that wasn't used for long: the eldest of a few taken at random. r.mu is held.
func (r *Ring) evict() {
	const sample = 32
	var eldest id.ServerName
	seen := 0
	for server, e := range r.servers {
		if e.fetch != nil || e.notaries != nil || e.giver != nil {
			continue
		}
		if eldest == "" || e.used.Before(r.servers[eldest].used) {
			eldest = server
		}
		if seen++; seen == sample {
			break
		}
	}
	delete(r.servers, eldest)
}

// add puts a document in front; of the older ones those stay that have a key which the newer ones lack.
func (e *entry) add(doc ServerKeys) {
	older := e.docs
	e.docs = []ServerKeys{doc}
	for _, old := range older {
		e.addBehind(old)
	}
}

// addBehind puts a document behind the others if it has a key that they lack, and there is room. It reports whether it did.
func (e *entry) addBehind(doc ServerKeys) bool {
	size := len(doc.Raw)
	for _, extra := range e.docs[min(1, len(e.docs)):] {
		size += len(extra.Raw)
	}
	if len(e.docs) > maxExtraDocuments || size > maxExtraSize || !addsKey(e.docs, doc) {
		return false
	}
	e.docs = append(slices.Clone(e.docs), doc)
	return true
}

// addSecondHand adds a notary's document: in front if it is newer than what we have, behind if it only has further
// keys. It reports whether that changed anything.
func (e *entry) addSecondHand(doc ServerKeys) bool {
	if len(e.docs) == 0 || doc.ValidUntilTS > e.docs[0].ValidUntilTS {
		e.add(doc)
		return true
	}
	return e.addBehind(doc)
}

// addsKey tells whether doc has a key that none of docs has.
func addsKey(docs []ServerKeys, doc ServerKeys) bool {
	for keyID := range doc.VerifyKeys {
		if !listed(docs, keyID) {
			return true
		}
	}
	for keyID := range doc.OldVerifyKeys {
		if !listed(docs, keyID) {
			return true
		}
	}
	return false
}

// listed tells whether one of the documents lists the key, as current or old.
func listed(docs []ServerKeys, keyID id.KeyID) bool {
	return slices.ContainsFunc(docs, func(doc ServerKeys) bool { return doc.lists(keyID) })
}

// lists tells whether the document lists the key, as current or old.
func (k ServerKeys) lists(keyID id.KeyID) bool {
	_, current := k.VerifyKeys[keyID]
	_, old := k.OldVerifyKeys[keyID]
	return current || old
}

// pause tells how much longer the server isn't to be asked: because it has just answered (then err is nil), or because
// it doesn't answer. 0: it may be asked now.
func (e *entry) pause(now time.Time, w want) (wait time.Duration, err error) {
	if e.own.count == 0 {
		return max(0, e.answered.Add(minRefetch).Sub(now)), nil
	}
	most := maxBackoff
	if w.itAsks() {
		most = requestBackoff
	}
	if w.patient && e.own.atOnce {
		most = minRefetch
	}
	return e.own.pause(now, most)
}

// succeed notes a fetch that brought a document.
func (e *entry) succeed(now time.Time, doc ServerKeys) {
	e.own, e.answered = failures{}, now
	e.add(doc)
}

// failures are attempts in a row that brought nothing. The pause after them doubles with each.
type failures struct {
	count  int
	last   time.Time
	atOnce bool  // the last one failed at once
	err    error // what it ended with
}

// pause tells how much longer nothing is to be attempted: of the pause, but at most so long, what is left. 0: it may be.
func (f *failures) pause(now time.Time, most time.Duration) (wait time.Duration, err error) {
	if f.count == 0 {
		return 0, nil
	}
	if doublings := f.count - 1; doublings < 16 { // beyond, the shift would tell nothing new
		most = min(most, firstBackoff<<doublings)
	}
	again := f.last.Add(most)
	if !now.Before(again) {
		return 0, nil
	}
	return again.Sub(now), fmt.Errorf("not asked again before %s: %w", again.UTC().Format(time.RFC3339), f.err)
}

// add notes one, begun at a time. One that was made before the pause, of at most so long, was over doesn't make the next one longer.
func (f *failures) add(began, now time.Time, most time.Duration, err error) {
	if wait, _ := f.pause(now, most); wait == 0 {
		f.count++
	}
	f.last, f.atOnce, f.err = now, now.Sub(began) < minRefetch, err
}

var errNoFetcher = errors.New("no way to ask other servers")
