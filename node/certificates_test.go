package node

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hanse/testnet/fabric"
)

// authority is as much of an ACME authority as a client needs: it believes every signature, and hands out certificates for
// names that it has seen proved (RFC 8555, RFC 8737).
type authority struct {
	t      *testing.T
	server *httptest.Server
	ca     *x509.Certificate
	caKey  any
	pem    []byte
	tls    string // where port 443 of every name leads; "": nowhere
	http   string // where port 80 leads

	mu     sync.Mutex
	name   string // guarded by mu: of the order under way
	proved string // guarded by mu: by which challenge
	chain  []byte // guarded by mu
	orders int    // guarded by mu
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	ca, err := fabric.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(ca.CertificatePEM())
	keyBlock, _ := pem.Decode(ca.KeyPEM())
	a := &authority{t: t, pem: ca.CertificatePEM()}
	if a.ca, err = x509.ParseCertificate(block.Bytes); err != nil {
		t.Fatal(err)
	}
	if a.caKey, err = x509.ParsePKCS8PrivateKey(keyBlock.Bytes); err != nil {
		t.Fatal(err)
	}
	certificate, key, err := ca.Issue("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	a.server = httptest.NewUnstartedServer(http.HandlerFunc(a.serve))
	a.server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	a.server.StartTLS()
	t.Cleanup(a.server.Close)
	return a
}

func (a *authority) url(path string) string { return a.server.URL + path }

func (a *authority) serve(w http.ResponseWriter, q *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Header().Set("Replay-Nonce", "nonce")
	var signed struct{ Payload string }
	_ = json.NewDecoder(q.Body).Decode(&signed) // HEAD and GET have none
	payload, _ := base64.RawURLEncoding.DecodeString(signed.Payload)
	answer := func(status int, value any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(value)
	}
	switch q.URL.Path {
	case "/directory":
		answer(200, map[string]string{"newNonce": a.url("/nonce"), "newAccount": a.url("/accounts"), "newOrder": a.url("/orders")})
	case "/nonce":
	case "/accounts":
		w.Header().Set("Location", a.url("/account"))
		answer(201, map[string]string{"status": "valid"})
	case "/orders":
		var order struct{ Identifiers []struct{ Value string } }
		if err := json.Unmarshal(payload, &order); err != nil || len(order.Identifiers) != 1 {
			a.t.Errorf("an order: %s", payload)
		}
		a.name, a.proved, a.chain = order.Identifiers[0].Value, "", nil
		a.orders++
		w.Header().Set("Location", a.url("/order"))
		answer(201, a.order())
	case "/order":
		answer(200, a.order())
	case "/authorization":
		answer(200, map[string]any{"status": a.status(), "identifier": map[string]string{"type": "dns", "value": a.name}, "challenges": []any{
			a.challenge("tls-alpn-01"), a.challenge("http-01"),
		}})
	case "/tls-alpn-01", "/http-01":
		kind := strings.TrimPrefix(q.URL.Path, "/")
		if a.prove(kind) {
			a.proved = kind
		} else {
			a.proved = "invalid"
		}
		answer(200, a.challenge(kind))
	case "/finalize":
		a.issue(payload)
		w.Header().Set("Location", a.url("/order"))
		answer(200, a.order())
	case "/certificate":
		_, _ = w.Write(a.chain)
	default:
		http.NotFound(w, q)
	}
}

func (a *authority) status() string {
	switch a.proved {
	case "":
		return "pending"
	case "invalid":
		return "invalid"
	}
	return "valid"
}

func (a *authority) challenge(kind string) map[string]string {
	return map[string]string{"type": kind, "url": a.url("/" + kind), "token": "token", "status": a.status()}
}

func (a *authority) order() map[string]any {
	status := map[string]string{"pending": "pending", "valid": "ready", "invalid": "invalid"}[a.status()]
	order := map[string]any{
		"identifiers": []any{map[string]string{"type": "dns", "value": a.name}}, "authorizations": []string{a.url("/authorization")},
		"finalize": a.url("/finalize"),
	}
	if a.chain != nil {
		status, order["certificate"] = "valid", a.url("/certificate")
	}
	order["status"] = status
	return order
}

// prove connects to the name as an authority does.
func (a *authority) prove(kind string) bool {
	if kind == "http-01" {
		request, err := http.NewRequest("GET", "http://"+a.http+"/.well-known/acme-challenge/token", nil)
		if err != nil {
			return false
		}
		request.Host = a.name
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		return err == nil && strings.HasPrefix(string(body), "token.")
	}
	if a.tls == "" {
		return false
	}
	conn, err := tls.Dial("tcp", a.tls, &tls.Config{ServerName: a.name, NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true})
	if err != nil {
		return false
	}
	defer conn.Close()
	for _, extension := range conn.ConnectionState().PeerCertificates[0].Extensions {
		if extension.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}) {
			return true
		}
	}
	return false
}

// issue signs what the payload asks for.
func (a *authority) issue(payload []byte) {
	var finalize struct{ CSR string }
	_ = json.Unmarshal(payload, &finalize) // what is missing fails below
	der, _ := base64.RawURLEncoding.DecodeString(finalize.CSR)
	request, err := x509.ParseCertificateRequest(der)
	if err != nil || a.status() != "valid" {
		a.t.Errorf("a certificate is asked for with %v, %v", a.status(), err)
		return
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), DNSNames: request.DNSNames, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	leaf, err := x509.CreateCertificate(rand.Reader, template, a.ca, request.PublicKey, a.caKey)
	if err != nil {
		a.t.Error(err)
		return
	}
	a.chain = append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf}), a.pem...)
}

// handshake is the certificate that a listener shows for a name.
func handshake(t *testing.T, address, name string, roots *x509.CertPool) (*x509.Certificate, error) {
	t.Helper()
	dialer := &tls.Dialer{Config: &tls.Config{ServerName: name, RootCAs: roots}}
	conn, err := dialer.DialContext(t.Context(), "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

func TestACME(t *testing.T) {
	for _, challenge := range []string{"tls-alpn-01", "http-01"} {
		t.Run(challenge, func(t *testing.T) {
			a := newAuthority(t)
			config := testConfig(t)
			config.Federation.Certificate, config.Federation.Key = "", ""
			places, err := fabric.Places(2)
			if err != nil {
				t.Fatal(err)
			}
			config.ACME = ACMEConfig{AcceptTerms: true, Directory: a.url("/directory"), Names: []string{"more.test"}, Listen: []string{places[1].Client()}}
			config.Federation.TrustedCAs = filepath.Join(t.TempDir(), "ca.crt")
			config.Client.Listen, config.Federation.Listen = []string{places[0].Client()}, []string{places[0].Federation()}
			if err := os.WriteFile(config.Federation.TrustedCAs, a.pem, 0o600); err != nil {
				t.Fatal(err)
			}
			if a.http = config.ACME.Listen[0]; challenge == "tls-alpn-01" {
				a.tls = config.Federation.Listen[0]
			}
			roots := x509.NewCertPool()
			roots.AddCert(a.ca)
			_, stop := start(t, config)
			for _, name := range []string{"example.test", "matrix.example.test", "more.test"} {
				leaf, err := handshake(t, config.Federation.Listen[0], name, roots)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if len(leaf.DNSNames) != 1 || leaf.DNSNames[0] != name || a.proved != challenge {
					t.Errorf("%v, proved by %s", leaf.DNSNames, a.proved)
				}
			}
			made := a.orders // one that couldn't be proved in one way was ordered again
			// Clients have the same, without another order.
			if _, err := handshake(t, config.Client.Listen[0], "example.test", roots); err != nil || a.orders != made {
				t.Errorf("%d orders, %v", a.orders, err)
			}
			if _, err := handshake(t, config.Client.Listen[0], "stranger.test", roots); err == nil || a.orders != made {
				t.Error("a certificate for a name that isn't ours")
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			// They are kept over a restart, and watched from then on, before anybody connects.
			n, stop := start(t, config)
			_, metrics := fetch(t, "http://"+n.address("monitor.listen")+"/metrics")
			if !strings.Contains(metrics, `hanse_certificate_valid_until_seconds{certificate="more.test"} 1.`) {
				t.Error("no metric says until when what ACME got is valid")
			}
			if _, err := handshake(t, config.Federation.Listen[0], "example.test", roots); err != nil || a.orders != made {
				t.Errorf("after a restart: %d orders, %v", a.orders, err)
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestACMERenewsThoughNobodyConnects: a certificate that is to be renewed at the start is.
func TestACMERenewsThoughNobodyConnects(t *testing.T) {
	a := newAuthority(t)
	config := testConfig(t)
	places, err := fabric.Places(1)
	if err != nil {
		t.Fatal(err)
	}
	config.Federation.Certificate, config.Federation.Key = "", ""
	config.ACME = ACMEConfig{AcceptTerms: true, Directory: a.url("/directory")}
	config.Federation.TrustedCAs = filepath.Join(t.TempDir(), "ca.crt")
	config.Client.Listen, config.Federation.Listen = []string{places[0].Client()}, []string{places[0].Federation()}
	a.tls = config.Federation.Listen[0]
	file := filepath.Join(acmeFolder(config.DataDir), "example.test")
	old := gotFor(t, "example.test", -80*day, 10*day)
	for _, err := range []error{os.WriteFile(config.Federation.TrustedCAs, a.pem, 0o600), os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, old, 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	_, stop := start(t, config)
	for limit := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if leaf := certificateIn(data); leaf != nil && time.Until(leaf.NotAfter) > 80*day {
			break
		}
		if time.Now().After(limit) {
			t.Fatal("it isn't renewed")
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestSettingsOfACME(t *testing.T) {
	good := Config{ServerName: "example.org", ACME: ACMEConfig{AcceptTerms: true}}.withDefaults()
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	if fmt.Sprint(good.Client.Listen, good.Federation.Listen, good.acmeNames()) != "[:443] [:8448] [example.org]" {
		t.Error(good.Client.Listen, good.Federation.Listen, good.acmeNames())
	}
	good.Client.PublicURL = "https://Matrix.Example.org" // is asked for in lower case
	if fmt.Sprint(good.acmeNames()) != "[example.org matrix.example.org]" {
		t.Error(good.acmeNames())
	}
	bad := Config{ServerName: "127.0.0.1", ACME: ACMEConfig{AcceptTerms: true, Directory: "http://x"}}
	if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), "acme.directory") || !strings.Contains(err.Error(), "no name to get") {
		t.Error(err)
	}
}

// TestCertificatesAreLoadedWhenTheyChange: a renewed certificate is used without a restart, a broken one isn't.
func TestCertificatesAreLoadedWhenTheyChange(t *testing.T) {
	dir := t.TempDir()
	paths := [2]string{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}
	ca, err := fabric.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string) {
		t.Helper()
		certificate, key, err := ca.Issue(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, data := range [][]byte{certificate, key} {
			if err := os.WriteFile(paths[i], data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	write("old.test")
	f, err := newCertificateFiles(paths[0], paths[1], slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	shows := func() string {
		pair, err := f.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf.DNSNames[0]
	}
	write("new-name.test")
	f.reload()
	if got := shows(); got != "new-name.test" {
		t.Errorf("after a change: %s", got)
	}
	if err := os.WriteFile(paths[0], []byte("half a certifi"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.reload()
	if got := shows(); got != "new-name.test" {
		t.Errorf("after a broken change: %s", got)
	}
	if _, err := newCertificateFiles(paths[0], paths[1], nil); err == nil {
		t.Error("a broken certificate is taken at the start")
	}
}
