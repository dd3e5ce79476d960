package virtual

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/testnet/peer"
	"hanse/testnet/user"
)

// entering is one of our servers, whose user alice joins the room of a scripted one without the room's members; its state is held back
// until it is released. Charlie has made the room, derek is in it, both of the scripted server's.
//
// What is tested with it are the behaviours that Complement's tests for such joins ask for (msc3902), as far as no other test has them.
type entering struct {
	*world
	s              *server
	alice          *user.User
	first          *peer.Peer
	room           *peer.Room
	charlie, derek id.UserID
	release        func()
	users          []*user.User
	peers          []*peer.Peer
}

func inEntering(t *testing.T, test func(*testing.T, *entering)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		x := &entering{world: newWorld(t), release: func() {}}
		x.s = x.servers(1)[0]
		x.alice = x.user("alice")
		x.first = x.server("p1.test")
		defer func() {
			x.release()
			end([]*server{x.s}, x.users...)
			for _, p := range x.peers {
				p.Close()
			}
		}()
		x.charlie, x.derek = x.first.User("charlie"), x.first.User("derek")
		x.room = must[*peer.Room](t)(x.first.CreateRoom("10", x.charlie, peer.RoomOptions{}))
		x.put(member(x.derek, x.derek, "join"))
		x.first.On("send_join", peer.OmitMembers())
		test(t, x)
	})
}

func (x *entering) user(name string) *user.User {
	u := x.s.user(name)
	x.users = append(x.users, u)
	return u
}

func (x *entering) server(name string) *peer.Peer {
	p := x.peer(name)
	x.peers = append(x.peers, p)
	return p
}

func (x *entering) self() id.ServerName { return id.ServerName(x.s.name) }

// member is a draft of a membership.
func member(by, of id.UserID, membership string) event.Draft {
	return peer.StateDraft(by, "m.room.member", string(of), map[string]any{"membership": membership})
}

// put puts an event into the room, and tells nobody.
func (x *entering) put(d event.Draft) *event.Event {
	x.t.Helper()
	return must[*event.Event](x.t)(x.room.Put(d))
}

// putRejected puts an event into the room that the room rejects, which names auth events besides the create event and the power levels.
func (x *entering) putRejected(d event.Draft, auth ...id.EventID) *event.Event {
	x.t.Helper()
	d.AuthEvents = append(auth, x.room.State("m.room.create", "").ID(), x.room.State("m.room.power_levels", "").ID())
	e := must[*event.Event](x.t)(x.room.Build(d))
	if err := x.room.AddRejected(e); err != nil {
		x.t.Fatal(err)
	}
	return e
}

func (x *entering) power(users map[id.UserID]int) {
	x.t.Helper()
	users[x.charlie] = 100
	x.put(peer.StateDraft(x.charlie, "m.room.power_levels", "", map[string]any{"users": users}))
}

// tell sends events to our server, and waits until they are dealt with.
func (x *entering) tell(events ...*event.Event) {
	x.t.Helper()
	var raws []json.RawMessage
	for _, e := range events {
		raws = append(raws, e.JSON())
	}
	if _, err := x.first.Transaction(x.t.Context(), x.self(), raws...); err != nil {
		x.t.Fatal(err)
	}
	time.Sleep(5 * time.Second)
}

func (x *entering) edu(eduType string, content any) {
	x.t.Helper()
	if err := x.first.SendEDU(x.t.Context(), x.self(), eduType, content); err != nil {
		x.t.Fatal(err)
	}
	time.Sleep(5 * time.Second)
}

// hold holds back the state before the join to come.
func (x *entering) hold() {
	ends, gate := x.room.Ends(), make(chan struct{})
	for _, endpoint := range []string{"state_ids", "state"} {
		x.first.On(endpoint, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if slices.Contains(ends, id.EventID(r.URL.Query().Get("event_id"))) {
				select {
				case <-gate:
				case <-r.Context().Done():
				}
			}
			next.ServeHTTP(w, r)
		})
	}
	x.release = sync.OnceFunc(func() { close(gate) })
}

// begin has alice join, who then waits for the state.
func (x *entering) begin() {
	x.t.Helper()
	x.hold()
	must[string](x.t)(x.alice.Join(x.t.Context(), string(x.room.ID), string(x.first.Name)))
	time.Sleep(time.Second)
	if len(x.first.Requests("state_ids")) == 0 {
		x.t.Fatal("nobody is asked for the state")
	}
}

// finish has the state come.
func (x *entering) finish() {
	x.release()
	time.Sleep(10 * time.Second)
}

// path is the place of something of the room's in the client-server API.
func (x *entering) path(parts ...string) string {
	p := "/_matrix/client/v3/rooms/" + url.PathEscape(string(x.room.ID))
	for _, part := range parts {
		p += "/" + url.PathEscape(part)
	}
	return p
}

// sees fails unless alice sees an event, or doesn't.
func (x *entering) sees(e *event.Event, want bool) {
	x.t.Helper()
	err := x.alice.Call(x.t.Context(), http.MethodGet, x.path("event", string(e.ID())), nil, nil, nil)
	refusal := (*user.Error)(nil)
	if err != nil && !(errors.As(err, &refusal) && refusal.Status == http.StatusNotFound) {
		x.t.Fatal(err)
	}
	if (err == nil) != want {
		x.t.Errorf("alice sees %s by %s %s: %v", e.Type(), e.Sender(), e.Content(), err == nil)
	}
}

// agree fails unless our server has the same state before an event, and doesn't tell of it before it is whole.
func (x *entering) agree(e *event.Event) {
	x.t.Helper()
	if _, err := x.first.Client.StateIDs(x.t.Context(), x.self(), x.room.ID, e.ID()); err == nil {
		x.t.Error("it told of a state that isn't whole")
	}
	x.finish()
	answer, err := x.first.Client.StateIDs(x.t.Context(), x.self(), x.room.ID, e.ID())
	if err != nil {
		x.t.Fatal(err)
	}
	if want := x.room.StateBefore(e.ID()); !sameIDs(answer.PDUIDs, want) {
		x.t.Errorf("the state before the event is\n%v, not\n%v", answer.PDUIDs, want)
	}
}

func sameIDs[T ~string](a, b []T) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// reader is a client that syncs.
type reader struct {
	x     *entering
	user  *user.User
	lazy  bool
	limit int // of the timeline; 0: 10
	since string
}

type readerAnswer struct {
	NextBatch   string                              `json:"next_batch"`
	Presence    struct{ Events []user.Event }       `json:"presence"`
	DeviceLists struct{ Changed, Left []id.UserID } `json:"device_lists"`
	Rooms       struct {
		Join, Leave map[id.RoomID]readerRoom
	}
}

type readerRoom struct {
	State, Timeline struct{ Events []user.Event }
}

// has tells whether an event is in the timeline, hasMember whether a user's membership is in the state.
func (r readerRoom) has(e *event.Event) bool {
	return slices.ContainsFunc(r.Timeline.Events, func(other user.Event) bool { return other.ID == string(e.ID()) })
}

func (r readerRoom) hasMember(u id.UserID) bool {
	return slices.ContainsFunc(r.State.Events, func(e user.Event) bool { return e.Type == "m.room.member" && *e.StateKey == string(u) })
}

func (r *reader) sync(timeout time.Duration) (answer readerAnswer, room readerRoom, shown bool) {
	r.x.t.Helper()
	limit := r.limit
	if limit == 0 {
		limit = 10
	}
	query := url.Values{
		"timeout": {fmt.Sprint(timeout.Milliseconds())},
		"filter":  {fmt.Sprintf(`{"room":{"state":{"lazy_load_members":%v},"timeline":{"limit":%d}}}`, r.lazy, limit)},
	}
	if r.since != "" {
		query.Set("since", r.since)
	}
	if err := r.user.Call(r.x.t.Context(), http.MethodGet, "/_matrix/client/v3/sync", query, nil, &answer); err != nil {
		r.x.t.Fatal(err)
	}
	r.since = answer.NextBatch
	room, shown = answer.Rooms.Join[r.x.room.ID]
	return answer, room, shown
}

// A client that wants all members waits for the room, over a restart, and is woken when it is whole.
func TestAClientThatWantsAllMembersIsWokenWhenTheyCome(t *testing.T) {
	inEntering(t, func(t *testing.T, x *entering) {
		x.begin()
		eager := &reader{x: x, user: x.alice}
		if _, _, shown := eager.sync(0); shown {
			t.Error("the room is shown")
		}
		x.s.stop()
		x.s.start()
		began := time.Now()
		time.AfterFunc(time.Minute, x.release)
		for {
			_, room, shown := eager.sync(10 * time.Minute)
			if took := time.Since(began); !shown && took < time.Hour {
				continue
			} else if took > 70*time.Second {
				t.Errorf("the room is shown after %v", took)
			}
			if !room.hasMember(x.charlie) || !room.hasMember(x.derek) {
				t.Errorf("members are missing: %v", room.State.Events)
			}
			return
		}
	})
}

// Who loads members lazily is told of the senders of what is shown, though they are known by their events alone.
func TestSendersWhoAreMissingAreTold(t *testing.T) {
	inEntering(t, func(t *testing.T, x *entering) {
		for range 3 {
			x.put(peer.MessageDraft(x.derek, "before"))
		}
		x.begin()
		gappy, before := &reader{x: x, user: x.alice, lazy: true}, &reader{x: x, user: x.alice, lazy: true}
		gappy.sync(0)
		before.sync(0)
		one, two := x.put(peer.MessageDraft(x.derek, "one")), x.put(peer.MessageDraft(x.derek, "two"))
		x.tell(one, two)
		gappy.limit = 1
		if _, room, _ := gappy.sync(0); room.has(one) || !room.has(two) || !room.hasMember(x.derek) {
			t.Errorf("a gap: %v, state %v", room.Timeline, room.State)
		}
		if _, room, _ := (&reader{x: x, user: x.alice, lazy: true}).sync(0); !room.has(one) || !room.hasMember(x.derek) {
			t.Errorf("from the start: %v, state %v", room.Timeline, room.State)
		}
		var page struct{ Chunk, State []user.Event }
		query := url.Values{"dir": {"b"}, "limit": {"6"}, "filter": {`{"lazy_load_members":true}`}}
		if err := x.alice.Call(t.Context(), http.MethodGet, x.path("messages"), query, nil, &page); err != nil {
			t.Fatal(err)
		}
		if len(page.Chunk) != 6 || len(page.State) == 0 {
			t.Errorf("/messages has %d events, with the members %v", len(page.Chunk), page.State)
		}
		x.finish()
		three := x.put(peer.MessageDraft(x.charlie, "three"))
		x.tell(three)
		before.limit = 1
		if _, room, _ := before.sync(0); !room.has(three) || !room.hasMember(x.charlie) {
			t.Errorf("a gap over the time when it became whole: %v, state %v", room.Timeline, room.State)
		}
	})
}

// Events whose prev events are missing are taken in, be these fetched or their state asked for; in the end their states are right.
func TestEventsWithGapsInARoomWithoutItsMembers(t *testing.T) {
	for _, what := range []string{"nothing is missing", "one is missing", "some are not given", "state comes as outliers first"} {
		t.Run(what, func(t *testing.T) {
			inEntering(t, func(t *testing.T, x *entering) {
				x.begin()
				join := x.room.Ends()[0]
				var hidden []*event.Event
				only := func(e *event.Event) { // is what is given of what is missing
					x.first.On("backfill", peer.Fail(404, "M_NOT_FOUND"))
					x.first.On("get_missing_events", peer.Answer(200, fmt.Sprintf(`{"events":[%s]}`, e.JSON())))
				}
				switch what {
				case "one is missing":
					x.put(peer.MessageDraft(x.derek, "A"))
				case "some are not given":
					b := peer.MessageDraft(x.derek, "B")
					b.PrevEvents = []id.EventID{x.put(peer.MessageDraft(x.derek, "A")).ID(), join}
					only(x.put(b))
				case "state comes as outliers first":
					for i := range 30 {
						hidden = append(hidden, x.put(peer.StateDraft(x.charlie, "test.state", fmt.Sprint(i), map[string]any{})))
					}
					only(x.put(peer.MessageDraft(x.charlie, "after them")))
				}
				last := x.put(peer.MessageDraft(x.derek, "last"))
				x.tell(last)
				x.sees(last, true)
				if len(hidden) > 0 {
					x.tell(hidden...)
				}
				for _, e := range hidden {
					x.sees(e, true)
				}
				x.agree(last)
			})
		})
	}
}

// What was accepted or rejected wrongly while members were missing is mended when they come, and what was rejected rightly stays so.
func TestVerdictsAreMendedWhenTheMembersCome(t *testing.T) {
	inEntering(t, func(t *testing.T, x *entering) {
		elsie := x.first.User("elsie")
		x.power(map[id.UserID]int{x.derek: 100, elsie: 50})
		was := x.room.State("m.room.member", string(x.derek)).ID()
		x.put(member(x.derek, x.derek, "leave"))
		elsies := x.put(member(elsie, elsie, "join"))
		x.begin()
		// Derek has left, and hides it.
		forged := x.putRejected(peer.StateDraft(x.derek, "test.forged", "", map[string]any{}), was)
		kick := x.putRejected(member(x.derek, elsie, "leave"), was, elsies.ID())
		said := x.put(peer.StateDraft(elsie, "test.state", "", map[string]any{}))
		never := x.putRejected(peer.StateDraft(x.first.User("stranger"), "test.never", "", map[string]any{}))
		last := x.put(peer.MessageDraft(x.charlie, "last"))
		x.tell(forged, kick, said, never, last)
		check := func(mended bool) {
			t.Helper()
			x.sees(forged, !mended)
			x.sees(kick, !mended)
			x.sees(said, mended)
			x.sees(never, false)
			x.sees(last, true)
		}
		check(false)
		x.agree(last)
		check(true)
	})
}

// A user leaves, or is put out, while the state is on its way, and comes again.
func TestWhoLeavesBeforeTheMembersComeCanComeAgain(t *testing.T) {
	for _, what := range []string{"leaves", "leaves, the state comes", "is kicked", "is banned", "leaves another there"} {
		t.Run(what, func(t *testing.T) {
			inEntering(t, func(t *testing.T, x *entering) {
				ctx, room, via := t.Context(), string(x.room.ID), string(x.first.Name)
				bob := x.user("bob")
				x.begin()
				lazy := &reader{x: x, user: x.alice, lazy: true}
				lazy.sync(0)
				switch what {
				case "is kicked", "is banned":
					membership := map[string]string{"is kicked": "leave", "is banned": "ban"}[what]
					x.tell(x.put(member(x.charlie, id.UserID(x.alice.ID), membership)))
				case "leaves another there":
					must[string](t)(bob.Join(ctx, room, via))
					fallthrough
				default:
					if err := x.alice.Leave(ctx, room); err != nil {
						t.Fatal(err)
					}
					time.Sleep(5 * time.Second)
					if m := x.room.Membership(id.UserID(x.alice.ID)); m != "leave" {
						t.Errorf("by the other server alice is %q", m)
					}
				}
				if a, _, _ := lazy.sync(0); len(a.Rooms.Leave[x.room.ID].Timeline.Events) == 0 {
					t.Error("alice isn't told that she is out")
				}
				old := x.release
				if what == "leaves, the state comes" {
					old()
					time.Sleep(10 * time.Second)
				}
				x.hold()
				_, err := x.alice.Join(ctx, room, via)
				if what == "is banned" {
					if refusal := (*user.Error)(nil); !errors.As(err, &refusal) || refusal.Status != http.StatusForbidden {
						t.Errorf("alice, who is banned, comes in: %v", err)
					}
					old()
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if _, _, shown := lazy.sync(0); !shown {
					t.Error("alice isn't shown the room that she is in again")
				}
				old()
				x.finish()
				if _, room, _ := (&reader{x: x, user: x.alice}).sync(0); !room.hasMember(x.charlie) || !room.hasMember(x.derek) {
					t.Errorf("members are missing: %v", room.State.Events)
				}
			})
		})
	}
}

// An alias of a room whose members are missing leads to the servers that are said to be in it; the list of rooms and the user directory have
// the members when they have come.
func TestDirectoriesOfARoomWithoutItsMembers(t *testing.T) {
	inEntering(t, func(t *testing.T, x *entering) {
		x.power(map[id.UserID]int{id.UserID(x.alice.ID): 100})
		x.begin()
		alias := "directory/room/" + url.PathEscape("#room:s1.test")
		x.ask(x.alice, http.MethodPut, alias, map[string]any{"room_id": x.room.ID}, nil)
		x.ask(x.alice, http.MethodPut, "directory/list/room/"+url.PathEscape(string(x.room.ID)), map[string]any{"visibility": "public"}, nil)
		var leads struct{ Servers []id.ServerName }
		x.ask(x.alice, http.MethodGet, alias, nil, &leads)
		if !slices.Equal(leads.Servers, []id.ServerName{x.self(), x.first.Name}) {
			t.Errorf("the alias leads to %v", leads.Servers)
		}
		x.ask(x.alice, http.MethodDelete, alias, nil, nil)
		check := func(members, dereks int) {
			t.Helper()
			var list struct {
				Chunk []struct {
					Joined int `json:"num_joined_members"`
				}
			}
			x.ask(x.alice, http.MethodGet, "publicRooms", nil, &list)
			var found struct{ Results []any }
			x.ask(x.alice, http.MethodPost, "user_directory/search", map[string]any{"search_term": "derek"}, &found)
			if len(list.Chunk) != 1 || list.Chunk[0].Joined != members || len(found.Results) != dereks {
				t.Errorf("published: %v; users found: %v", list.Chunk, found.Results)
			}
		}
		check(1, 0)
		x.finish()
		check(3, 1)
	})
}

// Whether another server's user is in a room whose members are missing can't be told: another server is to be asked. Servers that are said to
// be in it are shown what its members may join.
func TestMembersWhoAreMissingAreNotRefused(t *testing.T) {
	inEntering(t, func(t *testing.T, x *entering) {
		x.begin()
		restricted := id.RoomID(must[string](t)(x.alice.CreateRoom(t.Context(), map[string]any{"preset": "private_chat", "initial_state": []any{
			map[string]any{"type": "m.room.join_rules", "content": map[string]any{
				"join_rule": "restricted", "allow": []any{map[string]any{"type": "m.room_membership", "room_id": x.room.ID}},
			}},
		}})))
		for _, code := range []string{federation.CodeUnableToAuthoriseJoin, ""} {
			_, err := x.first.Client.MakeJoin(t.Context(), x.self(), restricted, x.derek, peer.Versions())
			if refusal := new(interface{ Refusal() *federation.Error }); (err == nil) != (code == "") || err != nil && (!errors.As(err, refusal) || (*refusal).Refusal().Code != code) {
				t.Errorf("derek may not join: %v", err)
			}
			shown, err := x.first.Client.Hierarchy(t.Context(), x.self(), federation.HierarchyRequest{RoomID: restricted})
			if err != nil || shown.Room.RoomID != restricted {
				t.Errorf("the room isn't shown: %v", err)
			}
			x.finish()
		}
	})
}

// Presence that is told before the members come is shown when they have come.
func TestPresenceOfMembersWhoAreMissing(t *testing.T) {
	inEntering(t, func(t *testing.T, x *entering) {
		elsewhere := x.server("p2.test")
		x.begin()
		lazy, eager := &reader{x: x, user: x.alice, lazy: true}, &reader{x: x, user: x.alice}
		lazy.sync(0)
		eager.sync(0)
		online := func(u id.UserID) map[string]any {
			return map[string]any{"push": []any{map[string]any{"user_id": u, "presence": "online"}}}
		}
		x.edu("m.presence", online(x.derek))
		x.edu("m.presence", online(x.first.User("nobody"))) // who isn't in the room
		if err := elsewhere.SendEDU(t.Context(), x.self(), "m.presence", online(elsewhere.User("nobody"))); err != nil {
			t.Fatal(err)
		}
		shown := func(r *reader) (users []string) {
			t.Helper()
			a, _, _ := r.sync(0)
			for _, e := range a.Presence.Events {
				if e.Sender != x.alice.ID {
					users = append(users, e.Sender)
				}
			}
			return users
		}
		if users := slices.Concat(shown(lazy), shown(eager)); len(users) > 0 {
			t.Errorf("alice is told of %v, who may not be in the room", users)
		}
		x.finish()
		for name, r := range map[string]*reader{"lazy": lazy, "eager": eager} {
			if users := shown(r); !slices.Equal(users, []string{string(x.derek)}) {
				t.Errorf("%s: alice is told of %v", name, users)
			}
		}
	})
}

// devicesOf has a server tell of its users' devices; asked tells whether our server asks it when alice wants a user's keys.
func (x *entering) devicesOf(p *peer.Peer) (asked func(id.UserID) bool) {
	p.On("user_devices", func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		peer.Answer(200, fmt.Sprintf(`{"user_id":%q,"stream_id":2,"devices":[]}`, path.Base(r.URL.Path)))(w, r, nil)
	})
	p.On("keys_query", peer.Answer(200, `{"device_keys":{}}`))
	questions := func() int { return len(p.Requests("user_devices")) + len(p.Requests("keys_query")) }
	return func(u id.UserID) bool {
		x.t.Helper()
		before := questions()
		x.ask(x.alice, http.MethodPost, "keys/query", map[string]any{"device_keys": map[id.UserID][]string{u: {}}}, nil)
		return questions() > before
	}
}

// The devices of members who are missing are asked for each time; what changes of them meanwhile is told when they come. Those of who is
// wrongly taken to be in the room are forgotten then.
func TestDevicesOfMembersWhoAreMissing(t *testing.T) {
	inEntering(t, func(t *testing.T, x *entering) {
		elsie, fred := x.first.User("elsie"), x.first.User("fred")
		x.power(map[id.UserID]int{x.derek: 50, fred: 100})
		freds := x.put(member(fred, fred, "join"))
		x.put(member(fred, fred, "leave"))
		asked := x.devicesOf(x.first)
		x.begin()
		lazy := &reader{x: x, user: x.alice, lazy: true}
		lazy.sync(0)
		told := func(section string, want ...id.UserID) {
			t.Helper()
			since := lazy.since
			a, _, _ := lazy.sync(0)
			var changes struct{ Changed, Left []id.UserID }
			x.ask(x.alice, http.MethodGet, "keys/changes?"+url.Values{"from": {since}, "to": {lazy.since}}.Encode(), nil, &changes)
			if !slices.Equal(changes.Changed, a.DeviceLists.Changed) || !slices.Equal(changes.Left, a.DeviceLists.Left) {
				t.Errorf("/sync tells %v, /keys/changes %v", a.DeviceLists, changes)
			}
			list := changes.Changed
			if section == "left" {
				list = changes.Left
			}
			for _, u := range want {
				if !slices.Contains(list, u) {
					t.Errorf("%s isn't told to have %s: %v", u, section, changes)
				}
			}
		}
		for range 2 {
			if !asked(x.derek) {
				t.Error("the devices of somebody are kept who may not be in the room")
			}
		}
		x.tell(x.put(member(elsie, elsie, "join")))
		told("changed", elsie)
		if !asked(elsie) || asked(elsie) {
			t.Error("the devices of who has joined are not kept")
		}
		x.edu("m.device_list_update", map[string]any{"user_id": x.derek, "device_id": "D", "stream_id": 9, "prev_id": []int{8}})
		// Fred, who has left, bans derek, so that derek's kick of elsie is taken to be wrong.
		ban := x.putRejected(member(fred, x.derek, "ban"), freds.ID())
		kick := x.put(member(x.derek, elsie, "leave"))
		x.tell(ban, kick)
		x.sees(kick, false)
		told("left", x.derek)
		x.finish()
		x.sees(kick, true)
		since := lazy.since
		told("changed", x.charlie, x.derek)
		lazy.since = since
		told("left", elsie)
		if !asked(x.derek) || asked(x.derek) {
			t.Error("the devices of a member are not kept")
		}
		if !asked(elsie) {
			t.Error("the devices are kept of somebody who was not in the room")
		}
	})
}

// Changes of our devices go to the servers that are said to be in a room, until it is whole; those that nobody spoke of, or that were wrongly
// taken to be out of it, are told then.
func TestOurDevicesAreToldInARoomWithoutItsMembers(t *testing.T) {
	inEntering(t, func(t *testing.T, x *entering) {
		there, gone, untold, kicked := x.first, x.server("gone.test"), x.server("untold.test"), x.server("kicked.test")
		enter := func(p *peer.Peer) *event.Event {
			t.Helper()
			must[peer.Joined](t)(p.Join(t.Context(), x.first.Name, x.room.ID, p.User("elsie")))
			return x.room.State("m.room.member", string(p.User("elsie")))
		}
		x.power(map[id.UserID]int{x.derek: 100})
		was := x.room.State("m.room.member", string(x.derek))
		x.put(member(x.derek, x.derek, "leave"))
		enter(gone)
		enter(untold)
		x.first.On("send_join", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			peer.OmitMembers()(w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				peer.Lie(func(answer map[string]any) {
					answer["state"] = slices.DeleteFunc(answer["state"].([]any), func(e any) bool { return e.(map[string]any)["sender"] == "@elsie:untold.test" })
				})(w, r, next)
			}))
		})
		x.begin()
		joined := enter(kicked)
		leave := must[*event.Event](t)(gone.Leave(t.Context(), x.first.Name, x.room.Rules, x.room.ID, gone.User("elsie")))
		kick := x.putRejected(member(x.derek, kicked.User("elsie"), "leave"), was.ID())
		x.tell(joined, leave, kick)
		x.sees(leave, true)
		x.sees(kick, true)
		before := map[*peer.Peer]int{}
		told := func(when string, want ...*peer.Peer) {
			t.Helper()
			time.Sleep(5 * time.Second)
			for _, p := range []*peer.Peer{there, gone, untold, kicked} {
				n := len(p.EDUs(federation.EDUDeviceListUpdate))
				if (n > before[p]) != slices.Contains(want, p) {
					t.Errorf("%s: %s was told %d times", when, p.Name, n-before[p])
				}
				before[p] = n
			}
		}
		told("the join", there, gone)
		rename := func(name string) {
			x.ask(x.alice, http.MethodPut, "devices/"+x.alice.DeviceID, map[string]any{"display_name": name}, nil)
		}
		rename("while members are missing")
		told("meanwhile", there, gone)
		x.finish()
		told("when they come", untold, kicked)
		rename("later")
		told("later", there, untold, kicked)
	})
}

// Of somebody who was wrongly taken to have been in the room all the time, the devices are asked for again when that is known: their server
// didn't tell of changes of them while they were out.
func TestDevicesOfWhoWasOutUnseenAreAskedForAgain(t *testing.T) {
	for _, what := range []string{"comes again", "comes to another room"} {
		t.Run(what, func(t *testing.T) {
			inEntering(t, func(t *testing.T, x *entering) {
				elsie, fred := x.first.User("elsie"), x.first.User("fred")
				x.power(map[id.UserID]int{x.derek: 50, fred: 100})
				freds := x.put(member(fred, fred, "join"))
				x.put(member(fred, fred, "leave"))
				asked := x.devicesOf(x.first)
				x.begin()
				x.tell(x.put(member(elsie, elsie, "join")))
				// Fred, who has left, bans derek, so that derek's kick of elsie is taken to be wrong.
				ban := x.putRejected(member(fred, x.derek, "ban"), freds.ID())
				kick := x.put(member(x.derek, elsie, "leave"))
				x.tell(ban, kick)
				x.sees(kick, false)
				if !asked(elsie) || asked(elsie) {
					t.Error("the devices of who is taken to be in the room are not kept")
				}
				switch what {
				case "comes again":
					x.tell(x.put(member(elsie, elsie, "join")))
				default:
					other := must[string](t)(x.alice.CreateRoom(t.Context(), map[string]any{"preset": "public_chat"}))
					must[peer.Joined](t)(x.first.Join(t.Context(), x.self(), id.RoomID(other), elsie))
					time.Sleep(5 * time.Second)
				}
				asked(elsie) // who is back
				lazy := &reader{x: x, user: x.alice, lazy: true}
				lazy.sync(0)
				x.first.On("user_devices", peer.Answer(200, fmt.Sprintf(`{"user_id":%q,"stream_id":3,"devices":[{"device_id":"NEW","keys":{}}]}`, elsie)))
				x.finish()
				x.sees(kick, true)
				time.Sleep(10 * time.Minute)
				if a, _, _ := lazy.sync(0); !slices.Contains(a.DeviceLists.Changed, elsie) {
					t.Errorf("alice isn't told that elsie's devices are others: %v", a.DeviceLists)
				}
			})
		})
	}
}

// A server that takes the question for the state and never answers doesn't keep the room without its members: others are asked, and in time.
func TestAServerThatHangsDoesNotKeepTheMembers(t *testing.T) {
	for _, endpoint := range []string{"state_ids", "state"} {
		t.Run(endpoint, func(t *testing.T) {
			inEntering(t, func(t *testing.T, x *entering) {
				second := x.server("p2.test")
				for i := range 120 { // so many that they are asked for together, by /state
					u := x.first.User(fmt.Sprint("member", i))
					x.put(member(u, u, "join"))
				}
				must[peer.Joined](t)(second.Join(t.Context(), x.first.Name, x.room.ID, second.User("elsie")))
				x.first.On(endpoint, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() })
				must[string](t)(x.alice.Join(t.Context(), string(x.room.ID), string(x.first.Name)))
				began := time.Now()
				eager := &reader{x: x, user: x.alice}
				for shown := false; !shown; { // a server that is slow in a large room has three minutes
					if _, _, shown = eager.sync(time.Minute); time.Since(began) > 5*time.Minute {
						t.Fatal("the members don't come")
					}
				}
			})
		})
	}
}
