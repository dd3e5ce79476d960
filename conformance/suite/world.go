package suite

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/format"

	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/testnet/adapter"
	"hanse/testnet/fabric"
	"hanse/testnet/peer"
	"hanse/testnet/user"
)

const (
	sharedSecret = "conformance"
	// DefaultPatience is how long the server under test may take for what should be a moment, on a loaded machine.
	DefaultPatience = 15 * time.Second
	// restraint is how long to look for what must not come.
	restraint = 300 * time.Millisecond
	// mainVersion is the room version of tests that are not about versions: the adapter contract's default.
	mainVersion = roomversion.V10
)

// Config says what is tested. Either Adapter or Deployed is set.
type Config struct {
	// Adapter is the executable that starts the server under test (doc/adapter.md).
	Adapter string
	// Env is added to the adapter's environment, as "NAME=value".
	Env []string
	// LiteralNames names all servers by loopback addresses with ports: for a server that doesn't ask DNS_SERVER. What
	// needs names is not asked of it then.
	LiteralNames bool
	// Deployed is a server that runs already.
	Deployed *Deployed
	// Folder keeps the servers' data and logs.
	Folder string
	// ReadyTimeout is how long the server may take to start; 0: two minutes.
	ReadyTimeout time.Duration
	// Patience is how long the server may take for what should be a moment; 0: DefaultPatience.
	Patience time.Duration
	// Mine tells whether the test that is the nth of a run is this process's to make; nil: all are.
	Mine func(n int) bool
	// Front stands between the suite and the server, if set: for tests of the suite itself.
	Front Front
}

// Front stands between the suite and the server under test, and may change what goes either way.
type Front interface {
	// Stand takes the place where a server is looked for, and leads to where it is. It stands until stop.
	Stand(server adapter.Orders, public, behind netip.Addr, ca *fabric.CA) (stop func(), err error)
	// Intercept wraps what a peer serves: requests of the server under test come through it.
	Intercept(peer http.Handler) http.Handler
	// Begin is told of each test that begins, by its whole text.
	Begin(test string)
}

// The world of the suite: made by Open and Start, used by all, ended by Close.
var (
	config  Config
	home    = id.ServerName("one.test") // the name of the server under test
	ca      *fabric.CA
	zone    = &fabric.Zone{}
	dns     *fabric.DNS
	places  []fabric.Place
	sut     *server    // the server under test
	alice   *user.User // a user of it
	closers []func()   // what Close does, the last first
	peers   int        // how many were started
	filters int        // how many were made
	begun   int        // how many tests have begun
	ports   = map[string]bool{}
	seen    []*peer.Peer
	calls   journal // what users of the server under test asked in the running test
)

// server is a homeserver that is tested.
type server struct {
	name      id.ServerName
	orders    adapter.Orders
	command   adapter.Command
	process   *adapter.Process // nil: a deployed one
	clientURL string
	users     int
}

// Open makes the world but for the server under test, and names that: Ginkgo may build the tests then. What it can't do is
// said for people. After an error nothing is left running.
func Open(cfg Config) (err error) {
	if cfg.Patience == 0 {
		cfg.Patience = DefaultPatience
	}
	config = cfg
	defer func() {
		if err != nil {
			Close()
		}
	}()
	SetDefaultEventuallyTimeout(cfg.Patience)
	SetDefaultEventuallyPollingInterval(5 * time.Millisecond)
	SetDefaultConsistentlyDuration(restraint)
	format.RegisterCustomFormatter(func(value any) (string, bool) { // an error is told by what it says, not by what it is made of too
		_, is := value.(error)
		return "", is
	})
	if ca, err = fabric.LoadOrCreateCA(cfg.Folder); err != nil {
		return err
	}
	if cfg.Deployed != nil {
		openDeployed()
		return nil
	}
	if places, err = fabric.Places(3); err != nil {
		return err
	}
	if places[0].ClientPort != adapter.ClientPort || places[0].FederationPort != adapter.FederationPort {
		return ErrNoLoopback
	}
	if dns, err = fabric.ListenDNS(net.JoinHostPort(places[2].IP.String(), "0"), zone); err != nil {
		return err
	}
	running, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- dns.Run(running) }()
	closers = append(closers, func() {
		stop()
		<-ended
	})
	if sut, err = planServer("one.test", "one.test", places[0].IP); err != nil {
		return err
	}
	home = sut.name
	return nil
}

// Start starts the server under test, or finds the deployed one, and makes a user there. What it can't do is said for people;
// Close ends the world then too.
func Start(ctx context.Context) (err error) {
	if config.Deployed != nil {
		return startDeployed(ctx)
	}
	if err := sut.launch(ctx); err != nil {
		return err
	}
	closers = append(closers, func() { sut.process.Kill() }) // the one that runs then
	alice, err = sut.register(ctx)
	return err
}

// ErrNoLoopback says that this machine can't hold the servers of a run.
var ErrNoLoopback = errors.New("the adapter contract needs loopback addresses of its own for each server (127.0.0.0/8), which this machine doesn't have")

// Close ends the world: every process that Start started is gone.
func Close() {
	for len(closers) > 0 {
		last := closers[len(closers)-1]
		closers = closers[:len(closers)-1]
		last()
	}
}

// LogFile is the log of the server under test; "" for a deployed one.
func LogFile() string {
	if sut == nil || sut.process == nil {
		return ""
	}
	return sut.process.LogFile()
}

// planServer plans a server that is found by a service record, or by its address. folder is where in the run's folder
// its data is.
func planServer(name, folder string, place netip.Addr) (*server, error) {
	s := &server{name: id.ServerName(name)}
	bind := place
	if config.Front != nil {
		bind = backstage(place)
	}
	nameServer := ""
	if config.LiteralNames {
		s.name = id.ServerName(netip.AddrPortFrom(place, adapter.FederationPort).String())
	} else {
		nameServer = dns.Addr()
		zone.AddSRV("_matrix-fed._tcp", name, "host."+name, adapter.FederationPort, 10, 0)
		zone.AddAddress("host."+name, place)
	}
	s.orders = adapter.Orders{
		ServerName: string(s.name), BindAddr: bind, DataDir: filepath.Join(config.Folder, folder),
		CACert: filepath.Join(config.Folder, "ca.crt"), CAKey: filepath.Join(config.Folder, "ca.key"), CABundle: filepath.Join(config.Folder, "ca.crt"),
		DNSServer: nameServer, SharedSecret: sharedSecret, RoomVersion: string(mainVersion),
	}
	s.clientURL = adapter.Orders{BindAddr: place}.ClientURL()
	var err error
	if s.command, err = s.orders.Command(config.Adapter); err != nil {
		return nil, err
	}
	s.command.Env = append(s.command.Env, config.Env...)
	s.command.StopTimeout = max(config.Patience, time.Second)
	if config.ReadyTimeout > 0 {
		s.command.ReadyTimeout = config.ReadyTimeout
	}
	return s, nil
}

// backstage is where a server is while a front stands at its place.
func backstage(place netip.Addr) netip.Addr {
	address := place.As4()
	address[3] += 100
	return netip.AddrFrom4(address)
}

// launch starts the server; its process is the caller's to end.
func (s *server) launch(ctx context.Context) error {
	process, err := adapter.Start(ctx, s.command)
	if err != nil {
		return err
	}
	if config.Front != nil && s.process == nil {
		stop, err := config.Front.Stand(s.orders, frontOf(s.orders.BindAddr), s.orders.BindAddr, ca)
		if err != nil {
			process.Kill()
			return err
		}
		closers = append(closers, stop)
	}
	s.process = process
	return nil
}

func frontOf(behind netip.Addr) netip.Addr {
	address := behind.As4()
	address[3] -= 100
	return netip.AddrFrom4(address)
}

// register makes a user: by the shared secret, or openly where that is not there.
func (s *server) register(ctx context.Context) (*user.User, error) {
	s.users++
	u := s.visitor()
	name := fmt.Sprintf("user%d", s.users)
	bySecret := u.Register(ctx, name, "a long password", sharedSecret)
	if bySecret == nil {
		return u, nil
	}
	openly := u.RegisterOpenly(ctx, name, "a long password")
	if openly == nil {
		return u, nil
	}
	u.Close()
	return nil, fmt.Errorf("%s lets nobody register, so that nothing can be tested with its users:\n  by the shared secret: %w\n  openly (m.login.dummy): %w", s.name, bySecret, openly)
}

// visitor is somebody without an account whose calls are noted.
func (s *server) visitor() *user.User {
	u := user.New(s.clientURL)
	u.Trace = func(method, path string, sent, answer []byte, err error) {
		outcome := "200 " + peer.Brief(answer)
		if err != nil {
			outcome = err.Error()
		}
		calls.note("%s asked %s %s %s\n  got  %s", u.ID, method, path, peer.Brief(sent), outcome)
		if config.Deployed != nil {
			time.Sleep(config.Deployed.Pause) // the rate is polite: the next call waits
		}
	}
	return u
}

// newServer plans a further server, of which a test has the only use.
func newServer(name string, place fabric.Place) *server {
	GinkgoHelper()
	s, err := planServer(name, name, place.IP)
	Expect(err).NotTo(HaveOccurred())
	return s
}

// start starts the server, until the surrounding node is cleaned up.
func (s *server) start() {
	GinkgoHelper()
	first := s.process == nil
	Expect(s.launch(context.Background())).To(Succeed())
	DeferCleanup(s.process.Kill)
	if first {
		further = append(further, s)
	}
}

// newUser registers a user.
func (s *server) newUser(ctx context.Context) *user.User {
	GinkgoHelper()
	u, err := s.register(ctx)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(u.Close)
	return u
}

// newPeer starts a remote server that is found by its name and port, until the test ends.
func newPeer() *peer.Peer {
	GinkgoHelper()
	peers++
	address := freshAddress()
	if config.LiteralNames {
		return startPeer(peer.Config{Listen: address})
	}
	name := fmt.Sprintf("peer%d.test", peers)
	zone.AddAddress(name, places[2].IP)
	DeferCleanup(zone.Remove, name)
	_, port, err := net.SplitHostPort(address)
	Expect(err).NotTo(HaveOccurred())
	return startPeer(peer.Config{Name: id.ServerName(name + ":" + port), Listen: address})
}

// freshAddress is an address for a peer that none had before: its name may be its address, and servers remember keys.
func freshAddress() string {
	GinkgoHelper()
	for {
		listener, err := net.Listen("tcp", net.JoinHostPort(places[2].IP.String(), "0"))
		Expect(err).NotTo(HaveOccurred())
		address := listener.Addr().String()
		Expect(listener.Close()).To(Succeed())
		if !ports[address] {
			ports[address] = true
			return address
		}
	}
}

// startPeer starts a remote server, until the test ends.
func startPeer(cfg peer.Config) *peer.Peer {
	GinkgoHelper()
	if cfg.CA == nil {
		cfg.CA = ca
	}
	cfg.DNSServer = dns.Addr()
	if config.Front != nil {
		cfg.Intercept = config.Front.Intercept
	}
	p, err := peer.Start(cfg)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(p.Close)
	seen = append(seen, p)
	return p
}

// journal is what was asked and answered, the last of it. Safe for concurrent use.
type journal struct {
	mu    sync.Mutex
	lines []string // guarded by mu
}

func (j *journal) note(format string, values ...any) {
	const most = 40
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.lines) == most {
		j.lines = append(j.lines[:0], j.lines[1:]...)
	}
	j.lines = append(j.lines, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, values...))
}

func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := j.lines
	j.lines = nil
	return lines
}

// Names of a failure's report entries.
const (
	EntryExchanges = "the exchanges of " // and whose
	EntryClients   = "what clients asked"
	EntryLog       = "the server's log"
)

// mostLog is how much of a log a failure's report has.
const mostLog = 6000 // bytes

var (
	logBefore int64     // how long the server's log was when the test began
	deaths    int       // how often the server under test has ended by itself
	further   []*server // servers of which the running test has the only use
)

// Elsewhere is why a test is skipped that another process makes.
const Elsewhere = "another process makes this test"

var _ = BeforeEach(func() {
	begun++
	if config.Mine != nil && !config.Mine(begun) {
		Skip(Elsewhere)
	}
	seen, further, logBefore = nil, nil, 0
	calls.take()
	if info, err := os.Stat(LogFile()); err == nil {
		logBefore = info.Size()
	}
	if config.Front != nil {
		config.Front.Begin(CurrentSpecReport().FullText())
	}
	if config.LiteralNames && slices.Contains(CurrentSpecReport().Labels(), labelNames) {
		Skip("it needs server names of a DNS server of the suite's, which this server doesn't ask")
	}
})

// What happened is part of a failure's report.
var _ = JustAfterEach(func() {
	if !CurrentSpecReport().Failed() {
		return
	}
	for _, p := range seen {
		AddReportEntry(EntryExchanges+string(p.Name), "\n"+strings.Join(p.Journal(), "\n"))
	}
	AddReportEntry(EntryClients, "\n"+strings.Join(calls.take(), "\n"))
	if sut == nil || sut.process == nil {
		return
	}
	log := adapter.LogTail(LogFile(), logBefore, mostLog)
	if ended(sut) {
		log += "\n(The server has ended.)"
	}
	AddReportEntry(EntryLog, "\n"+log)
	for _, s := range further {
		AddReportEntry(EntryLog, "\n("+string(s.name)+")\n"+adapter.LogTail(s.process.LogFile(), 0, mostLog))
	}
})

// mostDeaths is how often a server may end by itself in a run, which goes on as under a service manager. A test in which it
// ends has failed by that.
const mostDeaths = 40

var _ = AfterEach(func(ctx SpecContext) {
	if sut == nil || sut.process == nil || !ended(sut) {
		return
	}
	if deaths++; deaths > mostDeaths {
		AbortSuite(fmt.Sprintf("the server under test has ended by itself more than %d times", mostDeaths))
	}
	how := "exit status 0"
	if err := sut.process.Err(); err != nil {
		how = err.Error()
	}
	last := adapter.LogTail(LogFile(), logBefore, mostLog)
	if err := revive(ctx); err != nil {
		AbortSuite("the server under test has ended by itself (" + how + ") and can't be started anew: " + err.Error())
	}
	Fail("the server under test has ended by itself (" + how + ")\nits log ends with:\n" + last)
})

// revive starts the server under test anew: as it was, or, where what ended it waits for it in its data, without them.
func revive(ctx context.Context) error {
	if sut.launch(ctx) == nil {
		return nil
	}
	if err := errors.Join(os.RemoveAll(sut.orders.DataDir), os.MkdirAll(sut.orders.DataDir, 0o700), sut.launch(ctx)); err != nil {
		return err
	}
	alice.Close()
	var err error
	alice, err = sut.register(ctx)
	return err
}

// ended tells whether a server that was started has ended by itself. One that doesn't answer may be about to.
func ended(s *server) bool {
	const moment = 5 * time.Second
	client := http.Client{Timeout: moment}
	defer client.CloseIdleConnections()
	answer, err := client.Get(s.clientURL + "/_matrix/client/versions")
	if err == nil {
		_ = answer.Body.Close() // what it says is of no matter
		return false
	}
	select {
	case <-s.process.Ended():
		return true
	case <-time.After(moment):
		return false
	}
}

// status is the HTTP status of a call's outcome: 200 for none, 0 where there was no answer.
func status(err error) int {
	if err == nil {
		return http.StatusOK
	}
	if refusal, ok := err.(*user.Error); ok {
		return refusal.Status
	}
	return 0
}

// freshFilter is a /sync filter for a room ("" for all) that was not used before: a server may answer the same question
// of a client again as it did a moment ago.
func freshFilter(roomID id.RoomID) string {
	filters++
	rooms := ""
	if roomID != "" {
		rooms = `"rooms":["` + string(roomID) + `"],`
	}
	return fmt.Sprintf(`{"room":{%s"timeline":{"limit":10,"not_types":["org.example.unused%d"]}}}`, rooms, filters)
}

func query(pairs ...string) url.Values {
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Add(pairs[i], pairs[i+1])
	}
	return values
}
