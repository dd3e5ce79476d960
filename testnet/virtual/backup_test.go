package virtual

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"hanse/federation/id"
	"hanse/testnet/user"
)

// ask makes a request of the client-server API and ends the test if it is refused.
func (w *world) ask(u *user.User, method, path string, body, answer any) {
	w.t.Helper()
	if err := u.Call(w.t.Context(), method, "/_matrix/client/v3/"+path, nil, body, answer); err != nil {
		w.t.Fatal(err)
	}
}

// upload gives a user's device one-time keys of these names.
func (w *world) upload(u *user.User, names ...string) {
	w.t.Helper()
	keys := map[string]string{}
	for _, name := range names {
		keys["curve25519:"+name] = "the key " + name
	}
	w.ask(u, http.MethodPost, "keys/upload", map[string]any{"one_time_keys": keys}, nil)
}

// claim takes a one-time key of another user's device, and gives its name; "" if there is none.
func (w *world) claim(by, of *user.User) string {
	w.t.Helper()
	var answer struct {
		Keys map[string]map[string]map[string]string `json:"one_time_keys"`
	}
	w.ask(by, http.MethodPost, "keys/claim", map[string]any{"one_time_keys": map[string]any{of.ID: map[string]string{of.DeviceID: "curve25519"}}}, &answer)
	for name := range answer.Keys[of.ID][of.DeviceID] {
		return name
	}
	return ""
}

// numbers are the messages to the device that a sync of the user's brings.
func (w *world) numbers(u *user.User) []int {
	w.t.Helper()
	var all []int
	for _, e := range must[user.SyncAnswer](w.t)(u.Sync(w.t.Context(), 0)).ToDevice.Events {
		var content struct{ Number int }
		if err := json.Unmarshal(e.Content, &content); err != nil {
			w.t.Fatal(err)
		}
		all = append(all, content.Number)
	}
	return all
}

// What a server gave out before its database was put back from a backup must not be given out again: one-time keys, the stream_ids of
// device lists; and what comes for a device after it must not be taken for what the device had acknowledged before.
func TestYesterdaysBackupAndEncryption(t *testing.T) {
	inTrio(t, func(t *testing.T, x *trio) {
		p := x.peer("p1.test")
		defer p.Close()
		if _, err := p.Join(t.Context(), id.ServerName(x.s[0].name), id.RoomID(x.room), p.User("peter")); err != nil {
			t.Fatal(err)
		}
		named := func(name string) {
			x.ask(x.alice, http.MethodPut, "devices/"+x.alice.DeviceID, map[string]string{"display_name": name}, nil)
		}
		send := func(number int) {
			if err := x.bob.SendToDevice(t.Context(), "test.direct", x.alice.ID, x.alice.DeviceID, map[string]int{"number": number}); err != nil {
				t.Fatal(err)
			}
		}
		x.upload(x.alice, "k0", "k1", "k2")
		taken := []string{x.claim(x.bob, x.alice)}
		x.numbers(x.alice)
		named("at home")
		time.Sleep(time.Minute)
		x.s[0].backUp()

		taken = append(taken, x.claim(x.bob, x.alice))
		for range 20 {
			x.say(x.alice, x.bob)
		}
		send(0)
		named("on the way")
		time.Sleep(time.Hour)
		if came := x.numbers(x.alice); !slices.Equal(came, []int{0}) {
			t.Fatalf("alice's device got %v", came)
		}
		if again := x.numbers(x.alice); len(again) > 0 {
			t.Fatalf("alice's device got %v again", again)
		}

		x.s[0].putBack()
		time.Sleep(time.Minute)
		var sent []int
		for number := range 100 { // so many that the place which alice's token names has long been passed
			send(number)
			sent = append(sent, number)
		}
		named("in the future")
		time.Sleep(time.Minute)
		if came := x.numbers(x.alice); !slices.Equal(came, sent) {
			t.Errorf("of what was sent to alice's device since her server was put back came %v", came)
		}
		if again := x.claim(x.bob, x.alice); again != "" {
			t.Errorf("of alice's keys %v were given out, and then %s", taken, again)
		}
		x.upload(x.alice, "k3")
		x.numbers(x.alice)
		if key := x.claim(x.bob, x.alice); key != "curve25519:k3" {
			t.Errorf("alice has uploaded a new key, and bob got %q", key)
		}
		x.converged(x.alice, x.bob, x.carol)
		var streams []int64
		for _, edu := range p.EDUs("m.device_list_update") {
			var update struct {
				Stream int64 `json:"stream_id"`
			}
			if err := json.Unmarshal(edu.Content, &update); err != nil {
				t.Fatal(err)
			}
			streams = append(streams, update.Stream)
		}
		if len(streams) < 3 || !slices.IsSorted(streams) || len(slices.Compact(slices.Clone(streams))) < 3 {
			t.Errorf("the peer was told of changes of alice's devices with the stream_ids %v", fmt.Sprint(streams))
		}
	})
}

// TestYesterdaysBackupAndADeviceThatIsOut: one-time keys of before aren't given out again either where their device hasn't been seen since
// the backup was put back, and hadn't been when they were given out. That the database is an older one tells the data folder, or, where
// that was put back too, what others have of our users.
func TestYesterdaysBackupAndADeviceThatIsOut(t *testing.T) {
	for _, of := range []string{"the database", "the folder"} {
		t.Run(of, func(t *testing.T) {
			inTrio(t, func(t *testing.T, x *trio) {
				anna := x.s[0].user("anna") // has a device elsewhere, and says what others have
				defer anna.Close()
				must[string](t)(anna.Join(t.Context(), x.room, x.s[0].name))
				x.upload(x.alice, "k0", "k1")
				x.ask(x.alice, http.MethodPost, "keys/upload", map[string]any{
					"fallback_keys": map[string]any{"curve25519:f": "a fallback key"},
				}, nil)
				time.Sleep(time.Minute)
				x.s[0].backUp()
				if key := x.claim(x.bob, x.alice); key != "curve25519:k0" {
					t.Fatalf("bob got %q", key)
				}
				if of == "the folder" {
					x.say(anna)
				}
				time.Sleep(time.Hour)
				if of == "the folder" {
					x.s[0].putBack()
				} else {
					x.s[0].putBackDatabase()
				}
				time.Sleep(time.Minute)
				for range 2 {
					if key := x.claim(x.bob, x.alice); key != "curve25519:f" {
						t.Errorf("after the backup was put back bob got %q", key)
					}
				}
				must[user.SyncAnswer](t)(x.alice.Sync(t.Context(), 0))
				x.upload(x.alice, "k2")
				if key := x.claim(x.bob, x.alice); key != "curve25519:k2" {
					t.Errorf("alice has uploaded a new key, and bob got %q", key)
				}
			})
		})
	}
}

// TestAStartPutsNoBackupBack: a server that starts again, killed or not, has the one-time keys that it had.
func TestAStartPutsNoBackupBack(t *testing.T) {
	inTrio(t, func(t *testing.T, x *trio) {
		x.upload(x.alice, "k0", "k1")
		x.say(x.alice, x.bob)
		time.Sleep(2 * time.Hour)
		x.s[0].stop()
		x.say(x.bob, x.carol)
		time.Sleep(time.Hour)
		x.s[0].start()
		time.Sleep(time.Minute)
		if key := x.claim(x.bob, x.alice); key != "curve25519:k0" {
			t.Errorf("bob got %q", key)
		}
	})
}

// devices are those of a user's that another user is told of.
func (w *world) devices(by, of *user.User) []string {
	w.t.Helper()
	var answer struct {
		Keys map[id.UserID]map[string]any `json:"device_keys"`
	}
	w.ask(by, http.MethodPost, "keys/query", map[string]any{"device_keys": map[string]any{of.ID: []string{}}}, &answer)
	return slices.Sorted(maps.Keys(answer.Keys[id.UserID(of.ID)]))
}

// TestYesterdaysBackupAndDevices: what a server that is put back from a backup was told since of others' devices it learns anew, and others
// learn that those which its users got since are no more.
func TestYesterdaysBackupAndDevices(t *testing.T) {
	inTrio(t, func(t *testing.T, x *trio) {
		anna := x.s[0].user("anna") // who says what others have: the folder is put back too, and doesn't tell
		defer anna.Close()
		must[string](t)(anna.Join(t.Context(), x.room, x.s[0].name))
		keys := func(u *user.User) {
			x.ask(u, http.MethodPost, "keys/upload", map[string]any{"device_keys": map[string]any{
				"user_id": u.ID, "device_id": u.DeviceID, "algorithms": []string{}, "keys": map[string]string{"ed25519:" + u.DeviceID: "a key"}, "signatures": map[string]any{},
			}}, nil)
		}
		another := func(s *server, of *user.User, name string) *user.User {
			u := s.stranger()
			if err := u.Login(t.Context(), of.ID, "a password of "+name); err != nil {
				t.Fatal(err)
			}
			keys(u)
			return u
		}
		keys(x.alice)
		keys(x.bob)
		check := func(by, of *user.User, want ...string) {
			t.Helper()
			slices.Sort(want)
			if got := x.devices(by, of); !slices.Equal(got, want) {
				t.Errorf("%s is told that %s has the devices %v, not %v", by.ID, of.ID, got, want)
			}
		}
		time.Sleep(time.Minute)
		check(x.alice, x.bob, x.bob.DeviceID)
		check(x.bob, x.alice, x.alice.DeviceID)
		x.s[0].backUp()
		time.Sleep(time.Minute)

		alice, bob := another(x.s[0], x.alice, "alice"), another(x.s[1], x.bob, "bob")
		defer alice.Close()
		defer bob.Close()
		x.say(anna, x.bob)
		time.Sleep(time.Minute)
		check(x.alice, x.bob, x.bob.DeviceID, bob.DeviceID)
		check(x.bob, x.alice, x.alice.DeviceID, alice.DeviceID)

		x.s[0].putBack()
		time.Sleep(time.Minute)
		check(x.alice, x.bob, x.bob.DeviceID, bob.DeviceID)
		check(x.bob, x.alice, x.alice.DeviceID)
	})
}
