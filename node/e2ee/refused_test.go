package e2ee_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hanse/federation"
	"hanse/federation/client"
	"hanse/federation/id"
)

// TestListsThatAreNotGiven: of a user whose server doesn't give a list, clients are told of each change all the same, and the
// list is asked for again, ever more seldom, until it is given.
func TestListsThatAreNotGiven(t *testing.T) {
	refusal := func(status int) error {
		return &client.Error{Server: far, Status: status, Stage: client.StageResponse, Matrix: federation.NotFound("who?")}
	}
	for name, failure := range map[string]error{"404": refusal(404), "403": refusal(403), "down": errors.New("connection refused")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { notGiven(t, failure) })
		})
	}
}

func notGiven(t *testing.T, failure error) {
	ctx := t.Context()
	var gives atomic.Bool
	others := &script{
		devices: func(_ context.Context, user id.UserID) (federation.UserDevices, error) {
			if gives.Load() {
				return listOf(user, 5, "PHONE"), nil
			}
			return federation.UserDevices{}, failure
		},
		query: func(context.Context, federation.DeviceKeysQuery) (federation.DeviceKeysAnswer, error) {
			return federation.DeviceKeysAnswer{}, failure
		},
	}
	e, s := scripted(t, others, zoe)
	running(t, e)
	told := func(what string, tell func()) {
		t.Helper()
		start := s.Position()
		tell()
		changed, err := s.DeviceChanges(ctx, alice, start, s.Position())
		if err != nil || !slices.Contains(changed, zoe) {
			t.Errorf("%s: %v are told of, %v", what, changed, err)
		}
	}
	query := func() {
		if _, err := e.Query(ctx, alice, map[id.UserID][]string{zoe: nil}, time.Second); err != nil {
			t.Fatal(err)
		}
	}
	update := func() {
		content := `{"user_id":"@zoe:far.test","device_id":"NEW","stream_id":9,"prev_id":[]}`
		if err := e.HandleEDU(ctx, far, edu(federation.EDUDeviceListUpdate, content)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
	}

	query()
	told("an update that begins a list", update)
	told("another one", update)
	query() // the server has just failed: it isn't asked
	told("after a question that was not passed on", update)

	before := others.times("devices")
	time.Sleep(6 * time.Hour)
	if asked := others.times("devices") - before; asked < 5 || asked > 20 {
		t.Errorf("in six hours the list is asked for %d times", asked)
	}

	told("the list, when it is given", func() {
		gives.Store(true)
		time.Sleep(5 * time.Hour)
	})
	before = others.times("devices")
	query()
	time.Sleep(2 * time.Hour)
	if asked := others.times("devices") - before; asked != 0 {
		t.Errorf("a list that is known is asked for %d times", asked)
	}
}
