package room

import (
	"slices"
	"time"

	"golang.org/x/crypto/ed25519" // policy servers sign with it

	"hanse/federation/authrules"
	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/signedjson"
)

const (
	typePolicy = "m.room.policy"
	// PolicyKeyID is the ID of every policy server's key.
	//
	// spec:server-server-api#validating-policy-server-signatures
	PolicyKeyID id.KeyID = "ed25519:policy_server"
)

// Policy is the policy server that a room uses. Immutable.
//
// spec:server-server-api#determining-if-a-policy-server-is-enabled-in-a-room
type Policy struct {
	Server id.ServerName
	// Key is nil if the room's event holds something that is no key: then no signature is good.
	Key ed25519.PublicKey
}

// ParsePolicy reads the content of an m.room.policy event, canonical JSON; false if it isn't valid, which means that the room uses none.
func ParsePolicy(content []byte) (Policy, bool) {
	via, hasVia := canonicaljson.GetString(content, "via")
	keys, _ := canonicaljson.Get(content, "public_keys")
	encoded, hasKey := canonicaljson.GetString(keys, "ed25519")
	server, err := id.ParseServerName(via)
	if !hasVia || !hasKey || err != nil { // of what is no server nobody can be joined
		return Policy{}, false
	}
	p := Policy{Server: server}
	if key, err := signedjson.DecodeBase64(encoded); err == nil && len(key) == ed25519.PublicKeySize {
		p.Key = key
	}
	return p, true
}

// Applies tells whether the policy server is asked about such an event: about all but the one that names it.
func (p Policy) Applies(typ string, stateKey *string) bool {
	return typ != typePolicy || stateKey == nil || *stateKey != ""
}

// Recommends tells whether an event carries the policy server's signature, or needs none.
//
// spec:server-server-api#validating-policy-server-signatures
func (p Policy) Recommends(e *event.Event) bool {
	if key, ok := e.StateKey(); ok && !p.Applies(e.Type(), &key) {
		return true
	}
	signature := e.Signatures()[p.Server][PolicyKeyID]
	return p.Key != nil && len(signature) == ed25519.SignatureSize && ed25519.Verify(p.Key, e.SignedBytes(), signature)
}

// Policy is the policy server that the room uses now; false if it uses none.
func (m *Machine) Policy(src Source) (Policy, bool, error) {
	return newStep(m, time.Time{}, src).policy()
}

// policy is the policy server by the current state: valid content, and somebody of the server joined.
func (s *step) policy() (Policy, bool, error) {
	current, err := s.currentState()
	if err != nil {
		return Policy{}, false, err
	}
	at, err := current.Event(typePolicy, "")
	if err != nil || at == "" {
		return Policy{}, false, err
	}
	stored, ok, err := s.stored(at)
	if err != nil || !ok {
		return Policy{}, false, err
	}
	p, ok := ParsePolicy(stored.Event.Content())
	if !ok {
		return Policy{}, false, nil
	}
	joined, err := s.joinedNow(p.Server, current)
	if joined == 0 && s.partial != nil { // its user may be among the members that we don't know yet
		return p, slices.Contains(s.partial.Servers, p.Server), err
	}
	return p, joined > 0, err
}

// joinedIn is the number of a server's joined members in a state.
type joinedIn struct {
	state   roomstate.Map
	server  id.ServerName
	members int
}

// joinedNow is the number of a server's joined members in the current state of a step that is under way.
func (s *step) joinedNow(server id.ServerName, current roomstate.Map) (int, error) {
	if s.joined.server == server && s.joined.state.Equal(current) {
		return s.joined.members, nil
	}
	var changes []StateChange
	for change, err := range s.m.current.Changes(current) {
		if err != nil {
			return 0, err
		}
		changes = append(changes, StateChange{Key: change.Key, Old: change.Old, New: change.New})
	}
	changed, err := s.countServers(changes)
	if err != nil {
		return 0, err
	}
	n, ok := changed[server]
	if !ok {
		n = s.m.servers.count[server]
	}
	s.joined = joinedIn{state: current, server: server, members: n}
	return n, nil
}

// checkPolicy is check 7. Asking for a signature that is missing is the caller's, before it hands the event in.
//
// spec:server-server-api#checks-performed-on-receipt-of-a-pdu 7
func (s *step) checkPolicy(c *Committed) error {
	policy, enabled, err := s.policy()
	if err != nil || !enabled || policy.Recommends(c.Event) {
		return err
	}
	return &authrules.Rejection{
		Rule: "policy.signature", Spec: "server-server-api#validating-policy-server-signatures",
		Reason: "the room's policy server " + string(policy.Server) + " does not recommend it",
	}
}
