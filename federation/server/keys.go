package server

import (
	"fmt"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/keys"
)

// version is GET /version.
//
// spec:server-server-api#server-implementation
func (a *api) version(*request) (any, error) {
	return federation.VersionResponse{Server: a.Version}, nil
}

// serverKeys is GET /_matrix/key/v2/server, and its old form with a key ID, which tells nothing: all keys are
// answered.
//
// spec:server-server-api#publishing-keys
func (a *api) serverKeys(q *request) (any, error) {
	return a.Handlers.Keys.ServerKeys(q.ctx())
}

// queryKeys is POST /_matrix/key/v2/query.
//
// spec:server-server-api#querying-keys-through-another-server
func (a *api) queryKeys(q *request) (any, error) {
	var wanted keys.NotaryRequest
	if err := decode(q, &wanted); err != nil {
		return nil, err
	}
	if len(wanted.ServerKeys) > maxNotaryServers {
		return nil, federation.InvalidParam(fmt.Sprintf("more than %d servers", maxNotaryServers))
	}
	for server := range wanted.ServerKeys {
		if _, err := id.ParseServerName(string(server)); err != nil {
			delete(wanted.ServerKeys, server) // there can be no answer
		}
	}
	return a.notary(q, wanted)
}

// queryServerKeys is GET /_matrix/key/v2/query/{serverName}, and its old form with a key ID.
//
// spec:server-server-api#querying-keys-through-another-server
func (a *api) queryServerKeys(q *request) (any, error) {
	server, err := id.ParseServerName(q.PathValue("serverName"))
	if err != nil {
		return nil, federation.InvalidParam("the path has no valid server name")
	}
	until, _, err := q.number("minimum_valid_until_ts")
	if err != nil {
		return nil, err
	}
	// Without a key ID all keys are wanted; the empty one carries how long they must be valid.
	criteria := map[id.KeyID]keys.Criteria{id.KeyID(q.PathValue("keyID")): {MinimumValidUntilTS: until}}
	return a.notary(q, keys.NotaryRequest{ServerKeys: map[id.ServerName]map[id.KeyID]keys.Criteria{server: criteria}})
}

func (a *api) notary(q *request, wanted keys.NotaryRequest) (any, error) {
	documents, err := a.Handlers.Keys.Answer(q.ctx(), wanted)
	return federation.KeysQueryResponse{ServerKeys: documents}, err
}
