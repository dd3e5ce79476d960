package sim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"hanse/federation/authrules"
	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/federation/stateres"
	"hanse/testnet/wholestate"
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

// membershipIn is the membership that a content tells.
func membershipIn(content []byte) string {
	var c struct {
		Membership string `json:"membership"`
	}
	_ = json.Unmarshal(content, &c) // of our own maps
	return c.Membership
}

// joining is the join of a user of a server: authorised by its steward where the room is restricted.
func (s *server) joining(user id.UserID, name string) event.Draft {
	d := member(user, user, "join", name)
	e, ok := wholestate.Get(s.store.current, "m.room.join_rules", "")
	if !ok || s.membership(user) == "join" || !strings.Contains(string(s.store.events[e].Event.Content()), `restricted"`) {
		return d
	}
	content := map[string]string{"membership": "join", "join_authorised_via_users_server": string(s.steward())}
	if name != "" {
		content["displayname"] = name
	}
	return draft(user, d.Type, d.StateKey, content)
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
		create.RoomID = id.RoomID("!room:" + s.name)
	}
	users := map[id.UserID]int{}
	for i, other := range n.servers {
		if i > 0 || !n.rules.PrivilegedCreators {
			users[other.steward()] = 100
		}
		users[other.users[1]] = 50
	}
	if creator := n.servers[1].users[1]; n.rules.PrivilegedCreators && n.rand.IntN(2) == 0 {
		create = state(founder, "m.room.create", map[string]any{"room_version": n.rules.Version, "additional_creators": []id.UserID{creator}})
		delete(users, creator)
	}
	levels := state(founder, "m.room.power_levels", map[string]any{
		"users": users, "events": map[string]int{"m.room.topic": 0}, "state_default": 50, "ban": 50, "kick": 50, "invite": 0,
	})
	rule := []string{"public", "public", "public", "invite"}[n.rand.IntN(4)]
	drafts := []event.Draft{create, member(founder, founder, "join", ""), levels, state(founder, "m.room.join_rules", map[string]any{"join_rule": rule})}
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
	if n.cfg.Faults.Lose > 0 && n.chance(n.cfg.Faults.Lose) {
		return n.lose(s)
	}
	if !s.resident() {
		return n.enter(s)
	}
	if n.cfg.Faults.Leave > 0 && n.chance(n.cfg.Faults.Leave) {
		if err := s.leaveAll(); err != nil || n.rand.IntN(2) == 0 || s.resident() {
			return err
		}
		return n.enter(s) // at once, so that those it comes back by may not have heard of its leave
	}
	if n.chance(n.cfg.Faults.Forge) {
		return n.forge(s)
	}
	switch n.rand.IntN(40) {
	case 0:
		return s.leaveAll()
	case 1, 2, 3:
		return s.backfill()
	case 4, 5, 6, 7, 8, 9:
		return n.whole(s, n.servers[n.rand.IntN(len(n.servers))])
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
	if s.m != nil && n.chance(n.cfg.Faults.Forge) {
		return n.outsider(s, resident)
	}
	if m := resident.membership(s.steward()); m == "invite" || m == "join" { // join: the answer was lost, or the leave hasn't come
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
		if n.rules.Knock && n.rand.IntN(4) == 0 {
			return member(user, user, "knock", "")
		}
		return s.joining(user, "")
	}
	switch n.rand.IntN(14) {
	case 0, 1:
		return state(user, "m.room.topic", map[string]any{"topic": word})
	case 2:
		if user != s.steward() || s.membership(user) == "join" {
			return s.joining(user, word)
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
		rule := []string{"public", "public", "invite", "restricted", "knock", "knock_restricted"}[n.rand.IntN(6)]
		if rule == "restricted" && !n.rules.RestrictedJoins || rule == "knock" && !n.rules.Knock || rule == "knock_restricted" && !n.rules.KnockRestricted {
			rule = "public"
		}
		content := map[string]any{"join_rule": rule}
		if strings.HasSuffix(rule, "restricted") {
			content["allow"] = []map[string]string{{"type": "m.room_membership", "room_id": "!other:s0"}}
		}
		return state(user, "m.room.join_rules", content)
	case 10, 11:
		return n.levels(s, user, target)
	case 12:
		if len(s.store.order) > 0 {
			return n.redaction(s, user, s.store.order[n.rand.IntN(len(s.store.order))])
		}
	}
	return draft(user, "m.room.message", nil, map[string]any{"body": word, "msgtype": "m.text"})
}

// redaction is one of any event, or of what holds the room together.
func (n *network) redaction(s *server, user id.UserID, target id.EventID) event.Draft {
	var held []id.EventID
	for key, e := range wholestate.All(s.store.current) {
		if key.Type != "m.room.topic" {
			held = append(held, e)
		}
	}
	if n.rand.IntN(2) == 0 && len(held) > 0 {
		slices.Sort(held)
		target = held[n.rand.IntN(len(held))]
	}
	content := map[string]any{}
	if n.rules.RedactsInContent {
		content["redacts"] = target
	}
	d := draft(user, "m.room.redaction", nil, content)
	d.Redacts = target
	return d
}

// levels is a change of one level.
func (n *network) levels(s *server, user, target id.UserID) event.Draft {
	content := map[string]any{}
	if e, ok := wholestate.Get(s.store.current, "m.room.power_levels", ""); ok {
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
	s.n.now = s.n.now.Add(time.Millisecond) // see join
	for _, i := range s.n.rand.Perm(len(s.users)) {
		user := s.users[i]
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
	switch n.rand.IntN(12) {
	case 0:
		return n.elsewhere(s)
	case 1, 2, 3, 4:
		return n.hidden(n.liar())
	}
	user := s.users[1+n.rand.IntN(2)]
	at := s.store.events[s.store.order[n.rand.IntN(len(s.store.order))]]
	d := n.authorisedElsewhere(n.anything(s, user))
	d.RoomID, d.PrevEvents, d.Depth = s.store.roomID, []id.EventID{at.Event.ID()}, min(at.Event.Depth()+1, 1<<53-1)
	d.OriginServerTS = n.now.Add(s.skew).UnixMilli()
	if n.rand.IntN(8) == 0 {
		d.Depth = []int64{0, 1, 1 << 40, 1<<53 - 1}[n.rand.IntN(4)] // a lie
	}
	auth := at.After
	if n.rand.IntN(6) == 0 {
		var err error
		if d.PrevEvents, auth, err = s.wide(at.Event.ID()); err != nil {
			return err
		}
		n.report.Wide++
	}
	if n.rand.IntN(4) == 0 {
		auth = s.store.current // auth events of another branch, which others may not know
	}
	e, err := n.forged(s, d, auth, 30)
	if err != nil {
		return err
	}
	for _, to := range n.servers {
		if to != s && n.rand.IntN(2) == 0 {
			s.store.outbox[to.name] = append(s.store.outbox[to.name], e)
		}
	}
	_, _, err = s.step(room.Receive{Origin: s.name, Events: []*event.Event{e}})
	return err
}

// wide are an event and others of all parts of the graph, as many as an event may name, and the state after them.
//
// spec:server-server-api#pdus
func (s *server) wide(at id.EventID) ([]id.EventID, roomstate.Map, error) {
	prev := []id.EventID{at}
	for range s.n.rand.IntN(20) {
		if e := s.store.order[s.n.rand.IntN(len(s.store.order))]; !slices.Contains(prev, e) {
			prev = append(prev, e)
		}
	}
	var states []roomstate.Map
	for _, p := range prev {
		states = append(states, s.store.events[p].After)
	}
	state, err := stateres.Resolve(s.n.rules, states, authSource{s.store})
	return prev, state, err
}

// authorisedElsewhere has another server's steward authorise a restricted join, who may have left or never have come.
func (n *network) authorisedElsewhere(d event.Draft) event.Draft {
	if _, ok := canonicaljson.Get(d.Content, "join_authorised_via_users_server"); ok && n.rand.IntN(2) == 0 {
		other := n.servers[n.rand.IntN(len(n.servers))]
		content := map[string]string{"membership": "join", "join_authorised_via_users_server": string(other.steward())}
		return draft(d.Sender, d.Type, d.StateKey, content)
	}
	return d
}

// forged signs an event with the auth events that the specification selects from a state; one in so many is left out.
func (n *network) forged(s *server, d event.Draft, auth roomstate.Map, leaveOut int) (*event.Event, error) {
	d.AuthEvents = nil
	for _, key := range authrules.Selection(n.rules, d.Type, d.StateKey, d.Sender, d.Content) {
		if a, ok := wholestate.Get(auth, key.Type, key.StateKey); ok && (leaveOut == 0 || n.rand.IntN(leaveOut) > 0) {
			d.AuthEvents = append(d.AuthEvents, a)
		}
	}
	s.hashes(&d)
	e, err := d.Sign(n.rules, s.name, n.key)
	if err != nil {
		return nil, n.fail("a forged event makes no event", "%v", err)
	}
	if via, ok := canonicaljson.Get(e.Content(), "join_authorised_via_users_server"); ok { // a restricted join has a second signature
		user, _ := canonicaljson.String(via)
		if e, err = e.CoSign(id.UserID(user).Server(), n.key); err != nil {
			return nil, n.fail("a forged event makes no event", "%v", err)
		}
	}
	n.knows(e)
	n.trace("%s forges %s %s by %s on %v", s.name, e.ID(), e.Type(), d.Sender, d.PrevEvents)
	return e, nil
}

// hidden has a user join once more on a side branch that only one other server hears of, and speak by that on a branch that all see.
func (n *network) hidden(s *server) error {
	if !s.resident() {
		return nil
	}
	at := s.store.events[s.store.order[len(s.store.order)-1-n.rand.IntN(min(4, len(s.store.order)))]]
	user, witness := s.steward(), n.servers[n.rand.IntN(len(n.servers))]
	old, ok := wholestate.Get(at.After, "m.room.member", string(user))
	if witness == s || !ok || s.store.events[old].Event.Membership() != "join" || at.Status == room.Rejected {
		return nil
	}
	content := map[string]string{"membership": "join", "displayname": "hidden"}
	if n.rules.RestrictedJoins {
		// Room version 8 redacts it, though it is what makes the auth events right: a redacted copy is rejected.
		content["join_authorised_via_users_server"] = string(n.servers[0].steward())
	}
	place := func(d event.Draft) event.Draft {
		d.RoomID, d.PrevEvents, d.Depth = s.store.roomID, []id.EventID{at.Event.ID()}, min(at.Event.Depth()+1, 1<<53-1)
		d.OriginServerTS = n.now.UnixMilli()
		return d
	}
	key := string(user)
	join, err := n.forged(s, place(draft(user, "m.room.member", &key, content)), at.After, 0)
	if err != nil {
		return err
	}
	if _, durable, err := s.step(room.Receive{Origin: s.name, Events: []*event.Event{join}}); err != nil || !durable {
		return err
	}
	n.messages++
	said := place(draft(user, "m.room.message", nil, map[string]any{"body": fmt.Sprint("h", n.messages), "msgtype": "m.text"}))
	e, err := n.forged(s, said, wholestate.With(at.After, "m.room.member", key, join.ID()), 0)
	if err != nil {
		return err
	}
	if witness.resident() && n.reach(s, witness) {
		if _, _, err := witness.step(room.Receive{Origin: s.name, Events: []*event.Event{join}}); err != nil {
			return err
		}
	}
	for _, to := range n.servers {
		if to != s {
			s.store.outbox[to.name] = append(s.store.outbox[to.name], e)
		}
	}
	_, _, err = s.step(room.Receive{Origin: s.name, Events: []*event.Event{e}})
	return err
}

// outsider has a server that has left the room show another one what was said before, and an event of its own on top of that.
func (n *network) outsider(s, to *server) error {
	if len(s.store.order) == 0 || !to.resident() {
		return nil
	}
	at := s.store.events[s.store.order[n.rand.IntN(len(s.store.order))]]
	d := n.anything(s, s.users[1+n.rand.IntN(2)])
	d.RoomID, d.PrevEvents, d.Depth = s.store.roomID, []id.EventID{at.Event.ID()}, min(at.Event.Depth()+1, 1<<53-1)
	d.OriginServerTS = n.now.Add(s.skew).UnixMilli()
	e, err := n.forged(s, d, at.After, 0)
	if err != nil {
		return err
	}
	n.report.Outsiders++
	events := []*event.Event{at.Event, e}
	_, _, err = to.step(room.Receive{Origin: s.name, Events: events[n.rand.IntN(2):]})
	return err
}

// elsewhere sends a server an event of another room as if it were of this one.
func (n *network) elsewhere(s *server) error {
	to := n.servers[n.rand.IntN(len(n.servers))]
	if to == s || !to.resident() {
		return nil
	}
	at := s.store.events[s.store.order[n.rand.IntN(len(s.store.order))]]
	d := state(s.steward(), "m.room.topic", map[string]any{"topic": "of another room"})
	d.RoomID, d.PrevEvents, d.AuthEvents, d.Depth = "!"+id.RoomID(strings.Repeat("A", 43)), []id.EventID{at.Event.ID()}, at.Event.AuthEvents(), 5
	if !n.rules.RoomIDIsCreateEvent {
		d.RoomID = "!other:s0"
	}
	d.OriginServerTS = n.now.UnixMilli()
	s.hashes(&d)
	e, err := d.Sign(n.rules, s.name, n.key)
	if err != nil {
		return n.fail("a forged event makes no event", "%v", err)
	}
	n.knows(e)
	n.report.Elsewhere++
	result, durable, err := to.step(room.Receive{Origin: s.name, Events: []*event.Event{e}})
	if v, ok := result.Verdict(e.ID()); err == nil && durable && (!ok || v.Status != room.Dropped) {
		return n.failAt(to, "an event of another room is taken", "%+v", v)
	}
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
