package rooms

import (
	"context"
	"encoding/json"
	"strings"
	"sync"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/roomstate"
)

// acl is the content of an m.room.server_acl event. Immutable.
//
// spec:client-server-api#mroomserver_acl
type acl struct {
	ipLiterals  bool
	allow, deny []string // globs, in lower case
}

// parseACL reads the content. Values of a wrong kind count as absent: without allow nobody is allowed.
func parseACL(content []byte) *acl {
	var o map[string]json.RawMessage
	_ = exactjson.Unmarshal(content, &o) // of an event: an object
	a := &acl{ipLiterals: true, allow: globs(o["allow"]), deny: globs(o["deny"])}
	if literals, ok := o["allow_ip_literals"]; ok && string(literals) == "false" {
		a.ipLiterals = false
	}
	return a
}

func globs(raw json.RawMessage) []string {
	var list []json.RawMessage
	_ = exactjson.Unmarshal(raw, &list) // not a list: none
	var out []string
	for _, entry := range list {
		var glob string
		if exactjson.Unmarshal(entry, &glob) == nil {
			out = append(out, strings.ToLower(glob))
		}
	}
	return out
}

// allows tells whether a server may take part. The steps are those of the event's definition.
func (a *acl) allows(server id.ServerName) bool {
	// 1. No ACL at all: the caller's.
	// 2. IP literals.
	if _, literal := server.Literal(); literal && !a.ipLiterals {
		return false
	}
	host := strings.ToLower(server.Host())
	// 3. Denied.
	for _, glob := range a.deny {
		if matches(glob, host) {
			return false
		}
	}
	// 4. Allowed.
	for _, glob := range a.allow {
		if matches(glob, host) {
			return true
		}
	}
	// 5. Otherwise denied.
	return false
}

// matches tells whether a glob ('*': any text, '?': one character) stands for the whole name. It takes time in the
// product of both lengths at worst, whatever the glob.
func matches(glob, name string) bool {
	g, n := 0, 0
	star, mark := -1, 0
	for n < len(name) {
		switch {
		case g < len(glob) && glob[g] == '*':
			star, mark = g, n
			g++
		case g < len(glob) && (glob[g] == '?' || glob[g] == name[n]):
			g++
			n++
		case star >= 0: // let the last star take one more
			mark++
			g, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(glob[g:], "*") == ""
}

// aclCache keeps parsed ACLs by their events: they may hold thousands of globs, and are asked for each transaction.
type aclCache struct {
	mu     sync.Mutex
	parsed map[id.EventID]parsedACL // guarded by mu; at most maxACLs
}

// parsedACL is an ACL and how long the text was that it was read from: an event may be redacted later, or come redacted and whole later.
type parsedACL struct {
	*acl
	size int
}

// maxACLs bounds the cache; when it is full it starts anew. A room has one ACL at a time.
const maxACLs = 1000

func (c *aclCache) of(e *event.Event) *acl {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a, known := c.parsed[e.ID()]; known && a.size == len(e.Content()) {
		return a.acl
	}
	if c.parsed == nil || len(c.parsed) >= maxACLs {
		c.parsed = make(map[id.EventID]parsedACL)
	}
	a := parseACL(e.Content())
	c.parsed[e.ID()] = parsedACL{a, len(e.Content())}
	return a
}

// Allowed tells whether a room's server ACL lets a server take part. A room that isn't known has no ACL.
//
// spec:server-server-api#server-access-control-lists-acls
func (r *Rooms) Allowed(ctx context.Context, roomID id.RoomID, server id.ServerName) (bool, error) {
	if server == r.self {
		return true, nil
	}
	state, err := r.store.CurrentState(ctx, roomID)
	if err != nil {
		return false, err
	}
	events, err := r.store.StateEvents(ctx, state, roomstate.Key{Type: typeServerACL})
	if err != nil || len(events) == 0 {
		return err == nil, err
	}
	return r.acls.of(events[0]).allows(server), nil
}

// admit is Allowed as an error: M_FORBIDDEN for who isn't.
func (r *Rooms) admit(ctx context.Context, roomID id.RoomID, server id.ServerName) error {
	ok, err := r.Allowed(ctx, roomID, server)
	if err == nil && !ok {
		return federation.Forbidden("your server is denied access to this room by its server ACL")
	}
	return err
}
