package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hanse/keys"
	"hanse/testnet/fabric"
	"hanse/testnet/user"
)

// federated are nodes that reach each other, each with a user who is logged in.
func federated(t *testing.T, n int) (configs []Config, users []*user.User) {
	t.Helper()
	dir := t.TempDir()
	ca, err := fabric.LoadOrCreateCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	places, err := fabric.Places(n)
	if err != nil {
		t.Fatal(err)
	}
	for i, place := range places {
		certificate, key, err := ca.Issue(place.IP.String())
		if err != nil {
			t.Fatal(err)
		}
		config := Config{ServerName: place.Federation(), DataDir: filepath.Join(dir, fmt.Sprint(i))}
		config.Client.Listen, config.Federation.Listen = []string{place.Client()}, []string{config.ServerName}
		config.Federation.Certificate, config.Federation.Key = filepath.Join(dir, fmt.Sprint(i)+".crt"), filepath.Join(dir, fmt.Sprint(i)+".key")
		config.Federation.TrustedCAs, config.Federation.AllowAddresses = filepath.Join(dir, "ca.crt"), []string{"127.0.0.0/8"}
		config.Registration.SharedSecret, config.RateLimits.Disabled = "secret", true
		if err := errors.Join(os.WriteFile(config.Federation.Certificate, certificate, 0o600), os.WriteFile(config.Federation.Key, key, 0o600)); err != nil {
			t.Fatal(err)
		}
		configs, users = append(configs, config), append(users, user.New("http://"+place.Client()))
		t.Cleanup(users[i].Close)
	}
	return configs, users
}

// TestMessagesFlowAfterARotation: to a server that has the old key and from it, and to one that joins later and checks what the old
// key signed.
func TestMessagesFlowAfterARotation(t *testing.T) {
	ctx := t.Context()
	configs, users := federated(t, 3)
	stops := make([]func() error, 3)
	for i, config := range configs {
		_, stops[i] = start(t, config)
		if err := users[i].Register(ctx, "user", "a long password", "secret"); err != nil {
			t.Fatal(err)
		}
	}
	alice, bob, carol := users[0], users[1], users[2]
	room, err := alice.CreateRoom(ctx, map[string]any{"preset": "public_chat"})
	if err != nil {
		t.Fatal(err)
	}
	sees := func(who *user.User, event string) {
		t.Helper()
		for until := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			history, err := who.History(ctx, room)
			if err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(history, func(e user.Event) bool { return e.ID == event }) {
				return
			}
			if time.Now().After(until) {
				t.Fatalf("%s doesn't see %s", who.ID, event)
			}
		}
	}
	says := func(who *user.User, text string, seenBy ...*user.User) {
		t.Helper()
		event, err := who.Say(ctx, room, text)
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range seenBy {
			sees(other, event)
		}
	}
	if _, err := bob.Join(ctx, room, configs[0].ServerName); err != nil {
		t.Fatal(err)
	}
	says(alice, "signed by the first key", bob)
	before, err := Keys(configs[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := RotateKeys(configs[0]); err == nil || !strings.Contains(err.Error(), "the server must be stopped") {
		t.Errorf("while it runs: %v", err)
	}
	if err := stops[0](); err != nil {
		t.Fatal(err)
	}
	says(bob, "while the other is stopped")
	after, err := RotateKeys(configs[0])
	if err != nil {
		t.Fatal(err)
	}
	_, stops[0] = start(t, configs[0])

	says(alice, "signed by the second key", bob)
	says(bob, "taken by the second key", alice)
	if _, err := carol.Join(ctx, room, configs[1].ServerName); err != nil {
		t.Fatal(err)
	}
	says(alice, "to who came late", bob, carol)
	says(carol, "from who came late", alice, bob)

	_, body := fetch(t, "http://"+configs[0].Client.Listen[0]+"/_matrix/key/v2/server")
	var document struct {
		Verify     map[string]any         `json:"verify_keys"`
		Old        map[string]keyOutOfUse `json:"old_verify_keys"`
		ValidUntil int64                  `json:"valid_until_ts"`
		Signatures map[string]map[string]string
	}
	if err := json.Unmarshal([]byte(body), &document); err != nil {
		t.Fatal(err)
	}
	was, is := string(before.Current.ID), string(after.Current.ID)
	signed := document.Signatures[configs[0].ServerName]
	if len(document.Verify) != 1 || document.Verify[is] == nil || document.Old[was].Expired != after.Old[before.Current.ID].ExpiredTS ||
		len(signed) != 1 || signed[is] == "" || time.Until(time.UnixMilli(document.ValidUntil)) < time.Hour {
		t.Errorf("%s is published", body)
	}
	for _, stop := range stops {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}

type keyOutOfUse struct {
	Expired int64 `json:"expired_ts"`
}

// TestKeysThatWereUsedMustBeListed: nobody could check any more what they have signed.
func TestKeysThatWereUsedMustBeListed(t *testing.T) {
	config := testConfig(t)
	_, stop := start(t, config)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(config.DataDir, "signing.key")
	first, err := keys.LoadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := RotateKeys(config); err != nil {
		t.Fatal(err)
	}
	_, stop = start(t, config)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	second, err := keys.LoadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil { // an older backup
		t.Fatal(err)
	}
	_, err = New(t.Context(), config, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "doesn't list the key "+string(second.Current.ID)) {
		t.Fatal(err)
	}
	// Another key of the same name is not that key.
	const zeros = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	if err := os.WriteFile(path, []byte("ed25519 "+second.Current.ID.Name()+" "+zeros+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, other := New(t.Context(), config, slog.New(slog.DiscardHandler))
	if other == nil || !strings.Contains(other.Error(), "another key of the name "+string(second.Current.ID)) {
		t.Fatal(other)
	}
	// What the message says to write down lets it start.
	_, line, _ := strings.Cut(err.Error(), "«ed25519 "+second.Current.ID.Name())
	line, _, _ = strings.Cut(line, "»")
	if err := os.WriteFile(path, append(text, "ed25519 "+second.Current.ID.Name()+line+"\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := keys.LoadFile(path)
	if err != nil || again.Current.ID != first.Current.ID || !again.Old[second.Current.ID].Key.Equal(second.Current.Public()) {
		t.Fatalf("%v: %+v", err, again)
	}
	_, stop = start(t, config)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}
