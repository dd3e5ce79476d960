package node

import "time"

// Config is everything that can be set. The zero value of each field is its default; server_name alone is needed.
// The comments below are the manual: `hanse config example` prints them.
//
// Settings come from the YAML file, then from the environment (HANSE_FEDERATION_DNS_SERVER for
// federation.dns_server; lists with commas), then from flags (--federation-dns-server); the later wins.
type Config struct {
	// The name of this server: the part after the colon in @user:example.org. It can't be changed later.
	ServerName string `yaml:"server_name" example:"example.org"`
	// The folder for the database and the signing key. Default: ./data
	DataDir string `yaml:"data_dir" example:"./data"`
	// The file with this server's signing keys; made at the first start. Default: signing.key in data_dir.
	SigningKey string `yaml:"signing_key" example:"./data/signing.key"`
	// Where everything is stored.
	Database DatabaseConfig `yaml:"database"`
	// The client-server API.
	Client ClientConfig `yaml:"client"`
	// The server-server API: how other servers reach us and how we reach them.
	Federation FederationConfig `yaml:"federation"`
	// Certificates that Hanse gets and renews itself, from Let's Encrypt or another authority that speaks ACME.
	ACME ACMEConfig `yaml:"acme"`
	// Who may make an account.
	Registration RegistrationConfig `yaml:"registration"`
	// Logging in by OAuth 2.0, on pages of this server, as newer clients prefer it.
	OAuth OAuthConfig `yaml:"oauth"`
	// Application services, such as bridges to other networks: the registration files that they have made. Default: none
	ApplicationServices []string `yaml:"application_services" example:"/etc/hanse/irc-registration.yaml"`
	// How mails are sent to users, by which they confirm their e-mail addresses and get a new password when they have forgotten theirs.
	Email EmailConfig `yaml:"email"`
	// How passwords are hashed.
	Passwords PasswordConfig `yaml:"passwords"`
	// Limits on what one client may ask in a time. They are on unless disabled.
	RateLimits RateLimitConfig `yaml:"rate_limits"`
	// Files that users upload, and those of other servers that they look at.
	Media MediaConfig `yaml:"media"`
	// Rooms made on this server.
	Rooms RoomConfig `yaml:"rooms"`
	// Who is online: both; in (users of other servers are shown to ours), out (ours are shown to other servers) or off.
	// It tells everybody in a public room when somebody is awake, and each change goes to every server that shares a
	// room: a server with many users in rooms of thousands of servers is better off with in. Default: both
	Presence string `yaml:"presence" example:"both"`
	// How push gateways are called, which notify users' devices.
	Push PushConfig `yaml:"push"`
	// TURN servers, which carry calls between clients that can't reach each other.
	Turn TurnConfig `yaml:"turn"`
	// Calls of Element Call, also those of groups, which a LiveKit media server carries.
	Calls CallsConfig `yaml:"calls"`
	// Who helps users of this server, and others who have something to say about it; published in
	// /.well-known/matrix/support. Default: not published.
	Support SupportConfig `yaml:"support"`
	// Health, readiness and metrics for whoever operates this server.
	Monitor MonitorConfig `yaml:"monitor"`
	// What is logged, and how.
	Log LogConfig `yaml:"log"`
}

// DatabaseConfig says where everything is stored.
type DatabaseConfig struct {
	// A PostgreSQL database, as postgres://user:password@host/name; of several servers with a failover
	// postgres://user:password@one,two/name?target_session_attrs=read-write. Default: SQLite, in hanse.db in data_dir.
	URL string `yaml:"url" example:"postgres://hanse:secret@localhost/hanse"`
}

// ClientConfig is about the client-server API.
type ClientConfig struct {
	// Addresses to listen on. Plain HTTP, meant for a reverse proxy, unless a certificate is given or got by ACME.
	// The server-server API answers here too, for proxies that forward port 8448 or 443. Default: 127.0.0.1:8008,
	// with ACME :443
	Listen []string `yaml:"listen" example:"127.0.0.1:8008"`
	// Certificate chain and key (PEM files) to serve clients by HTTPS. They are loaded anew when they change.
	Certificate string `yaml:"certificate" example:"/etc/hanse/client.crt"`
	Key         string `yaml:"key" example:"/etc/hanse/client.key"`
	// Reverse proxies whose X-Forwarded-For is believed (prefixes): rate limits and devices' last addresses go by it.
	// Default: those on this machine
	TrustedProxies []string `yaml:"trusted_proxies" example:"10.0.0.1"`
	// The address that clients use from outside; published in /.well-known/matrix/client. Default: not published.
	PublicURL string `yaml:"public_url" example:"https://matrix.example.org"`
}

// FederationConfig is about the server-server API.
type FederationConfig struct {
	// Addresses to listen on by HTTPS; they need the certificate below, or ACME. Default: :8448 where there is either.
	Listen []string `yaml:"listen" example:":8448"`
	// Certificate chain and key (PEM files) for server_name, or for the name that it is delegated to. They are loaded
	// anew when they change.
	Certificate string `yaml:"certificate" example:"/etc/hanse/federation.crt"`
	Key         string `yaml:"key" example:"/etc/hanse/federation.key"`
	// Delegation: where other servers find this one, published in /.well-known/matrix/server. Default: not published.
	WellKnown string `yaml:"well_known" example:"matrix.example.org:443"`
	// A PEM file of certificate authorities to trust besides the system's.
	TrustedCAs string `yaml:"trusted_cas" example:"/etc/hanse/extra-cas.pem"`
	// The DNS server to ask, as address:port. Default: the system's resolver.
	DNSServer string `yaml:"dns_server" example:"192.0.2.53:53"`
	// Addresses that other servers may make us call although they are private, loopback or link-local (prefixes).
	AllowAddresses []string `yaml:"allow_addresses" example:"10.0.0.0/8"`
	// Servers that are asked for the signing keys of servers that don't answer. Default: none.
	Notaries []string `yaml:"notaries" example:"matrix.org"`
}

// ACMEConfig is about certificates that Hanse gets and renews itself. They are kept in the folder acme in data_dir. The
// authority connects to port 443 or 80 of each name, so one of them must lead here.
type ACMEConfig struct {
	// That you accept the authority's terms of service. This switches ACME on, for listeners without certificate files.
	AcceptTerms bool `yaml:"accept_terms" example:"true"`
	// Where the authority may write to when something is wrong with a certificate. Default: nowhere
	Email string `yaml:"email" example:"admin@example.org"`
	// The authority's directory. Default: that of Let's Encrypt
	Directory string `yaml:"directory" example:"https://acme-v02.api.letsencrypt.org/directory"`
	// Names besides those of server_name, federation.well_known and client.public_url.
	Names []string `yaml:"names" example:"matrix.example.org"`
	// Addresses for the authority's questions by plain HTTP (port 80 from outside); others are sent on to HTTPS. Not
	// needed where port 443 leads here. Default: none
	Listen []string `yaml:"listen" example:":80"`
}

// RegistrationConfig says who may make an account.
type RegistrationConfig struct {
	// Let anybody make an account. Default: false
	Open bool `yaml:"open" example:"true"`
	// Let anybody in as a guest: without a password, to read rooms that all may read, and to join those that let guests in. Default: false
	Guests bool `yaml:"guests" example:"true"`
	// Let those make an account who know one of these tokens.
	Tokens []string `yaml:"tokens" example:"a-long-secret-word"`
	// Demand an e-mail address of those who make an account; it needs email.host. Default: false, they may give one
	RequireEmail bool `yaml:"require_email" example:"true"`
	// The secret of /_synapse/admin/v1/register, by which tools make accounts. Default: that way is closed.
	SharedSecret string `yaml:"shared_secret" example:"a-longer-secret-word"`
}

// EmailConfig says how mails are sent to users.
type EmailConfig struct {
	// The mail server (SMTP) that takes this server's mails; it needs client.public_url, to which the links in mails lead. `hanse email test
	// ADDRESS` sends a mail to try it. Default: no mails are sent
	Host string `yaml:"host" example:"mail.example.org"`
	// Its port. Default: 587; with encryption tls 465, with none 25
	Port int `yaml:"port" example:"587"`
	// starttls, tls (from the first byte on) or none (only for a mail server on this machine). Without the encryption, or with a
	// certificate that isn't valid for host, nothing is sent; federation.trusted_cas counts here too. Default: starttls
	Encryption string `yaml:"encryption" example:"starttls"`
	// The user to log in as. Default: without a login
	User string `yaml:"user" example:"noreply@example.org"`
	// The user's password.
	Password string `yaml:"password" example:"one-more-secret-word"`
	// A file that has the password, in its place.
	PasswordFile string `yaml:"password_file" example:"/etc/hanse/mail-password"`
	// Whom the mails come from. Needed with host.
	From string `yaml:"from" example:"Example <noreply@example.org>"`
	// What mails call this server. Default: server_name
	Name string `yaml:"name" example:"Example"`
	// Hosts of web clients to which the page may lead back on which an address is confirmed. Default: none, people go back by themselves
	NextLinks []string `yaml:"next_links" example:"app.element.io"`
}

// OAuthConfig is about logging in by OAuth 2.0.
type OAuthConfig struct {
	// Let clients log users in by OAuth 2.0. Those that can will then send users to pages of this server, also to make and manage accounts; others
	// go on with /login. It needs client.public_url. Default: false
	Enabled bool `yaml:"enabled" example:"true"`
}

// PasswordConfig says how passwords are hashed. Hashes made with older settings stay valid.
type PasswordConfig struct {
	// argon2id or bcrypt. Default: argon2id
	Algorithm string `yaml:"algorithm" example:"argon2id"`
	// argon2id: passes over the memory. Default: 2
	Argon2Time uint32 `yaml:"argon2_time" example:"2"`
	// argon2id: memory in KiB. Default: 19456
	Argon2Memory uint32 `yaml:"argon2_memory" example:"19456"`
	// argon2id: threads. Default: 1
	Argon2Threads uint8 `yaml:"argon2_threads" example:"1"`
	// bcrypt: cost, 4 to 31. Default: 12
	BcryptCost int `yaml:"bcrypt_cost" example:"12"`
	// How many passwords are hashed at once; with argon2_memory it bounds what logins can take. Default: one less than the processors, at least 1
	Parallel int `yaml:"parallel" example:"2"`
}

// RateLimitConfig limits what one client may ask in a time.
type RateLimitConfig struct {
	// Switch all limits off, as for a testnet. Default: false
	Disabled bool `yaml:"disabled" example:"true"`
	// Requests, per user or, without one, per address. Default: 50 a second, 200 at once
	Requests LimitConfig `yaml:"requests"`
	// Events sent, per user. Default: 10 a second, 50 at once
	Events LimitConfig `yaml:"events"`
	// Joins, and other things that make us work for or at other servers, per user. Default: 1 a second, 20 at once
	Joins LimitConfig `yaml:"joins"`
	// Logins tried, per address and per account. Default: 0.5 a second, 10 at once
	Logins LimitConfig `yaml:"logins"`
	// Registrations, per address. Default: 0.2 a second, 10 at once
	Registrations LimitConfig `yaml:"registrations"`
	// Mails to users, per address of the one who asks, and per e-mail address. Default: one in 5 minutes (0.0033 a second), 5 at once
	Mails LimitConfig `yaml:"mails"`
	// Mails to all users together. Default: 0.2 a second, 200 at once
	AllMails LimitConfig `yaml:"all_mails"`
	// Files uploaded, per user. Default: 2 a second, 50 at once
	Uploads LimitConfig `yaml:"uploads"`
	// Files and previews asked for, per user or address. Default: 50 a second, 500 at once
	Downloads LimitConfig `yaml:"downloads"`
}

// LimitConfig is how often something may be done.
type LimitConfig struct {
	// How often a second, in the long run.
	PerSecond float64 `yaml:"per_second" example:"10"`
	// How often at once, after a pause.
	Burst int `yaml:"burst" example:"50"`
}

// MediaConfig is about files that users upload, and those of other servers that they look at.
type MediaConfig struct {
	// The folder of the files. Default: media in data_dir.
	Folder string `yaml:"folder" example:"./data/media"`
	// The largest file that may be uploaded, or fetched from another server, in MiB. A proxy before this server must let as
	// much through. Default: 100
	MaxSize uint32 `yaml:"max_size" example:"100"`
	// How much one user may upload in all, in MiB. Default: any amount
	UserQuota uint32 `yaml:"user_quota" example:"5000"`
	// How much of other servers' files is kept, in MiB; what nobody has asked for the longest goes first. Default: 10000
	CacheSize uint32 `yaml:"cache_size" example:"10000"`
	// Clients and servers from before Matrix 1.11 ask for files without saying who they are. They get what was uploaded, or
	// fetched, before this day; 9999-12-31: everything. Default: nothing
	UnauthenticatedUntil string `yaml:"unauthenticated_until" example:"2026-07-01"`
	// Fetch web pages that users write about, so that their clients can show a preview. The pages' servers see this server's
	// address. Default: false
	URLPreviews bool `yaml:"url_previews" example:"true"`
	// Addresses that may be called for previews although they are private or loopback (prefixes): every user here can then have what
	// is there called. Default: none
	URLPreviewAddresses []string `yaml:"url_preview_addresses" example:"10.1.0.0/16"`
}

// RoomConfig is about rooms made on this server.
type RoomConfig struct {
	// The version of new rooms whose maker asks for none. Default: 12
	DefaultVersion string `yaml:"default_version" example:"12"`
}

// PushConfig says how push gateways are called.
type PushConfig struct {
	// Addresses of push gateways that may be called although they are private or loopback (prefixes); where some are
	// given, gateways may also be called by plain HTTP.
	AllowAddresses []string `yaml:"allow_addresses" example:"10.0.0.0/8"`
}

// TurnConfig names the TURN servers that clients get for calls. coturn is one; its use-auth-secret is needed.
type TurnConfig struct {
	// Where they are, as turn: or turns: URIs. Default: none.
	URIs []string `yaml:"uris" example:"turn:turn.example.org:3478?transport=udp"`
	// The secret that they share with this server: coturn's static-auth-secret.
	Secret string `yaml:"secret" example:"another-long-secret-word"`
	// For how many hours the names and passwords are good that clients get. Default: 24
	Hours int `yaml:"hours" example:"24"`
}

// CallsConfig says what carries calls of Element Call.
type CallsConfig struct {
	// Where clients reach the authorisation service (lk-jwt-service) of your LiveKit server. Default: none; such calls
	// don't work then, unless users' clients know one by themselves.
	LiveKitServiceURL string `yaml:"livekit_service_url" example:"https://livekit.example.org"`
}

// SupportConfig says who helps. It is open to everybody in the world.
type SupportConfig struct {
	// A page for users, such as how to get an account or help.
	Page string `yaml:"page" example:"https://example.org/support.html"`
	// Whom to write to: Matrix users, also of other servers, and e-mail addresses.
	Admin []string `yaml:"admin" example:"@admin:example.org"`
	// Whom to write to about what concerns security.
	Security []string `yaml:"security" example:"security@example.org"`
}

// MonitorConfig is about what an operator's tools ask.
type MonitorConfig struct {
	// The address of /health, /ready, /metrics and /debug/pprof/; plain HTTP, keep it private. Default: not served.
	Listen string `yaml:"listen" example:"127.0.0.1:9008"`
}

// LogConfig says what is logged, and how.
type LogConfig struct {
	// error, warn, info or debug. Default: info
	Level string `yaml:"level" example:"info"`
	// text or json. Default: text
	Format string `yaml:"format" example:"text"`
}

// Bounds of a start and a stop.
const (
	// shutdownTimeout is how long requests that are under way may take to end after the order to stop.
	shutdownTimeout = 10 * time.Second
	// stopTimeout is how long all else may take to end after them, which the database may hold up. Container managers give thirty seconds for both.
	stopTimeout = 15 * time.Second
	// headerTimeout is how long a client may take to send the head of a request.
	headerTimeout = 20 * time.Second
	// bodyTimeout is how long a client may take to send a whole request.
	bodyTimeout = 2 * time.Minute
	// idleTimeout is how long a connection is kept for a next request.
	idleTimeout = 3 * time.Minute
	// maxHeaderBytes bounds the head of a request.
	maxHeaderBytes = 64 << 10
	// maxTurnHours bounds for how long names and passwords for TURN servers are good: a year.
	maxTurnHours = 366 * 24
)
