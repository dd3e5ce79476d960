package interop

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/conformance/expected"
	"hanse/testnet/adapter"
	"hanse/testnet/fabric"
	"hanse/testnet/user"
)

const (
	secret   = "interoperation"
	password = "a long password"
)

// peerKind is the homeserver that Hanse meets, by the name of its adapter; what it is known to fail is in NAME.interop
// beside that.
var peerKind = os.Getenv("HANSE_INTEROP")

// peerTitle is its name in the tests' texts.
var peerTitle = strings.ToUpper(peerKind[:min(1, len(peerKind))]) + peerKind[min(1, len(peerKind)):]

// server is one homeserver under test. Both are named by loopback literals with a port, since such peers ask only the
// system's resolver.
type server struct {
	kind    string
	orders  adapter.Orders
	command adapter.Command
	process *adapter.Process
}

var (
	hanse, peer *server
	anew        *server            // another Hanse, which a spec starts and ends
	mails       *fabric.MailServer // takes those of Hanse
	roots       *x509.CertPool
	users       int
)

func TestInterop(t *testing.T) {
	if peerKind == "" {
		t.Skip("needs another homeserver: run `make interop`")
	}
	known, err := expected.Read(filepath.Join("..", "adapters", peerKind+".interop"))
	if err != nil {
		t.Fatal(err)
	}
	RegisterFailHandler(func(message string, skip ...int) {
		text := CurrentSpecReport().FullText()
		caller := 1
		if len(skip) > 0 {
			caller += skip[0]
		}
		if failure := known.Find(text); failure != nil {
			failure.Met++
			Skip("It was expected to fail. "+failure.Why+"\n"+message, caller)
		}
		Fail(message, caller)
	})
	RunSpecs(t, "Hanse and "+peerTitle)
	specs, _ := GinkgoConfiguration()
	for _, failure := range known {
		if failure.Met == 0 && len(specs.FocusStrings) == 0 {
			t.Errorf("line %d of the expected failures: nothing failed that it is about; take it off the list:\n  %s", failure.Line, failure.Text)
		}
	}
}

var _ = BeforeSuite(func() {
	folder := GinkgoT().TempDir()
	ca, err := fabric.LoadOrCreateCA(folder)
	Expect(err).NotTo(HaveOccurred())
	roots = ca.Pool()
	Expect(roots).NotTo(BeNil())
	places, err := fabric.Places(3)
	Expect(err).NotTo(HaveOccurred())
	built := "HANSE_BIN=" + program(folder)
	mails, err = fabric.ListenMail("127.0.0.1:0", fabric.MailConfig{})
	Expect(err).NotTo(HaveOccurred())
	running, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mails.Run(running) }()
	DeferCleanup(func() {
		stop()
		Expect(<-ended).To(Succeed())
	})
	hanse = newServer("hanse", folder, "hanse", netip.AddrPortFrom(places[0].IP, adapter.FederationPort), built,
		"HANSE_OAUTH=yes", fmt.Sprintf("HANSE_MAIL=127.0.0.1:%d", mails.Port()))
	anew = newServer("hanse", folder, "anew", netip.AddrPortFrom(places[2].IP, adapter.FederationPort), built)
	peer = newServer(peerKind, folder, peerKind, netip.AddrPortFrom(places[1].IP, adapter.FederationPort))
	hanse.start()
	peer.start()
})

var _ = AfterSuite(func() {
	for _, s := range []*server{hanse, peer, anew} {
		if s != nil && s.process != nil {
			s.process.Kill()
		}
	}
})

var _ = AfterEach(func() {
	if CurrentSpecReport().Failed() {
		for _, s := range []*server{hanse, peer, anew} {
			if s.process == nil {
				continue
			}
			GinkgoWriter.Printf("the log of %s ends with:\n%s\n", s.kind, adapter.LogTail(s.process.LogFile(), 0, 20_000))
		}
	}
})

// program is this repository's hanse: HANSE_BIN, or built into a folder.
func program(folder string) string {
	GinkgoHelper()
	file, err := adapter.Hanse(filepath.Join(folder, "bin"))
	Expect(err).NotTo(HaveOccurred())
	return file
}

// newServer plans a server whose name is its address, with its data in a folder of the run's.
func newServer(kind, folder, data string, name netip.AddrPort, env ...string) *server {
	GinkgoHelper()
	s := &server{kind: strings.TrimSuffix(kind, "-postgres"), orders: adapter.Orders{
		ServerName: name.String(), BindAddr: name.Addr(), DataDir: filepath.Join(folder, data),
		CACert: filepath.Join(folder, "ca.crt"), CAKey: filepath.Join(folder, "ca.key"), CABundle: filepath.Join(folder, "ca.crt"),
		SharedSecret: secret,
	}}
	var err error
	s.command, err = s.orders.Command(filepath.Join("..", "adapters", kind+".sh"))
	Expect(err).NotTo(HaveOccurred())
	s.command.Env = append(s.command.Env, env...)
	return s
}

func (s *server) start() {
	GinkgoHelper()
	process, err := adapter.Start(context.Background(), s.command)
	for tries := 1; err != nil && s.kind == "dendrite" && tries < 4; tries++ {
		// It panics where an event that waits in its queue is quicker than its start: a service manager would start it again.
		process, err = adapter.Start(context.Background(), s.command)
	}
	Expect(err).NotTo(HaveOccurred())
	s.process = process
}

func (s *server) stop() {
	GinkgoHelper()
	Expect(s.process.Stop()).To(Succeed())
}

// newUser registers a user.
func (s *server) newUser(ctx context.Context) *user.User {
	GinkgoHelper()
	users++
	u := user.New(s.orders.ClientURL())
	DeferCleanup(u.Close)
	Expect(u.Register(ctx, fmt.Sprintf("user%d", users), password, secret)).To(Succeed())
	return u
}

// bodies are the texts of the messages that a user sees in a room, the oldest first.
func bodies(ctx context.Context, u *user.User, room string) func() ([]string, error) {
	return func() ([]string, error) {
		history, err := u.History(ctx, room)
		var texts []string
		for i := len(history) - 1; i >= 0; i-- {
			if history[i].Type == "m.room.message" {
				texts = append(texts, history[i].Body())
			}
		}
		return texts, err
	}
}

// members are the memberships that a user sees in a room's current state.
func members(ctx context.Context, u *user.User, room string) func() (map[string]string, error) {
	return func() (map[string]string, error) {
		state, err := u.State(ctx, room)
		memberships := map[string]string{}
		for _, e := range state {
			if e.Type == "m.room.member" && e.StateKey != nil {
				memberships[*e.StateKey] = membership(e)
			}
		}
		return memberships, err
	}
}

// patience is how long the other server may take to know.
const patience = 30 * time.Second
