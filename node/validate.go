package node

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/acme"

	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/node/appservice"
	"hanse/node/email"
	"hanse/node/ephemeral"
	"hanse/node/users"
)

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	setDefault(&c.DataDir, "data")
	setDefault(&c.SigningKey, filepath.Join(c.DataDir, "signing.key"))
	setDefault(&c.Passwords.Algorithm, "argon2id")
	setDefault(&c.Passwords.Argon2Time, 2)
	setDefault(&c.Passwords.Argon2Memory, 19456)
	setDefault(&c.Passwords.Argon2Threads, 1)
	setDefault(&c.Passwords.BcryptCost, 12)
	setDefault(&c.Media.Folder, filepath.Join(c.DataDir, "media"))
	setDefault(&c.Media.MaxSize, 100)
	setDefault(&c.Media.CacheSize, 10_000)
	setDefault(&c.Rooms.DefaultVersion, string(roomversion.V12)) // spec:rooms/_index#complete-list-of-room-versions
	setDefault(&c.Turn.Hours, 24)
	setDefault(&c.Email.Encryption, string(email.StartTLS))
	setDefault(&c.Email.Name, c.ServerName)
	setDefault(&c.Presence, string(ephemeral.PresenceBoth))
	setDefault(&c.Log.Level, "info")
	setDefault(&c.Log.Format, "text")
	setDefault(&c.ACME.Directory, acme.LetsEncryptURL)
	if len(c.Client.Listen) == 0 {
		c.Client.Listen = []string{"127.0.0.1:8008"}
		if c.ACME.AcceptTerms {
			c.Client.Listen = []string{":443"}
		}
	}
	if len(c.Federation.Listen) == 0 && (c.Federation.Certificate != "" || c.ACME.AcceptTerms) {
		c.Federation.Listen = []string{":8448"}
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// report notes what is wrong with the setting at a path, such as client.listen.
type report func(path, format string, args ...any)

// Validate reports everything that is wrong with the configuration at once, a line each, with the setting's path.
func (c Config) Validate() error {
	c = c.withDefaults()
	var problems []error
	wrong := report(func(path, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...)))
	})
	c.validateServerName(wrong)
	// The rest is for the driver to judge: several servers may be named, which is no URL of the standard library's.
	if scheme, _, _ := strings.Cut(c.Database.URL, "://"); c.Database.URL != "" && scheme != "postgres" && scheme != "postgresql" {
		wrong("database.url", "must start with postgres://; leave it out for SQLite in data_dir")
	}
	c.Client.validate(wrong)
	c.validateFederation(wrong)
	c.validateACME(wrong)
	c.validateEmail(wrong)
	c.validateOAuth(wrong)
	c.Passwords.validate(wrong)
	c.RateLimits.validate(wrong)
	if _, errs := appservice.Load(c.ApplicationServices, id.ServerName(c.ServerName)); len(errs) > 0 {
		for _, err := range errs {
			wrong("application_services", "%v", err)
		}
	}
	c.validateMedia(wrong)
	if _, ok := roomversion.Lookup(roomversion.Version(c.Rooms.DefaultVersion)); !ok {
		wrong("rooms.default_version", "%q is not a room version that Hanse knows (1 to 12)", c.Rooms.DefaultVersion)
	}
	switch ephemeral.PresenceMode(c.Presence) {
	case ephemeral.PresenceOff, ephemeral.PresenceIn, ephemeral.PresenceOut, ephemeral.PresenceBoth:
	default:
		wrong("presence", "%q is not one of off, in, out, both", c.Presence)
	}
	checkPrefixes(wrong, "push.allow_addresses", c.Push.AllowAddresses)
	c.Turn.validate(wrong)
	if u := c.Calls.LiveKitServiceURL; u != "" && !webAddress(u) {
		wrong("calls.livekit_service_url", "%q is not an address such as https://livekit.example.org", u)
	}
	c.Support.validate(wrong)
	checkAddresses(wrong, "monitor.listen", optional(c.Monitor.Listen))
	c.Log.validate(wrong)
	return errors.Join(problems...)
}

func (c Config) validateServerName(wrong report) {
	if c.ServerName == "" {
		wrong("server_name", "is missing; give the name that follows the colon in your users' IDs, as in --server-name example.org")
	} else if strings.Contains(c.ServerName, "/") {
		wrong("server_name", "%q is an address; give the name alone, without https:// and without a path", c.ServerName)
	} else if strings.ContainsFunc(c.ServerName, func(r rune) bool { return r >= utf8.RuneSelf }) {
		wrong("server_name", "%q has letters that host names don't have; give the form that DNS knows it by (xn--…)", c.ServerName)
	} else {
		checkReachable(wrong, "server_name", c.ServerName)
	}
}

func (c ClientConfig) validate(wrong report) {
	checkAddresses(wrong, "client.listen", c.Listen)
	checkCertificate(wrong, "client", c.Certificate, c.Key)
	checkPrefixes(wrong, "client.trusted_proxies", c.TrustedProxies)
	if c.PublicURL != "" && !webAddress(c.PublicURL) {
		wrong("client.public_url", "%q is not an address such as https://matrix.example.org", c.PublicURL)
	}
}

func (c Config) validateFederation(wrong report) {
	f := c.Federation
	checkAddresses(wrong, "federation.listen", f.Listen)
	checkCertificate(wrong, "federation", f.Certificate, f.Key)
	if len(f.Listen) > 0 && f.Certificate == "" && !c.ACME.AcceptTerms {
		wrong("federation.listen", "needs federation.certificate and federation.key, or acme.accept_terms: other servers only speak HTTPS")
	}
	if f.WellKnown != "" {
		checkReachable(wrong, "federation.well_known", f.WellKnown)
	}
	if _, err := c.trustedCAs(); err != nil {
		wrong("federation.trusted_cas", "%v", err)
	}
	checkAddresses(wrong, "federation.dns_server", optional(f.DNSServer))
	checkPrefixes(wrong, "federation.allow_addresses", f.AllowAddresses)
	for _, notary := range f.Notaries {
		if _, err := id.ParseServerName(notary); err != nil {
			wrong("federation.notaries", "%v", err)
		}
	}
}

func (c Config) validateOAuth(wrong report) {
	switch public, err := url.Parse(c.Client.PublicURL); {
	case !c.OAuth.Enabled || err != nil:
	case public.Host == "":
		wrong("oauth.enabled", "needs client.public_url, the address of the pages on which users log in")
	case public.Scheme != "https" && !loopback(public.Hostname()):
		wrong("oauth.enabled", "needs an https address in client.public_url: passwords are typed on its pages")
	}
}

func (c PasswordConfig) validate(wrong report) {
	if c.Parallel < 0 {
		wrong("passwords.parallel", "%d is less than none; leave it out for one less than the processors", c.Parallel)
	}
	if a := c.Algorithm; a != "argon2id" && a != "bcrypt" {
		wrong("passwords.algorithm", "%q is unknown; use argon2id or bcrypt", a)
	}
	if cost := c.BcryptCost; cost < 4 || cost > 31 {
		wrong("passwords.bcrypt_cost", "%d is not between 4 and 31", cost)
	}
	if m := c.Argon2Memory; m > users.MaxArgonMemoryKiB {
		wrong("passwords.argon2_memory", "%d is more than %d KiB", m, users.MaxArgonMemoryKiB)
	}
	if passes := c.Argon2Time; passes > users.MaxArgonPasses {
		wrong("passwords.argon2_time", "%d is more than %d", passes, users.MaxArgonPasses)
	}
}

func (c Config) validateMedia(wrong report) {
	m := c.Media
	if m.CacheSize < m.MaxSize {
		wrong("media.cache_size", "%d MiB is less than one file of media.max_size (%d MiB)", m.CacheSize, m.MaxSize)
	}
	if m.UserQuota > 0 && m.UserQuota < m.MaxSize {
		wrong("media.user_quota", "%d MiB is less than one file of media.max_size (%d MiB)", m.UserQuota, m.MaxSize)
	}
	if _, err := c.mediaFrozen(); err != nil {
		wrong("media.unauthenticated_until", "%v", err)
	}
	checkPrefixes(wrong, "media.url_preview_addresses", m.URLPreviewAddresses)
}

func (c TurnConfig) validate(wrong report) {
	for _, uri := range c.URIs {
		if !strings.HasPrefix(uri, "turn:") && !strings.HasPrefix(uri, "turns:") {
			wrong("turn.uris", "%q starts neither with turn: nor with turns:", uri)
		}
	}
	if len(c.URIs) > 0 && c.Secret == "" {
		wrong("turn.secret", "is missing; give the secret of the TURN servers, coturn's static-auth-secret")
	}
	if c.Hours < 1 || c.Hours > maxTurnHours {
		wrong("turn.hours", "%d is not between 1 and %d", c.Hours, maxTurnHours)
	}
}

func (c SupportConfig) validate(wrong report) {
	if c.Page != "" && !webAddress(c.Page) {
		wrong("support.page", "%q is not an address such as https://example.org/support.html", c.Page)
	}
	if _, err := contacts("", c.Admin); err != nil {
		wrong("support.admin", "%v", err)
	}
	if _, err := contacts("", c.Security); err != nil {
		wrong("support.security", "%v", err)
	}
}

func (c LogConfig) validate(wrong report) {
	if _, ok := logLevels[c.Level]; !ok {
		wrong("log.level", "%q is unknown; use error, warn, info or debug", c.Level)
	}
	if c.Format != "text" && c.Format != "json" {
		wrong("log.format", "%q is unknown; use text or json", c.Format)
	}
}

// checkReachable holds a server's name against the grammar, and against what other servers can find.
func checkReachable(wrong report, path, text string) {
	if name, err := id.ParseServerName(text); err != nil {
		wrong(path, "%v", err)
	} else if reason := unreachable(name); reason != "" {
		wrong(path, "no server could find %q: %s", name, reason)
	}
}

func checkAddresses(wrong report, path string, addresses []string) {
	for _, address := range addresses {
		if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
			wrong(path, "%q is not an address with a port, such as 127.0.0.1:8008 or :8448", address)
		} else if _, err := net.LookupPort("tcp", port); err != nil {
			wrong(path, "%q has no port from 0 to 65535 behind the last colon", address)
		}
	}
}

func checkPrefixes(wrong report, path string, texts []string) {
	if _, err := readPrefixes(texts); err != nil {
		wrong(path, "%v", err)
	}
}

func optional(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func checkCertificate(wrong report, section, certificate, key string) {
	switch {
	case certificate == "" && key == "":
	case certificate == "":
		wrong(section+".certificate", "is missing, although %s.key is given", section)
	case key == "":
		wrong(section+".key", "is missing, although %s.certificate is given", section)
	default:
		_, err := tls.LoadX509KeyPair(certificate, key)
		checkCertificateError(wrong, section, certificate, key, err)
	}
}

// checkCertificateError says why a certificate and its key can't be used.
func checkCertificateError(wrong report, section, certificate, key string, err error) {
	_, file := errors.AsType[*fs.PathError](err)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrPermission):
		wrong(section+".certificate", "%v; let the user that hanse runs as read it, or copy certificate and key to where it may, at each renewal", err)
	case file:
		wrong(section+".certificate", "%v", err)
	default:
		wrong(section+".certificate", "%s with the key %s: %v; give the chain in PEM form, and the key that was made with it", certificate, key, err)
	}
}

// trustedCAs is the system's pool of certificate authorities, with those of the configured file. Without such a file it is nil, which
// stands for the system's: they are read when the first certificate is checked, and not by every start.
func (c Config) trustedCAs() (*x509.CertPool, error) {
	if c.Federation.TrustedCAs == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(c.Federation.TrustedCAs)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a machine without any: then only the configured ones count
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no PEM certificate", c.Federation.TrustedCAs)
	}
	return pool, nil
}

// allowedAddresses reads federation.allow_addresses; a bare address stands for itself.
func (c Config) allowedAddresses() ([]netip.Prefix, error) {
	return readPrefixes(c.Federation.AllowAddresses)
}

func readPrefixes(texts []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, text := range texts {
		if !strings.Contains(text, "/") {
			address, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("%q is not an address or a prefix such as 10.0.0.0/8", text)
			}
			prefixes = append(prefixes, netip.PrefixFrom(address, address.BitLen()))
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not a prefix such as 10.0.0.0/8", text)
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes, nil
}
