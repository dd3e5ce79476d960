package virtual

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hanse/testnet/user"
)

// madeAnew has the server start with nothing: no database, another key.
func (s *server) madeAnew() {
	s.world.t.Helper()
	s.stop()
	if err := os.RemoveAll(s.config.DataDir); err != nil {
		s.world.t.Fatal(err)
	}
	s.start()
}

// lists has the server start with one more line in its signing key file.
func (s *server) lists(line string) {
	t := s.world.t
	t.Helper()
	s.stop()
	file, err := os.OpenFile(filepath.Join(s.config.DataDir, "signing.key"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = fmt.Fprintln(file, line)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	s.start()
}

// keyOf is the public half of another server's key, as this one knows it; "" if it doesn't.
func (s *server) keyOf(name, keyID string) string {
	t := s.world.t
	t.Helper()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: s.world.ca.Pool()},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return s.world.phone.Dial(ctx, nil, network, s.config.Federation.Listen[0])
		},
	}
	defer transport.CloseIdleConnections()
	question := fmt.Sprintf(`{"server_keys": {%q: {%q: {}}}}`, name, keyID)
	response := must[*http.Response](t)((&http.Client{Transport: transport}).Post("https://"+s.name+"/_matrix/key/v2/query", "application/json", strings.NewReader(question)))
	defer response.Body.Close()
	var known struct {
		Documents []struct {
			Keys map[string]struct{ Key string } `json:"verify_keys"`
		} `json:"server_keys"`
	}
	if err := json.NewDecoder(response.Body).Decode(&known); err != nil {
		t.Fatal(err)
	}
	for _, document := range known.Documents {
		if key, found := document.Keys[keyID]; found {
			return key.Key
		}
	}
	return ""
}

// TestAServerIsMadeAnew: all that a server had is lost. Another server still knows its old key, as doc/operating.md says; with that listed
// its users come into the rooms of before again, as whom they were.
func TestAServerIsMadeAnew(t *testing.T) {
	for of, lost := range map[string]int{"who came": 2, "who made the room": 0} {
		t.Run(of, func(t *testing.T) {
			inTrio(t, func(t *testing.T, x *trio) {
				all, s := []*user.User{x.alice, x.bob, x.carol}, x.s[lost]
				used := strings.Fields(string(must[[]byte](t)(os.ReadFile(filepath.Join(s.config.DataDir, "signing.key")))))[1]
				time.Sleep(time.Hour)
				s.madeAnew()
				x.say(x.bob)
				time.Sleep(time.Minute)
				again := s.user([]string{"alice", "bob", "carol"}[lost])
				defer again.Close()
				if _, err := again.Join(t.Context(), x.room, x.s[1].name); err == nil {
					t.Error("what nobody can check any more is believed")
				}

				s.lists(fmt.Sprintf("ed25519 %s %d %s", used, time.Now().UnixMilli(), x.s[1].keyOf(s.name, "ed25519:"+used)))
				must[string](t)(again.Join(t.Context(), x.room, x.s[1].name))
				all[lost] = again
				time.Sleep(time.Minute)
				x.say(all...)
				time.Sleep(time.Minute)
				x.converged(all...)
			})
		})
	}
}
