package conformance

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/testnet/adapter"
	"hanse/testnet/fabric"
	"hanse/testnet/peer"
	"hanse/testnet/user"
)

const (
	sharedSecret = "conformance"
	// patience is how long the server under test may take for what should be a moment, on a loaded machine.
	patience = 15 * time.Second
	// restraint is how long to look for what must not come.
	restraint = 300 * time.Millisecond
	// mainVersion is the room version of tests that are not about versions: the adapter contract's default.
	mainVersion = roomversion.V10
)

// The world of the suite: made once, used by all.
var (
	folder  string
	ca      *fabric.CA
	zone    = &fabric.Zone{}
	dns     *fabric.DNS
	places  []fabric.Place
	program string          // the hanse that was built; "" with another adapter
	sut     *server         // the server under test
	alice   *user.User      // a user of it
	peers   int             // how many were started
	seen    []*peer.Peer    // the running test's peers
	anchors map[string]bool // the specification's
)

func TestConformance(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(patience)
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	SetDefaultConsistentlyDuration(restraint)
	RunSpecs(t, "Conformance")
}

// server is a homeserver that is tested.
type server struct {
	name    id.ServerName
	orders  adapter.Orders
	command adapter.Command
	process *adapter.Process
	users   int
}

var _ = BeforeSuite(func(ctx SpecContext) {
	readAnchors()
	folder = GinkgoT().TempDir()
	var err error
	ca, err = fabric.LoadOrCreateCA(folder)
	Expect(err).NotTo(HaveOccurred())
	places, err = fabric.Places(3)
	Expect(err).NotTo(HaveOccurred())
	if places[0].ClientPort != adapter.ClientPort || places[0].FederationPort != adapter.FederationPort {
		Skip("the adapter contract needs loopback addresses of its own for each server (127.0.0.0/8), which this machine doesn't have")
	}
	dns, err = fabric.ListenDNS(net.JoinHostPort(places[2].IP.String(), "0"), zone)
	Expect(err).NotTo(HaveOccurred())
	running, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- dns.Run(running) }()
	DeferCleanup(func() {
		stop()
		<-ended
	})
	if os.Getenv("HANSE_CONFORMANCE_ADAPTER") == "" {
		program = filepath.Join(folder, "hanse")
		output, err := exec.CommandContext(ctx, "go", "build", "-o", program, "hanse").CombinedOutput()
		Expect(err).NotTo(HaveOccurred(), string(output))
	}
	sut = newServer("one.test", places[0])
	sut.start()
	alice = sut.newUser(ctx)
}, NodeTimeout(3*time.Minute))

// newServer plans a server that is found by a service record.
func newServer(name string, place fabric.Place) *server {
	GinkgoHelper()
	zone.AddSRV("_matrix-fed._tcp", name, "host."+name, place.FederationPort, 10, 0)
	zone.AddAddress("host."+name, place.IP)
	s := &server{name: id.ServerName(name), orders: adapter.Orders{
		ServerName: name, BindAddr: place.IP, DataDir: filepath.Join(folder, name),
		CACert: filepath.Join(folder, "ca.crt"), CAKey: filepath.Join(folder, "ca.key"), CABundle: filepath.Join(folder, "ca.crt"),
		DNSServer: dns.Addr(), SharedSecret: sharedSecret,
	}}
	executable := os.Getenv("HANSE_CONFORMANCE_ADAPTER")
	if executable == "" {
		executable = filepath.Join("adapters", "hanse.sh")
	}
	var err error
	s.command, err = s.orders.Command(executable)
	Expect(err).NotTo(HaveOccurred())
	if program != "" {
		s.command.Env = append(s.command.Env, "HANSE_BIN="+program)
	}
	return s
}

// start starts the server, until the surrounding node is cleaned up.
func (s *server) start() {
	GinkgoHelper()
	process, err := adapter.Start(context.Background(), s.command)
	Expect(err).NotTo(HaveOccurred())
	s.process = process
	DeferCleanup(process.Kill)
}

// newUser registers a user.
func (s *server) newUser(ctx context.Context) *user.User {
	GinkgoHelper()
	s.users++
	u := user.New(s.orders.ClientURL())
	DeferCleanup(u.Close)
	Expect(u.Register(ctx, fmt.Sprintf("user%d", s.users), "a long password", sharedSecret)).To(Succeed())
	return u
}

// newPeer starts a remote server that is found by its name and port, until the test ends.
func newPeer() *peer.Peer {
	GinkgoHelper()
	peers++
	name := fmt.Sprintf("peer%d.test", peers)
	zone.AddAddress(name, places[2].IP)
	DeferCleanup(zone.Remove, name)
	listener, err := net.Listen("tcp", net.JoinHostPort(places[2].IP.String(), "0"))
	Expect(err).NotTo(HaveOccurred())
	address := listener.Addr().String()
	Expect(listener.Close()).To(Succeed())
	_, port, err := net.SplitHostPort(address)
	Expect(err).NotTo(HaveOccurred())
	return startPeer(peer.Config{Name: id.ServerName(name + ":" + port), Listen: address})
}

// startPeer starts a remote server, until the test ends.
func startPeer(cfg peer.Config) *peer.Peer {
	GinkgoHelper()
	if cfg.CA == nil {
		cfg.CA = ca
	}
	cfg.DNSServer = dns.Addr()
	p, err := peer.Start(cfg)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(p.Close)
	seen = append(seen, p)
	return p
}

// says names what is tested: a sentence of the specification and where it stands. A failure's report shows it.
func says(anchor, sentence string) {
	GinkgoHelper()
	Expect(anchors).To(HaveKey(anchor), "the suite cites a section that the specification doesn't have")
	AddReportEntry("the specification", anchor+": "+sentence, ReportEntryVisibilityFailureOrVerbose)
}

// follows is says for what no single sentence of the specification says, but what follows from a section, from the
// purpose of an endpoint, or from another document.
func follows(anchor, reason string) {
	GinkgoHelper()
	Expect(anchors).To(HaveKey(anchor), "the suite cites a section that the specification doesn't have")
	AddReportEntry("what follows from the specification", anchor+": "+reason, ReportEntryVisibilityFailureOrVerbose)
}

func readAnchors() {
	text, err := os.ReadFile(filepath.Join("..", "doc", "spec-anchors.txt"))
	Expect(err).NotTo(HaveOccurred())
	anchors = map[string]bool{}
	for line := range strings.Lines(string(text)) {
		anchors[strings.TrimSpace(line)] = true
	}
}

var logBefore int64 // how long the server's log was when the test began

var _ = BeforeEach(func() {
	seen, logBefore = nil, 0
	if info, err := os.Stat(sut.process.LogFile()); err == nil {
		logBefore = info.Size()
	}
})

// What happened is part of a failure's report.
var _ = JustAfterEach(func() {
	if !CurrentSpecReport().Failed() {
		return
	}
	for _, p := range seen {
		AddReportEntry("the exchanges of "+string(p.Name), "\n"+strings.Join(p.Journal(), "\n"))
	}
	AddReportEntry("the server's log", "\n"+logTail(sut.process.LogFile(), logBefore))
	select {
	case <-sut.process.Ended():
		AbortSuite("the server under test has ended")
	default:
	}
})

func logTail(file string, from int64) string {
	const most = 6000
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	data = data[min(from, int64(len(data))):]
	if len(data) > most {
		data = data[len(data)-most:]
		if _, rest, ok := bytes.Cut(data, []byte("\n")); ok {
			data = rest
		}
	}
	return string(data)
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

// eachVersion makes an entry of a table for every room version, with its label.
func eachVersion() []TableEntry {
	var entries []TableEntry
	for _, version := range peer.Versions() {
		entries = append(entries, Entry("in room version "+string(version), Label("rooms:v"+string(version)), version))
	}
	return entries
}

func query(pairs ...string) url.Values {
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Add(pairs[i], pairs[i+1])
	}
	return values
}
