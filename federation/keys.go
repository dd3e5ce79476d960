package federation

import (
	"encoding/json"

	"hanse/federation/exactjson"
)

// maxNotaryKeys bounds a notary's answer: one asks for some tens of servers at a time.
const maxNotaryKeys = 10_000

// KeysQueryResponse is the answer of a notary: GET and POST /_matrix/key/v2/query. Each document is signed by its
// server and by the notary, and is to be read by keys.ParseServerKeys.
//
// spec:server-server-api#querying-keys-through-another-server
type KeysQueryResponse struct {
	ServerKeys []json.RawMessage
}

// UnmarshalJSON reads an answer.
func (r *KeysQueryResponse) UnmarshalJSON(data []byte) error {
	var wire struct {
		ServerKeys json.RawMessage `json:"server_keys"`
	}
	if err := exactjson.Unmarshal(data, &wire); err != nil {
		return err
	}
	list, err := splitList(wire.ServerKeys, maxNotaryKeys, "server_keys")
	r.ServerKeys = list
	return err
}

// MarshalJSON writes the documents as they are.
func (r KeysQueryResponse) MarshalJSON() ([]byte, error) {
	dst := append(make([]byte, 0, size(r.ServerKeys)+24), `{"server_keys":`...)
	return append(appendList(dst, r.ServerKeys), '}'), nil
}
