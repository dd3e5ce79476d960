package clientapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ed25519"

	"hanse/federation/client"
	"hanse/federation/id"
	"hanse/federation/signedjson"
	"hanse/node/clientsync"
	"hanse/node/directory"
	"hanse/node/ephemeral"
	"hanse/node/rooms"
	"hanse/node/slidingsync"
	"hanse/node/store"
	"hanse/node/store/sqlite"
	"hanse/node/stream"
	"hanse/node/users"
)

// crowd is 50 users in one room, behind the API, each with a connection of its own.
type crowd struct {
	server *httptest.Server
	api    *API
	room   id.RoomID
	tokens []string
}

const crowdSize = 50

func newCrowd(b *testing.B) *crowd {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	storing, stopStore := context.WithCancel(context.Background())
	var works, stores sync.WaitGroup
	must := func(err error) {
		if err != nil {
			b.Helper()
			b.Fatal(err)
		}
	}
	s, err := store.Open(ctx, sqlite.Open(filepath.Join(b.TempDir(), "hanse.db")), store.Options{ServerName: self})
	must(err)
	stores.Go(func() { _ = s.Run(storing) })
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(err)
	key := signedjson.Key{ID: "ed25519:test", Private: private}
	accounts, err := users.New(users.Config{Self: self, Store: s, Passwords: users.Passwords{MemoryKiB: 64, Passes: 1, Threads: 1}})
	must(err)
	chat := rooms.New(rooms.Config{Self: self, Key: key, Store: s, Client: client.New(client.Config{Origin: self, Key: key, Resolver: nowhere{}})})
	names, err := directory.New(directory.Config{Self: self, Store: s})
	must(err)
	momentary, err := ephemeral.New(ephemeral.Config{Self: self, Store: s})
	must(err)
	places := stream.New(s, momentary, nil)
	for _, run := range []func(context.Context) error{accounts.Run, chat.Run, momentary.Run, places.Run} {
		works.Go(func() { _ = run(ctx) })
	}
	syncer := clientsync.New(s, places, chat, momentary)
	api, err := New(Config{
		Self: self, Users: accounts, Rooms: chat, Directory: names, Ephemeral: momentary,
		Sync: syncer, SlidingSync: slidingsync.New(self, s, places, momentary, syncer), RateLimits: RateLimits{Off: true},
	})
	must(err)
	c := &crowd{server: httptest.NewServer(api), api: api}
	b.Cleanup(func() {
		c.server.Close()
		cancel()
		works.Wait()
		stopStore()
		stores.Wait()
		_ = s.Close()
	})
	for i := range crowdSize {
		login, err := accounts.Register(ctx, users.Registration{Username: fmt.Sprint("user", i), Password: "secret of a user", Login: &users.LoginDevice{}})
		must(err)
		c.tokens = append(c.tokens, login.AccessToken)
		if i == 0 {
			c.room, err = chat.Create(ctx, rooms.CreateRequest{Creator: login.User, Preset: "public_chat"})
		} else {
			err = chat.Join(ctx, rooms.JoinRequest{User: login.User, Room: c.room})
		}
		must(err)
	}
	return c
}

// call asks over a connection of its own user's.
func (c *crowd) call(connection *http.Client, user int, method, path string, body any, answer any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(path, "/_") {
		path = "/_matrix/client/v3" + path
	}
	r, err := http.NewRequest(method, c.server.URL+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+c.tokens[user])
	response, err := connection.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", method, path, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(answer)
}

// heard is a /sync answer, as far as a waiter reads it.
type heard struct {
	Next  string `json:"next_batch"`
	Rooms struct {
		Join map[id.RoomID]struct {
			Timeline struct {
				Events []struct {
					Type    string `json:"type"`
					Content struct {
						Sent string `json:"sent"`
					} `json:"content"`
				} `json:"events"`
			} `json:"timeline"`
		} `json:"join"`
	} `json:"rooms"`
}

// wait has one user wait in /sync until so many messages have come; it returns how long each was on its way.
func (c *crowd) wait(b *testing.B, user, messages int, begun func()) (delays []time.Duration) {
	connection := &http.Client{Transport: &http.Transport{}}
	defer connection.CloseIdleConnections()
	filter := esc(`{"room":{"timeline":{"limit":500}}}`)
	for since := ""; len(delays) < messages && !b.Failed(); {
		var answer heard
		if err := c.call(connection, user, "GET", "/sync?timeout=10000&filter="+filter+"&since="+since, nil, &answer); err != nil {
			b.Error(err)
		}
		now := time.Now()
		for _, e := range answer.Rooms.Join[c.room].Timeline.Events {
			if e.Type == "m.room.message" {
				sent, _ := strconv.ParseInt(e.Content.Sent, 10, 64)
				delays = append(delays, now.Sub(time.Unix(0, sent)))
			}
		}
		if since == "" {
			begun()
		}
		since = answer.Next
	}
	return delays
}

// say sends a message that tells when it was sent.
func (c *crowd) say(b *testing.B, connection *http.Client, n int) {
	path := fmt.Sprintf("/rooms/%s/send/m.room.message/%d", esc(string(c.room)), n)
	content := obj{"msgtype": "m.text", "body": "hello", "sent": strconv.FormatInt(time.Now().UnixNano(), 10)}
	if err := c.call(connection, 0, "PUT", path, content, &obj{}); err != nil {
		b.Error(err)
	}
}

// deliver sends b.N messages with send while all users wait, and reports deliveries a second and how late the slowest
// hundredth was.
func deliver(b *testing.B, send func(c *crowd)) {
	c := newCrowd(b)
	var waiters, begun sync.WaitGroup
	begun.Add(crowdSize)
	delays := make([][]time.Duration, crowdSize)
	for user := range crowdSize {
		waiters.Go(func() { delays[user] = c.wait(b, user, b.N, begun.Done) })
	}
	begun.Wait()
	b.ResetTimer()
	send(c)
	waiters.Wait()
	b.StopTimer()
	all := slices.Concat(delays...)
	slices.Sort(all)
	b.ReportMetric(float64(len(all))/b.Elapsed().Seconds(), "deliveries/s")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
}

// BenchmarkSyncFullSpeed has 16 clients send as fast as they can, and 50 wait in /sync; an op is a message that all have.
func BenchmarkSyncFullSpeed(b *testing.B) {
	deliver(b, func(c *crowd) {
		work := make(chan int)
		var senders sync.WaitGroup
		for range 16 {
			senders.Go(func() {
				connection := &http.Client{Transport: &http.Transport{}}
				defer connection.CloseIdleConnections()
				for n := range work {
					c.say(b, connection, n)
				}
			})
		}
		for n := range b.N {
			work <- n
		}
		close(work)
		senders.Wait()
	})
}

// BenchmarkSyncAtRate sends 20 messages a second: 1,000 deliveries.
func BenchmarkSyncAtRate(b *testing.B) {
	deliver(b, func(c *crowd) {
		connection := &http.Client{Transport: &http.Transport{}}
		defer connection.CloseIdleConnections()
		tick := time.NewTicker(time.Second / 20)
		defer tick.Stop()
		for n := range b.N {
			c.say(b, connection, n)
			<-tick.C
		}
	})
}

// BenchmarkRooms is what it costs to tell a user of one message, who is in so many rooms: by sliding sync with a window on 20 rooms,
// with one on all, and by /sync. An op is a message, sent and told.
func BenchmarkRooms(b *testing.B) {
	for _, count := range []int{10, 1000} {
		c := newCrowd(b)
		ctx := context.Background()
		user := id.UserID("@user1:" + string(self))
		for range count {
			if _, err := c.api.config.Rooms.Create(ctx, rooms.CreateRequest{Creator: user, Preset: "private_chat"}); err != nil {
				b.Fatal(err)
			}
		}
		slide := func(last int) func(*testing.B) {
			return func(b *testing.B) {
				request := lists(window(last, 1, []string{"m.room.member", "$LAZY"}, []string{"m.room.name", ""}))
				request["lists"].(obj)["all"].(obj)["filters"] = obj{"not_room_types": []string{"m.space"}}
				told(b, c, func(since string) string {
					var answer struct{ Pos string }
					path := "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync?timeout=10000"
					if since != "" {
						path += "&pos=" + since
					}
					if err := c.call(http.DefaultClient, 1, "POST", path, request, &answer); err != nil {
						b.Fatal(err)
					}
					return answer.Pos
				})
			}
		}
		b.Run(fmt.Sprint(count, "/window"), slide(19))
		b.Run(fmt.Sprint(count, "/all"), slide(2000))
		b.Run(fmt.Sprint(count, "/sync"), func(b *testing.B) {
			told(b, c, func(since string) string {
				var answer heard
				if err := c.call(http.DefaultClient, 1, "GET", "/sync?timeout=10000&since="+since, nil, &answer); err != nil {
					b.Fatal(err)
				}
				return answer.Next
			})
		})
	}
}

// told sends b.N messages, and asks for each.
func told(b *testing.B, c *crowd, ask func(since string) string) {
	begun := time.Now()
	since := ask("")
	first := time.Since(begun)
	b.ResetTimer()
	for n := range b.N {
		c.say(b, http.DefaultClient, int(time.Now().UnixNano())+n)
		since = ask(since)
	}
	b.ReportMetric(float64(first.Microseconds())/1000, "first-ms")
}
