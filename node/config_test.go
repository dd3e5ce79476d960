package node

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hanse/node/clientapi"
)

func TestExampleConfigIsWholeAndReadable(t *testing.T) {
	example := ExampleConfig()
	config, err := ReadConfig("example", []byte(example))
	if err != nil || config.ServerName != "example.org" {
		t.Fatalf("the example as it stands: %+v, %v", config, err)
	}
	for _, setting := range Settings() {
		if setting.Doc == "" && !strings.HasSuffix(setting.Path, ".key") {
			t.Errorf("%s has no comment", setting.Path)
		}
		if !strings.Contains(example, setting.Path[strings.LastIndexByte(setting.Path, '.')+1:]+": ") {
			t.Errorf("%s is missing in the example", setting.Path)
		}
	}
}

func TestUnknownKeysAreNamedWithLineAndNeighbour(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{"server_nam: a.org\n", `hanse.yaml:1: unknown key "server_nam"; did you mean "server_name"?`},
		{"server_name: a.org\nfederation:\n  dns: x\n  dns_sever: 1.2.3.4:53\n", `hanse.yaml:4: unknown key "federation.dns_sever"; did you mean "federation.dns_server"?`},
		{"dns_server: 1.2.3.4:53\n", `hanse.yaml:1: unknown key "dns_server"; did you mean "federation.dns_server"?`},
		{"zzzzzzzzzzzzzz: 1\n", "`hanse config example` lists all keys"},
		{"server_name: [a]\n", "hanse.yaml: line 1: a list stands where a text is expected"},
		{"client:\n  listen: 8008\n", `hanse.yaml: line 2: "8008" stands where a list is expected, as in [one, two]`},
		{"registration: {open: perhaps}\n", `hanse.yaml: line 1: "perhaps" stands where true or false is expected`},
		{"passwords: {bcrypt_cost: many}\n", `hanse.yaml: line 1: "many" stands where a whole number is expected`},
		{"passwords: {argon2_threads: 300}\n", `hanse.yaml: line 1: "300" stands where a whole number from 0 to 255 is expected`},
		{"passwords: {argon2_memory: -1}\n", `hanse.yaml: line 1: "-1" stands where a whole number from 0 to 4294967295 is expected`},
		{"database: postgres://localhost/hanse\n", `hanse.yaml: line 1: "postgre..." stands where keys of its own are expected, indented below it`},
		{"server_name: a\n  b: c\n", "hanse.yaml: line 2"},
		{"- a\n", "hanse.yaml: line 1"},
	} {
		_, err := ReadConfig("hanse.yaml", []byte(c.file))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %s", c.file, err, c.want)
		}
	}
}

// TestAKeyOfAnother: certificates of another tool are often root's alone.
func TestAKeyOfAnother(t *testing.T) {
	var got string
	wrong := func(path, format string, args ...any) { got = path + ": " + fmt.Sprintf(format, args...) }
	checkCertificateError(wrong, "federation", "tls.crt", "tls.key", &fs.PathError{Op: "open", Path: "tls.key", Err: fs.ErrPermission})
	if !strings.Contains(got, "federation.certificate: open tls.key: permission denied; let the user that hanse runs as read it") {
		t.Error(got)
	}
}

func TestSettingsAreSetFromText(t *testing.T) {
	var config Config
	for path, text := range map[string]string{
		"server_name": "a.org", "federation.notaries": "b.org, c.org", "registration.open": "true",
		"passwords.argon2_threads": "3", "passwords.bcrypt_cost": "7", "rate_limits.logins.per_second": "0.25", "rate_limits.logins.burst": "4",
	} {
		if err := settingByPath(t, path).Set(&config, text); err != nil {
			t.Error(err)
		}
	}
	if config.ServerName != "a.org" || len(config.Federation.Notaries) != 2 || config.Federation.Notaries[1] != "c.org" ||
		!config.Registration.Open || config.Passwords.Argon2Threads != 3 || config.Passwords.BcryptCost != 7 ||
		config.RateLimits.limits().Logins != (clientapi.Limit{PerSecond: 0.25, Burst: 4}) {
		t.Errorf("%+v", config)
	}
	for path, text := range map[string]string{"registration.open": "perhaps", "passwords.argon2_threads": "300", "passwords.bcrypt_cost": "x", "rate_limits.logins.per_second": "often"} {
		if err := settingByPath(t, path).Set(&config, text); err == nil || !strings.HasPrefix(err.Error(), path) {
			t.Errorf("%s=%s: %v", path, text, err)
		}
	}
	if got := settingByPath(t, "federation.dns_server"); got.Env() != "HANSE_FEDERATION_DNS_SERVER" || got.Flag() != "federation-dns-server" {
		t.Errorf("%s, %s", got.Env(), got.Flag())
	}
}

func settingByPath(t *testing.T, path string) Setting {
	t.Helper()
	for _, setting := range Settings() {
		if setting.Path == path {
			return setting
		}
	}
	t.Fatalf("no setting %s", path)
	return Setting{}
}

func TestValidateReportsEverythingAtOnce(t *testing.T) {
	pem := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(pem, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	bad := Config{
		ServerName: "no spaces here", Database: DatabaseConfig{URL: "mysql://x"},
		Client:     ClientConfig{Listen: []string{"8008"}, Certificate: "a.crt", PublicURL: "example.org", TrustedProxies: []string{"proxy"}},
		Federation: FederationConfig{Listen: []string{":8448"}, TrustedCAs: pem, DNSServer: "1.2.3.4", AllowAddresses: []string{"ten"}, Notaries: []string{"a b"}, WellKnown: "a b"},
		Calls:      CallsConfig{LiveKitServiceURL: "livekit.example.org"},
		Support:    SupportConfig{Page: "/help", Admin: []string{"@admin:example.org", "admin"}, Security: []string{"@nobody"}},
		Passwords:  PasswordConfig{Algorithm: "md5", BcryptCost: 99, Parallel: -1},
		RateLimits: RateLimitConfig{Events: LimitConfig{Burst: -1}},
		Media:      MediaConfig{URLPreviewAddresses: []string{"10/8"}},
		Rooms:      RoomConfig{DefaultVersion: "13"}, Log: LogConfig{Level: "loud", Format: "xml"},
	}
	err := bad.Validate()
	for _, path := range []string{
		"server_name", "database.url", "client.listen", "client.key", "client.public_url", "federation.listen", "federation.trusted_cas",
		"federation.dns_server", "federation.allow_addresses", "federation.notaries", "federation.well_known",
		"calls.livekit_service_url", "support.page", "support.admin", "support.security", "passwords.algorithm", "passwords.bcrypt_cost", "passwords.parallel", "rate_limits.events", "client.trusted_proxies", "media.url_preview_addresses", "rooms.default_version", "log.level", "log.format",
	} {
		if err == nil || !strings.Contains(err.Error(), path+": ") {
			t.Errorf("nothing is said of %s in:\n%v", path, err)
		}
	}
	if err := (Config{ServerName: "example.org"}).Validate(); err != nil {
		t.Errorf("a name alone: %v", err)
	}
	for _, servers := range []string{"one", "one:5432,two", "one,two:5432", "one:5432,two:5433"} {
		database := DatabaseConfig{URL: "postgres://hanse@" + servers + "/hanse?target_session_attrs=read-write"}
		if err := (Config{ServerName: "example.org", Database: database}).Validate(); err != nil {
			t.Errorf("a database at %s: %v", servers, err)
		}
	}
	for public, good := range map[string]bool{"": false, "http://matrix.example.org": false, "https://matrix.example.org": true, "http://127.0.0.1:8008": true} {
		config := Config{ServerName: "example.org", Client: ClientConfig{PublicURL: public}, OAuth: OAuthConfig{Enabled: true}}
		if err := config.Validate(); (err == nil) != good || !good && !strings.Contains(err.Error(), "oauth.enabled: needs") {
			t.Errorf("OAuth 2.0 with %q: %v", public, err)
		}
	}
	if err := (Config{}).Validate(); err == nil || !strings.Contains(err.Error(), "server_name: is missing") {
		t.Errorf("nothing at all: %v", err)
	}
}
