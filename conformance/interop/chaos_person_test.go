package interop

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/gomega"

	"hanse/testnet/user"
)

// person is a user who syncs all the time, and keeps what a client keeps.
type person struct {
	*user.User
	chaos  *chaos
	server *server

	turn sync.Mutex      // held for a message to a device: one after the other
	sent map[*person]int // guarded by turn; messages to devices of others, the failed ones too

	mu      sync.Mutex
	owed    map[message]bool             // guarded by mu; messages to the device that were acknowledged
	got     []message                    // guarded by mu; those that came
	rooms   map[string]*seen             // guarded by mu; the rooms that the person is in
	invites map[string]bool              // guarded by mu; the rooms that the person is invited to
	devices map[string]map[string]string // guarded by mu; of each user: the keys as they were after the last change that was told
	stale   map[string]bool              // guarded by mu; users whose devices have changed since
}

// message is one to a device: the one so manieth of a sender to it.
type message struct {
	From   string `json:"from"`
	Number int    `json:"number"`
}

// seen is what somebody knows of a room.
type seen struct {
	state         map[string]string // in the form of state
	members       map[string]string // in the form of members
	timeline      []string          // the events since the person's own join
	receipts      map[string]string // of each user the event that was read last
	notifications int
	highlights    int
}

func newPerson(c *chaos, s *server) *person {
	return &person{
		User: user.New(s.orders.ClientURL()), chaos: c, server: s, sent: map[*person]int{}, owed: map[message]bool{},
		rooms: map[string]*seen{}, invites: map[string]bool{}, devices: map[string]map[string]string{}, stale: map[string]bool{},
	}
}

// sync follows what happens until ctx ends.
func (p *person) sync(ctx context.Context) {
	for since := ""; ctx.Err() == nil; {
		answer, err := p.Sync(ctx, 2*time.Second)
		if err != nil {
			time.Sleep(100 * time.Millisecond) // the server is down
			continue
		}
		p.note(answer, p.missed(ctx, answer, since))
		p.ask(ctx)
		since = answer.NextBatch
	}
}

// missed are, by room, the events that limited timelines left out.
func (p *person) missed(ctx context.Context, answer user.SyncAnswer, since string) map[string][]user.Event {
	missed := map[string][]user.Event{}
	for id, room := range answer.Rooms.Join {
		if since == "" || !room.Timeline.Limited || slices.ContainsFunc(room.Timeline.Events, p.enters) {
			continue
		}
		for from := room.Timeline.PrevBatch; from != "" && ctx.Err() == nil; {
			var page struct {
				Chunk []user.Event `json:"chunk"`
				End   string       `json:"end"`
			}
			query := url.Values{"dir": {"b"}, "limit": {"100"}, "from": {from}, "to": {since}}
			err := p.Call(ctx, "GET", "/_matrix/client/v3/rooms/"+url.PathEscape(id)+"/messages", query, nil, &page)
			var refusal *user.Error
			if errors.As(err, &refusal) && refusal.Status < http.StatusInternalServerError {
				break // the person was banned meanwhile
			}
			if err != nil {
				time.Sleep(100 * time.Millisecond)
				continue
			}
			missed[id] = append(missed[id], page.Chunk...)
			from = page.End
		}
		slices.Reverse(missed[id])
	}
	return missed
}

// enters tells whether an event is a membership of the person's that says that they have joined.
func (p *person) enters(e user.Event) bool {
	return e.Type == "m.room.member" && *e.StateKey == p.ID && membership(e) == "join"
}

func (p *person) note(answer user.SyncAnswer, missed map[string][]user.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range answer.ToDevice.Events {
		var m message
		_ = json.Unmarshal(e.Content, &m) // we sent it
		p.got = append(p.got, m)
	}
	for _, userID := range answer.DeviceLists.Changed {
		p.stale[userID] = true
	}
	for id := range answer.Rooms.Invite {
		p.invites[id] = true
	}
	for id := range answer.Rooms.Leave {
		delete(p.invites, id)
		delete(p.rooms, id)
	}
	for id, room := range answer.Rooms.Join {
		delete(p.invites, id)
		if p.rooms[id] == nil {
			p.rooms[id] = &seen{state: map[string]string{}, members: map[string]string{}, receipts: map[string]string{}}
		}
		r := p.rooms[id]
		r.notifications, r.highlights = room.Unread.Notifications, room.Unread.Highlights
		for _, e := range slices.Concat(room.State.Events, room.Timeline.Events) {
			if e.StateKey != nil {
				r.state[e.Type+" "+*e.StateKey] = e.ID
			}
			if e.Type == "m.room.member" {
				r.members[*e.StateKey] = membership(e)
			}
		}
		for _, e := range slices.Concat(missed[id], room.Timeline.Events) {
			if p.enters(e) {
				r.timeline = nil // a new name is a join as well
			}
			if slices.Contains(r.timeline, e.ID) && p.server.kind == "hanse" {
				p.chaos.t.Errorf("%s was told of %s in %s twice", p.ID, e.ID, id)
			}
			if e.Type != "m.room.redaction" { // one that came before its target is shown when that is there
				r.timeline = append(r.timeline, e.ID)
			}
		}
		for _, e := range room.Ephemeral.Events {
			var content map[string]map[string]map[string]any
			if e.Type != "m.receipt" || json.Unmarshal(e.Content, &content) != nil {
				continue
			}
			for eventID, kinds := range content {
				for userID := range kinds["m.read"] {
					r.receipts[userID] = eventID
				}
			}
		}
	}
}

// ask asks for the keys of those whose devices have changed.
func (p *person) ask(ctx context.Context) {
	p.mu.Lock()
	stale := slices.Collect(maps.Keys(p.stale))
	clear(p.stale) // what changes while we ask isn't known before the next sync
	p.mu.Unlock()
	for _, userID := range stale {
		keys, err := p.keysOf(ctx, userID)
		p.mu.Lock()
		if err != nil || len(keys) == 0 {
			p.stale[userID] = true // somebody's server can't be asked now
		} else {
			p.devices[userID] = keys
		}
		p.mu.Unlock()
	}
}

// keysOf are the keys of a user's devices as p's server gives them, by device and key.
func (p *person) keysOf(ctx context.Context, userID string) (map[string]string, error) {
	var answer struct {
		Keys map[string]map[string]struct{ Keys map[string]string } `json:"device_keys"`
	}
	question := map[string]any{"device_keys": map[string]any{userID: []string{}}}
	err := p.Call(ctx, "POST", "/_matrix/client/v3/keys/query", nil, question, &answer)
	keys := map[string]string{}
	for device, of := range answer.Keys[userID] {
		for keyID, key := range of.Keys {
			keys[device+" "+keyID] = key
		}
	}
	return keys, err
}

// upload gives a device new keys, which a number tells from others.
func upload(ctx context.Context, u *user.User, number int) error {
	keys := map[string]any{}
	for i, algorithm := range []string{"ed25519", "curve25519"} {
		keys[algorithm+":"+u.DeviceID] = base64.RawStdEncoding.EncodeToString(binary.BigEndian.AppendUint64(make([]byte, 24), uint64(number+i)))
	}
	return do(ctx, u, "keys/upload", map[string]any{"device_keys": map[string]any{
		"user_id": u.ID, "device_id": u.DeviceID, "algorithms": []string{"m.olm.v1.curve25519-aes-sha2"}, "keys": keys,
		"signatures": map[string]any{u.ID: map[string]any{"ed25519:" + u.DeviceID: strings.Repeat("A", 86)}},
	}})
}

// afresh is what a client gets that begins now.
func (p *person) afresh(ctx context.Context) (answer user.SyncAnswer, err error) {
	query := url.Values{"filter": {`{"room":{"timeline":{"limit":1}}}`}}
	return answer, p.Call(ctx, "GET", "/_matrix/client/v3/sync", query, nil, &answer)
}

// slidRoom is a room as sliding sync shows it to a client that begins now.
type slidRoom struct {
	Membership    string       `json:"membership"`
	State         []user.Event `json:"required_state"`
	Joined        int          `json:"joined_count"`
	Invited       int          `json:"invited_count"`
	Notifications int          `json:"notification_count"`
	Highlights    int          `json:"highlight_count"`
}

// slides is what a client gets by sliding sync that begins now, by room.
func (p *person) slides(ctx context.Context) (map[string]slidRoom, error) {
	var answer struct{ Rooms map[string]slidRoom }
	body := map[string]any{"conn_id": "chaos", "lists": map[string]any{"all": map[string]any{
		"ranges": [][]int{{0, 99}}, "timeline_limit": 1, "required_state": [][]string{{"*", "*"}},
	}}}
	err := p.Call(ctx, "POST", "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync", url.Values{"timeout": {"0"}}, body, &answer)
	return answer.Rooms, err
}

// is checks what is shown of a room against its state and what is unread in it.
func (s slidRoom) is(g Gomega, notifications, highlights int, state []user.Event) {
	g.Expect(byKey(s.State)).To(Equal(byKey(state)), "the state by sliding sync")
	count := map[string]int{}
	for _, e := range state {
		if e.Type == "m.room.member" {
			count[membership(e)]++
		}
	}
	g.Expect(s.Joined).To(Equal(count["join"]), "the members by sliding sync")
	g.Expect(s.Invited).To(Equal(count["invite"]), "the invited by sliding sync")
	g.Expect(s.Notifications).To(Equal(notifications), "notifications by sliding sync")
	g.Expect(s.Highlights).To(Equal(highlights), "highlights by sliding sync")
}

// in are the rooms that the person is in, as far as syncs told.
func (p *person) in() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.rooms))
}

// differ tells how two timelines differ from an event on that is in both; "": not at all.
func differ(a, b []string, from string) string {
	i, j := slices.Index(a, from), slices.Index(b, from)
	if i < 0 || j < 0 || slices.Equal(a[i:], b[j:]) {
		return ""
	}
	return fmt.Sprintf("%v\nis not\n%v", a[i:], b[j:])
}
