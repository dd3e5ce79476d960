package ephemeral

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hanse/federation"
	"hanse/federation/id"
)

const (
	carol = id.UserID("@carol:example.org")
	zoe   = id.UserID("@zoe:far.test")

	phone, laptop = "PHONE", "LAPTOP"
)

// presenceOnly is presence without a store: everybody is in one room, with the users of two other servers.
func presenceOnly(mode PresenceMode) *Ephemeral {
	e := &Ephemeral{
		config: Config{Self: "example.org", Presence: mode}, log: slog.New(slog.DiscardHandler),
		typing: newTyping(time.Now()), outgoing: newOutgoing(), incoming: newIncoming(),
	}
	if mode == PresenceOff {
		return e
	}
	e.presence = newPresence(e)
	e.presence.roomsOf = func(_ context.Context, users []id.UserID) (map[id.UserID][]id.RoomID, error) {
		rooms := map[id.UserID][]id.RoomID{}
		for _, user := range users {
			rooms[user] = []id.RoomID{"!room:example.org"}
		}
		return rooms, nil
	}
	e.presence.serversOf = func(context.Context, id.UserID) ([]id.ServerName, error) {
		return []id.ServerName{"far.test", "other.test"}, nil
	}
	e.presence.seenLast = func(context.Context, time.Duration) ([]id.UserID, error) { return nil, nil }
	e.presence.statusOf = func(context.Context) (map[id.UserID]string, error) { return nil, nil }
	e.presence.saveStatusOf = func(context.Context, map[id.UserID]string) error { return nil }
	return e
}

// runPresence has presence told until the test ends. In a bubble of synctest.
func runPresence(t *testing.T, e *Ephemeral) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); e.presence.run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
}

// later lets time go by.
func later(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// is checks what is shown of a user.
func is(t *testing.T, e *Ephemeral, user id.UserID, what, state string, active bool) {
	t.Helper()
	if got := e.PresenceOf(user); got.State != state || got.CurrentlyActive != active {
		t.Errorf("%s: %+v", what, got)
	}
}

func TestPresenceOfADevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := presenceOnly(PresenceBoth)
		runPresence(t, e)
		check := func(what, state string, active bool) {
			t.Helper()
			is(t, e, alice, what, state, active)
		}
		check("before", Offline, false)
		e.BeginSync(alice, phone, Offline)()
		e.Active(alice, phone)
		check("a device that is not to be seen", Offline, false)
		end := e.BeginSync(alice, phone, "")
		check("a sync", Online, true)
		later(2 * time.Minute)
		check("two minutes on", Online, false)
		e.BeginSync(alice, phone, "")()
		check("the next sync is nothing that was done", Online, false)
		later(4 * time.Minute)
		check("nothing done", Unavailable, false)
		e.BeginSync(alice, phone, "")()
		check("nor is the next", Unavailable, false)
		e.Active(alice, phone)
		check("something done", Online, true)
		if got := e.PresenceOf(alice); !got.EverActive || got.LastActiveAgo != 0 {
			t.Errorf("active: %+v", got)
		}
		end()
		e.BeginSync(alice, phone, Unavailable)()
		check("the client says unavailable", Unavailable, false)
		e.BeginSync(alice, phone, "")()
		check("it says so no more", Online, true)
		e.SetPresence(alice, phone, Unavailable, "at lunch")
		check("the user says unavailable", Unavailable, false)
		e.BeginSync(alice, phone, "")()
		check("and asks as one who is online", Online, true)
		if got := e.PresenceOf(alice).StatusMsg; got != "at lunch" {
			t.Errorf("the message is %q", got)
		}
		e.SetPresence(alice, phone, Offline, "at lunch")
		check("the user says offline while the client waits", Offline, false)
		e.Active(alice, phone)
		check("and writes unseen", Offline, false)
		later(time.Second)
		e.Active(alice, phone)
		if got := e.PresenceOf(alice).LastActiveAgo; got != time.Second {
			t.Errorf("who writes unseen was active %v ago", got)
		}
		end = e.BeginSync(alice, phone, Online)
		check("back", Online, true)
		later(offlineAfter + presenceTick)
		check("one request still waits", Online, true)
		end()
		later(offlineAfter + presenceTick)
		check("gone", Offline, false)
		if got := e.PresenceOf(alice); got.StatusMsg != "at lunch" || got.LastActiveAgo != 2*(offlineAfter+presenceTick) {
			t.Errorf("gone: %+v", got)
		}
		if n := e.presence.waiting; n != 0 {
			t.Errorf("%d requests wait", n)
		}
	})
}

func TestTheDeviceThatIsMostThereCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := presenceOnly(PresenceBoth)
		runPresence(t, e)
		check := func(what, state string) {
			t.Helper()
			is(t, e, alice, what, state, state == Online)
		}
		onPhone, onLaptop := e.BeginSync(alice, phone, Unavailable), e.BeginSync(alice, laptop, Online)
		check("a phone in a pocket and a laptop in use", Online)
		e.SetPresence(alice, phone, Offline, "")
		check("the phone is not to be seen", Online)
		e.SetPresence(alice, laptop, Unavailable, "")
		check("the laptop is left", Unavailable)
		e.SetPresence(alice, laptop, Online, "")
		e.BeginSync(alice, phone, Unavailable)()
		e.DevicesGone(alice, func(device string) bool { return device == laptop })
		check("the laptop is logged out", Unavailable)
		onLaptop()
		check("its last request ends", Unavailable)
		e.DevicesGone(alice, func(string) bool { return true })
		e.DevicesGone(bob, func(string) bool { return true })
		onPhone()
		check("all are logged out", Offline)
	})
}

// Two requests of one device that say different things don't answer each other.
func TestTwoRequestsOfADevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := presenceOnly(PresenceBoth)
		runPresence(t, e)
		online := e.BeginSync(alice, phone, "")
		later(flushGap)
		since := e.TypingSerial()
		for range 10 {
			end := e.BeginSync(alice, phone, Unavailable)
			e.BeginSync(alice, phone, "")()
			is(t, e, alice, "one is online", Online, true)
			end()
		}
		later(flushGap)
		if got := e.TypingSerial(); got != since {
			t.Errorf("there were %d changes", got-since)
		}
		online()
		e.BeginSync(alice, phone, Unavailable)()
		is(t, e, alice, "the other is left", Unavailable, false)
	})
}

func TestDevicesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := presenceOnly(PresenceBoth)
		for i := range 3 * maxPresentDevices {
			e.SetPresence(alice, fmt.Sprint(i), Online, "")
			later(time.Millisecond)
		}
		devices := e.presence.users[alice].devices
		if len(devices) != maxPresentDevices || devices[fmt.Sprint(3*maxPresentDevices-1)] == nil {
			t.Errorf("%d devices are known", len(devices))
		}
		for i := range 3 * maxPresentDevices {
			defer e.BeginSync(alice, fmt.Sprint("waits ", i), "")()
		}
		if devices = e.presence.users[alice].devices; len(devices) != maxPresentDevices || devices["waits 0"] == nil {
			t.Errorf("%d devices are known", len(devices))
		}
	})
}

func TestChangesAreToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := presenceOnly(PresenceBoth)
		var mu sync.Mutex
		var sent []string // guarded by mu
		e.config.Send = func(to []id.ServerName, edus ...federation.EDU) {
			mu.Lock()
			defer mu.Unlock()
			for _, edu := range edus {
				sent = append(sent, fmt.Sprint(to, " ", string(edu.Content)))
			}
		}
		runPresence(t, e)
		start := e.TypingSerial()
		since := start
		check := func(what string, clients []id.UserID, servers ...string) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			upto := e.TypingSerial()
			got, known := e.PresenceIn(carol, []id.RoomID{"!room:example.org"}, since, upto)
			alike := e.PresenceSince(since)
			slices.Sort(got)
			slices.Sort(alike)
			if !known || !slices.Equal(got, clients) || !slices.Equal(alike, clients) {
				t.Errorf("%s: clients are told of %v, %v", what, got, alike)
			}
			if !slices.Equal(sent, servers) {
				t.Errorf("%s: servers are told %q", what, sent)
			}
			since, sent = upto, nil
		}
		e.SetPresence(alice, phone, Online, "at sea")
		later(0)
		check("at once", []id.UserID{alice},
			`[far.test other.test] {"push":[{"user_id":"@alice:example.org","presence":"online","status_msg":"at sea","last_active_ago":0,"currently_active":true}]}`)
		e.SetPresence(alice, phone, Unavailable, "")
		e.SetPresence(bob, phone, Unavailable, "")
		later(flushGap / 2)
		check("not so soon again", nil)
		later(flushGap / 2)
		check("together", []id.UserID{alice, bob},
			`[far.test other.test] {"push":[{"user_id":"@alice:example.org","presence":"unavailable","last_active_ago":1000},{"user_id":"@bob:example.org","presence":"unavailable","last_active_ago":1000}]}`)
		e.SetPresence(alice, phone, Online, "")
		e.SetPresence(alice, phone, Unavailable, "")
		e.SetPresence(bob, phone, Unavailable, "")
		later(2 * flushGap)
		check("nothing has changed in the end", nil)
		end := e.BeginSync(bob, phone, Unavailable)
		later(offlineAfter + presenceTick)
		check("asks for nothing", []id.UserID{alice},
			`[far.test other.test] {"push":[{"user_id":"@alice:example.org","presence":"offline","last_active_ago":49000}]}`)
		later(renewPresence - offlineAfter + presenceTick)
		check("again before others forget it", nil,
			`[far.test other.test] {"push":[{"user_id":"@bob:example.org","presence":"unavailable","last_active_ago":1505000}]}`)
		end()
		later(offlineAfter + presenceTick)
		check("gone", []id.UserID{bob}, `[far.test other.test] {"push":[{"user_id":"@bob:example.org","presence":"offline","last_active_ago":1560000}]}`)
		later(2 * renewPresence)
		check("who is offline needn't be told of again", nil)
		if got := e.PresenceSince(start); len(got) != 2 {
			t.Errorf("a client that was away for long is told of %v", got)
		}
	})
}

// A store that fails delays what is to be told.
func TestPresenceIsToldLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := presenceOnly(PresenceBoth)
		sent := 0
		e.config.Send = func([]id.ServerName, ...federation.EDU) { sent++ }
		works := e.presence.roomsOf
		e.presence.roomsOf = func(context.Context, []id.UserID) (map[id.UserID][]id.RoomID, error) {
			return nil, errors.New("the disk is gone")
		}
		e.SetPresence(alice, phone, Online, "")
		e.Flush(t.Context())
		if told := e.PresenceSince(0); len(told) != 0 || sent != 0 {
			t.Errorf("told: %v, sent: %d", told, sent)
		}
		e.presence.roomsOf = works
		e.Flush(t.Context())
		e.Flush(t.Context())
		if told := e.PresenceSince(0); !slices.Equal(told, []id.UserID{alice}) || sent != 1 {
			t.Errorf("told: %v, sent: %d", told, sent)
		}
	})
}

// Who tells many takes longer.
func TestTellingManyIsSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := presenceOnly(PresenceBoth)
		servers := make([]id.ServerName, 1000)
		e.presence.serversOf = func(context.Context, id.UserID) ([]id.ServerName, error) { return servers, nil }
		tellings, since := 0, e.TypingSerial()
		var sendings atomic.Int64
		e.config.Send = func([]id.ServerName, ...federation.EDU) { sendings.Add(1) }
		for i := range servers {
			servers[i] = id.ServerName(fmt.Sprintf("server%d.test", i))
		}
		runPresence(t, e)
		for i := range 3000 {
			defer e.BeginSync(id.UserID(fmt.Sprintf("@user%d:example.org", i)), phone, "")()
		}
		for i := range 60 {
			e.SetPresence(alice, phone, Online, fmt.Sprint(i))
			later(time.Second)
			rooms, selves, upto, _ := e.PresenceTold(since)
			if since = upto; len(rooms) > 0 {
				tellings++
			}
			if !selves[alice] {
				t.Error("her own clients are told at once")
			}
		}
		if n := sendings.Load(); tellings > 21 || tellings < 10 || n > 4 || n < 2 { // every 3 and 20 s
			t.Errorf("in a minute clients were told %d times, servers %d times", tellings, n)
		}
	})
}

// Who was there before a start, and doesn't come back, is told of.
func TestWhoDoesNotComeBackIsOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := presenceOnly(PresenceBoth)
		e.presence.seenLast = func(context.Context, time.Duration) ([]id.UserID, error) { return []id.UserID{alice, bob}, nil }
		var mu sync.Mutex
		var sent []string // guarded by mu
		e.config.Send = func(_ []id.ServerName, edus ...federation.EDU) {
			mu.Lock()
			defer mu.Unlock()
			for _, edu := range edus {
				sent = append(sent, string(edu.Content))
			}
		}
		runPresence(t, e)
		defer e.BeginSync(bob, phone, "")()
		later(flushGap)
		since := e.TypingSerial()
		mu.Lock()
		sent = nil
		mu.Unlock()
		later(offlineAfter)
		if got := e.PresenceSince(since); !slices.Equal(got, []id.UserID{alice}) || e.PresenceOf(alice).State != Offline {
			t.Errorf("told of %v", got)
		}
		mu.Lock()
		defer mu.Unlock()
		if want := `{"push":[{"user_id":"@alice:example.org","presence":"offline","last_active_ago":45000}]}`; !slices.Equal(sent, []string{want}) {
			t.Errorf("sent: %q", sent)
		}
	})
}

// What is sent at once doesn't crowd out what else waits for other servers, and what is left goes later.
func TestSendingToManyIsCut(t *testing.T) {
	e := presenceOnly(PresenceBoth)
	servers, sent := make([]id.ServerName, maxPresenceSent/2), []int{}
	e.presence.serversOf = func(context.Context, id.UserID) ([]id.ServerName, error) { return servers, nil }
	e.config.Send = func(to []id.ServerName, edus ...federation.EDU) { sent = append(sent, len(edus)) }
	for i := range servers {
		servers[i] = id.ServerName(fmt.Sprintf("server%d.test", i))
	}
	e.SetPresence(alice, phone, Online, "")
	e.Flush(t.Context()) // now it is known how many they are
	for i := range 5 * maxPresenceInEDU {
		e.SetPresence(id.UserID(fmt.Sprintf("@user%d:example.org", i)), phone, Online, "")
	}
	for range 4 {
		e.Flush(t.Context())
	}
	if !slices.Equal(sent, []int{1, 2, 2, 1}) {
		t.Errorf("EDUs to each server: %v", sent)
	}
}

func TestPresenceOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := presenceOnly(PresenceBoth)
		runPresence(t, e)
		var asked atomic.Int64
		works := e.presence.roomsOf
		e.presence.roomsOf = func(ctx context.Context, users []id.UserID) (map[id.UserID][]id.RoomID, error) {
			asked.Add(1)
			return works(ctx, users)
		}
		hear := func(update federation.UserPresence) { e.presence.hear(zoe, update, true, time.Now()) }
		since := e.TypingSerial()
		hear(federation.UserPresence{Presence: Offline})
		later(flushGap)
		if got := e.PresenceSince(since); !slices.Equal(got, []id.UserID{zoe}) {
			t.Errorf("who may still be shown as online since before a start is offline: told of %v", got)
		}
		active := federation.UserPresence{Presence: Online, LastActiveAgo: new(int64(7000)), CurrentlyActive: true}
		hear(active)
		later(20 * time.Minute)
		is(t, e, zoe, "their server says when it ends", Online, true)
		if ago := e.PresenceOf(zoe).LastActiveAgo; ago != 20*time.Minute+7*time.Second {
			t.Errorf("active %v ago", ago)
		}
		hear(active)
		later(20 * time.Minute)
		is(t, e, zoe, "told again", Online, true)
		if n := asked.Load(); n != 2 {
			t.Errorf("the store was asked %d times for two changes", n)
		}
		later(20 * time.Minute)
		is(t, e, zoe, "their server has forgotten them", Offline, false)
		e.presence.roomsOf = func(context.Context, []id.UserID) (map[id.UserID][]id.RoomID, error) { return nil, nil }
		hear(federation.UserPresence{Presence: Offline, LastActiveAgo: new(int64(5)), StatusMsg: new(string)})
		hear(active)
		later(time.Minute)
		is(t, e, zoe, "they are in no room of ours any more", Offline, false)
		if len(e.presence.users) != 0 {
			t.Errorf("%v are remembered", e.presence.users)
		}
		if e.presence.hear(zoe, active, false, time.Now()) {
			t.Error("a stranger is believed")
		}
	})
}

func TestWhatWasToldEarlierIsNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := presenceOnly(PresenceBoth)
		runPresence(t, e)
		early := time.Now()
		later(time.Minute)
		e.presence.hear(zoe, federation.UserPresence{Presence: Online}, true, time.Now())
		e.presence.hear(zoe, federation.UserPresence{Presence: Unavailable}, true, early)
		later(flushGap)
		is(t, e, zoe, "what was kept comes after what was told later", Online, false)
	})
}

func TestPresenceChangesHaveAnOrder(t *testing.T) {
	e := presenceOnly(PresenceBoth)
	tell := func(user id.UserID, status string) Serial {
		e.SetPresence(user, phone, Online, status)
		e.Flush(t.Context())
		return e.TypingSerial()
	}
	start := e.TypingSerial()
	between := tell(alice, "")
	first := tell(bob, "")
	tell(alice, "") // nothing new
	if got := e.PresenceSince(between); !slices.Equal(got, []id.UserID{bob}) {
		t.Errorf("after alice: %v", got)
	}
	for i := range 500 {
		tell(alice, fmt.Sprint(i))
	}
	if got := e.PresenceSince(0); !slices.Equal(got, []id.UserID{alice, bob}) || !slices.Equal(e.Present(), got) {
		t.Errorf("all: %v", got)
	}
	if n := len(e.presence.changes); n > 200 {
		t.Errorf("%d changes of two users are kept", n)
	}
	if n := len(e.presence.told.parts); n != maxToldParts {
		t.Errorf("%d tellings are kept", n)
	}
	rooms := []id.RoomID{"!room:example.org"}
	for since, known := range map[Serial]bool{0: false, start: false, first: false, e.TypingSerial(): true, e.TypingSerial() - 2*maxToldParts: true, e.TypingSerial() - 2*maxToldParts - 1: false} {
		if got, ok := e.PresenceIn(carol, rooms, since, e.TypingSerial()); ok != known {
			t.Errorf("since %d of %d: %v %v", since, e.TypingSerial(), got, ok)
		}
	}
	last := e.TypingSerial()
	for _, c := range []struct {
		user        id.UserID
		rooms       []id.RoomID
		since, upto Serial
		want        []id.UserID
	}{
		{carol, rooms, last - 1, last, []id.UserID{alice}},
		{carol, nil, last - 1, last, nil},
		{alice, rooms, last - 1, last, nil}, // told before
		{alice, nil, last - 2, last, []id.UserID{alice}},
		{alice, nil, last - 2, last - 2, nil},
		{carol, rooms, last - 1, last - 1, nil},
		{carol, rooms, last, last, nil},
	} {
		if got, ok := e.PresenceIn(c.user, c.rooms, c.since, c.upto); !ok || !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestPresenceIsBounded(t *testing.T) {
	e := presenceOnly(PresenceBoth)
	for i := range maxPresent + 10 {
		e.presence.users[id.UserID(fmt.Sprintf("@%d:far.test", i))] = &who{shown: shown{state: Offline, status: "spam"}}
	}
	e.presence.hear(zoe, federation.UserPresence{Presence: Online}, true, time.Now())
	is(t, e, zoe, "there is no room for them", Offline, false)
	e.SetPresence(alice, phone, Online, "")
	is(t, e, alice, "there is always for ours", Online, true)
	if e.presence.expire(time.Now()); e.presence.others() != maxPresent/2 {
		t.Errorf("%d users who are long gone are kept", e.presence.others())
	}
}

func TestPresenceThatIsOff(t *testing.T) {
	e := presenceOnly(PresenceOff)
	e.Active(alice, phone)
	e.SetPresence(alice, phone, Online, "x")
	e.BeginSync(alice, phone, "")()
	e.DevicesGone(alice, func(string) bool { return true })
	e.AccountGone(alice)
	e.Flush(t.Context())
	if err := e.HandleEDU(t.Context(), "far.test", federation.EDU{Type: federation.EDUPresence, Content: json.RawMessage(`{"push":[{}]}`)}); err != nil {
		t.Error(err)
	}
	if e.PresenceOf(alice).State != Offline || len(e.PresenceSince(0))+len(e.Present()) != 0 || e.HasPresence() || e.PresenceNews() != nil {
		t.Error("there is presence")
	}
}

func BenchmarkPresenceOff(b *testing.B) {
	e := presenceOnly(PresenceOff)
	for b.Loop() {
		e.Active(alice, phone)
		e.BeginSync(alice, phone, "")()
	}
}

// BenchmarkHear takes an EDU of 50 users who are known, each of whom has changed.
func BenchmarkHear(b *testing.B) {
	e := presenceOnly(PresenceBoth)
	var edus [2]json.RawMessage
	for i, state := range []string{Online, Unavailable} {
		var content federation.PresenceEDU
		for n := range maxPresenceInEDU {
			user := fmt.Sprintf("@user%d:far.test", n)
			content.Push = append(content.Push, federation.UserPresence{UserID: user, Presence: state})
			e.presence.hear(id.UserID(user), content.Push[n], true, time.Now())
		}
		edus[i], _ = json.Marshal(content)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := e.receivePresence(b.Context(), "far.test", edus[i%2]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkExpire looks through all users that may be known.
func BenchmarkExpire(b *testing.B) {
	e := presenceOnly(PresenceBoth)
	for n := range maxPresent {
		e.presence.hear(id.UserID(fmt.Sprintf("@user%d:far.test", n)), federation.UserPresence{Presence: Online}, true, time.Now())
	}
	for now := time.Now(); b.Loop(); now = now.Add(time.Millisecond) {
		e.presence.swept = time.Time{}
		e.presence.expire(now)
	}
}

// FuzzPresenceEDU reads what other servers say of presence, up to where the store would be asked.
func FuzzPresenceEDU(f *testing.F) {
	f.Add([]byte(`{"push":[{"user_id":"@zoe:far.test","presence":"online","last_active_ago":5,"status_msg":null,"currently_active":true}]}`))
	f.Add([]byte(`{"push":[{"user_id":"@bob:example.org","presence":"nonsense","last_active_ago":-5}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		e := presenceOnly(PresenceOut) // what comes in is not read
		if err := e.HandleEDU(context.Background(), "far.test", federation.EDU{Type: federation.EDUPresence, Content: content}); err != nil {
			t.Error(err)
		}
		var edu federation.PresenceEDU
		if json.Unmarshal(content, &edu) != nil {
			return
		}
		for _, update := range edu.Push {
			if validPresence(update) && (update.LastActiveAgo != nil && *update.LastActiveAgo < 0 || update.StatusMsg != nil && len(*update.StatusMsg) > MaxStatusMsg) {
				t.Errorf("%+v is valid", update)
			}
		}
	})
}
