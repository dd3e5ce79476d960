package adapter

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// The ports of the adapter contract, on BIND_ADDR.
const (
	ClientPort     = 8008 // the client-server API, plain HTTP
	FederationPort = 8448 // the server-server API, HTTPS
)

// Orders is what the adapter contract tells a server; each field is the environment variable that its comment names.
type Orders struct {
	ServerName    string     // SERVER_NAME
	BindAddr      netip.Addr // BIND_ADDR: a loopback address
	DataDir       string     // DATA_DIR: empty at first, kept over restarts
	CACert        string     // CA_CERT: PEM file, with CA_KEY to make the server's certificate
	CAKey         string     // CA_KEY
	CABundle      string     // CA_BUNDLE: PEM file of what to trust
	DNSServer     string     // DNS_SERVER: whom to ask for names, if set
	SharedSecret  string     // SHARED_SECRET: for /_synapse/admin/v1/register
	AppserviceDir string     // APPSERVICE_DIR: a folder of registrations
	DatabaseURL   string     // DATABASE_URL: a PostgreSQL instead of the embedded database, if set
	RoomVersion   string     // ROOM_VERSION: of new rooms; 10 if not set
}

// Environ is the orders as environment variables.
func (o Orders) Environ() []string {
	return []string{
		"SERVER_NAME=" + o.ServerName, "BIND_ADDR=" + o.BindAddr.String(), "DATA_DIR=" + o.DataDir,
		"CA_CERT=" + o.CACert, "CA_KEY=" + o.CAKey, "CA_BUNDLE=" + o.CABundle, "DNS_SERVER=" + o.DNSServer,
		"SHARED_SECRET=" + o.SharedSecret, "APPSERVICE_DIR=" + o.AppserviceDir, "DATABASE_URL=" + o.DatabaseURL,
		"ROOM_VERSION=" + o.RoomVersion,
	}
}

// OrdersFrom reads the orders from an environment.
func OrdersFrom(getenv func(string) string) (Orders, error) {
	o := Orders{
		ServerName: getenv("SERVER_NAME"), DataDir: getenv("DATA_DIR"), CACert: getenv("CA_CERT"), CAKey: getenv("CA_KEY"),
		CABundle: getenv("CA_BUNDLE"), DNSServer: getenv("DNS_SERVER"), SharedSecret: getenv("SHARED_SECRET"),
		AppserviceDir: getenv("APPSERVICE_DIR"), DatabaseURL: getenv("DATABASE_URL"), RoomVersion: getenv("ROOM_VERSION"),
	}
	var missing []string
	for _, name := range []string{"SERVER_NAME", "BIND_ADDR", "DATA_DIR", "CA_CERT", "CA_KEY"} {
		if getenv(name) == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return o, fmt.Errorf("the environment lacks %s: this command takes its orders by the adapter contract (doc/adapter.md)", strings.Join(missing, ", "))
	}
	var err error
	if o.BindAddr, err = netip.ParseAddr(getenv("BIND_ADDR")); err != nil {
		return o, fmt.Errorf("BIND_ADDR: %q is not an IP address", getenv("BIND_ADDR"))
	}
	return o, nil
}

// ClientURL is where the client-server API answers.
func (o Orders) ClientURL() string {
	return "http://" + netip.AddrPortFrom(o.BindAddr, ClientPort).String()
}

// FederationAddr is where the server-server API answers.
func (o Orders) FederationAddr() string {
	return netip.AddrPortFrom(o.BindAddr, FederationPort).String()
}

// Check tells whether a file can be an adapter; if not, how to mend that.
func Check(executable string) error {
	info, err := os.Stat(executable)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a folder: an adapter is an executable file (doc/adapter.md)", executable)
	case runtime.GOOS != "windows" && info.Mode()&0o111 == 0:
		return fmt.Errorf("%s is not executable: chmod +x %[1]s", executable)
	}
	return nil
}

// Command is how an adapter is started by these orders; its log is beside the data folder, with “.log” at its name's end.
func (o Orders) Command(executable string, args ...string) (Command, error) {
	executable, err := filepath.Abs(executable)
	if err != nil {
		return Command{}, err
	}
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return Command{}, err
	}
	return Command{
		Name: o.ServerName, Args: append([]string{executable}, args...), Env: o.Environ(),
		LogFile: filepath.Clean(o.DataDir) + ".log", ClientURL: o.ClientURL(), ReadyTimeout: 2 * time.Minute,
	}, nil
}
