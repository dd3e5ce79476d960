package doctor

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ed25519" // the algorithm of every Matrix signature; the house uses this import throughout

	"hanse/federation/exactjson"
	"hanse/keys"
	"hanse/resolver"
)

const (
	// soon is how long before its end a certificate is worth a word. ACME renews at a third of its life, 30 of 90 days.
	soon = 20 * 24 * time.Hour
	// skew is by how much a clock may be wrong before it is worth a word.
	skew = 30 * time.Second
)

// examineTarget goes from TCP to the keys at one address. It reports whether a Matrix server answers there.
func (x *examination) examineTarget(target resolver.Target) bool {
	where := target.Addr.String()
	began := time.Now()
	conn, err := x.dial(x.ctx, where)
	if err != nil {
		x.unreached(target, err)
		return false
	}
	defer conn.Close()
	x.fine("TCP", where, "connected in %d ms", time.Since(began).Milliseconds())
	secure, ok := x.handshake(conn, target, where)
	if !ok {
		return false
	}
	version, ok := x.get(secure, target, "/_matrix/federation/v1/version", "")
	if !ok {
		return false
	}
	x.clock(where, version.header)
	known := x.version(where, version)
	before := len(x.Findings)
	document, ok := x.get(secure, target, "/_matrix/key/v2/server", "")
	if !known && (!ok || document.status != http.StatusOK) {
		x.Findings = x.Findings[:before] // nothing of a Matrix server is there: that is said
		return false
	}
	if !ok || !x.keyDocument(where, document) {
		return false
	}
	x.passage(secure, target, where)
	return true
}

// unreached says why an address can't be connected to.
func (x *examination) unreached(target resolver.Target, err error) {
	where := target.Addr.String()
	what := "can't connect: " + err.Error()
	port := fmt.Sprint(target.Addr.Port())
	here := "" // what else it may be where we examine ourselves
	if len(x.Key.Private) > 0 && !ofThisMachine(target.Addr.Addr()) {
		here = "; or the router doesn't lead its own network to its outer address (no hairpin NAT): then others may get through all the same, which only `hanse doctor` on a machine elsewhere can tell"
	}
	if target.Addr.Addr().Is6() {
		here = "; or remove the AAAA record, where nothing is meant to answer by IPv6: many try it first" + here
	}
	noWay := errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		x.wrong("TCP", where, what, "nothing listens on port "+port+" there: start the server or its proxy, or publish the port where it listens (well-known or SRV record)"+here)
	case errors.Is(err, context.DeadlineExceeded):
		x.wrong("TCP", where, what, "packets to port "+port+" are lost: open it in the firewall, and forward it if a router is between"+here)
	case noWay && target.Addr.Addr().Is6():
		x.warn("TCP", where, "whether it answers there can't be seen from here: this machine has no way to it by IPv6",
			"ask on a machine with IPv6; if the server doesn't answer there, remove its AAAA record, which others try in vain")
	case noWay:
		x.wrong("TCP", where, what, "there is no way to that address: correct the A record")
	default:
		x.wrong("TCP", where, what, "correct the address, or what is between")
	}
}

// ofThisMachine tells whether an address is one of this machine's own.
func ofThisMachine(addr netip.Addr) bool {
	own, err := net.InterfaceAddrs()
	return err != nil || addr.IsLoopback() || slices.ContainsFunc(own, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && prefix.Addr() == addr
	})
}

// handshake makes the TLS connection, and says of the certificate what others would object to.
func (x *examination) handshake(conn net.Conn, target resolver.Target, where string) (*bufferedTLS, bool) {
	ctx, cancel := context.WithTimeout(x.ctx, x.Timeout)
	defer cancel()
	// The certificate is checked below: what is wrong with it is told in full.
	secure := tls.Client(conn, &tls.Config{ServerName: target.TLSName, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err := secure.HandshakeContext(ctx); err != nil {
		mend := "serve HTTPS there, with TLS 1.2 or newer"
		if strings.Contains(err.Error(), "first record does not look like a TLS handshake") {
			mend = "plain HTTP answers there: give it a certificate, or put a reverse proxy with one before it"
		}
		x.wrong("TLS", where, "the handshake failed: "+err.Error(), mend)
		return nil, false
	}
	state := secure.ConnectionState()
	leaf := state.PeerCertificates[0]
	good := x.certificate(where, target.TLSName, state.PeerCertificates)
	if good {
		x.fine("TLS", where, "%s, certificate for %s by %s, until %s", tls.VersionName(state.Version), names(leaf),
			leaf.Issuer.CommonName, leaf.NotAfter.UTC().Format(time.DateOnly))
		if left := time.Until(leaf.NotAfter); left < soon {
			x.warn("TLS", where, fmt.Sprintf("the certificate ends in %d days", int(left.Hours()/24)), "renew it; where that should happen by itself, see why it hasn't")
		}
	}
	if state.Version < tls.VersionTLS12 {
		x.wrong("TLS", where, "it speaks "+tls.VersionName(state.Version)+" only", "switch on TLS 1.2 and 1.3")
		good = false
	}
	return &bufferedTLS{Conn: secure, reader: bufio.NewReader(secure)}, good
}

// certificate checks what a server showed, as others do.
func (x *examination) certificate(where, name string, chain []*x509.Certificate) bool {
	leaf := chain[0]
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: x.Roots, Intermediates: between, DNSName: name})
	if err == nil {
		return true
	}
	now := time.Now()
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	_, wrongName := errors.AsType[x509.HostnameError](err)
	switch {
	case isInvalid && invalid.Reason == x509.Expired && now.Before(leaf.NotBefore):
		x.wrong("TLS", where, "the certificate is not valid before "+leaf.NotBefore.UTC().Format(time.RFC3339), "set the clocks right, there and here")
	case isInvalid && invalid.Reason == x509.Expired:
		x.wrong("TLS", where, "the certificate has expired on "+leaf.NotAfter.UTC().Format(time.RFC3339), "renew it, and have the server load it")
	case wrongName:
		x.wrong("TLS", where, fmt.Sprintf("the certificate is for %s, but must be for %s", names(leaf), name),
			"get a certificate for "+name+"; with a well-known delegation it is the delegated name that counts, with an SRV record the server name")
	case leaf.Issuer.String() == leaf.Subject.String():
		x.wrong("TLS", where, "the certificate is self-signed", "get one from an authority that everybody trusts, such as Let's Encrypt")
	case len(chain) == 1:
		x.wrong("TLS", where, fmt.Sprintf("only the server's own certificate is sent; that of %q between it and the root is missing", leaf.Issuer.CommonName),
			"configure the whole chain (fullchain.pem in place of cert.pem)")
	default:
		x.wrong("TLS", where, fmt.Sprintf("the authority %q is not trusted: %v", chain[len(chain)-1].Issuer.CommonName, err), "get a certificate from an authority that everybody trusts")
	}
	return false
}

func names(leaf *x509.Certificate) string {
	list := append([]string(nil), leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		list = append(list, ip.String())
	}
	if len(list) == 0 {
		return "no name"
	}
	const most = 5
	if len(list) > most {
		return strings.Join(list[:most], ", ") + fmt.Sprintf(" and %d more", len(list)-most)
	}
	return strings.Join(list, ", ")
}

// bufferedTLS is a connection on which one request after another is made.
type bufferedTLS struct {
	net.Conn
	reader *bufio.Reader
}

// get makes a request over a connection that is open, signed if an Authorization header is given.
func (x *examination) get(conn *bufferedTLS, target resolver.Target, path, authorization string) (webAnswer, bool) {
	where := target.Addr.String()
	_ = conn.SetDeadline(time.Now().Add(x.Timeout)) // of a connection that works
	request, err := http.NewRequestWithContext(x.ctx, http.MethodGet, "https://"+target.Host+path, nil)
	if err != nil {
		x.wrong("HTTP", where, err.Error(), "use a host name that can be written into a request")
		return webAnswer{}, false
	}
	request.Host = target.Host
	request.Header.Set("User-Agent", x.UserAgent)
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	failed := func(err error) (webAnswer, bool) {
		mend := "see the log of the server or of the proxy there"
		if netError, ok := errors.AsType[net.Error](err); ok && netError.Timeout() {
			mend = "it takes the request and does not answer in time: it is overloaded, or its proxy waits for something that isn't there"
		}
		x.wrong("HTTP", where, "GET "+path+": "+err.Error(), mend)
		return webAnswer{}, false
	}
	if err := request.Write(conn); err != nil {
		return failed(err)
	}
	response, err := http.ReadResponse(conn.reader, request)
	if err != nil {
		return failed(err)
	}
	defer response.Body.Close()
	answer := webAnswer{status: response.StatusCode, header: response.Header}
	if answer.body, err = io.ReadAll(io.LimitReader(response.Body, maxBody+1)); err != nil {
		return failed(err)
	}
	return answer, true
}

// clock compares the clocks.
func (x *examination) clock(where string, h http.Header) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return
	}
	if off := time.Until(date); off > skew || off < -skew {
		x.warn("clock", where, fmt.Sprintf("its clock and this one differ by %s", off.Abs().Round(time.Second)), "synchronise both (NTP): keys and certificates are valid for times")
	}
}

// version reads who answers.
func (x *examination) version(where string, answer webAnswer) bool {
	var said struct {
		Server struct {
			Name    string `json:"name"`
			Version string `json:"version"`
		} `json:"server"`
	}
	err := exactjson.Unmarshal(answer.body, &said)
	switch {
	case answer.status != http.StatusOK && err != nil:
		x.wrong("HTTP", where, fmt.Sprintf("something answers %d to GET /_matrix/federation/v1/version that is no Matrix server (Server: %s)", answer.status, header(answer.header, "Server")),
			"the reverse proxy must forward all of /_matrix/ to the homeserver, with the path and the Host header as they came")
		return false
	case answer.status == http.StatusNotFound:
		x.warn("HTTP", where, "it doesn't tell its version (404)", "nothing, unless its proxy forwards only some paths: it must forward all of /_matrix/")
		return true
	case answer.status != http.StatusOK:
		x.wrong("HTTP", where, fmt.Sprintf("GET /_matrix/federation/v1/version: %d", answer.status), "see the log of the server there")
		return false
	case err != nil || said.Server.Name == "":
		x.wrong("HTTP", where, "it answers 200, but not as a Matrix server does (Server: "+header(answer.header, "Server")+")",
			"the reverse proxy must forward all of /_matrix/ to the homeserver, not to a web site")
		return false
	}
	x.fine("HTTP", where, "%s %s answers", said.Server.Name, said.Server.Version)
	return true
}

// keyDocument checks what the server publishes as its keys.
//
// spec:server-server-api#publishing-keys
func (x *examination) keyDocument(where string, answer webAnswer) bool {
	if errcode, _ := said(answer); errcode == "M_UNRECOGNIZED" {
		x.wrong("keys", where, fmt.Sprintf("GET /_matrix/key/v2/server: %d: a homeserver gets the request, but as one for a path that it doesn't know", answer.status), asForward)
		return false
	}
	if answer.status != http.StatusOK {
		x.wrong("keys", where, fmt.Sprintf("GET /_matrix/key/v2/server: %d", answer.status), "the reverse proxy must forward /_matrix/key/ as well as /_matrix/federation/")
		return false
	}
	document, err := keys.ParseServerKeys(answer.body)
	if err != nil {
		x.wrong("keys", where, "its key document is not good: "+err.Error(), "the server must publish its own keys, signed by each of them; a proxy must not change the answer")
		return false
	}
	if document.ServerName != x.name {
		x.wrong("keys", where, fmt.Sprintf("the server there says that it is %s", document.ServerName), fmt.Sprintf("set server_name to %s there, or let %s lead to another server", x.name, x.name))
		return false
	}
	until := time.UnixMilli(document.ValidUntilTS)
	if until.Before(time.Now()) {
		x.wrong("keys", where, "its keys are valid until "+until.UTC().Format(time.RFC3339)+" only", "a proxy or cache gives out an old answer, or its clock is wrong")
		return false
	}
	if len(x.Key.Private) > 0 {
		if published, ok := document.VerifyKeys[x.Key.ID]; !ok || !published.Equal(x.Key.Private.Public()) {
			x.wrong("keys", where, fmt.Sprintf("the server there has other keys than this one: %s of our signing key file is not among them", x.Key.ID),
				"another server answers for our name, a proxy forwards to an old one, a cache gives out an old answer, or hanse was not restarted since the key was changed")
			return false
		}
	}
	if x.keys == nil {
		x.answered, x.keys = where, document.VerifyKeys
	} else if !maps.EqualFunc(x.keys, document.VerifyKeys, func(a, b ed25519.PublicKey) bool { return a.Equal(b) }) {
		x.wrong("keys", where, "it has other keys than "+x.answered+", although both are addresses of "+string(x.name),
			"let all addresses lead to the same server: remove the A, AAAA or SRV record of the wrong one; or a cache before one of them gives out an old answer")
		return false
	}
	var list []string
	for _, keyID := range slices.Sorted(maps.Keys(document.VerifyKeys)) {
		list = append(list, string(keyID))
	}
	x.fine("keys", where, "%s, valid until %s", strings.Join(list, ", "), until.UTC().Format(time.RFC3339))
	return true
}
