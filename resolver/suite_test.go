package resolver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func TestResolver(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "resolver")
}

// web is a real TLS server that stands for port 443 of every loopback address, with a certificate for any name.
type web struct {
	*httptest.Server
	roots *x509.CertPool

	mu    sync.Mutex
	hosts map[string]http.HandlerFunc // guarded by mu
	asked map[string]int              // guarded by mu: requests by host
}

// startWeb starts it for the current spec.
func startWeb() *web {
	GinkgoHelper()
	w := &web{roots: x509.NewCertPool(), hosts: map[string]http.HandlerFunc{}, asked: map[string]int{}}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	raw, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	Expect(err).NotTo(HaveOccurred())
	ca, err = x509.ParseCertificate(raw)
	Expect(err).NotTo(HaveOccurred())
	w.roots.AddCert(ca)

	w.Server = httptest.NewUnstartedServer(w)
	w.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.TLS = &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{hello.ServerName}}
		raw, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), key)
		return &tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, err
	}}
	w.StartTLS()
	DeferCleanup(w.Close)
	return w
}

func (w *web) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	w.mu.Lock()
	w.asked[in.Host]++
	handler := w.hosts[in.Host]
	w.mu.Unlock()
	if handler == nil {
		http.NotFound(out, in)
		return
	}
	handler(out, in)
}

// serve answers for a host; headers are "Name: value".
func (w *web) serve(host, body string, headers ...string) {
	w.handle(host, func(out http.ResponseWriter, in *http.Request) {
		if in.URL.Path != "/.well-known/matrix/server" {
			http.NotFound(out, in)
			return
		}
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			out.Header().Set(name, value)
		}
		_, _ = io.WriteString(out, body)
	})
}

func (w *web) handle(host string, handler http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hosts[host] = handler
}

// count is how often a host was asked.
func (w *web) count(host string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked[host]
}

// zone is a real DNS server.
type zone struct {
	addr string

	mu      sync.Mutex
	records []dns.RR                                 // guarded by mu
	special map[string]func(request, reply *dns.Msg) // guarded by mu: by name, instead of the records
	asked   map[string]int                           // guarded by mu: questions by "name TYPE"
	tcp     int                                      // guarded by mu: questions by TCP
}

// startZone starts it for the current spec.
func startZone(lines ...string) *zone {
	GinkgoHelper()
	z := &zone{special: map[string]func(request, reply *dns.Msg){}, asked: map[string]int{}}
	z.add(lines...)
	var tcp net.Listener
	var udp net.PacketConn
	for range 20 { // a free TCP port may be taken for UDP
		var err error
		tcp, err = net.Listen("tcp", "127.0.0.1:0")
		Expect(err).NotTo(HaveOccurred())
		if udp, err = net.ListenPacket("udp", tcp.Addr().String()); err == nil {
			break
		}
		_ = tcp.Close()
	}
	Expect(udp).NotTo(BeNil())
	z.addr = tcp.Addr().String()
	for _, server := range []*dns.Server{{Listener: tcp}, {PacketConn: udp}} {
		started := make(chan struct{})
		server.Handler = z
		server.NotifyStartedFunc = func() { close(started) }
		go func() { _ = server.ActivateAndServe() }()
		<-started
		DeferCleanup(server.Shutdown)
	}
	return z
}

// add adds records in the text form of zone files.
func (z *zone) add(lines ...string) {
	GinkgoHelper()
	for _, line := range lines {
		record, err := dns.NewRR(line)
		Expect(err).NotTo(HaveOccurred(), line)
		z.mu.Lock()
		z.records = append(z.records, record)
		z.mu.Unlock()
	}
}

// answer lets edit change the answers to questions for a name.
func (z *zone) answer(name string, edit func(request, reply *dns.Msg)) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.special[name] = edit
}

// overTCP is how many questions came by TCP.
func (z *zone) overTCP() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.tcp
}

// count is how often a question, "name TYPE", was asked.
func (z *zone) count(question string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked[question]
}

func (z *zone) ServeDNS(out dns.ResponseWriter, request *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	reply := new(dns.Msg).SetReply(request)
	q := request.Question[0]
	name := strings.TrimSuffix(q.Name, ".")
	z.asked[name+" "+dns.TypeToString[q.Qtype]]++
	_, udp := out.RemoteAddr().(*net.UDPAddr)
	if !udp {
		z.tcp++
	}
	known := false
	for _, record := range z.records {
		if !strings.EqualFold(record.Header().Name, q.Name) {
			continue
		}
		known = true
		if record.Header().Rrtype == q.Qtype || record.Header().Rrtype == dns.TypeCNAME {
			reply.Answer = append(reply.Answer, record)
		}
	}
	if !known {
		reply.Rcode = dns.RcodeNameError
	}
	if special := z.special[name]; special != nil {
		special(request, reply)
	}
	if udp {
		reply.Truncate(512)
	}
	_ = out.WriteMsg(reply) // a client that went away asks again
}

// lab is a resolver that asks the zone, and for which the web server is at port 443 of every loopback address.
type lab struct {
	dnsNetwork
	web    *web
	closed bool // nobody listens at port 443
}

func (l *lab) Dial(ctx context.Context, dialer *net.Dialer, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if port == "443" && host == "127.0.0.1" {
		if address = l.web.Listener.Addr().String(); l.closed {
			address = "127.0.0.1:1"
		}
	}
	return l.dnsNetwork.Dial(ctx, dialer, network, address)
}

// newLab makes a zone, a web server and a resolver between them that may call 127.0.0.1 only.
func newLab(records ...string) (*Resolver, *lab, *zone) {
	GinkgoHelper()
	z := startZone(records...)
	l := &lab{web: startWeb(), dnsNetwork: dnsNetwork{servers: func() ([]string, error) { return []string{z.addr}, nil }}}
	r := New(Config{Network: l, Roots: l.web.roots, UserAgent: "Hanse test", Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	return r, l, z
}
