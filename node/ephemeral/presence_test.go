package ephemeral

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"hanse/federation"
	"hanse/federation/id"
)

func presenceOnly(mode PresenceMode) *Ephemeral {
	e := &Ephemeral{config: Config{Self: "example.org", Presence: mode}, typing: newTyping(time.Now()), outgoing: newOutgoing(), incoming: newIncoming()}
	if mode != PresenceOff {
		e.presence = newPresence(e)
	}
	return e
}

func TestPresenceOfASession(t *testing.T) {
	e := presenceOnly(PresenceBoth)
	check := func(what string, state string, active bool) {
		t.Helper()
		if got := e.PresenceOf(alice); got.State != state || got.CurrentlyActive != active {
			t.Errorf("%s: %+v", what, got)
		}
	}
	now := time.Now()
	check("before", Offline, false)
	e.BeginSync(alice, Offline)()
	check("a sync that is not to be seen", Offline, false)
	end := e.BeginSync(alice, "")
	check("a sync", Online, true)
	if told := e.presence.expire(now.Add(2 * time.Minute)); !slices.Equal(told, []id.UserID{alice}) {
		t.Errorf("told: %v", told)
	}
	check("two minutes on", Online, false)
	e.presence.expire(now.Add(2*time.Minute + presenceTick))
	e.presence.expire(now.Add(6 * time.Minute))
	check("nothing done", Unavailable, false)
	e.Active(alice)
	check("something done", Online, true)
	end()
	e.presence.expire(now.Add(10 * time.Minute))
	check("gone", Offline, false)
	e.BeginSync(alice, Unavailable)()
	check("an app in the background", Unavailable, false)
	e.SetPresence(alice, Online, "at work")
	e.BeginSync(alice, Unavailable)()
	check("another device is in use", Online, true)
	if got := e.PresenceOf(alice); got.StatusMsg != "at work" || !got.EverActive {
		t.Errorf("%+v", got)
	}
	e.presence.expire(now.Add(20 * time.Minute))
	check("gone again", Offline, false)
	if got := e.PresenceOf(alice).StatusMsg; got != "at work" {
		t.Errorf("the status is %q", got)
	}
}

func TestPresenceChangesHaveAnOrder(t *testing.T) {
	e := presenceOnly(PresenceBoth)
	e.SetPresence(alice, Online, "")
	between := e.TypingSerial()
	e.SetPresence(bob, Online, "")
	if got := e.PresenceSince(between); !slices.Equal(got, []id.UserID{bob}) {
		t.Errorf("after alice: %v", got)
	}
	e.SetPresence(alice, Online, "") // nothing new
	if got := e.PresenceSince(between); !slices.Equal(got, []id.UserID{bob}) {
		t.Errorf("after alice: %v", got)
	}
	for i := range 500 {
		e.SetPresence(alice, Online, fmt.Sprint(i))
	}
	if got := e.PresenceSince(0); !slices.Equal(got, []id.UserID{alice, bob}) {
		t.Errorf("all: %v", got)
	}
	if n := len(e.presence.changes); n > 200 {
		t.Errorf("%d changes of two users are kept", n)
	}
}

func TestPresenceIsBounded(t *testing.T) {
	e := presenceOnly(PresenceBoth)
	for i := range maxPresent + 10 {
		e.presence.users[id.UserID(fmt.Sprintf("@%d:far.test", i))] = &who{state: Offline}
	}
	e.Active(alice)
	if e.PresenceOf(alice).State != Offline {
		t.Error("there is no end of users")
	}
	if e.presence.expire(time.Now()); len(e.presence.users) != 0 {
		t.Errorf("%d users who are long gone are kept", len(e.presence.users))
	}
}

func TestPresenceThatIsOff(t *testing.T) {
	e := presenceOnly(PresenceOff)
	e.Active(alice)
	e.SetPresence(alice, Online, "x")
	e.BeginSync(alice, "")()
	e.presence.tick(t.Context(), time.Now())
	if err := e.HandleEDU(t.Context(), "far.test", federation.EDU{Type: federation.EDUPresence, Content: json.RawMessage(`{"push":[{}]}`)}); err != nil {
		t.Error(err)
	}
	if e.PresenceOf(alice).State != Offline || len(e.PresenceSince(0)) != 0 || e.HasPresence() {
		t.Error("there is presence")
	}
}

func BenchmarkPresenceOff(b *testing.B) {
	e := presenceOnly(PresenceOff)
	for b.Loop() {
		e.Active(alice)
		e.BeginSync(alice, "")()
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
			if validPresence(update) && (update.LastActiveAgo < 0 || update.StatusMsg != nil && len(*update.StatusMsg) > MaxStatusMsg) {
				t.Errorf("%+v is valid", update)
			}
		}
	})
}
