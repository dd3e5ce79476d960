package hostile

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/testnet/adapter"
	"hanse/testnet/fabric"
	"hanse/testnet/peer"
	"hanse/testnet/user"
)

const (
	sharedSecret = "hostile"
	// patience is how long a node may take for what should be a moment, on a loaded machine.
	patience = time.Minute
)

// The long tests and their lengths. They tell something of rates and times on a machine that does nothing else; without
// them nothing is held against the clock.
var (
	overloadTime = flag.Duration("overload", 0, "how long each kind of overload lasts; 0: not at all")
	soakTime     = flag.Duration("soak", 0, "how long the mixed load lasts; 0: not at all")
)

// measuring tells that times are held against their marks.
func measuring() bool { return *overloadTime > 0 }

// The world of the suite: made once, used by all.
var (
	folder string
	ca     *fabric.CA
	zone   = &fabric.Zone{}
	dns    *fabric.DNS
	places []fabric.Place
	binary string
	peers  int // how many were started
)

func TestHostile(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(patience)
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	RunSpecs(t, "Hostile inputs")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	folder = GinkgoT().TempDir()
	var err error
	ca, err = fabric.LoadOrCreateCA(folder)
	Expect(err).NotTo(HaveOccurred())
	places, err = fabric.Places(4)
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
	binary, err = adapter.Hanse(folder)
	Expect(err).NotTo(HaveOccurred())
}, NodeTimeout(4*time.Minute))

// node is the node under attack, a process of its own.
type node struct {
	name    id.ServerName
	orders  adapter.Orders
	monitor string // "ip:port"
	command adapter.Command
	process *adapter.Process
	users   int
}

// startNode starts a node with an empty database, until the test ends.
func startNode() *node {
	GinkgoHelper()
	return startNodeOn("")
}

// startNodeOn starts a node on an empty database, until the test ends; "": the embedded one.
func startNodeOn(database string) *node {
	GinkgoHelper()
	peers++
	name := fmt.Sprintf("one%d.test", peers)
	zone.AddSRV("_matrix-fed._tcp", name, "host."+name, places[0].FederationPort, 10, 0)
	zone.AddAddress("host."+name, places[0].IP)
	DeferCleanup(zone.Remove, name)
	n := &node{
		name: id.ServerName(name), monitor: net.JoinHostPort(places[0].IP.String(), "9008"),
		orders: adapter.Orders{
			ServerName: name, BindAddr: places[0].IP, DataDir: filepath.Join(folder, name),
			CACert: filepath.Join(folder, "ca.crt"), CAKey: filepath.Join(folder, "ca.key"), CABundle: filepath.Join(folder, "ca.crt"),
			DNSServer: dns.Addr(), SharedSecret: sharedSecret, DatabaseURL: database,
		},
	}
	var err error
	n.command, err = n.orders.Command(binary, "testnet", "node")
	Expect(err).NotTo(HaveOccurred())
	n.command.Env = append(n.command.Env, "HANSE_MONITOR="+n.monitor, "HANSE_LOG=info")
	n.start()
	DeferCleanup(func() { n.process.Kill() })
	return n
}

func (n *node) start() {
	GinkgoHelper()
	var err error
	n.process, err = adapter.Start(context.Background(), n.command)
	Expect(err).NotTo(HaveOccurred())
}

// complaints are the warnings and errors that the log has beyond so many bytes; size is how many it has.
func (n *node) complaints(beyond int) (lines []string, size int) {
	GinkgoHelper()
	log, err := os.ReadFile(n.command.LogFile)
	Expect(err).NotTo(HaveOccurred())
	for line := range strings.Lines(string(log[min(beyond, len(log)):])) {
		if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") || strings.HasPrefix(line, "panic:") {
			lines = append(lines, line)
		}
	}
	return lines, len(log)
}

// newUser registers a user.
func (n *node) newUser(ctx context.Context) *user.User {
	GinkgoHelper()
	n.users++
	u := user.New(n.orders.ClientURL())
	DeferCleanup(u.Close)
	Expect(u.Register(ctx, fmt.Sprintf("user%d", n.users), "a long password", sharedSecret)).To(Succeed())
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
	p, err := peer.Start(peer.Config{Name: id.ServerName(name + ":" + port), Listen: address, CA: ca, DNSServer: dns.Addr()})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(p.Close)
	return p
}

// tlsConfig is for connections to the node's federation port.
func (n *node) tlsConfig() *tls.Config {
	return &tls.Config{RootCAs: ca.Pool(), ServerName: "host." + string(n.name), InsecureSkipVerify: true} // whose it is doesn't matter here
}
