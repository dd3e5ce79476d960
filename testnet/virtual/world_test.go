package virtual

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hanse/federation/id"
	"hanse/node"
	"hanse/testnet/fabric"
	"hanse/testnet/peer"
	"hanse/testnet/user"
)

// world is some homeservers and a network, in one bubble.
type world struct {
	t     *testing.T
	net   *Net
	ca    *fabric.CA
	dir   string
	phone *Host // where the users are
	all   []*server
	peers int
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
	w.all = append(w.all, all...)
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

// backUp copies the server's data while it is stopped for a moment.
func (s *server) backUp() {
	s.world.t.Helper()
	s.stop()
	if err := os.CopyFS(s.config.DataDir+".backup", os.DirFS(s.config.DataDir)); err != nil {
		s.world.t.Fatal(err)
	}
	s.start()
}

// putBack has the server start with the data that was backed up.
func (s *server) putBack() {
	t, data := s.world.t, s.config.DataDir
	t.Helper()
	s.stop()
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(data+".backup", data); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(data, "signing.key"), 0o600); err != nil { // CopyFS doesn't keep it
		t.Fatal(err)
	}
	s.start()
}

// putBackDatabase has the server start with the database that was backed up, in the folder that there is.
func (s *server) putBackDatabase() {
	t, data := s.world.t, s.config.DataDir
	t.Helper()
	s.stop()
	for _, file := range []string{"hanse.db", "hanse.db-wal", "hanse.db-shm"} {
		err := os.Remove(filepath.Join(data, file))
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			err = os.Rename(filepath.Join(data+".backup", file), filepath.Join(data, file))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	s.start()
}

// peer starts a scripted server, to be closed before the bubble ends.
func (w *world) peer(name string) *peer.Peer {
	w.t.Helper()
	w.peers++
	address := netip.AddrFrom4([4]byte{10, 0, 2, byte(w.peers)})
	p, err := peer.Start(peer.Config{
		Name: id.ServerName(name), Listen: address.String() + ":8448", CA: w.ca, Network: w.net.Host(name, address),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
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
	u := s.stranger()
	if err := u.RegisterOpenly(s.world.t.Context(), name, "a password of "+name); err != nil {
		s.world.t.Fatal(err)
	}
	return u
}

// stranger is somebody at the server's door.
func (s *server) stranger() *user.User {
	return user.NewOver("http://"+s.config.Client.Listen[0], &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return s.world.phone.Dial(ctx, nil, network, address)
	}})
}

// found is a user of the server's who has found it at another address.
func (s *server) found(u *user.User) *user.User {
	again := s.stranger()
	again.ID, again.Token, again.DeviceID = u.ID, u.Token, u.DeviceID
	u.Close()
	return again
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
