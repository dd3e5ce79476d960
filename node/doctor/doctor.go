// Package doctor finds out why federation with a server works or doesn't: it takes the steps that every other server takes
// to reach it, one by one, and says of each what it found, and of what is wrong how to mend it.
//
// It sees what this machine sees. Whether others get through a firewall to this machine, only somebody outside can tell.
package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ed25519" // the algorithm of every Matrix signature; the house uses this import throughout

	"hanse/federation/id"
	"hanse/keys"
	"hanse/resolver"
)

// Level says how bad a finding is.
type Level string

// The levels.
const (
	Fine    Level = "fine"
	Note    Level = "note"    // nothing is wrong, but who reads this may want to know
	Warning Level = "warning" // it works, but not for all, or not for ever
	Problem Level = "problem" // it doesn't work
)

// Finding is what one step found.
type Finding struct {
	Level Level  `json:"level"`
	Area  string `json:"area"` // name, well-known, DNS, TCP, TLS, HTTP, keys, clock, …
	What  string `json:"what"`
	Where string `json:"where,omitempty"` // the address, file or setting
	Mend  string `json:"mend,omitempty"`  // of a warning or a problem: what to do
}

// Report is all that was found.
type Report struct {
	Server   string    `json:"server_name"`
	Findings []Finding `json:"findings"`
}

// Wrong tells whether anything doesn't work.
func (r *Report) Wrong() bool {
	for _, f := range r.Findings {
		if f.Level == Problem {
			return true
		}
	}
	return false
}

// Add adds a finding.
func (r *Report) Add(f Finding) { r.Findings = append(r.Findings, f) }

func (r *Report) fine(area, where, format string, args ...any) {
	r.Add(Finding{Level: Fine, Area: area, Where: where, What: fmt.Sprintf(format, args...)})
}

func (r *Report) note(area, where, format string, args ...any) {
	r.Add(Finding{Level: Note, Area: area, Where: where, What: fmt.Sprintf(format, args...)})
}

func (r *Report) warn(area, where, what, mend string) {
	r.Add(Finding{Level: Warning, Area: area, Where: where, What: what, Mend: mend})
}

func (r *Report) wrong(area, where, what, mend string) {
	r.Add(Finding{Level: Problem, Area: area, Where: where, What: what, Mend: mend})
}

// Options say how to look. The zero value looks as a server on the public internet does.
type Options struct {
	DNSServer string         // "ip:port"; empty: the system's
	Roots     *x509.CertPool // nil: the system's
	Allow     []netip.Prefix // addresses that may be called although they are not public
	UserAgent string
	// Key signs for the server, where it is our own: it must publish that one, and takes what is signed by it. The zero value: it
	// is another's.
	Key keys.SigningKey
	// Delegation is what well-known must say, of our own server: federation.well_known. "": whatever it says.
	Delegation id.ServerName
	// Support says that our own server publishes who helps: support in its settings.
	Support bool
	// PublicURL is where clients must be led, of our own server: client.public_url. "": wherever.
	PublicURL string
	// OAuth says that clients log in by OAuth 2.0 at PublicURL, of our own server: oauth.enabled.
	OAuth bool
	// MaxUpload is the size of files that clients may upload, of our own server; in bytes. 0: it is not known.
	MaxUpload int64
	// Timeout bounds each step; 0 means 10 s.
	Timeout time.Duration
}

// examination is a Report being made.
type examination struct {
	Options
	*Report
	ctx      context.Context
	network  resolver.Network
	resolver *resolver.Resolver
	name     id.ServerName
	// answered is where the first address with a good key document is, and what keys it has.
	answered string
	keys     map[id.KeyID]ed25519.PublicKey
}

// maxExamined bounds the addresses that are tried.
const maxExamined = 8

// Examine takes the steps that other servers take to reach one.
func Examine(ctx context.Context, name string, o Options) *Report {
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Roots == nil {
		if pool, err := x509.SystemCertPool(); err == nil {
			o.Roots = pool
		}
	}
	x := &examination{Options: o, Report: &Report{Server: name}, ctx: ctx, network: resolver.RealNetwork(o.DNSServer)}
	parsed, err := id.ParseServerName(name)
	if err != nil {
		x.wrong("name", name, err.Error(), nameHint(name))
		return x.Report
	}
	x.name = parsed
	if lower := strings.ToLower(name); lower != name {
		x.warn("name", name, "it has upper case letters: to most servers it is another name than "+lower, "use lower case")
	}
	x.fine("name", name, "it is a server name")
	x.resolver = resolver.New(resolver.Config{
		DNSServer: o.DNSServer, Roots: o.Roots, Allow: o.Allow, UserAgent: o.UserAgent, Network: x.network, Log: slog.New(slog.DiscardHandler),
	})
	_, literal := parsed.Literal()
	_, port := parsed.Port()
	if !literal && !port {
		x.delegation(x.wellKnownServer())
	}
	targets, deaf := x.discover()
	if deaf {
		return x.Report
	}
	answered := false
	for _, target := range targets[:min(len(targets), maxExamined)] {
		answered = x.examineTarget(target) || answered
	}
	if more := len(targets) - maxExamined; more > 0 {
		x.note("DNS", "", "%d more addresses were not tried", more)
	}
	if len(targets) > 0 && !answered {
		x.wrong("federation", "", "no address of "+name+" answers as a Matrix server", "mend the first problem above; the later ones often follow from it")
	}
	if !literal {
		x.wellKnownClient()
		x.wellKnownSupport()
	}
	if x.OAuth && x.PublicURL != "" {
		x.oauth(strings.TrimRight(x.PublicURL, "/"))
	}
	return x.Report
}

// nameHint says what was probably meant.
func nameHint(name string) string {
	switch {
	case strings.Contains(name, "://"):
		return "leave out the scheme: a server name is what follows the colon in a user's ID, such as example.org"
	case strings.HasPrefix(name, "@"), strings.HasPrefix(name, "#"), strings.HasPrefix(name, "!"):
		if _, server, ok := strings.Cut(name, ":"); ok {
			return "that is a user, an alias or a room; its server is " + server
		}
	case strings.Contains(name, "/"):
		return "leave out the path"
	}
	return "a server name is a host name, an IPv4 address or an IPv6 address in brackets, with or without :port"
}

// deaf tells whether a look-up has failed because this machine reaches no DNS server.
func deaf(err error) bool {
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, fs.ErrNotExist) {
		return true
	}
	failure, ok := errors.AsType[*net.DNSError](err) // of which the cause is told in words alone
	return ok && (strings.HasSuffix(failure.Err, syscall.ECONNREFUSED.Error()) || strings.HasSuffix(failure.Err, syscall.ENETUNREACH.Error()) ||
		strings.HasSuffix(failure.Err, syscall.EHOSTUNREACH.Error()))
}

// noDNS says that no name can be looked up.
func (x *examination) noDNS(err error) {
	mend := "start the one that /etc/resolv.conf names, name another one there, or set federation.dns_server"
	if x.DNSServer != "" {
		mend = "correct federation.dns_server, " + x.DNSServer + ", or start it"
	}
	x.wrong("DNS", "this machine", "no DNS server can be reached from here: "+err.Error(), mend+"; until then no server is found from here, whatever is right or wrong with it")
}

// discover goes the steps of server discovery. It reports whether nothing could be looked up at all.
//
// spec:server-server-api#resolving-server-names
func (x *examination) discover() (found []resolver.Target, nothing bool) {
	ctx, cancel := context.WithTimeout(x.ctx, 3*x.Timeout)
	defer cancel()
	targets, steps, err := x.resolver.Explain(ctx, x.name)
	told := false                 // whether a finding says already why nothing is found
	services := map[string]bool{} // the steps in which there are SRV records
	for _, step := range steps {
		where := "discovery step " + step.Number
		if step.Number != "3" && deaf(step.Err) {
			x.noDNS(step.Err)
			return nil, true
		}
		switch {
		case step.Number == "3":
			// wellKnownServer has told more.
		case step.Err != nil && !strings.Contains(step.Action, "SRV"):
			mend := "add an A or AAAA record, or mend the record that leads there"
			if !errors.Is(step.Err, resolver.ErrNoAddress) {
				mend = "that is no answer, not even that there is no address: where other names are found from here, the DNS servers of its zone are down or its DNSSEC signatures are not good " +
					"(dnsviz.net shows both); where none is, mend or replace the DNS server that is asked from here"
			}
			x.wrong("DNS", where, step.Err.Error(), mend)
			told = told || errors.Is(err, step.Err)
		case step.Err != nil:
			x.warn("DNS", where, step.Action+": "+step.Err.Error(), "the DNS servers of the zone must answer, if only that there is no such record")
		case strings.Contains(step.Action, "_matrix._tcp") && step.Result != "none":
			x.warn("DNS", where, step.Action+": "+step.Result, "the service _matrix._tcp is deprecated; publish _matrix-fed._tcp in its place")
		case strings.Contains(step.Action, "SRV") && step.Result == "none":
			x.note("DNS", where, "%s: none", step.Action)
		default:
			x.fine("DNS", where, "%s: %s", step.Action, step.Result)
		}
		if host, ok := strings.CutPrefix(step.Action, "address of "); ok && services[step.Number] {
			x.alias(ctx, where, host)
		}
		services[step.Number] = services[step.Number] || strings.Contains(step.Action, "SRV") && step.Result != "none"
	}
	if told {
		return nil, false
	}
	if err != nil {
		mend := "mend the step above that failed"
		if _, denied := errors.AsType[*resolver.DeniedError](err); denied {
			mend = "it leads to an address that is not on the public internet: publish the public one, or allow it with federation.allow_addresses where this is meant"
		}
		x.wrong("DNS", string(x.name), "the server can't be found: "+err.Error(), mend)
		return nil, false
	}
	families := map[bool]bool{}
	reached := map[netip.Addr]bool{}
	for _, t := range targets {
		families[t.Addr.Addr().Is4()] = true
		reached[t.Addr.Addr()] = true
	}
	for _, step := range steps {
		for _, addr := range step.Addresses {
			if !reached[addr] && len(targets) < maxExamined { // those beyond the bound aren't tried, refused or not
				x.warn("DNS", "discovery step "+step.Number, fmt.Sprintf("%s is not an address of the public internet: other servers don't call it, or in vain", addr),
					"remove that A or AAAA record, or publish the public address in its place")
			}
		}
	}
	if families[false] && !families[true] {
		x.warn("DNS", string(x.name), "it has only IPv6 addresses: servers without IPv6 can't reach it", "add an A record")
	}
	return targets, false
}

// alias tells where an SRV record leads to a name that is an alias, which RFC 2782 forbids.
func (x *examination) alias(ctx context.Context, where, host string) {
	dns, ok := x.network.(interface {
		Alias(ctx context.Context, name string) (string, error)
	})
	if !ok {
		return
	}
	if real, err := dns.Alias(ctx, host); err == nil && real != "" {
		x.warn("DNS", where, fmt.Sprintf("the SRV record leads to %s, which is an alias (CNAME) of %s: an SRV record must not do that, and some servers don't follow it", host, real),
			"let the SRV record name "+real+", or give "+host+" A and AAAA records of its own")
	}
}

// dial connects to an address, with the guard of allowed addresses.
func (x *examination) dial(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, x.Timeout)
	defer cancel()
	return x.resolver.DialContext(ctx, "tcp", address)
}

// header is a header for a line.
func header(h http.Header, name string) string {
	if value := h.Get(name); value != "" {
		return value
	}
	return "none"
}
