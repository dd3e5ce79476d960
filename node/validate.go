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

// Validate reports everything that is wrong with the configuration at once, a line each, with the setting's path.
func (c Config) Validate() error {
	c = c.withDefaults()
	var problems []error
	wrong := func(path, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...)))
	}
	switch ephemeral.PresenceMode(c.Presence) {
	case ephemeral.PresenceOff, ephemeral.PresenceIn, ephemeral.PresenceOut, ephemeral.PresenceBoth:
	default:
		wrong("presence", "%q is not one of off, in, out, both", c.Presence)
	}
	if c.ServerName == "" {
		wrong("server_name", "is missing; give the name that follows the colon in your users' IDs, as in --server-name example.org")
	} else if strings.Contains(c.ServerName, "/") {
		wrong("server_name", "%q is an address; give the name alone, without https:// and without a path", c.ServerName)
	} else if strings.ContainsFunc(c.ServerName, func(r rune) bool { return r >= utf8.RuneSelf }) {
		wrong("server_name", "%q has letters that host names don't have; give the form that DNS knows it by (xn--…)", c.ServerName)
	} else if name, err := id.ParseServerName(c.ServerName); err != nil {
		wrong("server_name", "%v", err)
	} else if reason := unreachable(name); reason != "" {
		wrong("server_name", "no server could find %q: %s", name, reason)
	}
	if url, err := url.Parse(c.Database.URL); c.Database.URL != "" && (err != nil || url.Scheme != "postgres" && url.Scheme != "postgresql") {
		wrong("database.url", "must start with postgres://; leave it out for SQLite in data_dir")
	}
	for path, list := range map[string][]string{
		"client.listen": c.Client.Listen, "federation.listen": c.Federation.Listen,
		"monitor.listen": optional(c.Monitor.Listen), "federation.dns_server": optional(c.Federation.DNSServer),
	} {
		for _, address := range list {
			if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
				wrong(path, "%q is not an address with a port, such as 127.0.0.1:8008 or :8448", address)
			} else if _, err := net.LookupPort("tcp", port); err != nil {
				wrong(path, "%q has no port from 0 to 65535 behind the last colon", address)
			}
		}
	}
	checkCertificate(wrong, "client", c.Client.Certificate, c.Client.Key)
	checkCertificate(wrong, "federation", c.Federation.Certificate, c.Federation.Key)
	if len(c.Federation.Listen) > 0 && c.Federation.Certificate == "" && !c.ACME.AcceptTerms {
		wrong("federation.listen", "needs federation.certificate and federation.key, or acme.accept_terms: other servers only speak HTTPS")
	}
	if _, err := c.trustedCAs(); err != nil {
		wrong("federation.trusted_cas", "%v", err)
	}
	if _, err := readPrefixes(c.Client.TrustedProxies); err != nil {
		wrong("client.trusted_proxies", "%v", err)
	}
	if c.Passwords.Parallel < 0 {
		wrong("passwords.parallel", "%d is less than none; leave it out for one less than the processors", c.Passwords.Parallel)
	}
	for _, uri := range c.Turn.URIs {
		if !strings.HasPrefix(uri, "turn:") && !strings.HasPrefix(uri, "turns:") {
			wrong("turn.uris", "%q starts neither with turn: nor with turns:", uri)
		}
	}
	if len(c.Turn.URIs) > 0 && c.Turn.Secret == "" {
		wrong("turn.secret", "is missing; give the secret of the TURN servers, coturn's static-auth-secret")
	}
	if hours := c.Turn.Hours; hours < 1 || hours > maxTurnHours {
		wrong("turn.hours", "%d is not between 1 and %d", hours, maxTurnHours)
	}
	c.RateLimits.validate(wrong)
	c.validateEmail(wrong)
	c.validateACME(wrong)
	if _, err := c.allowedAddresses(); err != nil {
		wrong("federation.allow_addresses", "%v", err)
	}
	if _, err := readPrefixes(c.Push.AllowAddresses); err != nil {
		wrong("push.allow_addresses", "%v", err)
	}
	if _, err := readPrefixes(c.Media.URLPreviewAddresses); err != nil {
		wrong("media.url_preview_addresses", "%v", err)
	}
	if _, errs := appservice.Load(c.ApplicationServices, id.ServerName(c.ServerName)); len(errs) > 0 {
		for _, err := range errs {
			wrong("application_services", "%v", err)
		}
	}
	for _, notary := range c.Federation.Notaries {
		if _, err := id.ParseServerName(notary); err != nil {
			wrong("federation.notaries", "%v", err)
		}
	}
	if c.Federation.WellKnown != "" {
		if name, err := id.ParseServerName(c.Federation.WellKnown); err != nil {
			wrong("federation.well_known", "%v", err)
		} else if reason := unreachable(name); reason != "" {
			wrong("federation.well_known", "no server could find %q: %s", name, reason)
		}
	}
	if public, err := url.Parse(c.Client.PublicURL); c.Client.PublicURL != "" && (err != nil || public.Scheme != "https" && public.Scheme != "http" || public.Host == "") {
		wrong("client.public_url", "%q is not an address such as https://matrix.example.org", c.Client.PublicURL)
	}
	switch public, err := url.Parse(c.Client.PublicURL); {
	case !c.OAuth.Enabled || err != nil:
	case public.Host == "":
		wrong("oauth.enabled", "needs client.public_url, the address of the pages on which users log in")
	case public.Scheme != "https" && !loopback(public.Hostname()):
		wrong("oauth.enabled", "needs an https address in client.public_url: passwords are typed on its pages")
	}
	if u := c.Calls.LiveKitServiceURL; u != "" && !webAddress(u) {
		wrong("calls.livekit_service_url", "%q is not an address such as https://livekit.example.org", u)
	}
	if u := c.Support.Page; u != "" && !webAddress(u) {
		wrong("support.page", "%q is not an address such as https://example.org/support.html", u)
	}
	if _, err := contacts("", c.Support.Admin); err != nil {
		wrong("support.admin", "%v", err)
	}
	if _, err := contacts("", c.Support.Security); err != nil {
		wrong("support.security", "%v", err)
	}
	if a := c.Passwords.Algorithm; a != "argon2id" && a != "bcrypt" {
		wrong("passwords.algorithm", "%q is unknown; use argon2id or bcrypt", a)
	}
	if cost := c.Passwords.BcryptCost; cost < 4 || cost > 31 {
		wrong("passwords.bcrypt_cost", "%d is not between 4 and 31", cost)
	}
	if m := c.Passwords.Argon2Memory; m > users.MaxArgonMemoryKiB {
		wrong("passwords.argon2_memory", "%d is more than %d KiB", m, users.MaxArgonMemoryKiB)
	}
	if passes := c.Passwords.Argon2Time; passes > users.MaxArgonPasses {
		wrong("passwords.argon2_time", "%d is more than %d", passes, users.MaxArgonPasses)
	}
	if m := c.Media; m.CacheSize < m.MaxSize {
		wrong("media.cache_size", "%d MiB is less than one file of media.max_size (%d MiB)", m.CacheSize, m.MaxSize)
	}
	if m := c.Media; m.UserQuota > 0 && m.UserQuota < m.MaxSize {
		wrong("media.user_quota", "%d MiB is less than one file of media.max_size (%d MiB)", m.UserQuota, m.MaxSize)
	}
	if _, err := c.mediaFrozen(); err != nil {
		wrong("media.unauthenticated_until", "%v", err)
	}
	if _, ok := roomversion.Lookup(roomversion.Version(c.Rooms.DefaultVersion)); !ok {
		wrong("rooms.default_version", "%q is not a room version that Hanse knows (1 to 12)", c.Rooms.DefaultVersion)
	}
	if _, ok := logLevels[c.Log.Level]; !ok {
		wrong("log.level", "%q is unknown; use error, warn, info or debug", c.Log.Level)
	}
	if f := c.Log.Format; f != "text" && f != "json" {
		wrong("log.format", "%q is unknown; use text or json", f)
	}
	return errors.Join(problems...)
}

func optional(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func checkCertificate(wrong func(path, format string, args ...any), section, certificate, key string) {
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
func checkCertificateError(wrong func(path, format string, args ...any), section, certificate, key string, err error) {
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
