package node

import (
	"context"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"hanse/node/store/sqlite"
	"hanse/testnet/user"
)

// What testdata/schema3.sql has: the database of old.test as the first build that could serve left it when it was killed.
const (
	oldToken  = "hanse_A0d1d9QGo4c3sZ895jeUOsprrXwrjbwz4fu0h3cKGBo"
	oldSince  = "s52_1795888516186"                            // alice's last sync: three messages came after it
	oldRoom   = "!Q6TVDMJUBKEPDBE3JZDAJPBHNY:old.test"         // of version 6
	oldInvite = "!2E7N4OAPTKNKVIMBOPATPO5GX2:old.test"         // of version 1, by anna
	oldFirst  = "$mTRQaiBCC45Y68j5jZzMS_XFfLGMObNd61Z_9cBqWY0" // by alice
	oldGone   = "$IaKjC2sImmNv9fSE8AUuZD1mHg0ZYg-KlXvpxsE0e8s" // by anna, who took it back
)

var oldNews = []string{"$CBZLxGlEikfDm9TzWnX_XVTI33blomFFrTYwLtWKPWY", "$Fv9qyUOdAmVK0LO6Govr04yTIrIsUBpiPO6xWMnNJbU", "$6Sw1vyeF9w_-1WcdRuqXeS8-qF6XevaEABfPJoFH1gM"}

// oldNode starts a node on that database.
func oldNode(t *testing.T) (client string, stop func() error) {
	t.Helper()
	config := testConfig(t)
	config.ServerName = "old.test"
	if err := os.MkdirAll(config.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile("testdata/schema3.key")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(config.DataDir, "signing.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	dump, err := os.ReadFile("testdata/schema3.sql")
	if err != nil {
		t.Fatal(err)
	}
	write, read, err := sqlite.OpenUnsynced(filepath.Join(config.DataDir, "hanse.db")).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := write.ExecContext(t.Context(), string(dump)); err != nil {
		t.Fatal(err)
	}
	for _, db := range []interface{ Close() error }{read, write} {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	n, stop := start(t, config)
	return "http://" + n.address("client.listen"), stop
}

// TestADatabaseOfTheFirstBuild: who was logged in goes on where they were, and everything is there.
func TestADatabaseOfTheFirstBuild(t *testing.T) {
	client, stop := oldNode(t)
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	alice := user.New(client)
	defer alice.Close()
	alice.ID, alice.Token = "@alice:old.test", oldToken
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	call := func(method, path string, query url.Values, body, answer any) {
		t.Helper()
		if err := alice.Call(ctx, method, "/_matrix/client/v3/"+path, query, body, answer); err != nil {
			t.Fatal(err)
		}
	}
	var sync struct {
		NextBatch string `json:"next_batch"`
		Rooms     struct {
			Join map[string]struct{ Timeline struct{ Events []user.Event } }
		}
	}
	call("GET", "sync", url.Values{"since": {oldSince}}, nil, &sync)
	var came []string
	for _, e := range sync.Rooms.Join[oldRoom].Timeline.Events {
		came = append(came, e.ID)
	}
	if !slices.Equal(came, oldNews) {
		t.Errorf("after the last sync came %v", came)
	}
	history, err := alice.History(t.Context(), oldRoom)
	if err != nil {
		t.Fatal(err)
	}
	place := func(eventID string) int {
		return slices.IndexFunc(history, func(e user.Event) bool { return e.ID == eventID })
	}
	order := []int{place(oldNews[2]), place(oldNews[1]), place(oldNews[0]), place(oldGone), place(oldFirst)}
	if slices.Contains(order, -1) || !slices.IsSorted(order) {
		t.Fatalf("the messages are at %v of the history", order)
	}
	if first, gone := history[place(oldFirst)].Body(), history[place(oldGone)].Body(); first != "first" || gone != "" {
		t.Errorf("they say %q, and %q, which was taken back", first, gone)
	}
	for path, want := range map[string]string{
		"user/@alice:old.test/account_data/org.example.a":    `{"kept":true}`,
		"user/@alice:old.test/rooms/" + oldRoom + "/tags":    `{"tags":{"m.favourite":{"order":0.5}}}`,
		"profile/@alice:old.test/displayname":                `{"displayname":"Alice A."}`,
		"rooms/" + oldRoom + "/state/m.room.name":            `{"name":"The old room"}`,
		"rooms/" + oldRoom + "/state/m.room.canonical_alias": `{"alias":"#old:old.test"}`,
	} {
		var answer json.RawMessage
		if call("GET", path, nil, nil, &answer); string(answer) != want {
			t.Errorf("%s: %s", path, answer)
		}
	}
	if _, err := alice.Join(t.Context(), oldInvite); err != nil {
		t.Errorf("the invite: %v", err)
	}
	anna := user.New(client)
	defer anna.Close()
	if err := anna.Login(t.Context(), "anna", "a long password"); err != nil {
		t.Fatal(err)
	}
	for _, room := range []string{oldRoom, oldInvite} {
		said, err := anna.Say(t.Context(), room, "still here")
		if err != nil {
			t.Fatal(err)
		}
		for heard := false; !heard; { // until the deadline of call
			call("GET", "sync", url.Values{"since": {sync.NextBatch}, "timeout": {"30000"}}, nil, &sync)
			heard = slices.ContainsFunc(sync.Rooms.Join[room].Timeline.Events, func(e user.Event) bool { return e.ID == said })
		}
	}
}
