package virtual

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hanse/federation/event"
	"hanse/testnet/peer"
	"hanse/testnet/user"
)

// guests is one of our servers with a user, and two scripted ones with a room of many members, who are the first one's.
type guests struct {
	*world
	s             *server
	alice         *user.User
	first, second *peer.Peer
	room          *peer.Room
}

// members is enough that a state isn't fetched event by event.
const members = 60

// inGuests runs a test. The second server is in the room from the beginning, and is told of all.
func inGuests(t *testing.T, test func(*testing.T, *guests)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		x := &guests{world: newWorld(t)}
		x.s = x.servers(1)[0]
		x.alice = x.s.user("alice")
		x.first, x.second = x.peer("p1.test"), x.peer("p2.test")
		defer func() {
			end([]*server{x.s}, x.alice)
			x.first.Close()
			x.second.Close()
		}()
		x.room = must[*peer.Room](t)(x.first.CreateRoom("10", x.first.User("creator"), peer.RoomOptions{}))
		must[peer.Joined](t)(x.second.Join(t.Context(), x.first.Name, x.room.ID, x.second.User("second")))
		for i := range members {
			member := x.first.User(fmt.Sprint("member", i))
			x.sent(must[*event.Event](t)(x.room.Put(peer.StateDraft(member, "m.room.member", string(member), map[string]any{"membership": "join"}))))
		}
		test(t, x)
	})
}

// sent sends an event to the second server.
func (x *guests) sent(e *event.Event) {
	x.t.Helper()
	if _, err := x.first.Transaction(x.t.Context(), x.second.Name, e.JSON()); err != nil {
		x.t.Fatal(err)
	}
}

// leaveOut has a server leave out members from its answer to send_join, as it is asked to.
func leaveOut(p *peer.Peer) {
	p.On("send_join", peer.Lie(func(answer map[string]any) {
		answer["state"] = slices.DeleteFunc(answer["state"].([]any), func(e any) bool {
			return e.(map[string]any)["type"] == "m.room.member" && e.(map[string]any)["sender"] != "@creator:p1.test"
		})
		answer["members_omitted"], answer["servers_in_room"] = true, []string{"p1.test", "p2.test"}
	}))
}

// silent answers with headers and a first byte, and then nothing.
func silent(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_, _ = io.WriteString(w, "{")
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}

// whole fails unless alice sees every member once, and each message once.
func (x *guests) whole(said ...*event.Event) {
	x.t.Helper()
	var answer struct{ Chunk []user.Event }
	x.ask(x.alice, http.MethodGet, "rooms/"+url.PathEscape(string(x.room.ID))+"/members?membership=join", nil, &answer)
	if len(answer.Chunk) != members+3 { // the creator, the second server's and alice
		x.t.Errorf("alice sees %d members, not %d", len(answer.Chunk), members+3)
	}
	count := map[string]int{}
	for _, e := range must[[]user.Event](x.t)(x.alice.History(x.t.Context(), string(x.room.ID))) {
		count[e.ID]++
		if count[e.ID] > 1 {
			x.t.Errorf("alice sees %s %d times", e.ID, count[e.ID])
		}
	}
	for _, e := range said {
		if count[string(e.ID())] == 0 {
			x.t.Errorf("alice doesn't see %s", e.ID())
		}
	}
}

// A node that ends while others hold what it asked them for goes on with all of it at its next start.
func TestARestartWhileAResidentHoldsAnAnswer(t *testing.T) {
	for _, held := range []string{"state_ids", "state", "get_missing_events", "event"} {
		for _, how := range []struct {
			name string
			hook peer.Hook
		}{{"hangs", peer.Hang()}, {"is silent after the headers", silent}} {
			t.Run(held+" "+how.name, func(t *testing.T) {
				inGuests(t, func(t *testing.T, x *guests) {
					partial := held == "state_ids" || held == "state"
					if partial {
						leaveOut(x.first)
					}
					var undo []func()
					hold := func() {
						for _, p := range []*peer.Peer{x.first, x.second} {
							undo = append(undo, p.On(held, how.hook))
						}
						if held == "event" { // what is missing is asked for one by one
							x.first.On("get_missing_events", peer.Fail(404, "M_NOT_FOUND"))
							x.first.On("backfill", peer.Fail(404, "M_NOT_FOUND"))
						}
					}
					if partial {
						hold()
					}
					must[string](t)(x.alice.Join(t.Context(), string(x.room.ID), string(x.first.Name)))
					time.Sleep(time.Second)
					if !partial {
						hold()
					}
					hidden := must[*event.Event](t)(x.room.Put(peer.MessageDraft(x.first.User("member7"), "hidden")))
					last := must[*event.Event](t)(x.room.Say(t.Context(), x.first.User("member8"), "last"))
					time.Sleep(10 * time.Second)
					if held != "event" && len(x.first.Requests(held)) == 0 {
						t.Fatalf("the resident wasn't asked for %s", held)
					}
					x.s.stop()
					x.s.start()
					time.Sleep(10 * time.Second)
					for _, f := range undo {
						f()
					}
					time.Sleep(30 * time.Minute)
					x.whole(last)
					if held == "get_missing_events" {
						x.whole(hidden)
					}
					if joins := len(x.first.Requests("send_join")) + len(x.second.Requests("send_join")) - 1; joins != 1 {
						t.Errorf("the join was handed in %d times", joins) // but for the second server's own
					}
				})
			})
		}
	}
}

// A resident that sends headers and then nothing keeps nobody from what another one has.
func TestASilentResident(t *testing.T) {
	for _, endpoint := range []string{"make_join", "send_join", "state_ids", "state", "backfill"} {
		t.Run(endpoint, func(t *testing.T) {
			inGuests(t, func(t *testing.T, x *guests) {
				var said []*event.Event
				for i := range 30 {
					e := must[*event.Event](t)(x.room.Put(peer.MessageDraft(x.first.User("creator"), fmt.Sprint(i))))
					x.sent(e)
					said = append(said, e)
				}
				if endpoint == "state_ids" || endpoint == "state" {
					leaveOut(x.first)
				}
				x.first.On(endpoint, silent)
				began := time.Now()
				must[string](t)(x.alice.Join(t.Context(), string(x.room.ID), string(x.first.Name), string(x.second.Name)))
				t.Logf("joined after %v", time.Since(began))
				time.Sleep(10 * time.Minute)
				x.whole(said...)
			})
		})
	}
}

// Who couldn't give a room's members for long is asked again as soon as it speaks.
func TestAResidentIsBack(t *testing.T) {
	inGuests(t, func(t *testing.T, x *guests) {
		leaveOut(x.first)
		var undo []func()
		for _, p := range []*peer.Peer{x.first, x.second} {
			for _, endpoint := range []string{"state_ids", "state"} {
				undo = append(undo, p.On(endpoint, peer.Fail(503, "M_UNKNOWN")))
			}
		}
		must[string](t)(x.alice.Join(t.Context(), string(x.room.ID), string(x.first.Name)))
		time.Sleep(65 * time.Minute) // a few after it was asked last, some more before it is again
		before := len(x.second.Requests("state_ids"))
		for _, f := range undo[:2] {
			f()
		}
		time.Sleep(time.Minute)
		said := must[*event.Event](t)(x.room.Say(t.Context(), x.first.User("creator"), "here again"))
		time.Sleep(10 * time.Second)
		x.whole(said)
		if more := len(x.second.Requests("state_ids")) - before; more > 1 {
			t.Errorf("the other one, which didn't speak, was asked %d times meanwhile", more)
		}
	})
}

// Where nobody else can be asked, the user is told, in bounded time.
func TestASilentServerAlone(t *testing.T) {
	for _, endpoint := range []string{"make_join", "send_join", "server", "media_download", "profile", "directory", "hierarchy", "keys_query", "keys_claim"} {
		t.Run(endpoint, func(t *testing.T) {
			inGuests(t, func(t *testing.T, x *guests) {
				x.first.On(endpoint, silent)
				began := time.Now()
				get := func(path string) error {
					return x.alice.Call(t.Context(), http.MethodGet, "/_matrix/client/"+path, nil, nil, nil)
				}
				post := func(path string, body any) (map[string]json.RawMessage, error) {
					var answer map[string]json.RawMessage
					err := x.alice.Call(t.Context(), http.MethodPost, "/_matrix/client/v3/"+path, nil, body, &answer)
					return answer, err
				}
				var err error
				switch endpoint {
				case "make_join", "send_join", "server":
					_, err = x.alice.Join(t.Context(), string(x.room.ID), string(x.first.Name))
				case "media_download":
					err = get("v1/media/download/p1.test/abc")
				case "profile":
					err = get("v3/profile/" + url.PathEscape(string(x.first.User("creator"))))
				case "directory":
					err = get("v3/directory/room/" + url.PathEscape("#a:p1.test"))
				case "hierarchy":
					err = get("v1/rooms/" + url.PathEscape(string(x.room.ID)) + "/hierarchy")
				case "keys_query", "keys_claim":
					path, body := "keys/query", map[string]any{"device_keys": map[string]any{"@creator:p1.test": []string{}}}
					if endpoint == "keys_claim" {
						path, body = "keys/claim", map[string]any{"one_time_keys": map[string]any{"@creator:p1.test": map[string]string{"D": "curve25519"}}}
					}
					answer, err := post(path, body)
					if err != nil || !bytes.Contains(answer["failures"], []byte(`"p1.test"`)) {
						t.Errorf("the answer doesn't say that p1.test failed: %s, %v", answer["failures"], err)
					}
				}
				took := time.Since(began)
				t.Logf("%v after %v", err, took)
				if took > time.Minute {
					t.Errorf("it took %v", took)
				}
				if refusal := (*user.Error)(nil); endpoint != "keys_query" && endpoint != "keys_claim" &&
					(!errors.As(err, &refusal) || refusal.Message == "" || strings.Contains(refusal.Message, "HTTP 200")) {
					t.Errorf("alice was told %v", err)
				}
			})
		})
	}
}

// Users who join a room at the same time cost one join over federation.
func TestManyJoinAtOnce(t *testing.T) {
	const many = 20
	for _, how := range []string{"whole", "without members", "one leaves meanwhile", "the first resident hangs", "the first resident hangs, without members"} {
		t.Run(how, func(t *testing.T) {
			inGuests(t, func(t *testing.T, x *guests) {
				var users []*user.User
				for i := range many {
					users = append(users, x.s.user(fmt.Sprint("user", i)))
				}
				defer func() { end(nil, users...) }()
				switch how {
				case "without members":
					leaveOut(x.first)
					x.first.On("state", peer.Hang())
					x.second.On("state", peer.Hang())
				case "the first resident hangs":
					x.first.On("make_join", silent)
				case "the first resident hangs, without members":
					leaveOut(x.second)
					for _, endpoint := range []string{"make_join", "state", "state_ids"} {
						x.first.On(endpoint, silent)
					}
					x.second.On("state", peer.Hang())
				default:
					x.first.On("make_join", peer.Delay(time.Second))
				}
				joins := func() int {
					return len(x.first.Requests("send_join")) + len(x.second.Requests("send_join")) - 1
				}
				began := time.Now()
				var joining sync.WaitGroup
				errs := make([]error, many)
				for i, u := range users {
					joining.Go(func() {
						_, errs[i] = u.Join(t.Context(), string(x.room.ID), string(x.first.Name), string(x.second.Name))
						if how == "one leaves meanwhile" && i == many/2 && errs[i] == nil {
							errs[i] = u.Leave(t.Context(), string(x.room.ID))
						}
					})
				}
				joining.Wait()
				t.Logf("all are in after %v; %d + %d make_join", time.Since(began), len(x.first.Requests("make_join")), len(x.second.Requests("make_join")))
				if err := errors.Join(errs...); err != nil {
					t.Error(err)
				}
				if n := joins(); n != 1 {
					t.Errorf("%d users who joined at once cost %d joins", many, n)
				}
				if took := time.Since(began); took > 30*time.Second {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}
