package rooms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hanse/federation"
	"hanse/federation/client"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/keys"
	"hanse/node/store"
	"hanse/testnet/wholestate"
)

func TestACL(t *testing.T) {
	for _, c := range []struct {
		acl, server string
		want        bool
	}{
		{`{"allow":["*"]}`, "example.org", true},
		{`{"allow":["*"]}`, "1.2.3.4", true},
		{`{"allow":["*"],"allow_ip_literals":false}`, "1.2.3.4", false},
		{`{"allow":["*"],"allow_ip_literals":false}`, "1.2.3.4:8448", false},
		{`{"allow":["*"],"allow_ip_literals":false}`, "[::1]:8448", false},
		{`{"allow":["*"],"allow_ip_literals":"no"}`, "1.2.3.4", true},
		{`{}`, "example.org", false},
		{`{"allow":"*"}`, "example.org", false},
		{`{"allow":["*"],"deny":["evil.org"]}`, "evil.org", false},
		{`{"allow":["*"],"deny":["EVIL.org"]}`, "evil.ORG:1234", false},
		{`{"allow":["*"],"deny":["evil.org"]}`, "not.evil.org", true},
		{`{"allow":["*"],"deny":["*.evil.org"]}`, "very.evil.org", false},
		{`{"allow":["*"],"deny":["evil.or?"]}`, "evil.org", false},
		{`{"allow":["*"],"deny":["evil.or?"]}`, "evil.or", true},
		{`{"allow":["*"],"deny":[7,null,"evil.org"]}`, "evil.org", false},
		{`{"allow":["good.org"]}`, "example.org", false},
		{`{"allow":["[::1]"]}`, "[::1]:8448", true},
	} {
		if got := parseACL([]byte(c.acl)).allows(id.ServerName(c.server)); got != c.want {
			t.Errorf("%s, %s: %v", c.acl, c.server, got)
		}
	}
}

// A redacted ACL is what is left of it, at once as after the next start, whatever was read of the event before.
func TestRedactedACL(t *testing.T) {
	rules, _ := roomversion.Lookup(roomversion.V11)
	key, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	list := event.Draft{Type: typeServerACL, RoomID: "!r:a.test", Sender: "@alice:a.test", StateKey: ptr(""), Content: json.RawMessage(`{"allow":["*"]}`)}
	whole, err := list.Sign(rules, "a.test", key)
	if err != nil {
		t.Fatal(err)
	}
	var cache aclCache
	for _, c := range []struct {
		event *event.Event
		want  bool
	}{{whole, true}, {whole.Redacted(), false}, {whole, true}} {
		if got := cache.of(c.event).allows("b.test"); got != c.want {
			t.Errorf("%s: allowed: %v", c.event.Content(), got)
		}
	}
}

func TestGlobs(t *testing.T) {
	for _, c := range []struct {
		glob, name string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "abc", true}, {"**", "abc", true}, {"a*c", "abc", true},
		{"a*c", "ac", true}, {"a*c", "abd", false}, {"*b*", "abc", true}, {"a?c", "abc", true}, {"?", "", false},
		{"*a*b", "aab", true}, {"*a*b", "aba", false}, {"abc*", "ab", false},
	} {
		if got := matches(c.glob, c.name); got != c.want {
			t.Errorf("%q, %q: %v", c.glob, c.name, got)
		}
	}
	// Takes no more than the product of the lengths.
	done := make(chan bool, 1)
	go func() { done <- matches(strings.Repeat("*a", 100)+"b", strings.Repeat("a", 255)) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("a glob takes for ever")
	}
}

func FuzzACL(f *testing.F) {
	f.Add([]byte(`{"allow":["*"],"deny":["a?b*"],"allow_ip_literals":false}`), "example.org:8448")
	f.Fuzz(func(t *testing.T, content []byte, server string) {
		name, err := id.ParseServerName(server)
		if err != nil {
			t.Skip()
		}
		parseACL(content).allows(name)
	})
}

func TestConditions(t *testing.T) {
	rooms, restricted := conditions([]byte(`{"join_rule":"knock_restricted","allow":[7,{"type":"x","room_id":"!a:b"},` +
		`{"type":"m.room_membership","room_id":"nonsense"},{"type":"m.room_membership","room_id":"!a:b"}]}`))
	if !restricted || !slices.Equal(rooms, []id.RoomID{"!a:b"}) {
		t.Error(rooms, restricted)
	}
	for _, content := range []string{`{"join_rule":"public"}`, `{}`, `{"join_rule":7}`, `{"JOIN_RULE":"restricted"}`} {
		if _, restricted := conditions([]byte(content)); restricted {
			t.Error(content)
		}
	}
	// The authorisation rules look at the rule alone. Whatever allow is, the room is restricted: a list that can't be read lets nobody in.
	for _, content := range []string{
		`{"allow":7,"join_rule":"restricted"}`, `{"allow":{},"join_rule":"restricted"}`, `{"allow":null,"join_rule":"restricted"}`, `{"join_rule":"restricted"}`,
		`{"Allow":7,"join_rule":"restricted"}`, `{"JOIN_RULE":7,"join_rule":"restricted"}`, `{"Allow":[{"room_id":"!a:b","type":"m.room_membership"}],"join_rule":"restricted"}`,
		`{"allow":[{"Type":"m.room_membership","room_id":"!a:b"},{"Room_id":"!a:b","type":"m.room_membership"}],"join_rule":"restricted"}`,
	} {
		if rooms, restricted := conditions([]byte(content)); !restricted || len(rooms) > 0 {
			t.Errorf("%s: %q, %v", content, rooms, restricted)
		}
	}
}

// The state that comes with an invite is read, and handed on, by exact names.
func TestNamesInStrippedStateAreExact(t *testing.T) {
	r := &Rooms{limits: Limits{StrippedState: 10}.withDefaults()}
	for text, want := range map[string]string{
		`{"type":"a","state_key":"","sender":"@a:b","content":{"x":1}}`:                                                   `[{"content":{"x":1},"sender":"@a:b","state_key":"","type":"a"}]`,
		`{"type":"a","Type":"b","state_key":"","STATE_KEY":"x","sender":"@a:b","ſender":"@c:d","content":{},"Content":7}`: `[{"content":{},"sender":"@a:b","state_key":"","type":"a"}]`,
		`{"Type":"a","state_key":"","sender":"@a:b","content":{}}`:                                                        `null`,
		`{"type":"a","State_key":"","sender":"@a:b","content":{}}`:                                                        `null`,
		`{"type":"a","state_key":"","Sender":"@a:b","content":{}}`:                                                        `null`,
		`{"type":"a","state_key":"","sender":"@a:b","CONTENT":{}}`:                                                        `null`,
		"{\"type\":\"a\",\"state_key\":\"\",\"sender\":\"@a:b\",\"content\":{\"x\":\"\xff\"}}":                            `null`,
	} {
		if got, err := json.Marshal(r.prune([]json.RawMessage{json.RawMessage(text)})); err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v, want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]bool{
		`{"type":"m.room.create","content":{"m.federate":false}}`:                                    true,
		`{"type":"m.room.create","content":{"m.federate":false,"M.federate":true}}`:                  true,
		`{"type":"m.room.create","content":{"M.federate":true,"m.Federate":"x","m.federate":false}}`: true,
		`{"type":"m.room.create","content":{"M.Federate":false}}`:                                    false,
		`{"type":"m.room.create","content":{"m.federate":null}}`:                                     false,
		`{"Type":"m.room.create","content":{"m.federate":false}}`:                                    false,
		`{"type":"m.room.create","Content":{"m.federate":false}}`:                                    false,
	} {
		if got := staysHere([]json.RawMessage{json.RawMessage(text)}); got != want {
			t.Errorf("%s: got %v", text, got)
		}
	}
}

// TestAllows goes through the list of the specification.
func TestAllows(t *testing.T) {
	for _, c := range []struct {
		visibility, membership string
		later, want            bool
	}{
		{visibleToWorld, "", false, true}, {visibleToWorld, ban, false, true},
		{visibleToJoined, join, false, true}, {visibleToJoined, invite, true, false}, {visibleToJoined, "", true, false},
		{visibleShared, "", true, true}, {visibleShared, "", false, false}, {visibleShared, invite, false, false},
		{visibleToInvited, invite, false, true}, {visibleToInvited, leave, true, false}, {visibleToInvited, knock, false, false},
	} {
		if got := allows(c.visibility, c.membership, c.later); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestExplain: the user gets what says most, and never another server's complaint about us.
func TestExplain(t *testing.T) {
	remote := func(status int, code string) error {
		return &client.Error{Server: "x.test", Status: status, Matrix: federation.NewError(status, code, "said")}
	}
	for _, c := range []struct {
		errs []error
		want string
	}{
		{nil, "502 M_UNKNOWN"},
		{[]error{errors.New("x")}, "502 M_UNKNOWN"},
		{[]error{remote(400, "M_INVALID_PARAM")}, "502 M_UNKNOWN"},
		{[]error{remote(401, "M_UNKNOWN_TOKEN")}, "502 M_UNKNOWN"},
		{[]error{remote(403, "M_UNKNOWN")}, "502 M_UNKNOWN"},
		{[]error{remote(500, "ORG.EXAMPLE.BROKEN")}, "502 M_UNKNOWN"},
		{[]error{remote(400, "ORG.EXAMPLE.FULL"), errors.New("x")}, "400 ORG.EXAMPLE.FULL"},
		{[]error{remote(404, "M_NOT_FOUND"), errors.New("x")}, "404 M_NOT_FOUND"},
		{[]error{remote(404, "M_NOT_FOUND"), remote(403, "M_FORBIDDEN"), remote(500, "M_UNKNOWN")}, "403 M_FORBIDDEN"},
		{[]error{remote(400, "M_UNABLE_TO_GRANT_JOIN")}, "400 M_UNABLE_TO_GRANT_JOIN"},
		{[]error{remote(401, "M_USER_LOCKED")}, "502 M_UNKNOWN"},
		{[]error{remote(403, "M_USER_SUSPENDED")}, "502 M_UNKNOWN"},
		{[]error{remote(401, "ORG.EXAMPLE.FULL")}, "502 M_UNKNOWN"},
		{[]error{remote(429, "ORG.EXAMPLE.FULL")}, "502 M_UNKNOWN"},
		{[]error{remote(401, "M_INVITE_BLOCKED")}, "502 M_UNKNOWN"},
		{[]error{remote(403, "M_FORBIDDEN"), federation.UnsupportedRoomVersion("99")}, "400 M_UNSUPPORTED_ROOM_VERSION"},
	} {
		wire, ok := errors.AsType[*federation.Error](explain("join", "!a:b", nil, c.errs))
		if !ok || fmt.Sprintf("%d %s", wire.Status, wire.Code) != c.want {
			t.Error(c.errs, wire)
		}
	}
	said := &federation.Error{Status: 403, Code: "M_FORBIDDEN", Message: "said", SoftLogout: true, RetryAfterMS: 1, CurrentVersion: "1", RoomVersion: "9"}
	want := federation.Error{Status: 403, Code: "M_FORBIDDEN", Message: "said", RoomVersion: "9"}
	err := explain("join", "!a:b", nil, []error{&client.Error{Server: "x.test", Status: 403, Matrix: said}})
	if wire, ok := errors.AsType[*federation.Error](err); !ok || *wire != want {
		t.Errorf("%+v", wire)
	}
}

// TestReadTemplate: another server must not make us sign anything but what we asked for.
func TestReadTemplate(t *testing.T) {
	const good = `{"type":"m.room.member","room_id":"!r:a.test","sender":"@u:b.test","state_key":"@u:b.test",
		"content":{"membership":"join"},"prev_events":[],"auth_events":[],"depth":5}`
	read := func(version roomversion.Version, text string) error {
		_, draft, err := readTemplate(federation.MakeResponse{RoomVersion: version, Event: json.RawMessage(text)}, "!r:a.test", "@u:b.test", join)
		if err == nil && draft.OriginServerTS == 0 {
			t.Error("no time")
		}
		return err
	}
	if err := read("10", good); err != nil {
		t.Fatal(err)
	}
	if err := read("99", good); err == nil {
		t.Error("unknown version")
	}
	for _, change := range [][2]string{
		{`m.room.member`, `m.room.name`}, {`"!r:a.test"`, `"!other:a.test"`}, {`"sender":"@u:b.test"`, `"sender":"@v:b.test"`},
		{`"state_key":"@u:b.test"`, `"state_key":"@v:b.test"`}, {`"join"`, `"ban"`}, {`"depth":5`, `"depth":"x"`}, {`,"state_key":"@u:b.test"`, ``},
	} {
		bent := strings.Replace(good, change[0], change[1], 1)
		if bent == good {
			t.Fatal(change)
		}
		if read("10", bent) == nil {
			t.Errorf("taken: %s", bent)
		}
	}
}

func TestPruneKeepsStrippedStateOnly(t *testing.T) {
	r := &Rooms{limits: Limits{StrippedState: 2}.withDefaults()}
	got := r.prune([]json.RawMessage{
		json.RawMessage(`{"type":"m.room.name","state_key":"","sender":"@a:b","content":{"name":"x"},"event_id":"$x","unsigned":{}}`),
		json.RawMessage(`{"type":"m.room.topic","sender":"@a:b","content":{}}`),
		json.RawMessage(`{"type":"m.room.name","state_key":"","sender":"@a:b","content":{}}`),
	})
	if len(got) != 1 || string(got[0]) != `{"content":{"name":"x"},"sender":"@a:b","state_key":"","type":"m.room.name"}` {
		t.Errorf("%s", got)
	}
}

func TestPruneBoundsItsBytes(t *testing.T) {
	r := &Rooms{limits: Limits{StrippedBytes: 300}.withDefaults()}
	stripped := func(typ, text string) json.RawMessage {
		return json.RawMessage(`{"content":{"x":"` + text + `"},"sender":"@a:b","state_key":"","type":"` + typ + `"}`)
	}
	name, avatar := stripped("m.room.name", "x"), stripped("m.room.avatar", "y")
	got := r.prune([]json.RawMessage{name, stripped("m.room.topic", strings.Repeat("z", 300)), avatar, avatar, avatar, avatar})
	if len(got) != 4 || string(got[0]) != string(name) || string(got[1]) != string(avatar) {
		t.Errorf("%s", got)
	}
}

// made is the commit of one more message in a room that is made of nothing but its machine.
type made struct {
	machine *room.Machine
	results []room.Result
}

func makeRoom(t *testing.T, messages int) made {
	t.Helper()
	key, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	rules, _ := roomversion.Lookup(roomversion.V11)
	m := made{machine: room.New("a.test", rules)}
	b := newBatch()
	step := func(drafts ...event.Draft) {
		result, err := m.machine.Step(time.Unix(1, 0), room.Propose{Drafts: drafts, Key: key}, source{stored: nothing{}, pending: []*batch{b}})
		if err != nil || len(result.Verdicts) != len(drafts) || result.Verdicts[0].Status != room.Accepted {
			t.Fatal(err, result.Verdicts)
		}
		m.results = append(m.results, result)
		b.add(&task{}, result, store.CommitOptions{})
	}
	alice := id.UserID("@alice:a.test")
	step(event.Draft{RoomID: "!r:a.test", Type: typeCreate, StateKey: ptr(""), Sender: alice, Content: json.RawMessage(`{"room_version":"11"}`)},
		memberDraft(alice, alice, json.RawMessage(`{"membership":"join"}`)))
	for i := range messages {
		content := json.RawMessage(fmt.Sprintf(`{"topic":"%d"}`, i))
		step(event.Draft{RoomID: "!r:a.test", Type: typeTopic, StateKey: ptr(""), Sender: alice, Content: content})
	}
	return m
}

// TestBatchIsTheSumOfItsSteps: steps on top of each other, nothing on disk, merge into one commit that says what all of
// them said.
func TestBatchIsTheSumOfItsSteps(t *testing.T) {
	m := makeRoom(t, 5)
	b := newBatch()
	for _, result := range m.results {
		b.add(&task{}, result, store.CommitOptions{})
	}
	last := m.results[len(m.results)-1]
	c := b.commit
	if len(c.Events) != 7 || !slices.Equal(c.Forward, last.Commit.Forward) || c.Depth != 7 || !c.Current.Equal(last.Commit.Current) || !c.Resident {
		t.Errorf("events %d, forward %v, depth %d", len(c.Events), c.Forward, c.Depth)
	}
	changed := make(map[roomstate.Key]room.StateChange)
	for _, change := range c.Changes {
		if _, twice := changed[change.Key]; twice {
			t.Errorf("%v stands in it twice", change.Key)
		}
		changed[change.Key] = change
		if now, _ := wholestate.Get(c.Current, change.Key.Type, change.Key.StateKey); change.Old != "" || change.New != now {
			t.Errorf("%+v, now %s", change, now)
		}
	}
	if len(changed) != 3 || c.Servers["a.test"] != 1 || len(b.waiting) != 6 {
		t.Error(changed, c.Servers, len(b.waiting))
	}
}

func TestBatchStagesWhatIsStillUndecided(t *testing.T) {
	m := makeRoom(t, 2)
	one, two := m.results[1].Commit.Events[0].Event, m.results[2].Commit.Events[0].Event
	b := newBatch()
	b.addStaged([]*event.Event{one, two}, nil)
	b.addStaged(nil, []id.EventID{one.ID()})
	if len(b.commit.Stage) != 1 || b.commit.Stage[0] != two || !slices.Contains(b.commit.Unstage, one.ID()) {
		t.Error(b.commit.Stage, b.commit.Unstage)
	}
	b.addStaged([]*event.Event{one}, nil)
	if len(b.commit.Stage) != 2 || len(b.commit.Unstage) != 0 {
		t.Error(b.commit.Stage, b.commit.Unstage)
	}
}

func TestKeyedLock(t *testing.T) {
	var k keyedLock
	unlock, err := k.lock(context.Background(), "!a:b")
	if err != nil {
		t.Fatal(err)
	}
	if other, err := k.lock(context.Background(), "!other:b"); err != nil {
		t.Fatal("another key is free")
	} else {
		other()
	}
	short, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := k.lock(short, "!a:b"); err == nil {
		t.Fatal("taken twice")
	}
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if !k.idle(context.Background(), "!a:b") {
			t.Error("there was something to wait for")
		}
	})
	for k.idleUsers("!a:b") < 2 {
		time.Sleep(time.Millisecond)
	}
	unlock()
	waiting.Wait()
	if k.idle(context.Background(), "!a:b") || len(k.locks) != 0 {
		t.Error("left behind")
	}
}

func (k *keyedLock) idleUsers(key id.RoomID) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e := k.locks[key]; e != nil {
		return e.users
	}
	return 0
}

func TestInRound(t *testing.T) {
	var servers []id.ServerName
	for i := range 25 {
		servers = append(servers, id.ServerName(fmt.Sprint("s", i)))
	}
	asked := map[id.ServerName]int{}
	for round := 1; round <= 3; round++ {
		list := inRound(servers, round)
		if len(list) != wholeServers || list[0] != "s0" {
			t.Errorf("round %d: %v", round, list)
		}
		for _, server := range list {
			asked[server]++
		}
	}
	for _, server := range servers {
		if asked[server] == 0 {
			t.Errorf("%s is not asked in three rounds", server)
		}
	}
	if few := servers[:3]; !slices.Equal(inRound(few, 7), few) {
		t.Error("all of a few are asked each time")
	}
}

// A batch in which little was decided, but of which much waits, must not leave its maps to a room that goes on as a small one.
func TestOnlyASmallBatchLeavesItsMaps(t *testing.T) {
	for _, arrivals := range []int{keptEvents, keptEvents + 1} {
		b := newBatch()
		for i := range arrivals {
			b.arrived(numbered(i), store.Arrival{})
		}
		after := b.emptied()
		if len(after.opts.Arrivals) > 0 || (after.opts.Arrivals != nil) != (arrivals <= keptEvents) {
			t.Errorf("after %d arrivals the map is kept: %v", arrivals, after.opts.Arrivals != nil)
		}
	}
}

// TestRefuses: what was acknowledged is dropped only where servers say that they won't tell, not where something is out of order there.
func TestRefuses(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{&client.Error{Status: 403, Matrix: federation.Forbidden("no")}, true},
		{&client.Error{Status: 404, Matrix: federation.NotFound("no")}, true},
		{fmt.Errorf("asking: %w", &client.Error{Status: 403, Matrix: federation.Forbidden("no")}), true},
		{&client.Error{Status: 403, Matrix: federation.PartialState()}, false},
		{&client.Error{Status: 404, Matrix: federation.DecodeError(404, []byte("<html>"))}, false}, // of a proxy
		{&client.Error{Status: 401, Matrix: federation.NewError(401, federation.CodeUnauthorized, "no")}, false},
		{&client.Error{Temporary: true}, false},
		{context.DeadlineExceeded, false},
	} {
		if got := refuses(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}

// What comes between new events and those that we have is held to the limits of new ones, what comes of a room's past is not.
func TestRecentEventsAreHeldToTheLimits(t *testing.T) {
	rules, _ := roomversion.Lookup(roomversion.V10)
	naming := func(n int) json.RawMessage {
		return json.RawMessage(`{"auth_events":[],"content":{},"depth":1,"hashes":{"sha256":"eA"},"origin_server_ts":1,"prev_events":["$a"` +
			strings.Repeat(`,"$a"`, n-1) + `],"room_id":"!r:domain","sender":"@u:domain","signatures":{},"type":"t"}`)
	}
	events := parseAll(rules, []json.RawMessage{naming(event.MaxPrevEvents), naming(event.MaxPrevEvents + 1), json.RawMessage(`{}`)})
	if events[0] == nil || events[1] == nil || events[2] != nil {
		t.Fatalf("parsed: %v", events)
	}
	if events = recent(events); events[0] == nil || events[1] != nil || events[2] != nil {
		t.Errorf("recent: %v", events)
	}
}
