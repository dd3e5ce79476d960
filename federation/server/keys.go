package server

import (
	"errors"

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
	wanted, err := keys.ParseNotaryRequest(q.body)
	if errors.Is(err, keys.ErrTooManyServers) {
		return nil, federation.InvalidParam(err.Error())
	}
	if err != nil {
		return nil, wrongBody(q.body, inWords(err))
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
	wanted := keys.NotaryRequestFor(server, until)
	if key := q.PathValue("keyID"); key != "" {
		wanted.ServerKeys[server] = map[id.KeyID]keys.Criteria{id.KeyID(key): {}}
	}
	return a.notary(q, wanted)
}

func (a *api) notary(q *request, wanted keys.NotaryRequest) (any, error) {
	documents, err := a.Handlers.Keys.Answer(q.ctx(), wanted)
	return federation.KeysQueryResponse{ServerKeys: documents}, err
}
