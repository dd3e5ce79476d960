package node

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"hanse/resolver"
)

func TestPushGatewaysAreNotInside(t *testing.T) {
	inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "/", http.StatusTemporaryRedirect)
		}
	}))
	defer inside.Close()
	call := func(path string, allowed ...string) (*http.Response, error) {
		t.Helper()
		n := &Node{config: Config{Push: PushConfig{AllowAddresses: allowed}}.withDefaults(), log: slog.New(slog.DiscardHandler)}
		client, err := n.gatewayClient()
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Post(inside.URL+path, "application/json", nil)
		if err == nil {
			_ = response.Body.Close()
		}
		return response, err
	}
	_, err := call("/")
	var denied *resolver.DeniedError
	if !errors.As(err, &denied) {
		t.Errorf("a gateway on loopback is called: %v", err)
	}
	if response, err := call("/", "127.0.0.0/8"); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("an allowed one is not: %v", err)
	}
	if response, err := call("/moved", "127.0.0.1"); err != nil || response.StatusCode != http.StatusTemporaryRedirect {
		t.Errorf("a redirect is followed: %v, %v", response, err)
	}
	config := Config{ServerName: "example.org", Push: PushConfig{AllowAddresses: []string{"nonsense"}}, Presence: "dancing"}
	for _, setting := range []string{"push.allow_addresses", "presence"} {
		if err := config.Validate(); err == nil || !strings.Contains(err.Error(), setting+": ") {
			t.Errorf("%s: %v", setting, err)
		}
	}
}
