package bench

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"hanse/federation/id"
	"hanse/federation/signedjson"
	"hanse/testnet/adapter"
	"hanse/testnet/fabric"
	"hanse/testnet/peer"
)

// fakeLie is the environment variable that makes the test program a homeserver, and says how it lies.
const fakeLie = "HANSE_BENCH_FAKE"

// fake is a homeserver of one room, just good enough for clients who send, on a file.
type fake struct {
	lie  string
	file *os.File

	mu     sync.Mutex
	users  int
	events []fakeEvent // the newest last
}

type fakeEvent struct {
	ID      string          `json:"event_id"`
	Type    string          `json:"type"`
	Sender  string          `json:"sender"`
	Content json.RawMessage `json:"content"`
}

// serveFake runs by the adapter contract until it is killed.
func serveFake(lie string) error {
	orders, err := adapter.OrdersFrom(os.Getenv)
	if err != nil {
		return err
	}
	f := &fake{lie: lie}
	if err := f.open(filepath.Join(orders.DataDir, "events")); err != nil {
		return err
	}
	keys, err := fakeKeys(orders)
	if err != nil {
		return err
	}
	go func() { _ = keys.ListenAndServeTLS("", "") }()
	return http.ListenAndServe(net.JoinHostPort(orders.BindAddr.String(), "8008"), f.routes(orders.ServerName))
}

func (f *fake) open(path string) (err error) {
	if f.file, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return err
	}
	for lines := bufio.NewScanner(f.file); lines.Scan(); {
		var e fakeEvent
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			f.events = append(f.events, e)
		}
	}
	return nil
}

// fakeKeys serves the server's key document.
func fakeKeys(orders adapter.Orders) (*http.Server, error) {
	certPEM, err1 := os.ReadFile(orders.CACert)
	keyPEM, err2 := os.ReadFile(orders.CAKey)
	if err1 != nil || err2 != nil {
		return nil, fmt.Errorf("%v, %v", err1, err2)
	}
	ca, err := fabric.ParseCA(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	if certPEM, keyPEM, err = ca.Issue(orders.BindAddr.String()); err != nil {
		return nil, err
	}
	certificate, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	key := peer.NewKey("ed25519:fake")
	document, err := signedjson.Sign(encode(map[string]any{
		"server_name": orders.ServerName, "valid_until_ts": time.Now().Add(time.Hour).UnixMilli(),
		"verify_keys": map[string]any{string(key.ID): map[string]any{"key": signedjson.EncodeBase64(key.Public())}},
	}), orders.ServerName, key)
	return &http.Server{
		Addr: orders.FederationAddr(), TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, document) }),
	}, err
}

func (f *fake) routes(serverName string) http.Handler {
	mux := http.NewServeMux()
	room := "!room:" + serverName
	say := func(pattern string, what func(q *http.Request) any) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, q *http.Request) {
			f.mu.Lock()
			defer f.mu.Unlock()
			answer(w, encode(what(q)))
		})
	}
	say("GET /_matrix/client/versions", func(*http.Request) any { return map[string]any{"versions": []string{"v1.1"}} })
	say("GET /_synapse/admin/v1/register", func(*http.Request) any { return map[string]any{"nonce": "n"} })
	say("POST /_synapse/admin/v1/register", func(*http.Request) any {
		f.users++
		user, _ := id.NewUserID("u"+strconv.Itoa(f.users), id.ServerName(serverName))
		return map[string]any{"user_id": user, "access_token": user, "device_id": "d"}
	})
	say("POST /_matrix/client/v3/createRoom", func(*http.Request) any { return map[string]any{"room_id": room} })
	say("POST /_matrix/client/v3/join/{room}", func(*http.Request) any { return map[string]any{"room_id": room} })
	say("GET /_matrix/client/v3/rooms/{room}/messages", func(*http.Request) any { return map[string]any{"chunk": f.history()} })
	mux.HandleFunc("PUT /_matrix/client/v3/rooms/{room}/send/{type}/{txn}", f.send)
	return mux
}

func (f *fake) send(w http.ResponseWriter, q *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lie == "refuse" && len(f.events) == 5 {
		refuse(w, http.StatusInternalServerError, "M_UNKNOWN", "no more")
		return
	}
	body, err := readBody(q)
	if err != nil {
		return
	}
	e := fakeEvent{
		ID: "$" + strconv.Itoa(len(f.events)), Type: q.PathValue("type"), Content: body,
		Sender: strings.TrimPrefix(q.Header.Get("Authorization"), "Bearer "),
	}
	f.events = append(f.events, e)
	if f.lie != "forget" {
		_, _ = f.file.Write(append(encode(e), '\n'))
	}
	answer(w, encode(map[string]any{"event_id": e.ID}))
}

// history is the newest first, with the lie in it.
func (f *fake) history() []fakeEvent {
	chunk := slices.Clone(f.events)
	if f.lie != "reverse" {
		slices.Reverse(chunk)
	}
	if len(chunk) < 3 {
		return chunk
	}
	switch f.lie {
	case "drop":
		return slices.Delete(chunk, 1, 2)
	case "corrupt":
		chunk[1].Content = encode(map[string]any{"msgtype": "m.text", "body": "something else"})
	case "double":
		return append(chunk, chunk[0])
	}
	return chunk
}
