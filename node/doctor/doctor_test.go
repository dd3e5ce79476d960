package doctor_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/crypto/ed25519"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/keys"
	"hanse/node/doctor"
	"hanse/testnet/fabric"
)

const name = "patient.test"

// world is a server to be examined, and the DNS and the authority by which it is found and believed.
type world struct {
	t    *testing.T
	ca   *fabric.CA
	zone *fabric.Zone
	dns  string
	key  *keys.KeyFile
}

// setup is what may be wrong with the server; the zero value is a good one.
type setup struct {
	certificate *tls.Certificate
	plain       bool
	date        time.Time // of its clock
	answer      map[string]func(w http.ResponseWriter)
	key         *keys.KeyFile
	keysFor     string    // the name in its key document
	validUntil  time.Time // of its keys
	proxy       proxy     // that stands before it
}

// proxy is what may be wrong with one.
type proxy struct {
	decodes, drops bool   // escapes in the path, and the Authorization header
	keeps          string // a prefix of paths for which it answers itself, with a page; "": none
	limit          int64  // of bodies, in bytes; 0: none
}

// spoil gives what the server sees of a request. It returns false where the proxy answers itself.
func (p proxy) spoil(w http.ResponseWriter, q *http.Request) (uri string, passes bool) {
	uri = q.RequestURI
	if p.decodes {
		uri = (&url.URL{Path: q.URL.Path}).EscapedPath()
	}
	if p.drops {
		q.Header.Del("Authorization")
	}
	if p.keeps != "" && strings.HasPrefix(uri, p.keeps) {
		http.Error(w, "<html>not found", http.StatusNotFound)
		return uri, false
	}
	if p.limit > 0 && q.ContentLength > p.limit {
		http.Error(w, "too large", http.StatusRequestEntityTooLarge)
		return uri, false
	}
	return uri, true
}

// guarded answers what needs a signature, as homeservers do: of no event that it is asked for it has heard.
func (w *world) guarded(rw http.ResponseWriter, q *http.Request, uri string) {
	say := func(status int, code, text string) {
		rw.WriteHeader(status)
		fmt.Fprintf(rw, `{"errcode":%q,"error":%q}`, code, text)
	}
	if rest, is := strings.CutPrefix(uri, "/_matrix/federation/v1/event/"); is && strings.Contains(rest, "/") {
		say(404, "M_UNRECOGNIZED", "no such path")
		return
	}
	authorization, err := federation.ParseAuthorization(q.Header.Get("Authorization"))
	if err != nil {
		say(401, "M_UNAUTHORIZED", err.Error())
		return
	}
	signed, err := federation.RequestBytes(q.Method, uri, name, name, nil)
	if err != nil || !ed25519.Verify(w.key.Current.Private.Public().(ed25519.PublicKey), signed, authorization.Signature) {
		say(401, "M_UNAUTHORIZED", "the signature is not good")
		return
	}
	say(404, "M_NOT_FOUND", "no such event")
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ca, err := fabric.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, ca: ca, zone: &fabric.Zone{}}
	dns, err := fabric.ListenDNS("127.0.0.1:0", w.zone)
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- dns.Run(running) }()
	t.Cleanup(func() { stop(); <-ended })
	w.dns = dns.Addr()
	if w.key, err = keys.LoadOrCreate(filepath.Join(t.TempDir(), "signing.key")); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) issue(names ...string) *tls.Certificate {
	w.t.Helper()
	certificate, key, err := w.ca.Issue(names...)
	if err != nil {
		w.t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		w.t.Fatal(err)
	}
	return &pair
}

// serve starts the server with what is wrong with it, and publishes it by an SRV record.
func (w *world) serve(s setup) {
	w.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).AddrPort().Port()
	w.zone.AddSRV("_matrix-fed._tcp", name, "host.test", port, 10, 0)
	w.zone.AddAddress("host.test", netip.MustParseAddr("127.0.0.1"))
	if s.certificate == nil {
		s.certificate = w.issue(name)
	}
	if s.key == nil {
		s.key = w.key
	}
	if s.keysFor == "" {
		s.keysFor = name
	}
	if s.validUntil.IsZero() {
		s.validUntil = time.Now().Add(time.Hour)
	}
	handler := http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
		if !s.date.IsZero() {
			rw.Header().Set("Date", s.date.UTC().Format(http.TimeFormat))
		}
		if answer, ok := s.answer[q.URL.Path]; ok {
			answer(rw)
			return
		}
		uri, passes := s.proxy.spoil(rw, q)
		if !passes {
			return
		}
		switch q.URL.Path {
		case "/_matrix/federation/v1/version":
			fmt.Fprint(rw, `{"server":{"name":"Scripted","version":"1"}}`)
		case "/_matrix/key/v2/server":
			document, err := s.key.ServerKeys(id.ServerName(s.keysFor), s.validUntil)
			if err != nil {
				http.Error(rw, err.Error(), 500)
			}
			_, _ = rw.Write(document)
		default:
			w.guarded(rw, q, uri)
		}
	})
	server := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0), TLSConfig: &tls.Config{Certificates: []tls.Certificate{*s.certificate}}}
	go func() {
		if s.plain {
			_ = server.Serve(listener)
		} else {
			_ = server.ServeTLS(listener, "", "")
		}
	}()
	w.t.Cleanup(func() { _ = server.Close() })
}

// examine runs the doctor as somebody who trusts the world's authority and may call loopback addresses.
func (w *world) examine(server string, o doctor.Options) (*doctor.Report, string) {
	w.t.Helper()
	o.DNSServer, o.Roots, o.Allow = w.dns, w.ca.Pool(), []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second // on a loaded machine
	}
	report := doctor.Examine(w.t.Context(), server, o)
	var text bytes.Buffer
	report.Write(&text, false)
	for _, f := range report.Findings {
		if (f.Level == doctor.Warning || f.Level == doctor.Problem) != (f.Mend != "") && f.Level != doctor.Note {
			w.t.Errorf("how to mend it is said of what is wrong, and only of that: %+v", f)
		}
	}
	return report, text.String()
}

func TestAHealthyServer(t *testing.T) {
	w := newWorld(t)
	w.serve(setup{})
	report, text := w.examine(name, doctor.Options{Key: w.key.Current})
	if report.Wrong() {
		t.Errorf("%s", text)
	}
	for _, want := range []string{"it is a server name", "SRV record of _matrix-fed._tcp.patient.test", "connected in", "certificate for patient.test", "Scripted 1 answers", "valid until", "signed requests get through", "nothing is wrong"} {
		if !strings.Contains(text, want) {
			t.Errorf("nothing says %q:\n%s", want, text)
		}
	}
	if _, err := json.Marshal(report); err != nil {
		t.Error(err)
	}
}

// TestEachKindOfWrong: every way of being broken has its message, and says how to mend it.
func TestEachKindOfWrong(t *testing.T) {
	text := func(status int, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	const version, published = "/_matrix/federation/v1/version", "/_matrix/key/v2/server"
	other, err := fabric.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		setup      func(w *world) setup
		area, says string
		mend       string
	}{
		"plain HTTP":        {func(*world) setup { return setup{plain: true} }, "TLS", "handshake failed", "plain HTTP answers there"},
		"another name":      {func(w *world) setup { return setup{certificate: w.issue("elsewhere.test")} }, "TLS", "is for elsewhere.test, but must be for patient.test", "delegated name"},
		"unknown authority": {func(w *world) setup { w = &world{t: w.t, ca: other}; return setup{certificate: w.issue(name)} }, "TLS", "is not trusted", "everybody trusts"},
		"self-signed":       {func(w *world) setup { return setup{certificate: selfSigned(t, time.Now().Add(time.Hour))} }, "TLS", "self-signed", "everybody trusts"},
		"expired":           {func(w *world) setup { return setup{certificate: selfSigned(t, time.Now().Add(-time.Hour))} }, "TLS", "has expired", "renew it"},
		"an incomplete chain": {func(w *world) setup {
			c := w.issue(name)
			c.Certificate = c.Certificate[:1]
			*w = world{t: w.t, ca: other, zone: w.zone, dns: w.dns, key: w.key}
			return setup{certificate: c}
		}, "TLS", "is missing", "fullchain.pem"},
		"a web site": {func(*world) setup {
			return setup{answer: map[string]func(http.ResponseWriter){version: text(200, "<html>")}}
		}, "HTTP", "not as a Matrix server", "not to a web site"},
		"a bad gateway": {func(*world) setup {
			return setup{answer: map[string]func(http.ResponseWriter){version: text(502, "<html>")}}
		}, "HTTP", "answers 502", "forward all of /_matrix/"},
		"no keys": {func(*world) setup {
			return setup{answer: map[string]func(http.ResponseWriter){published: text(404, "")}}
		}, "keys", "server: 404", "forward /_matrix/key/"},
		"another path": {func(*world) setup { // as where the proxy adds a slash
			return setup{answer: map[string]func(http.ResponseWriter){published: text(404, `{"errcode":"M_UNRECOGNIZED","error":"no such path"}`)}}
		}, "keys", "a path that it doesn't know", "not even a slash"},
		"no version beside good keys": {func(*world) setup {
			return setup{answer: map[string]func(http.ResponseWriter){version: text(404, "<html>")}}
		}, "HTTP", "404 to GET /_matrix/federation/v1/version", "forward all of /_matrix/"},
		"broken keys": {func(*world) setup {
			return setup{answer: map[string]func(http.ResponseWriter){published: text(200, `{}`)}}
		}, "keys", "not good", "signed by each"},
		"another's keys":     {func(*world) setup { return setup{keysFor: "other.test"} }, "keys", "says that it is other.test", "set server_name to patient.test"},
		"keys of yesterday":  {func(*world) setup { return setup{validUntil: time.Now().Add(-time.Hour)} }, "keys", "valid until", "old answer"},
		"a clock that's off": {func(*world) setup { return setup{date: time.Now().Add(-time.Hour)} }, "clock", "differ by 1h0m", "NTP"},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.serve(c.setup(w))
			report, text := w.examine(name, doctor.Options{})
			found(t, report, text, c.area, c.says, c.mend)
			if c.area != "clock" && !report.Wrong() {
				t.Errorf("that is no problem:\n%s", text)
			}
		})
	}
}

// TestProxies: what a proxy does to requests that a browser would not make, seen by others and, more of it, by the server itself.
func TestProxies(t *testing.T) {
	for what, c := range map[string]struct {
		proxy        proxy
		own          bool
		says, mend   string
		nothingWrong bool
	}{
		"decodes %2F":                     {proxy: proxy{decodes: true}, says: "paths with %2F in them don't get through", mend: "proxy_pass http://127.0.0.1:8008; with nothing after"},
		"decodes %2F of ours":             {proxy: proxy{decodes: true}, own: true, says: "refused", mend: "nocanon"},
		"drops the header":                {proxy: proxy{drops: true}, nothingWrong: true}, // others can't tell
		"drops the header of ours":        {proxy: proxy{drops: true}, own: true, says: "the Authorization header of requests doesn't get through", mend: "must forward it"},
		"takes small bodies only":         {proxy: proxy{limit: 1 << 20}, says: "413", mend: "client_max_body_size"},
		"takes small bodies only of ours": {proxy: proxy{limit: 1 << 20}, own: true, says: "413", mend: "client_max_body_size"},
		"forwards version 1 only":         {proxy: proxy{keeps: "/_matrix/federation/v2/"}, says: "GET /_matrix/federation/v2/invite/", mend: "forward all of /_matrix/"},
		"forwards version 1 only of ours": {proxy: proxy{keeps: "/_matrix/federation/v2/"}, own: true, says: "GET /_matrix/federation/v2/invite/", mend: "forward all of /_matrix/"},
		"forwards two paths of ours":      {proxy: proxy{keeps: "/_matrix/federation/v1/event"}, own: true, says: "404, not in the words of a Matrix server", mend: "forward all of /_matrix/"},
		"is good":                         {nothingWrong: true},
		"is good to ours":                 {own: true, nothingWrong: true},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.serve(setup{proxy: c.proxy})
			var o doctor.Options
			if c.own {
				o.Key = w.key.Current
			}
			report, text := w.examine(name, o)
			if report.Wrong() == c.nothingWrong {
				t.Errorf("wrong: %v\n%s", report.Wrong(), text)
			}
			if !c.nothingWrong {
				found(t, report, text, "proxy", c.says, c.mend)
			}
		})
	}
}

// selfSigned is a certificate for the server's name that nobody vouches for.
func selfSigned(t *testing.T, until time.Time) *tls.Certificate {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: until.Add(-2 * time.Hour), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestWellKnown needs port 443, which not every user may bind.
func TestWellKnown(t *testing.T) {
	const address = "127.86.5.4"
	listener, err := net.Listen("tcp", address+":443")
	if err != nil {
		t.Skipf("no web server can be played: %v", err)
	}
	w := newWorld(t)
	w.zone.AddAddress(name, netip.MustParseAddr(address))
	var answer http.HandlerFunc
	certificate := w.issue(name)
	server := &http.Server{
		Handler:   http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) { answer(rw, q) }),
		ErrorLog:  log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate, nil }},
	}
	go func() { _ = server.ServeTLS(listener, "", "") }()
	defer server.Close()
	says := func(status int, kind, body string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", kind)
			rw.WriteHeader(status)
			fmt.Fprint(rw, body)
		}
	}
	for _, c := range []struct {
		what       string
		answer     http.HandlerFunc
		says, mend string
	}{
		{"a web page", says(200, "text/html", "<html>"), "not the JSON", `{"m.server": "host:port"}`},
		{"no name in it", says(200, "application/json", "{}"), "no m.server", `{"m.server": "host:port"}`},
		{"a URL in it", says(200, "application/json", `{"m.server":"https://x.test"}`), "m.server", `{"m.server": "host:port"}`},
		{"an error", says(500, "text/html", ""), "500", "404"},
		{"text", says(200, "text/plain", `{"m.server":"host.test:1"}`), "Content-Type is text/plain", "application/json"},
		{"redirects in a circle", func(rw http.ResponseWriter, q *http.Request) {
			to := map[string]string{"/.well-known/matrix/server": "/here", "/here": "/.well-known/matrix/server"}
			http.Redirect(rw, q, to[q.URL.Path], http.StatusFound)
		}, "in a circle, back to https://patient.test/.well-known/matrix/server", "by plain http"},
		{"a redirect to http", func(rw http.ResponseWriter, q *http.Request) {
			http.Redirect(rw, q, "http://patient.test/", http.StatusFound)
		}, "not https", "by https"},
	} {
		answer = c.answer
		report, text := w.examine(name, doctor.Options{})
		found(t, report, text, "well-known", c.says, c.mend)
	}
	answer = says(200, "application/json", `{"m.server":"host.test:1"}`)
	report, text := w.examine(name, doctor.Options{Delegation: "elsewhere.test"})
	found(t, report, text, "well-known", "federation.well_known says elsewhere.test", "correct the one")
	answer = says(404, "text/html", "")
	report, text = w.examine(name, doctor.Options{Delegation: "elsewhere.test"})
	found(t, report, text, "well-known", "does not delegate to elsewhere.test", "forward it to hanse")
	answer = func(rw http.ResponseWriter, q *http.Request) {
		switch {
		case q.URL.Path == "/.well-known/matrix/client":
			rw.Header().Set("Access-Control-Allow-Origin", "*")
			says(200, "application/json", `{"m.homeserver":{"base_url":"https://patient.test"}}`)(rw, q)
		case q.ContentLength > 50<<20:
			says(413, "text/html", "")(rw, q)
		default:
			says(200, "application/json", `{"versions":["v1.19"]}`)(rw, q)
		}
	}
	leads, allowed, identity := "https://patient.test", []string{"*"}, name
	client := func(rw http.ResponseWriter, q *http.Request) {
		rw.Header()["Access-Control-Allow-Origin"] = allowed
		switch q.URL.Path {
		case "/.well-known/matrix/client":
			says(200, "application/json", `{"m.homeserver":{"base_url":"`+leads+`/"}}`)(rw, q)
		case "/_matrix/client/versions":
			says(200, "application/json", `{"versions":["v1.19"]}`)(rw, q)
		case "/_matrix/key/v2/server":
			says(200, "application/json", `{"server_name":"`+identity+`"}`)(rw, q)
		default:
			says(404, "text/html", "")(rw, q)
		}
	}
	before := answer
	answer = client
	_, text = w.examine(name, doctor.Options{PublicURL: "https://patient.test"})
	if !strings.Contains(text, "clients find the homeserver") || strings.Contains(text, "Allow-Origin") || strings.Contains(text, "public_url") {
		t.Errorf("nothing is wrong for clients:\n%s", text)
	}
	report, text = w.examine(name, doctor.Options{PublicURL: "https://matrix.patient.test"})
	found(t, report, text, "clients", "client.public_url says https://matrix.patient.test", "correct the one")
	allowed = []string{"*", "*"}
	report, text = w.examine(name, doctor.Options{})
	found(t, report, text, "clients", "twice", "only one of homeserver and proxy")
	allowed = nil
	report, text = w.examine(name, doctor.Options{})
	found(t, report, text, "clients", "it lacks the header", "in a browser")
	allowed, identity = []string{"*"}, "other.test"
	report, text = w.examine(name, doctor.Options{})
	found(t, report, text, "clients", "the homeserver there is other.test", "correct the base_url")
	identity, leads = name, "http://patient.test"
	report, text = w.examine(name, doctor.Options{})
	found(t, report, text, "clients", "is not https", "give the https address")
	leads = "https://unbelieved.test"
	w.zone.AddAddress("unbelieved.test", netip.MustParseAddr(address))
	report, text = w.examine(name, doctor.Options{})
	found(t, report, text, "clients", "certificate", "its whole chain, for the name in the base_url")
	answer = says(404, "text/html", "")
	report, text = w.examine(name, doctor.Options{PublicURL: "https://patient.test"})
	found(t, report, text, "clients", "although client.public_url is set", "forward it to hanse")
	answer = before
	report, text = w.examine(name, doctor.Options{Timeout: time.Second, MaxUpload: 100 << 20})
	found(t, report, text, "clients", "files of 100 MiB", "client_max_body_size")
	_, text = w.examine(name, doctor.Options{Timeout: time.Second, MaxUpload: 50 << 20})
	if strings.Contains(text, "MiB") {
		t.Errorf("nothing is wrong with 50 MiB:\n%s", text)
	}
	found(t, report, text, "support", "no JSON with contacts", "m.role.admin")
	answer = says(404, "text/html", "")
	report, text = w.examine(name, doctor.Options{Support: true})
	found(t, report, text, "support", "nobody finds it", "forward /.well-known/matrix/")
	if _, text = w.examine(name, doctor.Options{}); strings.Contains(text, "support") {
		t.Errorf("nobody wants to publish who helps:\n%s", text)
	}
	answer = says(200, "application/json", `{"support_page":"https://patient.test/help"}`)
	if _, text = w.examine(name, doctor.Options{}); !strings.Contains(text, "who looks for help finds") {
		t.Errorf("who helps is published:\n%s", text)
	}
	certificate, answer = w.issue("wrong.test"), says(200, "application/json", `{"m.server":"host.test:1"}`)
	report, text = w.examine(name, doctor.Options{})
	found(t, report, text, "well-known", "nobody believes it", "valid certificate")
}

// TestLoggingInByOAuth is what clients find who ask how to log in, and whether a browser gets to the pages.
func TestLoggingInByOAuth(t *testing.T) {
	w, metadata, page := newWorld(t), "", 200
	w.serve(setup{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.zone.AddAddress("matrix.patient.test", netip.MustParseAddr("127.0.0.1"))
	base := fmt.Sprintf("https://matrix.patient.test:%d", listener.Addr().(*net.TCPAddr).Port)
	good := func(base string) string {
		return fmt.Sprintf(`{"issuer":"%s/","authorization_endpoint":"%[1]s/authorize","token_endpoint":"%[1]s/token","account_management_uri":"%[1]s/account"}`, base)
	}
	answer := func(rw http.ResponseWriter, q *http.Request) {
		rw.Header().Set("Access-Control-Allow-Origin", "*")
		switch {
		case q.URL.Path == "/_matrix/client/v1/auth_metadata" && metadata != "":
			fmt.Fprint(rw, metadata)
		case q.URL.Path == "/account" && page == 200:
			rw.Header().Set("Content-Type", "text/html; charset=utf-8")
		default:
			rw.WriteHeader(404)
		}
	}
	server := &http.Server{
		Handler: http.HandlerFunc(answer), ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{*w.issue("matrix.patient.test")}},
	}
	go func() { _ = server.ServeTLS(listener, "", "") }()
	defer server.Close()
	o := doctor.Options{PublicURL: base + "/", OAuth: true}
	metadata = good(base)
	if _, text := w.examine(name, o); !strings.Contains(text, "clients find how to log in by OAuth 2.0") || strings.Contains(text, "oauth.enabled") {
		t.Errorf("nothing is wrong:\n%s", text)
	}
	for _, c := range []struct {
		wrong, metadata, says, mend string
		page                        int
	}{
		{"not there", "", "the answer is 404", "restart hanse", 200},
		{"something else", "[]", "no metadata", "forward /_matrix/", 200},
		{"another address", good("https://elsewhere.test"), "leads users to https://elsewhere.test/authorize", "client.public_url", 200},
		{"a page that isn't let through", good(base), "can't be seen: the answer is 404", "forward all of /_matrix/", 404},
	} {
		metadata, page = c.metadata, c.page
		report, text := w.examine(name, o)
		found(t, report, text, "OAuth 2.0", c.says, c.mend)
		if _, text = w.examine(name, doctor.Options{PublicURL: base}); strings.Contains(text, "OAuth") {
			t.Errorf("%s: it isn't switched on:\n%s", c.wrong, text)
		}
	}
	o.PublicURL = "https://unheard-of.test"
	report, text := w.examine(name, o)
	found(t, report, text, "OAuth 2.0", "unheard-of.test", "client.public_url must lead to hanse")
}

func found(t *testing.T, report *doctor.Report, text, area, says, mend string) {
	t.Helper()
	for _, f := range report.Findings {
		if f.Area == area && strings.Contains(f.What, says) && strings.Contains(f.Mend, mend) && f.Mend != "" {
			return
		}
	}
	t.Errorf("%s: nothing says %q and %q:\n%s", area, says, mend, text)
}

func TestWhatIsWrongBeforeTheServer(t *testing.T) {
	t.Run("names that are none", func(t *testing.T) {
		w := newWorld(t)
		for given, mend := range map[string]string{
			"https://patient.test": "leave out the scheme", "@alice:patient.test": "its server is patient.test", "patient.test/x": "leave out the path",
			"patient.test:99999": "a server name is", "": "a server name is",
		} {
			report, text := w.examine(given, doctor.Options{})
			found(t, report, text, "name", "", mend)
			if !report.Wrong() {
				t.Errorf("%q is taken", given)
			}
		}
	})
	t.Run("no DNS server", func(t *testing.T) {
		gone, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := gone.Close(); err != nil {
			t.Fatal(err)
		}
		w := newWorld(t)
		w.dns = gone.LocalAddr().String()
		report, text := w.examine(name, doctor.Options{})
		found(t, report, text, "DNS", "no DNS server can be reached from here", "correct federation.dns_server, "+w.dns)
		if strings.Count(text, "→") != 1 {
			t.Errorf("one thing is wrong:\n%s", text)
		}
	})
	t.Run("a DNS server without an answer", func(t *testing.T) {
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		failing := &dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(func(rw dns.ResponseWriter, q *dns.Msg) {
			_ = rw.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeServerFailure))
		})}
		ended := make(chan error, 1)
		go func() { ended <- failing.ActivateAndServe() }()
		w := newWorld(t)
		t.Cleanup(func() { _ = packets.Close(); <-ended })
		w.dns = packets.LocalAddr().String()
		report, text := w.examine(name, doctor.Options{})
		found(t, report, text, "DNS", "it answers SERVFAIL", "the DNS servers of its zone are down or its DNSSEC signatures are not good")
		if strings.Count(text, "XX") != 1 || strings.Contains(text, "\ufffd") || strings.Contains(text, "add an A") {
			t.Errorf("that is one thing, and it is not known that there is no address:\n%s", text)
		}
	})
	t.Run("no address", func(t *testing.T) {
		w := newWorld(t)
		report, text := w.examine(name, doctor.Options{})
		found(t, report, text, "DNS", "there is none", "A or AAAA record")
	})
	t.Run("a deprecated record to a port where nobody is", func(t *testing.T) {
		w := newWorld(t)
		w.zone.AddSRV("_matrix._tcp", name, "host.test", 1, 10, 0)
		w.zone.AddAddress("host.test", netip.MustParseAddr("127.0.0.1"))
		report, text := w.examine(name, doctor.Options{})
		found(t, report, text, "DNS", "_matrix._tcp", "deprecated")
		found(t, report, text, "TCP", "refused", "nothing listens on port")
		found(t, report, text, "federation", "no address", "mend the first problem")
	})
	t.Run("a private address", func(t *testing.T) {
		w := newWorld(t)
		w.zone.AddAddress(name, netip.MustParseAddr("10.1.2.3"))
		report, text := w.examine(name, doctor.Options{})
		found(t, report, text, "DNS", "10.1.2.3", "allow_addresses")
	})
	t.Run("a private address beside one that works", func(t *testing.T) {
		w := newWorld(t)
		w.serve(setup{})
		w.zone.AddAddress("host.test", netip.MustParseAddr("fd00::1"))
		report, text := w.examine(name, doctor.Options{})
		found(t, report, text, "DNS", "fd00::1 is not an address of the public internet", "remove that")
		if report.Wrong() {
			t.Errorf("it works all the same:\n%s", text)
		}
	})
	t.Run("an SRV record to an alias", func(t *testing.T) {
		w := newWorld(t)
		w.serve(setup{})
		report, text := w.examine(name, doctor.Options{})
		if strings.Contains(text, "alias") || report.Wrong() {
			t.Errorf("there is none:\n%s", text)
		}
		w.zone.Remove("host.test")
		w.zone.AddAlias("host.test", "real.test")
		w.zone.AddAddress("real.test", netip.MustParseAddr("127.0.0.1"))
		report, text = w.examine(name, doctor.Options{})
		found(t, report, text, "DNS", "host.test, which is an alias (CNAME) of real.test", "name real.test")
		if report.Wrong() {
			t.Errorf("it works for most:\n%s", text)
		}
	})
	t.Run("two addresses with different servers", func(t *testing.T) {
		w := newWorld(t)
		w.serve(setup{})
		w.serve(setup{})
		if report, text := w.examine(name, doctor.Options{}); report.Wrong() {
			t.Errorf("both have the same keys:\n%s", text)
		}
		w.serve(setup{key: newWorld(t).key})
		report, text := w.examine(name, doctor.Options{})
		found(t, report, text, "keys", "it has other keys than 127.0.0.1:", "let all addresses lead to the same server")
	})
	t.Run("another server at our name", func(t *testing.T) {
		w := newWorld(t)
		w.serve(setup{})
		report, text := w.examine(name, doctor.Options{Key: newWorld(t).key.Current})
		found(t, report, text, "keys", "other keys than this one", "another server answers for our name")
	})
}
