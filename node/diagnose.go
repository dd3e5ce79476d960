package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5" // asks whether the database answers, without opening it as a node does
	"hanse/federation/id"
	"hanse/keys"
	"hanse/node/admin"
	"hanse/node/doctor"
)

const (
	// noSpace is how many free bytes of a disk are next to nothing.
	noSpace = 200 << 20
	// fewFiles is how many open files are few for a server that talks to many others: a connection each.
	fewFiles = 4096
	// databasePatience is how long the database may take to answer.
	databasePatience = 5 * time.Second
)

// Diagnose examines a server as others see it; of the server that c configures, which the empty name stands for too, also
// its settings and what it stands on.
func (c Config) Diagnose(ctx context.Context, name string) (*doctor.Report, error) {
	own := name == "" || name == c.ServerName
	if name == "" {
		name = c.ServerName
	}
	if name == "" {
		return nil, errors.New("which server? Give its name, or --config with the file of your own")
	}
	d := &diagnosis{config: c.withDefaults(), report: &doctor.Report{Server: name}}
	options := doctor.Options{DNSServer: c.Federation.DNSServer, UserAgent: "Hanse/" + Version() + " doctor"}
	var err error
	if options.Roots, err = c.trustedCAs(); err != nil {
		d.wrong("settings", "federation.trusted_cas", err.Error(), "name a PEM file of certificates")
	}
	if options.Allow, err = c.allowedAddresses(); err != nil {
		d.wrong("settings", "federation.allow_addresses", err.Error(), "give prefixes such as 10.0.0.0/8")
	}
	if own {
		d.own(ctx)
		options.Key, options.Delegation, options.MaxUpload = d.key, id.ServerName(c.Federation.WellKnown), int64(d.config.Media.MaxSize)<<20
		options.PublicURL, options.OAuth = c.Client.PublicURL, c.OAuth.Enabled
		options.Support = c.Support.Page != "" || len(c.Support.Admin)+len(c.Support.Security) > 0
	}
	seen := doctor.Examine(ctx, name, options)
	d.report.Findings = append(d.report.Findings, seen.Findings...)
	d.report.Add(doctor.Finding{Level: doctor.Note, Area: "outside", What: "whether others get through to the server can't be seen from here, only from outside",
		Mend: "run `hanse doctor " + name + "` on a machine elsewhere, or ask https://federationtester.matrix.org"})
	return d.report, nil
}

// diagnosis is a report about our own server being made.
type diagnosis struct {
	config  Config // with the defaults
	report  *doctor.Report
	running bool
	key     keys.SigningKey
}

func (d *diagnosis) fine(area, where, format string, args ...any) {
	d.report.Add(doctor.Finding{Level: doctor.Fine, Area: area, Where: where, What: fmt.Sprintf(format, args...)})
}

func (d *diagnosis) note(area, where, what, mend string) {
	d.report.Add(doctor.Finding{Level: doctor.Note, Area: area, Where: where, What: what, Mend: mend})
}

func (d *diagnosis) warn(area, where, what, mend string) {
	d.report.Add(doctor.Finding{Level: doctor.Warning, Area: area, Where: where, What: what, Mend: mend})
}

func (d *diagnosis) wrong(area, where, what, mend string) {
	d.report.Add(doctor.Finding{Level: doctor.Problem, Area: area, Where: where, What: what, Mend: mend})
}

// own looks at the settings and what the server stands on.
func (d *diagnosis) own(ctx context.Context) {
	if err := d.config.Validate(); err != nil {
		for line := range strings.Lines(err.Error()) {
			setting, what, _ := strings.Cut(strings.TrimSpace(line), ": ")
			d.wrong("settings", setting, what, "`hanse config example` explains the setting")
		}
	} else {
		d.fine("settings", "", "they can be used")
	}
	var trace admin.Trace
	d.running = admin.Dial(d.config.DataDir).Get(ctx, "/trace", nil, &trace) == nil
	if d.running {
		d.fine("process", d.config.DataDir, "hanse runs on this data folder")
	} else {
		d.note("process", d.config.DataDir, "no hanse runs on this data folder", "start it; what answers for the name below is something else, or nothing does")
	}
	d.folder()
	d.signingKey()
	d.database(ctx)
	d.openFiles()
	d.certificates()
	d.ports()
	d.proxy()
	d.mails(ctx)
}

func (d *diagnosis) folder() {
	folder := d.config.DataDir
	info, err := os.Stat(folder)
	if errors.Is(err, fs.ErrNotExist) {
		d.note("data", folder, "the folder doesn't exist yet", "the first start makes it")
		return
	}
	if err != nil {
		d.wrong("data", folder, err.Error(), "let the user that hanse runs as enter the folder")
		return
	}
	if info.Mode().Perm()&0o077 != 0 {
		d.warn("data", folder, fmt.Sprintf("other users may enter it (%s): it holds the signing key and the database", info.Mode().Perm()), "chmod 700 "+folder)
	}
	for _, s := range d.config.storages() {
		d.disk(s.path)
	}
}

func (d *diagnosis) disk(folder string) {
	free, size, known := freeSpace(folder)
	switch {
	case !known:
	case free < min(noSpace, littleSpace(size)):
		d.wrong("disk", folder, fmt.Sprintf("%d MiB are free", free>>20), "make room: without it nothing can be stored, and nothing is acknowledged")
	case free < littleSpace(size):
		d.warn("disk", folder, fmt.Sprintf("%d MiB are free", free>>20), "make room soon")
	default:
		d.fine("disk", folder, "%.1f GiB are free", float64(free)/(1<<30))
	}
}

func (d *diagnosis) signingKey() {
	path := d.config.SigningKey
	file, err := keys.LoadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		d.note("keys", path, "there is no signing key yet", "the first start makes one; of a server that ran before, restore the file from a backup")
		return
	}
	if err != nil {
		d.wrong("keys", path, err.Error(), "restore the file from a backup")
		return
	}
	d.key = file.Current
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		d.warn("keys", path, fmt.Sprintf("other users may read the signing key (%s)", info.Mode().Perm()), "chmod 600 "+path)
	}
	d.fine("keys", path, "signs with %s", file.Current.ID)
}

func (d *diagnosis) database(ctx context.Context) {
	if d.config.Database.URL == "" {
		path := filepath.Join(d.config.DataDir, "hanse.db")
		if info, err := os.Stat(path); err == nil {
			size := info.Size()
			if log, err := os.Stat(path + "-wal"); err == nil { // what isn't in the file yet
				size += log.Size()
			}
			d.fine("database", path, "SQLite, %.1f MiB", float64(size)/(1<<20))
		}
		return
	}
	ctx, cancel := context.WithTimeout(ctx, databasePatience)
	defer cancel()
	settings, err := pgx.ParseConfig(d.config.Database.URL)
	if err != nil {
		d.wrong("database", "database.url", "it can't be read", "write it as postgres://user:password@host/name")
		return
	}
	where := fmt.Sprintf("%s on %s:%d", settings.Database, settings.Host, settings.Port) // not the URL: it has the password
	connection, err := pgx.ConnectConfig(ctx, settings)
	if err != nil {
		d.wrong("database", where, err.Error(), "start PostgreSQL, make the database and its user, or correct database.url")
		return
	}
	defer connection.Close(ctx) //nolint:errcheck // it was only asked
	var version string
	if err := connection.QueryRow(ctx, "SHOW server_version").Scan(&version); err != nil {
		d.wrong("database", where, err.Error(), "see the database's log")
		return
	}
	d.fine("database", where, "PostgreSQL %s answers", version)
}

func (d *diagnosis) openFiles() {
	limit, known := openFilesLimit()
	switch {
	case !known:
	case limit < fewFiles:
		d.warn("files", "", fmt.Sprintf("%d files may be open at once, of which each connection is one", limit), "ulimit -n 65536, or LimitNOFILE=65536 in the systemd unit")
	default:
		d.fine("files", "", "%d files may be open at once", limit)
	}
}

// certificates looks at the certificate files: others see them below, but a renewed one only once it is loaded.
func (d *diagnosis) certificates() {
	for _, f := range [...]struct{ setting, certificate, key string }{
		{"federation.certificate", d.config.Federation.Certificate, d.config.Federation.Key},
		{"client.certificate", d.config.Client.Certificate, d.config.Client.Key},
	} {
		pair, err := tls.LoadX509KeyPair(f.certificate, f.key)
		if f.certificate == "" || err != nil || pair.Leaf == nil {
			continue // Validate has said what is wrong
		}
		d.expiry(f.setting, f.certificate, pair.Leaf, "renew it; hanse loads it when the file changes")
	}
	if d.config.ACME.AcceptTerms {
		for _, name := range d.config.acmeNames() {
			d.acmeCertificate(name)
		}
	}
}

// expiry tells how long a file's certificate is still good for.
func (d *diagnosis) expiry(where, path string, leaf *x509.Certificate, mend string) {
	until := leaf.NotAfter.UTC().Format(time.DateOnly)
	switch now := time.Now(); {
	case now.After(leaf.NotAfter):
		d.wrong("TLS", where, "the certificate in "+path+" has expired on "+until, mend)
	case now.Before(leaf.NotBefore):
		d.wrong("TLS", where, "the certificate in "+path+" is not valid yet", "set the clock of this machine right")
	case !now.Before(renewalDue(leaf)):
		d.warn("TLS", where, "the certificate in "+path+" should have been renewed: it ends on "+until, mend)
	default:
		d.fine("TLS", where, "%s is valid until %s", path, until)
	}
}

// acmeCertificate looks at what ACME has got for a name.
func (d *diagnosis) acmeCertificate(name string) {
	path := filepath.Join(acmeFolder(d.config.DataDir), name)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		d.note("TLS", "acme", "there is no certificate for "+name+" yet", "it is got when somebody first connects by that name to hanse")
		return
	}
	if err != nil {
		d.wrong("TLS", "acme", err.Error(), "let the user that hanse runs as read the folder "+acmeFolder(d.config.DataDir)+" and its files")
		return
	}
	leaf := certificateIn(data)
	if leaf == nil {
		d.warn("TLS", "acme", "there is no certificate in "+path+", or not its key", "remove the file; one is got when somebody next connects by that name")
		return
	}
	if err := leaf.VerifyHostname(name); err != nil {
		d.wrong("TLS", "acme", "the certificate in "+path+" is not for that name: "+err.Error(), "remove the file; one is got when somebody next connects by that name")
		return
	}
	d.expiry("acme", path, leaf, "see what the log of hanse says of acme.directory: port 443 of the name, or 80 with acme.listen, must lead to hanse itself")
}

// ports tells whether the addresses to listen on can be had.
func (d *diagnosis) ports() {
	for _, l := range [...]struct {
		setting   string
		addresses []string
	}{{"client.listen", d.config.Client.Listen}, {"federation.listen", d.config.Federation.Listen}} {
		for _, address := range l.addresses {
			listener, err := net.Listen("tcp", address)
			switch {
			case err == nil:
				_ = listener.Close() // it was only tried
				if d.running {
					d.warn("ports", l.setting, "nothing listens on "+address+", although hanse runs", "restart it, if the settings have changed since its start; if it was started with flags, ask with a --config that says the same")
				} else {
					d.fine("ports", l.setting, "%s is free", address)
				}
			case errors.Is(err, syscall.EADDRINUSE) && d.running:
				d.fine("ports", l.setting, "%s is in use, as it should be", address)
			case errors.Is(err, syscall.EADDRINUSE):
				d.wrong("ports", l.setting, address+" is taken by another program", "stop that program, or choose another address")
			case errors.Is(err, syscall.EACCES):
				d.wrong("ports", l.setting, "this user may not bind "+address, "use a port above 1023, or grant CAP_NET_BIND_SERVICE")
			default:
				d.wrong("ports", l.setting, err.Error(), "name an address of this machine")
			}
		}
	}
}

// proxy tells what a reverse proxy has to do where one is needed.
func (d *diagnosis) proxy() {
	if len(d.config.Federation.Listen) == 0 {
		d.note("proxy", "federation.listen", "hanse speaks no HTTPS itself: other servers reach it through a reverse proxy alone",
			"let it forward /_matrix/ and /.well-known/matrix/ to "+strings.Join(d.config.Client.Listen, ", ")+" with the path and the Host header as they came, or set acme.accept_terms or federation.certificate")
	}
	if d.config.Client.Certificate == "" && !d.config.ACME.AcceptTerms {
		for _, address := range d.config.Client.Listen {
			if host, _, err := net.SplitHostPort(address); err == nil && !loopback(host) {
				d.warn("proxy", "client.listen", address+" takes plain HTTP from other machines", "listen on 127.0.0.1 behind a proxy with a certificate, or give client.certificate")
			}
		}
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
