package keys

import (
	"context"
	"slices"
	"time"

	"golang.org/x/crypto/ed25519" // the algorithm of every Matrix signature; the house uses this import throughout

	"hanse/federation/id"
)

// giverKey is the key of what GivenBy gives a context.
type giverKey struct{}

// GivenBy says who gave us the events whose signatures are checked with the context. Where neither their server nor a
// notary tells its keys, this server is asked for them: it has checked the same signatures. It needn't be trusted, as only
// documents count that their server has signed with a key which it had in use by the newest document that we know. So events
// of a server that only others can reach, for longer than its keys were said to be valid, don't get lost, nor does the state
// that they are part of.
func GivenBy(ctx context.Context, server id.ServerName) context.Context {
	return context.WithValue(ctx, giverKey{}, server)
}

// givenBy is who gave us what is checked, "" if nobody did: a notary's question, say.
func givenBy(ctx context.Context) id.ServerName {
	giver, _ := ctx.Value(giverKey{}).(id.ServerName)
	return giver
}

// fromGiver asks who gave us the events for the keys of servers that don't answer.
func (r *Ring) fromGiver(ctx context.Context, open []want, got map[id.ServerName]found, now time.Time) {
	giver := givenBy(ctx)
	if giver == "" || giver == r.cfg.Self || r.cfg.Fetcher == nil || ctx.Err() != nil {
		return
	}
	var lead []want
	waits := map[*flight]bool{}
	f := &flight{done: make(chan struct{})}
	r.mu.Lock()
	for _, w := range open {
		e := r.entry(w.server, now)
		switch {
		case w.server == giver || !w.hasEvents() || got[w.server].err == nil || len(e.docs) == 0:
		case e.giver != nil:
			waits[e.giver] = true
		case e.givenBy != giver || !time.Now().Before(e.giverAgain):
			e.giver, e.givenBy, e.giverAgain = f, giver, time.Now().Add(giverPause)
			lead = append(lead, w)
		}
	}
	r.mu.Unlock()
	for chunk := range slices.Chunk(lead, maxNotaryServers) {
		r.takeIn(ctx, giver, notaryRequest(chunk, giver), r.knownToSign)
	}
	r.mu.Lock()
	for _, w := range lead {
		r.entry(w.server, now).giver = nil
	}
	r.mu.Unlock()
	close(f.done)
	r.await(ctx, waits, open, got)
}

// knownToSign tells whether a document is signed with a key that it lists as valid and that the newest one we know of its server does too.
// Keys that only older ones list were given up, perhaps since they were stolen.
func (r *Ring) knownToSign(doc ServerKeys) bool {
	r.mu.Lock()
	var newest ServerKeys
	if e := r.servers[doc.ServerName]; e != nil && len(e.docs) > 0 {
		newest = e.docs[0]
	}
	r.mu.Unlock()
	known := doc
	known.VerifyKeys = map[id.KeyID]ed25519.PublicKey{}
	for keyID, public := range newest.VerifyKeys {
		if listed := doc.VerifyKeys[keyID]; listed != nil && listed.Equal(public) {
			known.VerifyKeys[keyID] = public
		}
	}
	return signedBy(doc.Raw, doc.ServerName, []ServerKeys{known}, time.UnixMilli(doc.ValidUntilTS))
}
