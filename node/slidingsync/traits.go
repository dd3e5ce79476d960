package slidingsync

import (
	"context"
	"encoding/json"
	"strings"

	"hanse/federation/event"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/node/clientsync"
	"hanse/node/store"
	"hanse/node/stream"
)

// traits are what filters ask of a room itself.
type traits struct {
	known     bool
	encrypted bool
	typ       string
	name      string // in lower case; of rooms that the user is in or invited to
}

// traitKeys are the state that traits are made of.
var traitKeys = [...]roomstate.Key{{Type: "m.room.create"}, {Type: "m.room.encryption"}, {Type: "m.room.name"}}

// traitEvents are the events of a room's state that its traits were made of, with what they say.
type traitEvents struct {
	from   [len(traitKeys)]id.EventID
	traits traits
	at     store.Position // when they were read: they may have been redacted since
}

// check finds out the traits of rooms that need it, as they are at a position. The events of all are read at once. The caller holds
// the mu of what they are in.
func (s *Syncer) check(ctx context.Context, r *clientsync.Reader, rooms []*listed, now store.Position) error {
	changed := map[*listed]traitEvents{}
	for _, l := range rooms {
		if l.checked != 0 {
			continue
		}
		m := l.membership
		if m.OutOfRoom {
			l.traits, l.checked = strippedTraits(m.Stripped), now
			continue
		}
		state, err := visibleState(ctx, r, m, now)
		if err != nil {
			return err
		}
		var from [len(traitKeys)]id.EventID
		for i, key := range traitKeys {
			if from[i], err = state.Event(key.Type, key.StateKey); err != nil {
				return err
			}
		}
		if from == ([len(traitKeys)]id.EventID{}) { // there is nothing that they may know
			l.traits, l.checked = traits{}, now
			continue
		}
		known, there := s.traits.Get(m.RoomID)
		if there && known.from == from && !s.stream.RoomSince(m.RoomID, known.at).Redactions {
			l.traits, l.checked = known.traits, now
			continue
		}
		changed[l] = traitEvents{from: from, at: now}
	}
	return s.readTraits(ctx, r, changed, now)
}

// readTraits reads the events of rooms whose traits are not known.
func (s *Syncer) readTraits(ctx context.Context, r *clientsync.Reader, rooms map[*listed]traitEvents, now store.Position) error {
	if len(rooms) == 0 {
		return nil
	}
	var ids []id.EventID
	for _, read := range rooms {
		for _, eventID := range read.from {
			if eventID != "" {
				ids = append(ids, eventID)
			}
		}
	}
	rows, err := r.Events(ctx, ids)
	if err != nil {
		return err
	}
	events := make(map[id.EventID]*event.Event, len(rows))
	for _, row := range rows {
		events[row.Event.ID()] = row.Event
	}
	for l, read := range rooms {
		for i, key := range traitKeys {
			if e := events[read.from[i]]; e != nil {
				read.traits.see(key.Type, e.Content())
			}
		}
		l.traits, l.checked = read.traits, now
		s.traits.Put(l.membership.RoomID, read)
	}
	return nil
}

// visibleState is the state of a room whose traits a user may know: who is invited knows what the invite told, what came after they left is
// not theirs to know, and nothing of a room that they were removed from without ever having been in it.
func visibleState(ctx context.Context, r *clientsync.Reader, m store.Membership, now store.Position) (roomstate.Map, error) {
	if m.Membership == "invite" || m.Membership == "knock" {
		return r.State(ctx, m.RoomID, min(m.Position, now))
	}
	if !out(m) {
		return r.State(ctx, m.RoomID, now)
	}
	state, _, err := r.LeftState(ctx, m)
	return state, err
}

// see takes in what a state event says.
func (t *traits) see(typ string, raw json.RawMessage) {
	var content struct {
		Type string `json:"type"`
		Name string `json:"name"`
	}
	_ = exactjson.Unmarshal(raw, &content) // of a wrong form: it says nothing
	switch typ {
	case "m.room.create":
		t.known, t.typ = true, content.Type
	case "m.room.encryption":
		t.encrypted = true
	case "m.room.name":
		t.name = strings.ToLower(content.Name)
	}
}

// strippedTraits are those of a room that this server isn't in, from what came with an invite.
func strippedTraits(stripped []json.RawMessage) traits {
	var t traits
	for _, raw := range stripped {
		var e struct {
			Type     string          `json:"type"`
			StateKey string          `json:"state_key"`
			Content  json.RawMessage `json:"content"`
		}
		if exactjson.Unmarshal(raw, &e) == nil && e.StateKey == "" {
			t.see(e.Type, e.Content)
		}
	}
	return t
}

// children are the rooms that spaces name as theirs, of those spaces that the user is in.
func (s *Syncer) children(ctx context.Context, r *clientsync.Reader, u *userRooms, spaces []id.RoomID, now stream.Token) (map[id.RoomID]bool, error) {
	all := map[id.RoomID]bool{}
	for _, space := range spaces {
		l := u.rooms[space]
		if l == nil || l.membership.Membership != "join" || l.membership.OutOfRoom {
			continue
		}
		state, err := r.State(ctx, space, now.Position)
		if err != nil {
			return nil, err
		}
		known, there := s.spaces.Get(space)
		if !there || known.state != state.Hash() {
			known.state = state.Hash()
			if known.children, err = readChildren(ctx, r, state); err != nil {
				return nil, err
			}
			s.spaces.Put(space, known)
		}
		for _, child := range known.children {
			all[child] = true
		}
	}
	return all, nil
}

// space is what was read of a space's state.
type space struct {
	state    roomstate.Hash
	children []id.RoomID
}

// readChildren are the rooms that a space names with servers to join them by: without these it names them no more.
//
// spec:client-server-api/modules/spaces#mspacechild-relationship
func readChildren(ctx context.Context, r *clientsync.Reader, state roomstate.Map) ([]id.RoomID, error) {
	var ids []id.EventID
	for child, err := range state.OfType("m.space.child") {
		if err != nil {
			return nil, err
		}
		if len(ids) < maxChildren {
			ids = append(ids, child.Event)
		}
	}
	rows, err := r.Events(ctx, ids)
	var children []id.RoomID
	for _, row := range rows {
		var content struct {
			Via []string `json:"via"`
		}
		child, _ := row.Event.StateKey()
		if exactjson.Unmarshal(row.Event.Content(), &content) == nil && len(content.Via) > 0 {
			children = append(children, id.RoomID(child))
		}
	}
	return children, err
}
