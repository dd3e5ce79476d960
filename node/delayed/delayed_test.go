package delayed

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/rooms"
	"hanse/node/store"
	"hanse/node/store/sqlite"
)

const (
	alice = id.UserID("@alice:hanse.test")
	bob   = id.UserID("@bob:hanse.test")
)

// town is a room that takes what is sent, or says why not. As rooms do, it takes a transaction once.
type town struct {
	mu    sync.Mutex
	taken map[string]time.Time // by content
	calls int
	fails func(calls int) error
}

func (r *town) Send(_ context.Context, req rooms.SendRequest) (id.EventID, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	if r.fails != nil {
		if err := r.fails(r.calls); err != nil {
			return "", err
		}
	}
	if _, again := r.taken[string(req.Content)]; !again {
		r.taken[string(req.Content)] = time.Now()
	}
	return id.EventID("$" + req.TxnID), nil
}

func (r *town) at(content string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.taken[content]
}

// world is a database that outlives the events' parts.
type world struct {
	t     *testing.T
	store *store.Store
	town  *town
	*Events
	stop func()
}

func inBubble(t *testing.T, do func(t *testing.T, w *world)) {
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		s, err := store.Open(ctx, sqlite.OpenUnsynced(filepath.Join(folder, "hanse.db")), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var running sync.WaitGroup
		running.Go(func() { _ = s.Run(ctx) })
		w := &world{t: t, store: s, town: &town{taken: map[string]time.Time{}}}
		w.start()
		defer func() { w.stop(); cancel(); running.Wait(); _ = s.Close() }()
		do(t, w)
	})
}

func (w *world) start() {
	w.Events = New(w.store, w.town, nil)
	life, end := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = w.Run(life) }()
	w.stop = func() { end(); <-done }
}

// schedule schedules an event whose content is a name.
func (w *world) schedule(user id.UserID, name string, delay time.Duration) string {
	w.t.Helper()
	delayID, err := w.Schedule(context.Background(), request(user, name), delay)
	if err != nil {
		w.t.Fatal(err)
	}
	return delayID
}

func request(user id.UserID, name string) rooms.SendRequest {
	content, _ := json.Marshal(name) // a string always encodes
	return rooms.SendRequest{Room: "!room:hanse.test", Sender: user, Type: "m.test", Content: content, Device: "PHONE", TxnID: name}
}

// sent checks when an event was sent; zero: never.
func (w *world) sent(name string, want time.Time) {
	w.t.Helper()
	synctest.Wait()
	content, _ := json.Marshal(name) // as above
	if got := w.town.at(string(content)); !got.Equal(want) {
		w.t.Errorf("%s was sent at %v, not at %v", name, got, want)
	}
}

func missing(err error) bool {
	wire, ok := errors.AsType[*federation.Error](err)
	return ok && wire.Code == federation.CodeNotFound
}

func TestEventsAreSentWhenItIsTime(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		ctx, start := t.Context(), time.Now()
		w.schedule(alice, "late", time.Hour)
		soon := w.schedule(alice, "soon", time.Minute)
		moved, gone, now := w.schedule(alice, "moved", 30*time.Second), w.schedule(alice, "gone", 10*time.Second), w.schedule(bob, "now", time.Hour)
		if again := w.schedule(alice, "soon", time.Hour); again != soon {
			t.Error("a request that is repeated schedules another event")
		}
		if list, err := w.Of(ctx, alice); err != nil || len(list) != 4 || list[0].ID != gone || list[2].ID != soon {
			t.Errorf("%v %v", list, err)
		}
		time.Sleep(5 * time.Second)
		if err := errors.Join(w.Cancel(ctx, gone), w.Send(ctx, now)); err != nil {
			t.Error(err)
		}
		for range 10 {
			time.Sleep(20 * time.Second)
			if err := w.Restart(ctx, moved); err != nil {
				t.Error(err)
			}
		}
		restarted := time.Now()
		time.Sleep(2 * time.Hour)
		w.sent("gone", time.Time{})
		w.sent("now", start.Add(5*time.Second))
		w.sent("soon", start.Add(time.Minute))
		w.sent("moved", restarted.Add(30*time.Second))
		w.sent("late", start.Add(time.Hour))
		for _, err := range []error{w.Send(ctx, soon), w.Restart(ctx, moved), w.Cancel(ctx, gone), w.Cancel(ctx, "nonsense")} {
			if !missing(err) {
				t.Error(err)
			}
		}
		if w.town.calls != 4 {
			t.Errorf("events were sent %d times", w.town.calls)
		}
	})
}

func TestEventsOutliveARestart(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		start := time.Now()
		w.schedule(alice, "missed", time.Minute)
		w.schedule(alice, "later", time.Hour)
		w.stop()
		time.Sleep(10 * time.Minute)
		w.start()
		w.sent("missed", start.Add(10*time.Minute))
		time.Sleep(time.Hour)
		w.sent("later", start.Add(time.Hour))
	})
}

func TestEventsThatCanNotBeSent(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		ctx, start := t.Context(), time.Now()
		w.town.fails = func(calls int) error {
			if calls <= 3 {
				return errors.New("the disk is full")
			}
			return nil
		}
		w.schedule(alice, "tried again", time.Minute)
		time.Sleep(10 * time.Minute)
		w.sent("tried again", start.Add(time.Minute+3*retryAfter))

		w.town.fails = func(int) error { return federation.Forbidden("no") }
		refused := w.schedule(alice, "refused", time.Minute)
		if err := w.Send(ctx, refused); err == nil || missing(err) {
			t.Error(err)
		}
		if list, err := w.Of(ctx, alice); err != nil || len(list) != 1 {
			t.Errorf("what couldn't be sent at once stays scheduled: %v %v", list, err)
		}
		w.town.fails = func(int) error { return errors.New("nobody answers") }
		w.schedule(bob, "hopeless", time.Minute)
		time.Sleep(3 * time.Hour)
		w.town.fails = nil
		for _, user := range []id.UserID{alice, bob} {
			if list, err := w.Of(ctx, user); err != nil || len(list) != 0 {
				t.Errorf("%v %v", list, err)
			}
		}
		w.sent("hopeless", time.Time{})
	})
}

func TestEventsOfRestrictedUsers(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		for _, user := range []id.UserID{alice, bob} {
			if err := w.store.CreateUser(ctx, store.User{ID: user, Created: time.Now()}); err != nil {
				t.Fatal(err)
			}
			w.schedule(user, string(user), time.Minute)
		}
		if err := errors.Join(w.store.SetLocked(ctx, alice, time.Now()), w.store.SetSuspended(ctx, bob, time.Now())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		w.sent(string(alice), time.Time{})
		w.sent(string(bob), time.Time{})
	})
}

func TestEventsOfDeactivatedUsers(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		if err := w.store.CreateUser(ctx, store.User{ID: alice, Created: time.Now()}); err != nil {
			t.Fatal(err)
		}
		before := w.schedule(alice, "before", time.Minute)
		if err := w.store.Deactivate(ctx, alice, false); err != nil {
			t.Fatal(err)
		}
		meanwhile := w.schedule(alice, "meanwhile", time.Minute) // by a request that was on its way
		if err := w.Send(ctx, before); !missing(err) {
			t.Error(err)
		}
		if err := w.Send(ctx, meanwhile); err == nil || missing(err) {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		w.sent("before", time.Time{})
		w.sent("meanwhile", time.Time{})
		if list, err := w.Of(ctx, alice); err != nil || len(list) != 0 {
			t.Errorf("%v %v", list, err)
		}
	})
}

// TestEventsThatWereDueLongAgo: a server that was down for long tries them for as long as others.
func TestEventsThatWereDueLongAgo(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.schedule(alice, "missed", time.Minute)
		w.stop()
		time.Sleep(5 * time.Hour)
		w.town.fails = func(calls int) error {
			if calls == 1 {
				return errors.New("not yet")
			}
			return nil
		}
		start := time.Now()
		w.start()
		time.Sleep(10 * time.Minute)
		w.sent("missed", start.Add(retryAfter))
	})
}

func TestDelaysAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		if _, err := w.Schedule(ctx, request(alice, "x"), MaxDelay+1); !errors.Is(err, TooLongError{}) {
			t.Error(err)
		}
		for i := range maxEach {
			w.schedule(alice, string(rune('a'+i)), time.Hour)
		}
		_, err := w.Schedule(ctx, request(alice, "one more"), time.Hour)
		if wire, ok := errors.AsType[*federation.Error](err); !ok || wire.Code != federation.CodeLimitExceeded || wire.RetryAfter() != time.Hour {
			t.Error(err)
		}
		w.schedule(alice, "a", time.Hour) // it is there
		w.schedule(bob, "his", time.Hour)
	})
}
