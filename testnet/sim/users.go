package sim

import (
	"encoding/json"
	"fmt"

	"hanse/federation/authrules"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
)

func draft(sender id.UserID, typ string, stateKey *string, content any) event.Draft {
	raw, err := json.Marshal(content)
	if err != nil {
		panic(err) // of our own maps
	}
	return event.Draft{Type: typ, StateKey: stateKey, Sender: sender, Content: raw}
}

func state(sender id.UserID, typ string, content any) event.Draft {
	key := ""
	return draft(sender, typ, &key, content)
}

func member(sender, target id.UserID, membership, name string) event.Draft {
	key := string(target)
	content := map[string]any{"membership": membership}
	if name != "" {
		content["displayname"] = name
	}
	return draft(sender, "m.room.member", &key, content)
}

// found has the first server make the room.
func (n *network) found() error {
	s := n.servers[0]
	s.m = room.New(s.name, n.rules)
	founder := s.steward()
	create := state(founder, "m.room.create", map[string]any{"room_version": n.rules.Version})
	if !n.rules.ImplicitCreator {
		create = state(founder, "m.room.create", map[string]any{"room_version": n.rules.Version, "creator": founder})
	}
	if !n.rules.RoomIDIsCreateEvent {
		create.RoomID = id.RoomID("!sim:" + s.name)
	}
	users := map[id.UserID]int{}
	for i, other := range n.servers {
		if i > 0 || !n.rules.PrivilegedCreators {
			users[other.steward()] = 100
		}
		users[other.users[1]] = 50
	}
	levels := state(founder, "m.room.power_levels", map[string]any{
		"users": users, "events": map[string]int{"m.room.topic": 0}, "state_default": 50, "ban": 50, "kick": 50, "invite": 0,
	})
	drafts := []event.Draft{create, member(founder, founder, "join", ""), levels, state(founder, "m.room.join_rules", map[string]any{"join_rule": "public"})}
	for _, other := range n.servers[1:] {
		drafts = append(drafts, member(founder, other.steward(), "invite", ""))
	}
	for !s.resident() { // it may crash
		if s.m == nil {
			s.m = room.New(s.name, n.rules)
		}
		if err := s.propose(drafts...); err != nil {
			return err
		}
	}
	return nil
}

// act has somebody do something.
func (n *network) act() error {
	s := n.servers[n.rand.IntN(len(n.servers))]
	if !s.resident() {
		return n.enter(s)
	}
	if n.chance(n.cfg.Faults.Forge) {
		return n.forge(s)
	}
	switch n.rand.IntN(40) {
	case 0:
		return s.leaveAll()
	case 1, 2, 3:
		return s.backfill()
	}
	return s.propose(n.anything(s, s.users[n.rand.IntN(len(s.users))]))
}

// enter has the steward of a server join. Stewards come by invite, so that no change of the join rules at the same time undoes their joins
// when the branches merge: that happens in Matrix, and the servers that it happens to are out of the room without knowing it.
func (n *network) enter(s *server) error {
	resident := n.servers[n.rand.IntN(len(n.servers))]
	if !resident.resident() {
		resident = n.servers[0]
	}
	if resident.lacks(s.leave) {
		return nil // when the leave comes, it undoes a join that doesn't stand on it
	}
	if m := resident.membership(s.steward()); m == "invite" || m == "join" && s.leave == "" { // join: the answer was lost
		return n.join(s, resident, s.steward())
	}
	founder := n.servers[0]
	if founder.membership(s.steward()) != "leave" || founder.lacks(s.leave) {
		return nil
	}
	return founder.propose(member(founder.steward(), s.steward(), "invite", ""))
}

// anything is something that a user may want to do, allowed or not.
func (n *network) anything(s *server, user id.UserID) event.Draft {
	other := n.servers[n.rand.IntN(len(n.servers))]
	target := other.users[1+n.rand.IntN(2)]
	n.messages++
	word := fmt.Sprint("m", n.messages)
	if user != s.steward() && s.membership(user) != "join" && n.rand.IntN(3) > 0 {
		return member(user, user, "join", "")
	}
	switch n.rand.IntN(14) {
	case 0, 1:
		return state(user, "m.room.topic", map[string]any{"topic": word})
	case 2:
		if user != s.steward() || s.membership(user) == "join" {
			return member(user, user, "join", word)
		}
	case 3:
		if user != s.steward() {
			return member(user, user, "leave", "")
		}
	case 4, 5:
		return member(user, target, "ban", "")
	case 6, 7:
		return member(user, target, "leave", "")
	case 8:
		return member(user, target, "invite", "")
	case 9:
		rule := "public"
		if n.rand.IntN(3) == 0 {
			rule = "invite"
		}
		return state(user, "m.room.join_rules", map[string]any{"join_rule": rule})
	case 10, 11:
		return n.levels(s, user, target)
	}
	return draft(user, "m.room.message", nil, map[string]any{"body": word, "msgtype": "m.text"})
}

// levels is a change of one level.
func (n *network) levels(s *server, user, target id.UserID) event.Draft {
	content := map[string]any{}
	if e, ok := s.store.current.Get("m.room.power_levels", ""); ok {
		if err := json.Unmarshal(s.store.events[e].Event.Content(), &content); err != nil {
			content = map[string]any{}
		}
	}
	level := []int{0, 10, 50}[n.rand.IntN(3)]
	if n.rand.IntN(3) == 0 {
		content["events"] = map[string]int{"m.room.topic": level}
	} else if users, ok := content["users"].(map[string]any); ok {
		users[string(target)] = level
	}
	return state(user, "m.room.power_levels", content)
}

// speak is a message.
func (s *server) speak(user id.UserID) error {
	s.n.messages++
	return s.propose(draft(user, "m.room.message", nil, map[string]any{"body": fmt.Sprint("s", s.n.messages), "msgtype": "m.text"}))
}

// leaveAll has all users of a server leave: it is out of the room then. The first server stays.
func (s *server) leaveAll() error {
	if s == s.n.servers[0] {
		return nil
	}
	for _, user := range []id.UserID{s.users[1], s.users[2], s.users[0]} {
		if s.m != nil && s.membership(user) == "join" {
			if err := s.propose(member(user, user, "leave", "")); err != nil {
				return err
			}
		}
	}
	return nil
}

// lacks tells whether an event is unknown here.
func (s *server) lacks(e id.EventID) bool {
	c, ok := s.store.events[e]
	return e != "" && (!ok || c.Outlier)
}

// backfill asks another server for what lies below a hole in the history.
func (s *server) backfill() error {
	for _, e := range s.store.order {
		if !s.store.events[e].Gap {
			continue
		}
		from := s.n.servers[s.n.rand.IntN(len(s.n.servers))]
		if from == s || !from.resident() || !s.n.reach(s, from) {
			return nil
		}
		s.n.report.Backfills++
		_, _, err := s.step(room.Backfill{Origin: from.name, Events: from.missing([]id.EventID{e}, nil, 8)})
		return err
	}
	return nil
}

// forge makes an event on an old part of the graph and shows it to some servers only, the own one among them.
func (n *network) forge(s *server) error {
	user := s.users[1+n.rand.IntN(2)]
	at := s.store.events[s.store.order[n.rand.IntN(len(s.store.order))]]
	d := n.anything(s, user)
	d.RoomID, d.PrevEvents, d.Depth = s.store.roomID, []id.EventID{at.Event.ID()}, at.Event.Depth()+1
	d.OriginServerTS = n.now.Add(s.skew).UnixMilli()
	auth := at.After
	if n.rand.IntN(4) == 0 {
		auth = s.store.current // auth events of another branch, which others may not know
	}
	d.AuthEvents = nil
	for _, key := range authrules.Selection(n.rules, d.Type, d.StateKey, d.Sender, d.Content) {
		if a, ok := auth.Get(key.Type, key.StateKey); ok && n.rand.IntN(30) > 0 {
			d.AuthEvents = append(d.AuthEvents, a)
		}
	}
	s.hashes(&d)
	e, err := d.Sign(n.rules, s.name, n.key)
	if err != nil {
		return n.fail("a forged event makes no event", "%v", err)
	}
	n.trace("%s forges %s %s by %s on %s", s.name, e.ID(), e.Type(), user, at.Event.ID())
	for _, to := range n.servers {
		if to != s && n.rand.IntN(2) == 0 {
			s.store.outbox[to.name] = append(s.store.outbox[to.name], e)
		}
	}
	_, _, err = s.step(room.Receive{Origin: s.name, Events: []*event.Event{e}})
	return err
}

// hashes adds what references of the first room versions carry.
func (s *server) hashes(d *event.Draft) {
	if !s.n.rules.ReferencesWithHashes {
		return
	}
	d.ReferenceHashes = make(map[id.EventID][]byte)
	for _, list := range [2][]id.EventID{d.PrevEvents, d.AuthEvents} {
		for _, e := range list {
			sum := s.store.events[e].Event.ReferenceHash()
			d.ReferenceHashes[e] = sum[:]
		}
	}
}
