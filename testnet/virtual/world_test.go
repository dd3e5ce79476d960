package virtual

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hanse/node"
	"hanse/testnet/fabric"
	"hanse/testnet/user"
)

// world is some homeservers and a network, in one bubble.
type world struct {
	t     *testing.T
	net   *Net
	ca    *fabric.CA
	dir   string
	phone *Host // where the users are
}

// server is a homeserver of a world, running or not.
type server struct {
	world  *world
	name   string
	host   *Host
	config node.Config
	stop   func() // nil while it is stopped
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ca, err := fabric.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, net: New(20 * time.Millisecond), ca: ca, dir: t.TempDir()}
	w.phone = w.net.Host("phone.test", netip.MustParseAddr("10.0.1.1"))
	w.write("ca.pem", ca.CertificatePEM())
	return w
}

func (w *world) write(name string, data []byte) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// servers makes and starts n homeservers: s1.test, s2.test and so on.
func (w *world) servers(n int) []*server {
	w.t.Helper()
	var all []*server
	for i := 1; i <= n; i++ {
		name := fmt.Sprintf("s%d.test", i)
		address := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
		certificate, key, err := w.ca.Issue(name)
		if err != nil {
			w.t.Fatal(err)
		}
		s := &server{world: w, name: name, host: w.net.Host(name, address)}
		s.config = node.Config{ServerName: name, DataDir: filepath.Join(w.dir, name)}
		s.config.Client.Listen = []string{address.String() + ":8008"}
		s.config.Federation.Listen = []string{address.String() + ":8448"}
		s.config.Federation.Certificate, s.config.Federation.Key = w.write(name+".crt", certificate), w.write(name+".key", key)
		s.config.Federation.TrustedCAs = filepath.Join(w.dir, "ca.pem")
		s.config.Federation.AllowAddresses = []string{"10.0.0.0/8"}
		s.config.Registration.Open = true
		s.config.RateLimits.Disabled = true
		s.config.Passwords.Algorithm, s.config.Passwords.BcryptCost = "bcrypt", 4
		s.start()
		all = append(all, s)
	}
	return all
}

func (s *server) start() {
	t := s.world.t
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(t.Output(), nil)).With("node", s.name)
	}
	n, err := node.NewOn(t.Context(), s.host, s.config, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	s.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s ended: %v", s.name, err)
		}
		s.stop = nil
	}
}

// end stops whatever runs: a bubble ends when its goroutines have.
func end(servers []*server, users ...*user.User) {
	for _, u := range users {
		u.Close()
	}
	for _, s := range servers {
		if s.stop != nil {
			s.stop()
		}
	}
}

// user registers somebody.
func (s *server) user(name string) *user.User {
	s.world.t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return s.world.phone.Dial(ctx, nil, network, address)
	}}
	u := user.NewOver("http://"+s.config.Client.Listen[0], transport)
	if err := u.RegisterOpenly(s.world.t.Context(), name, "a password of "+name); err != nil {
		s.world.t.Fatal(err)
	}
	return u
}

// must ends the test on an error.
func must[T any](t *testing.T) func(value T, err error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}
