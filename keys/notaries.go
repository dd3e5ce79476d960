package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/ed25519" // the algorithm of every Matrix signature; the house uses this import throughout

	"hanse/federation/id"
	"hanse/federation/signedjson"
)

// fromNotaries asks the notaries for what the servers themselves don't tell: servers that don't answer, and keys of
// events that their server has forgotten. For a request the server's own word is enough.
//
// spec:server-server-api#querying-keys-through-another-server
func (r *Ring) fromNotaries(ctx context.Context, open []want, got map[id.ServerName]found, now time.Time) {
	for len(r.cfg.Notaries) > 0 && r.cfg.Fetcher != nil && ctx.Err() == nil {
		var lead []want
		waits := map[*flight]bool{}
		f := &flight{done: make(chan struct{})}
		r.mu.Lock()
		for _, w := range open {
			e := r.entry(w.server, now)
			switch {
			case got[w.server].err == nil && !w.hasEvents():
			case e.notaries != nil:
				waits[e.notaries] = true
			case !time.Now().Before(e.notariesAgain):
				e.notaries = f
				lead = append(lead, w)
			}
		}
		r.mu.Unlock()
		if len(lead) > 0 {
			r.askNotaries(ctx, lead, f)
		}
		r.await(ctx, waits, open, got)
		open = remaining(open, got, now)
		if len(waits) == 0 {
			return // what is missing now, the notaries don't have
		}
	}
}

// await waits for what others have under way, and reads again what is known of the servers.
func (r *Ring) await(ctx context.Context, flights map[*flight]bool, wants []want, got map[id.ServerName]found) {
	for f := range flights {
		select {
		case <-f.done:
		case <-ctx.Done():
		}
	}
	r.refresh(wants, got)
}

// refresh reads again what is known of the servers.
func (r *Ring) refresh(wants []want, got map[id.ServerName]found) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range wants {
		if e := r.servers[w.server]; e != nil {
			got[w.server] = found{docs: e.docs, err: got[w.server].err}
		}
	}
}

// askNotaries asks one notary after the other for what is still missing.
func (r *Ring) askNotaries(ctx context.Context, lead []want, f *flight) {
	open := lead
	for _, notary := range r.cfg.Notaries {
		for start := 0; start < len(open); start += maxNotaryServers {
			r.askNotary(ctx, notary, open[start:min(start+maxNotaryServers, len(open))])
		}
		got := map[id.ServerName]found{}
		r.refresh(open, got)
		if open = remaining(open, got, time.Now()); len(open) == 0 {
			break
		}
	}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range lead {
		r.entry(w.server, now).notaries = nil
	}
	if ctx.Err() == nil {
		for _, w := range open {
			r.entry(w.server, now).notariesAgain = now.Add(notaryPause)
		}
	}
	close(f.done)
}

// askNotary asks one notary and takes in what it brings.
func (r *Ring) askNotary(ctx context.Context, notary id.ServerName, wants []want) {
	q := notaryRequest(wants, notary)
	if notary == r.cfg.Self || len(q.ServerKeys) == 0 {
		return
	}
	trusted := r.keysOf(ctx, notary, time.Now())
	if trusted.err != nil {
		r.log.Debug("a notary's own keys can't be had", "notary", notary, "error", trusted.err)
		return
	}
	r.takeIn(ctx, notary, q, func(doc ServerKeys) bool { return signedBy(doc.Raw, notary, trusted.docs, time.Now()) })
}

// notaryRequest asks for what is wanted, but for a server's own keys.
func notaryRequest(wants []want, but id.ServerName) NotaryRequest {
	q := NotaryRequest{ServerKeys: map[id.ServerName]map[id.KeyID]Criteria{}}
	for _, w := range wants {
		if w.server != but {
			q.ServerKeys[w.server] = w.criteria()
		}
	}
	return q
}

// takeIn asks a server for the documents of others, and keeps those that are signed by their server and pass the test.
func (r *Ring) takeIn(ctx context.Context, asked id.ServerName, q NotaryRequest, test func(ServerKeys) bool) {
	docs, err := r.query(ctx, asked, q, test)
	if err != nil {
		r.log.Debug("a server doesn't help with others' signing keys", "asked", asked, "servers", len(q.ServerKeys), "error", err)
		return
	}
	var changed []id.ServerName
	now := time.Now()
	r.mu.Lock()
	for _, doc := range docs {
		if r.entry(doc.ServerName, now).addSecondHand(doc) && !slices.Contains(changed, doc.ServerName) {
			changed = append(changed, doc.ServerName)
		}
	}
	r.mu.Unlock()
	r.save(ctx, changed)
}

// criteria are the keys that the requests need, with the time at which each has to be valid: no more than a document may have.
func (w *want) criteria() map[id.KeyID]Criteria {
	keys := map[id.KeyID]Criteria{}
	for _, q := range w.reqs {
		for _, keyID := range q.usable() {
			c, asked := keys[keyID]
			if !asked && len(keys) == maxDocumentKeys {
				continue
			}
			if q.EnforceValidity && !q.At.IsZero() {
				c.MinimumValidUntilTS = max(c.MinimumValidUntilTS, q.At.UnixMilli())
			}
			keys[keyID] = c
		}
	}
	return keys
}

// query gets the documents that the asked server has of others, and checks that they are signed by their server and pass
// the test. Those that don't are left out.
func (r *Ring) query(ctx context.Context, asked id.ServerName, q NotaryRequest, test func(ServerKeys) bool) ([]ServerKeys, error) {
	now := time.Now()
	r.mu.Lock()
	_, err := r.entry(asked, now).queries.pause(now, notaryPause)
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	release, err := r.given.Take(ctx, givenBy(ctx))
	if err != nil {
		return nil, err
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	raws, err := r.cfg.Fetcher.NotaryQuery(ctx, asked, q)
	r.noteQuery(ctx, asked, err)
	if err != nil {
		return nil, err
	}
	if len(raws) > maxNotaryDocuments {
		return nil, fmt.Errorf("it answers with %d documents for %d servers", len(raws), len(q.ServerKeys))
	}
	parsed := make([]ServerKeys, len(raws))
	parallel(len(raws), func(i int) {
		doc, err := ParseServerKeys(raws[i])
		if err != nil || !test(doc) {
			r.log.Debug("a key document from another than its server is no good", "asked", asked, "server", doc.ServerName, "error", err)
			return
		}
		parsed[i] = doc
	})
	var docs []ServerKeys
	for _, doc := range parsed {
		if _, wanted := q.ServerKeys[doc.ServerName]; wanted {
			doc.FetchedTS = now.UnixMilli()
			docs = append(docs, doc)
		}
	}
	return docs, nil
}

// noteQuery remembers whether the asked server has answered, so that one that doesn't isn't waited for each time. That says nothing about its
// own keys: they may be had all the same.
func (r *Ring) noteQuery(ctx context.Context, asked id.ServerName, err error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return // our caller gave up: that says nothing about the asked server
	}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.entry(asked, now); err != nil {
		e.queries.add(time.Time{}, now, notaryPause, err)
	} else {
		e.queries = failures{}
	}
}

// signedBy tells whether the document carries a good signature by the server, with a key in use now.
func signedBy(raw []byte, server id.ServerName, keys []ServerKeys, now time.Time) bool {
	signatures, err := signedjson.Signatures(raw)
	if err != nil {
		return false
	}
	message, err := signedjson.SignedBytes(raw)
	if err != nil {
		return false
	}
	q := Request{Server: server, Signatures: signatures[string(server)], EnforceValidity: true}
	for _, keyID := range q.usable() {
		if key, _ := find(keys, keyID, &q, now); key != nil && ed25519.Verify(key, message, q.Signatures[keyID]) {
			return true
		}
	}
	return false
}

// keysOf is what memory, the store and the server itself tell of its keys. err is nil only if one of the documents
// is valid now.
func (r *Ring) keysOf(ctx context.Context, server id.ServerName, now time.Time) found {
	w := []want{{server: server}}
	got := map[id.ServerName]found{}
	r.fromMemory(w, got, now)
	if !current(got[server].docs, now) {
		r.fromStore(ctx, w, got, now)
	}
	if !current(got[server].docs, now) {
		r.fromServers(ctx, w, got, now)
	}
	f := got[server]
	if current(f.docs, now) {
		f.err = nil
	} else if f.err == nil {
		f.err = fmt.Errorf("the key document of %s has run out", server)
	}
	return f
}

// current tells whether the newest document is valid now.
func current(docs []ServerKeys, now time.Time) bool {
	return len(docs) > 0 && now.UnixMilli() <= docs[0].ValidUntil()
}
