package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"hanse/federation/id"
)

// certificateCheck is how often a certificate's files are looked at for a change, at most: when somebody connects.
const certificateCheck = 10 * time.Second

// certificateFiles is a certificate that is loaded anew when its files change. Safe for concurrent use.
type certificateFiles struct {
	certificate, key string // paths
	log              *slog.Logger

	mu      sync.Mutex
	pair    *tls.Certificate // guarded by mu
	stamp   [2]fileStamp     // guarded by mu: of the files that pair was read from, or that could not be read
	checked time.Time        // guarded by mu
}

// fileStamp tells whether a file has changed.
type fileStamp struct {
	size int64
	at   time.Time
}

func stampOf(path string) fileStamp {
	info, err := os.Stat(path)
	if err != nil {
		return fileStamp{} // being replaced just now: that is a change, too
	}
	return fileStamp{info.Size(), info.ModTime()}
}

func newCertificateFiles(certificate, key string, log *slog.Logger) (*certificateFiles, error) {
	f := &certificateFiles{certificate: certificate, key: key, log: log}
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	f.pair, f.stamp, f.checked = &pair, [2]fileStamp{stampOf(certificate), stampOf(key)}, time.Now()
	f.doubt(&pair)
	return f, nil
}

// doubt tells of a certificate that nobody will believe now.
func (f *certificateFiles) doubt(pair *tls.Certificate) {
	if pair.Leaf == nil {
		return
	}
	switch now := time.Now(); {
	case now.After(pair.Leaf.NotAfter):
		f.log.Error("a certificate has expired, and nobody will connect: renew it; it is loaded when the file changes",
			"certificate", f.certificate, "valid_until", pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(pair.Leaf.NotBefore):
		f.log.Error("a certificate is not valid yet, and nobody will connect: is the clock of this machine right?",
			"certificate", f.certificate, "valid_from", pair.Leaf.NotBefore.UTC().Format(time.RFC3339))
	}
}

// get is for tls.Config.GetCertificate.
func (f *certificateFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.checked) >= certificateCheck {
		f.look()
	}
	return f.pair, nil
}

// reload looks at the files now.
func (f *certificateFiles) reload() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.look()
}

// look loads the files if they have changed; mu is held. One that can't be used leaves the old one in use.
func (f *certificateFiles) look() {
	f.checked = time.Now()
	stamp := [2]fileStamp{stampOf(f.certificate), stampOf(f.key)}
	if stamp == f.stamp {
		return
	}
	pair, err := tls.LoadX509KeyPair(f.certificate, f.key)
	if err != nil { // perhaps one of the two files is still to be replaced: they are looked at again
		f.log.Error("a certificate has changed and can't be loaded; the old one stays in use", "certificate", f.certificate, "error", err)
		return
	}
	f.pair, f.stamp = &pair, stamp
	until := ""
	if pair.Leaf != nil {
		until = pair.Leaf.NotAfter.UTC().Format(time.RFC3339)
	}
	f.log.Info("a certificate was loaded", "certificate", f.certificate, "valid_until", until)
	f.doubt(&pair)
}

// Reload has the certificate files looked at now: who has just replaced them needn't wait.
func (n *Node) Reload() {
	for _, f := range n.certificates {
		f.reload()
	}
}

// tlsFor makes the TLS settings of a listener: with the certificate of files, else by ACME, else none: plain HTTP.
func (n *Node) tlsFor(certificate, key string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	switch {
	case certificate != "":
		files, err := newCertificateFiles(certificate, key, n.log)
		if err != nil {
			return nil, err
		}
		n.certificates = append(n.certificates, files)
		config.GetCertificate = files.get
	case n.config.ACME.AcceptTerms:
		manager, err := n.acmeManager()
		if err != nil {
			return nil, err
		}
		config.GetCertificate = manager.GetCertificate
		config.NextProtos = append(config.NextProtos, acme.ALPNProto)
	default:
		return nil, nil
	}
	return config, nil
}

// acmeManager gets certificates and renews them; it is made once. It starts timers of its own, which end with the process.
func (n *Node) acmeManager() (*autocert.Manager, error) {
	if n.acme != nil {
		return n.acme, nil
	}
	roots, err := n.config.trustedCAs()
	if err != nil {
		return nil, fmt.Errorf("federation.trusted_cas: %w", err)
	}
	names := n.config.acmeNames()
	n.acmeStore = newACMEStore(n.config.DataDir, n.log)
	n.acme = &autocert.Manager{
		Prompt: autocert.AcceptTOS, Email: n.config.ACME.Email,
		Cache: n.acmeStore,
		HostPolicy: func(_ context.Context, host string) error {
			if slices.Contains(names, host) {
				return nil
			}
			return fmt.Errorf("%q is none of the names to get a certificate for: %v", host, names)
		},
		Client: &acme.Client{
			DirectoryURL: n.config.ACME.Directory, UserAgent: "Hanse/" + Version(),
			HTTPClient: &http.Client{Timeout: acmeTimeout, Transport: acmeAnswers{log: n.log, next: &http.Transport{
				Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			}}},
		},
	}
	n.log.Info("certificates are got by ACME when somebody first connects", "names", names, "directory", n.config.ACME.Directory)
	n.acmeStore.load(n.acme, names)
	return n.acme, nil
}

// acmeTimeout bounds one request to the authority.
const acmeTimeout = time.Minute

// acmeNames are the names that need a certificate: the server's, those it is delegated to and reached at, and more if more
// are configured. IP addresses can't have one.
func (c Config) acmeNames() []string {
	var names []string
	add := func(host string) {
		host = strings.ToLower(host) // as it is asked for
		if host != "" && net.ParseIP(host) == nil && !slices.Contains(names, host) {
			names = append(names, host)
		}
	}
	for _, name := range [...]string{c.ServerName, c.Federation.WellKnown} {
		if parsed, err := id.ParseServerName(name); err == nil {
			if _, literal := parsed.Literal(); !literal {
				add(parsed.Host())
			}
		}
	}
	if public, err := url.Parse(c.Client.PublicURL); err == nil {
		add(public.Hostname())
	}
	for _, name := range c.ACME.Names {
		add(name)
	}
	return names
}

// bindACME answers the authority's questions by plain HTTP, and sends everybody else on to HTTPS.
func (n *Node) bindACME() error {
	if !n.config.ACME.AcceptTerms || n.acme == nil {
		return nil
	}
	for _, address := range n.config.ACME.Listen {
		e, err := n.listen("acme.listen", address, n.acme.HTTPHandler(nil), nil)
		if err != nil {
			return err
		}
		n.endpoints = append(n.endpoints, e)
	}
	return nil
}

// validateACME says what is wrong with the settings of ACME.
func (c Config) validateACME(wrong report) {
	if !c.ACME.AcceptTerms {
		return
	}
	if directory, err := url.Parse(c.ACME.Directory); err != nil || directory.Scheme != "https" || directory.Host == "" {
		wrong("acme.directory", "%q is not the https address of an ACME directory", c.ACME.Directory)
	}
	if len(c.acmeNames()) == 0 {
		wrong("acme", "there is no name to get a certificate for: server_name %q is an IP address, and acme.names is empty", c.ServerName)
	}
	for _, name := range c.ACME.Names {
		if parsed, err := id.ParseServerName(name); err != nil || parsed.Host() != name {
			wrong("acme.names", "%q is not a host name", name)
		}
	}
}
