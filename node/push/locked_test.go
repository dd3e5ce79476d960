package push

import (
	"context"
	"encoding/json"
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

// TestGatewaysOfLockedUsers are told nothing, and later nothing of what was new meanwhile.
func TestGatewaysOfLockedUsers(t *testing.T) {
	const alice = id.UserID("@alice:example.org")
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s, err := store.Open(ctx, sqlite.OpenUnsynced(filepath.Join(folder, "hanse.db")), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		box := &inbox{}
		p, err := NewPushers(Config{Store: s, Source: box, Client: &http.Client{Transport: box}})
		if err != nil {
			t.Fatal(err)
		}
		life, end := context.WithCancel(ctx)
		var storing, pushing sync.WaitGroup
		storing.Go(func() { _ = s.Run(ctx) })
		pushing.Go(func() { _ = p.Run(life) })
		defer func() { end(); pushing.Wait(); cancel(); storing.Wait(); _ = s.Close() }()
		news := func(at store.Position) string {
			event := box.add(t, at)
			p.startAll(everybody(looks))
			time.Sleep(time.Minute)
			return event
		}
		if err := s.CreateUser(ctx, store.User{ID: alice, Created: time.Now()}); err != nil {
			t.Fatal(err)
		}
		pusher := Pusher{AppID: "app", PushKey: "key", Kind: "http", Data: json.RawMessage(`{"url":"https://push.example.org/_matrix/push/v1/notify"}`)}
		if err := p.Set(ctx, alice, "PHONE", pusher, false); err != nil {
			t.Fatal(err)
		}
		before := news(1000)
		if err := s.SetLocked(ctx, alice, time.Now()); err != nil {
			t.Fatal(err)
		}
		news(1001)
		if err := s.SetLocked(ctx, alice, time.Time{}); err != nil {
			t.Fatal(err)
		}
		after := news(1002)
		if got := box.heard(); !slices.Equal(got, []string{before, after}) {
			t.Errorf("told %v, not %v", got, []string{before, after})
		}
	})
}
