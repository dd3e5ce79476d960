package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ed25519"

	"hanse/federation/client"
	"hanse/federation/id"
	"hanse/federation/signedjson"
	"hanse/keys"
	"hanse/resolver"
)

func TestClient(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "federation/client")
}

const (
	self = id.ServerName("me.example")
	peer = id.ServerName("peer.example")
)

// directory is a resolver that knows what it is told.
type directory struct {
	mu      sync.Mutex
	targets map[id.ServerName][]resolver.Target
	forgot  []id.ServerName
}

func (d *directory) Resolve(_ context.Context, server id.ServerName) ([]resolver.Target, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if targets, known := d.targets[server]; known {
		return targets, nil
	}
	return nil, errors.New("no such server")
}

func (d *directory) Forget(server id.ServerName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forgot = append(d.forgot, server)
}

// ring is a verifier that knows one server's key.
type ring struct {
	server id.ServerName
	key    id.KeyID
	public ed25519.PublicKey
}

func (r ring) Verify(_ context.Context, reqs []keys.Request) []error {
	errs := make([]error, len(reqs))
	for i, q := range reqs {
		if q.Server != r.server || !ed25519.Verify(r.public, q.Message, q.Signatures[r.key]) {
			errs[i] = &keys.Error{Server: q.Server, KeyID: r.key, Kind: keys.BadSignature}
		}
	}
	return errs
}

// world is what one test plays with: a key, a CA and servers.
type world struct {
	key    signedjson.Key
	ring   ring
	roots  *x509.CertPool
	ca     *x509.Certificate
	caKey  *ecdsa.PrivateKey
	dir    *directory
	config client.Config
}

func newWorld() *world {
	public, private, err := ed25519.GenerateKey(nil)
	Expect(err).NotTo(HaveOccurred())
	w := &world{
		key:   signedjson.Key{ID: "ed25519:me", Private: private},
		ring:  ring{self, "ed25519:me", public},
		roots: x509.NewCertPool(),
		dir:   &directory{targets: map[id.ServerName][]resolver.Target{}},
	}
	w.caKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true,
		BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &w.caKey.PublicKey, w.caKey)
	Expect(err).NotTo(HaveOccurred())
	w.ca, err = x509.ParseCertificate(der)
	Expect(err).NotTo(HaveOccurred())
	w.roots.AddCert(w.ca)
	w.config = client.Config{
		Origin: self, Key: w.key, Resolver: w.dir, Dial: (&net.Dialer{}).DialContext,
		TLS: &tls.Config{RootCAs: w.roots},
	}
	return w
}

// certificate makes one for names and addresses.
func (w *world) certificate(names ...string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour)}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, w.ca, &key.PublicKey, w.caKey)
	Expect(err).NotTo(HaveOccurred())
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// serve starts an HTTPS server on loopback.
func (w *world) serve(handler http.Handler, http2 bool, names ...string) *httptest.Server {
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{w.certificate(names...)}}
	server.EnableHTTP2 = http2
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // failed handshakes are what some tests are for
	server.StartTLS()
	DeferCleanup(server.Close)
	return server
}

// target is where a server listens, under a name.
func target(server *httptest.Server, name string) resolver.Target {
	return resolver.Target{Addr: address(server), Host: name, TLSName: name, Via: "test"}
}

func address(server *httptest.Server) netip.AddrPort {
	return netip.MustParseAddrPort(server.Listener.Addr().String())
}

// peer starts the server peer.example and lets the resolver find it.
func (w *world) peer(handler http.Handler) *httptest.Server {
	server := w.serve(handler, true, string(peer))
	w.dir.targets[peer] = []resolver.Target{target(server, string(peer))}
	return server
}

// client makes a client from the world's config.
func (w *world) client() *client.Client {
	c := client.New(w.config)
	DeferCleanup(c.Close)
	return c
}

// failure is the *client.Error of a failed call.
func failure(err error) *client.Error {
	GinkgoHelper()
	var e *client.Error
	Expect(errors.As(err, &e)).To(BeTrue(), "got %v", err)
	return e
}

// closedPort is an address on which nobody listens: no port that was just free, which a connection may have got meanwhile.
func closedPort() netip.AddrPort { return netip.MustParseAddrPort("127.0.0.1:1") }
