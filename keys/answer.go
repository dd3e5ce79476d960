package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/signedjson"
)

// NotaryRequest is the body of POST /_matrix/key/v2/query. For the GET form make one with a single server and no
// keys (NotaryRequestFor).
//
// spec:server-server-api#querying-keys-through-another-server
type NotaryRequest struct {
	// ServerKeys says which servers' keys are wanted. An empty inner map asks for all keys of that server.
	ServerKeys map[id.ServerName]map[id.KeyID]Criteria `json:"server_keys"`
	// MinimumValidUntilTS counts for every key in addition to the keys' own; it has no wire form in the body.
	MinimumValidUntilTS int64 `json:"-"`
}

// Criteria says how fresh a key has to be.
type Criteria struct {
	// MinimumValidUntilTS is in milliseconds since 1970; zero means now. It is sent at any rate: Synapse (1.163) refuses a request
	// in which a key has none.
	MinimumValidUntilTS int64 `json:"minimum_valid_until_ts"`
}

// ErrTooManyServers is the error for a notary request that names more servers than we look up for one request.
var ErrTooManyServers = fmt.Errorf("more than %d servers in one request for keys", maxNotaryServers)

// ParseNotaryRequest reads the body of POST /_matrix/key/v2/query. Key IDs that are none stay: no document has such
// a key. The error is ErrTooManyServers, or says what is wrong with the body.
func ParseNotaryRequest(body []byte) (NotaryRequest, error) {
	var q NotaryRequest
	if err := exactjson.Unmarshal(body, &q); err != nil {
		return NotaryRequest{}, err
	}
	if q.ServerKeys == nil {
		return NotaryRequest{}, errors.New("server_keys is missing")
	}
	if len(q.ServerKeys) > maxNotaryServers {
		return NotaryRequest{}, ErrTooManyServers
	}
	for server := range q.ServerKeys {
		if _, err := id.ParseServerName(string(server)); err != nil {
			return NotaryRequest{}, err
		}
	}
	return q, nil
}

// NotaryRequestFor is the request of GET /_matrix/key/v2/query/{serverName}. minimum is its minimum_valid_until_ts,
// zero when it has none.
func NotaryRequestFor(server id.ServerName, minimum int64) NotaryRequest {
	return NotaryRequest{ServerKeys: map[id.ServerName]map[id.KeyID]Criteria{server: nil}, MinimumValidUntilTS: minimum}
}

// Answer answers as a notary: the documents of the servers asked for, each signed by us too, by server name. A
// document that isn't fresh enough is fetched again; where that fails the last one is returned, and servers of which
// nothing is known are left out. The error is ErrTooManyServers, or a failure on our side.
//
// spec:server-server-api#querying-keys-through-another-server
func (r *Ring) Answer(ctx context.Context, q NotaryRequest) ([]json.RawMessage, error) {
	if len(q.ServerKeys) > maxNotaryServers {
		return nil, ErrTooManyServers
	}
	if r.cfg.Own == nil {
		return nil, errors.New("no signing key to answer as a notary with")
	}
	now := time.Now()
	servers := slices.Sorted(maps.Keys(q.ServerKeys))
	got := r.answers(ctx, servers, q, now)
	answer := []json.RawMessage{} // an empty list, not null, when there is nothing
	for _, server := range servers {
		for _, doc := range documentsFor(got[server].docs, q.ServerKeys[server]) {
			signed, err := signedjson.Sign(doc.Raw, string(r.cfg.Self), r.cfg.Own.Current)
			if err != nil {
				return nil, fmt.Errorf("the keys of %s: %w", server, err)
			}
			answer = append(answer, signed)
		}
	}
	return answer, nil
}

// answers brings the documents for a notary's answer.
func (r *Ring) answers(ctx context.Context, servers []id.ServerName, q NotaryRequest, now time.Time) map[id.ServerName]found {
	got := map[id.ServerName]found{}
	var others []want
	for _, server := range servers {
		if server != r.cfg.Self {
			others = append(others, want{server: server, patient: true})
			continue
		}
		raw, err := r.cfg.Own.ServerKeys(server, now.Add(DocumentValidity))
		if err == nil {
			got[server] = found{docs: []ServerKeys{{ServerName: server, Raw: raw}}}
		}
	}
	r.fromMemory(others, got, now)
	if stale := r.stale(others, got, q, now); len(stale) > 0 {
		r.fromStore(ctx, stale, got, now)
	}
	if stale := r.stale(others, got, q, now); len(stale) > 0 {
		r.fromServers(ctx, stale, got, now)
	}
	return got
}

// stale are the servers of which what we have isn't good enough for the answer.
func (r *Ring) stale(wants []want, got map[id.ServerName]found, q NotaryRequest, now time.Time) []want {
	return slices.DeleteFunc(slices.Clone(wants), func(w want) bool {
		docs, keys := got[w.server].docs, q.ServerKeys[w.server]
		for keyID, c := range keys {
			i := slices.IndexFunc(docs, func(doc ServerKeys) bool { return doc.lists(keyID) })
			if i < 0 || !docs[i].fresh(max(q.MinimumValidUntilTS, c.MinimumValidUntilTS), now) {
				return false
			}
		}
		return len(keys) > 0 || len(docs) > 0 && docs[0].fresh(q.MinimumValidUntilTS, now)
	})
}

// fresh tells whether a notary may answer with the document without asking for it again. One that is to be valid now (then
// minimum is 0) or later must not be past half of its lifetime. Of a time that is over it says all that can be known: the
// server that asks checks what was signed then.
//
// spec:server-server-api#publishing-keys
func (k ServerKeys) fresh(minimum int64, now time.Time) bool {
	if minimum == 0 {
		minimum = now.UnixMilli()
	}
	return k.ValidUntilTS >= minimum && (minimum < now.UnixMilli() || !pastHalf(k, now))
}

// pastHalf tells whether more than half of the document's lifetime is over.
func pastHalf(doc ServerKeys, now time.Time) bool {
	return now.UnixMilli()-doc.FetchedTS > (doc.ValidUntil()-doc.FetchedTS)/2
}

// documentsFor are those documents that have a key asked for which newer ones lack, the newest first; and the newest of all,
// which comes last if it has none of the keys: there are servers that look at the first document alone. Where no keys are named all are
// asked for, and get all documents.
func documentsFor(docs []ServerKeys, keys map[id.KeyID]Criteria) []ServerKeys {
	if len(keys) == 0 {
		return docs
	}
	var answer []ServerKeys
	newest := false
	for i, doc := range docs {
		for keyID := range keys {
			if !listed(answer, keyID) && doc.lists(keyID) {
				answer, newest = append(answer, doc), newest || i == 0
				break
			}
		}
	}
	if !newest && len(docs) > 0 {
		answer = append(answer, docs[0])
	}
	return answer
}
