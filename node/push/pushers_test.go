package push

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hanse/federation/id"
	"hanse/node/store"
	"hanse/node/store/sqlite"
)

// inbox is a Source that is told what notifies, and a gateway that may be down.
type inbox struct {
	mu    sync.Mutex
	list  []Notification
	upto  store.Position
	count int
	down  bool
	calls int
	asked int      // how often the count was asked for
	looks int      // how many ask what is new
	most  int      // how many did at most
	told  []string // the events' rooms and counts, as the gateway was told
}

func (i *inbox) Since(_ context.Context, _ id.UserID, after store.Position, most int) ([]Notification, store.Position, error) {
	i.set(func() { i.looks++ })
	time.Sleep(time.Millisecond)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.most = max(i.most, i.looks)
	i.looks--
	var list []Notification
	for _, n := range i.list {
		if n.Position > after {
			list = append(list, n)
		}
	}
	return list[max(0, len(list)-most):], i.upto, nil
}

func (i *inbox) Total(context.Context, id.UserID) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked++
	return i.count, nil
}

func (i *inbox) RoundTrip(r *http.Request) (*http.Response, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.calls++; i.down {
		return nil, errors.New("nobody there")
	}
	var body struct {
		Notification struct {
			EventID string `json:"event_id"`
		} `json:"notification"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return nil, err
	}
	i.told = append(i.told, body.Notification.EventID)
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader([]byte(`{}`)))}, nil
}

// add has something new notify.
func (i *inbox) add(t *testing.T, at store.Position) string {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	e := said(t, "org.example.news", fmt.Sprint(at), `{}`).Event // the state key makes it another one each time
	i.list = append(i.list, Notification{Position: at, Event: e, Outcome: outcome(acts(notify))})
	i.upto, i.count = at, i.count+1
	return string(e.ID())
}

func (i *inbox) set(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

func (i *inbox) heard() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.told)
}

// TestGatewaysThatAreDown are tried again, ever more seldom; in the end what they were to be told is dropped. What was told is
// not told again after a start.
func TestGatewaysThatAreDown(t *testing.T) {
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s, err := store.Open(ctx, sqlite.OpenUnsynced(filepath.Join(folder, "hanse.db")), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var running sync.WaitGroup
		running.Go(func() { _ = s.Run(ctx) })
		defer func() { cancel(); running.Wait(); _ = s.Close() }()
		box := &inbox{}
		open := func() (p *Pushers, stop func()) {
			p, err := NewPushers(Config{Store: s, Source: box, Client: &http.Client{Transport: box}})
			if err != nil {
				t.Fatal(err)
			}
			life, end := context.WithCancel(ctx)
			done := make(chan struct{})
			go func() { defer close(done); _ = p.Run(life) }()
			return p, func() { end(); <-done }
		}
		p, stop := open()
		ring := func() { p.startAll(everybody(looks)) }
		err = p.Set(ctx, "@alice:example.org", "PHONE", Pusher{
			AppID: "app", PushKey: "key", Kind: "http", Data: json.RawMessage(`{"url":"https://push.example.org/_matrix/push/v1/notify"}`),
		}, false)
		if err != nil {
			t.Fatal(err)
		}
		first := box.add(t, 1000)
		ring()
		time.Sleep(time.Second)
		box.set(func() { box.down = true })
		second := box.add(t, 1001)
		ring()
		time.Sleep(10 * time.Minute)
		box.set(func() {
			if box.calls < 8 || box.calls > 20 {
				t.Errorf("%d calls in the first ten minutes", box.calls)
			}
			box.down = false
		})
		time.Sleep(lastRetry) // by then it is tried again, however chance had it
		if got := box.heard(); !slices.Equal(got, []string{first, second}) {
			t.Errorf("told %v, not %v", got, []string{first, second})
		}
		box.set(func() { box.down, box.calls = true, 0 })
		box.add(t, 1002)
		ring()
		time.Sleep(15 * time.Hour)
		box.set(func() {
			if box.calls != maxTries+1 {
				t.Errorf("%d tries", box.calls)
			}
			box.down = false
		})
		stop()
		third := box.add(t, 1003)
		p, stop = open()
		time.Sleep(time.Minute)
		if got := box.heard(); !slices.Equal(got, []string{first, second, third}) {
			t.Errorf("after a start: told %v, not %v", got, []string{first, second, third})
		}
		box.set(func() { box.count = 0 }) // all is read
		ring()
		time.Sleep(time.Minute)
		if got := box.heard(); len(got) != 4 || got[3] != "" {
			t.Errorf("the count is not told: %v", got)
		}
		stop()
	})
}

// TestAPusherIsSetWhileTheOthersAreRead: what is read at the start doesn't take the place of what was set meanwhile.
func TestAPusherIsSetWhileTheOthersAreRead(t *testing.T) {
	s, err := store.Open(t.Context(), sqlite.OpenUnsynced(filepath.Join(t.TempDir(), "hanse.db")), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	defer func() { cancel(); running.Wait(); _ = s.Close() }()
	box := &inbox{}
	for n := range 200 {
		p, err := NewPushers(Config{Store: s, Source: box, Client: &http.Client{Transport: box}})
		if err != nil {
			t.Fatal(err)
		}
		life, end := context.WithCancel(ctx)
		var pushing sync.WaitGroup
		pushing.Go(func() { _ = p.Run(life) })
		user := id.UserID(fmt.Sprintf("@user%d:example.org", n))
		err = p.Set(ctx, user, "PHONE", Pusher{
			AppID: "app", PushKey: fmt.Sprint(n), Kind: "http", Data: json.RawMessage(`{"url":"https://push.example.org/_matrix/push/v1/notify"}`),
		}, false)
		if err != nil {
			t.Fatal(err)
		}
		p.startAll(everybody(looks))
		end()
		pushing.Wait()
		if len(p.users[user]) != 1 {
			t.Fatalf("the pusher that %s has set is not known", user)
		}
	}
}

// TestAnotherUserHasTheAppNow: the one before is told nothing from then on, others go on.
func TestAnotherUserHasTheAppNow(t *testing.T) {
	s, err := store.Open(t.Context(), sqlite.OpenUnsynced(filepath.Join(t.TempDir(), "hanse.db")), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	defer func() { cancel(); running.Wait(); _ = s.Close() }()
	box := &inbox{}
	p, err := NewPushers(Config{Store: s, Source: box, Client: &http.Client{Transport: box}})
	if err != nil {
		t.Fatal(err)
	}
	const alice, bob, carl = id.UserID("@alice:example.org"), id.UserID("@bob:example.org"), id.UserID("@carl:example.org")
	set := func(user id.UserID, key string, oneMore bool) {
		t.Helper()
		err := p.Set(ctx, user, "PHONE", Pusher{
			AppID: "app", PushKey: key, Kind: "http", Data: json.RawMessage(`{"url":"https://push.example.org/_matrix/push/v1/notify"}`),
		}, oneMore)
		if err != nil {
			t.Fatal(err)
		}
	}
	count := func(want ...int) {
		t.Helper()
		if got := []int{len(p.users[alice]), len(p.users[bob]), len(p.users[carl])}; !slices.Equal(got, want) {
			t.Errorf("pushers: %v, not %v", got, want)
		}
	}
	set(alice, "phone", false)
	set(alice, "tablet", false)
	set(carl, "his", false)
	set(bob, "phone", true)
	count(2, 1, 1)
	set(alice, "phone", false)
	count(2, 0, 1)
	set(bob, "phone", false)
	count(1, 1, 1)
}

// TestNothingIsCountedAtAStart: a server of many users would go through all rooms of each. Once somebody has read something the gateway is
// told the count, as nobody knows which it was told last.
func TestNothingIsCountedAtAStart(t *testing.T) {
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s, err := store.Open(ctx, sqlite.OpenUnsynced(filepath.Join(folder, "hanse.db")), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var running sync.WaitGroup
		running.Go(func() { _ = s.Run(ctx) })
		defer func() { cancel(); running.Wait(); _ = s.Close() }()
		for i := range 2 * maxLooking {
			_, err := s.SetPusher(ctx, store.Pusher{User: id.UserID(fmt.Sprintf("@user%d:example.org", i)), AppID: "app", PushKey: fmt.Sprint(i), Device: "PHONE",
				Data: json.RawMessage(`{"kind":"http","data":{"url":"https://push.example.org/_matrix/push/v1/notify"}}`)}, true)
			if err != nil {
				t.Fatal(err)
			}
		}
		box := &inbox{count: 3}
		p, err := NewPushers(Config{Store: s, Source: box, Client: &http.Client{Transport: box}})
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() { _ = p.Run(ctx) })
		check := func(when string, asked, told int) {
			t.Helper()
			time.Sleep(time.Minute)
			if heard := box.heard(); box.asked != asked || len(heard) != told {
				t.Errorf("%s the count was asked for %d times, the gateway told %v", when, box.asked, heard)
			}
		}
		check("after the start", 0, 0)
		p.startAll(everybody(looks))
		check("after what notifies nobody", 0, 0)
		p.startAll(func(user id.UserID) why {
			if user == "@user1:example.org" {
				return acted
			}
			return rests
		})
		check("when somebody has read", 1, 1)
		p.startAll(everybody(looks))
		check("where the count is known", 2, 1)
		if box.most > maxLooking {
			t.Errorf("%d looked for what is new at a time", box.most)
		}
	})
}
