package interop

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"regexp"
	"sync"

	"hanse/testnet/adapter"
	"hanse/testnet/fabric"
)

// linkPort is where servers with links are looked for, on the address at whose adapter.FederationPort they are.
const linkPort = 8449

// links stand where servers are looked for, and lead to where they are. They know who asks by its signature, and cut. A
// request for keys is signed by nobody, and passes.
type links struct {
	mu      sync.Mutex
	cut     map[[2]string]bool // guarded by mu; by the names of who asks and who is asked
	silent  bool               // guarded by mu; a request over a link that is cut gets no answer until links are set anew
	changed chan struct{}      // guarded by mu; closed when links are set anew
}

func newLinks() *links { return &links{changed: make(chan struct{})} }

// set says which servers don't reach which, and whether they are told so.
func (l *links) set(cut map[[2]string]bool, silent bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.silent = cut, silent
	close(l.changed)
	l.changed = make(chan struct{})
}

// pass waits or gives up a request over a link that is cut.
func (l *links) pass(r *http.Request, to string) {
	l.mu.Lock()
	cut, silent, changed := l.cut[[2]string{asking(r), to}], l.silent, l.changed
	l.mu.Unlock()
	if cut && silent {
		select {
		case <-changed:
		case <-r.Context().Done():
		}
	}
	if cut {
		panic(http.ErrAbortHandler)
	}
}

// stand stands before a server until close is called.
func (l *links) stand(ca *fabric.CA, ip netip.Addr) (close func(), err error) {
	certPEM, keyPEM, err := ca.Issue(ip.String())
	if err != nil {
		return nil, err
	}
	certificate, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	name := netip.AddrPortFrom(ip, linkPort).String()
	listener, err := tls.Listen("tcp", name, &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}, DisableCompression: true}
	silent := log.New(io.Discard, "", 0) // a server that is down is what the test is about
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "https", Host: netip.AddrPortFrom(ip, adapter.FederationPort).String()})
			r.Out.Host = r.In.Host
			r.Out.URL.RawQuery = r.In.URL.RawQuery // as it was signed
		},
		Transport: transport, ErrorLog: silent,
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	server := &http.Server{ErrorLog: silent, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.pass(r, name)
		proxy.ServeHTTP(w, r)
	})}
	go func() { _ = server.Serve(listener) }() // ends with http.ErrServerClosed
	return func() {
		_ = server.Close() // the test is over
		transport.CloseIdleConnections()
	}, nil
}

// origin is the name in an X-Matrix header.
var origin = regexp.MustCompile(`^X-Matrix .*origin="?([^",]+)`)

// asking is the name of the server that signed a request; "" where nobody did.
func asking(r *http.Request) string {
	if found := origin.FindStringSubmatch(r.Header.Get("Authorization")); found != nil {
		return found[1]
	}
	return ""
}
