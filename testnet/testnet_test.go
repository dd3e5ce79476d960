package testnet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hanse/testnet/adapter"
	"hanse/testnet/fabric"
	"hanse/testnet/user"
)

var programs string // the folder of what is built for the tests

// program builds hanse once for all tests of the package.
var program = sync.OnceValues(func() (string, error) { return adapter.Hanse(programs) })

func TestMain(m *testing.M) {
	var err error
	if programs, err = os.MkdirTemp("", "hanse-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(programs) // it is in the system's folder for what is temporary
	os.Exit(code)
}

func hanse(t *testing.T) string {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// played is two nodes whose users have met. They end with the test.
func played(t *testing.T, out io.Writer) *scenario {
	t.Helper()
	dir := t.TempDir()
	plan, _, err := loadOrMakePlan(dir, 2, "")
	if err != nil {
		t.Fatal(err)
	}
	network, err := newNetwork(dir, hanse(t), plan)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := network.stop(); err != nil {
			t.Error(err)
		}
	})
	s := &scenario{network: network, report: &report{out: out, began: time.Now()}, patience: convergeTimeout}
	t.Cleanup(s.close)
	if err := network.start(t.Context(), s.report); err != nil {
		t.Fatal(err)
	}
	if err := s.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestUp is the README's main job: the nodes start, their users meet, and a second start goes on with them.
func TestUp(t *testing.T) {
	dir := t.TempDir()
	for run := range 2 {
		var out bytes.Buffer
		err := Up(t.Context(), Options{Once: true, Dir: dir, JSON: run == 1, Program: hanse(t), Out: &out})
		if err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		if want := fmt.Sprintf("all 3 nodes show the same %d messages", 3+3*run); !strings.Contains(out.String(), want) {
			t.Errorf("run %d doesn't say %q:\n%s", run, want, out.String())
		}
		if run == 0 {
			for _, want := range []string{"SRV record", "name and port", "@alice:node1.test", "joined by the alias", "joined by the invite"} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("nothing is said of %q:\n%s", want, out.String())
				}
			}
			continue
		}
		for line := range strings.Lines(out.String()) {
			if !json.Valid([]byte(line)) {
				t.Errorf("not a line of JSON: %s", line)
			}
		}
	}
	for _, wrong := range []Options{{Dir: dir, Nodes: 4}, {Dir: dir, RoomVersion: "3"}, {Nodes: 51}, {RoomVersion: "13"}} {
		wrong.Once, wrong.Program, wrong.Out = true, hanse(t), &bytes.Buffer{}
		if err := Up(t.Context(), wrong); err == nil {
			t.Errorf("%+v is taken", wrong)
		}
	}
}

func TestAnInterruptedTestnetLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	out := &lockedBuffer{}
	ended := make(chan error)
	go func() { ended <- Up(ctx, Options{Nodes: 1, Dir: dir, Program: hanse(t), Out: out}) }()
	for !strings.Contains(out.String(), "stays up until Ctrl-C") {
		select {
		case err := <-ended:
			t.Fatalf("ended: %v\n%s", err, out.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	if !strings.Contains(out.String(), "stopped all nodes") {
		t.Errorf("no word of the end:\n%s", out.String())
	}
	log, err := os.ReadFile(filepath.Join(dir, "node1", "hanse.log"))
	if err != nil || !bytes.Contains(log, []byte("hanse stops")) {
		t.Errorf("the node did not stop in order: %v\n%s", err, log)
	}
}

// writerFunc is a function as a writer.
type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestAnInterruptedScenarioLeavesNoFolder: only a failure leaves one, with the logs that tell why.
func TestAnInterruptedScenarioLeavesNoFolder(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := writerFunc(func(p []byte) (int, error) {
		if bytes.Contains(p, []byte("DNS server at")) {
			cancel() // the nodes are about to start
		}
		return len(p), nil
	})
	if err := Up(ctx, Options{Nodes: 1, Once: true, Program: hanse(t), Out: out}); !errors.Is(err, errInterrupted) {
		t.Errorf("it was interrupted: %v", err)
	}
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

func TestFoldersThatCanNotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := dataFolder(file); err == nil || !strings.HasPrefix(err.Error(), "--dir: ") {
		t.Error(err)
	}
	t.Setenv("TMPDIR", file)
	if _, err := dataFolder(""); err == nil || !strings.Contains(err.Error(), "TMPDIR") || !strings.Contains(err.Error(), "--dir") {
		t.Error(err)
	}
}

// lockedBuffer is a buffer that one goroutine writes and another reads.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer // guarded by mu
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// TestKilledNodesLoseNothing kills a node at random moments while its user and another node's talk. What was acknowledged is
// there after the next start, once, and both nodes come to show the same room.
func TestKilledNodesLoseNothing(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := played(t, io.Discard)
	acknowledged := map[string]string{} // event ID → text
	for round := range 4 {
		for id, text := range talkUntilKilled(t, s, random, round) {
			if acknowledged[id] != "" {
				t.Errorf("%s was given to %q and to %q", id, acknowledged[id], text)
			}
			acknowledged[id] = text
		}
	}
	if err := s.converge(t.Context()); err != nil {
		t.Error(err)
	}
	v, err := look(t.Context(), s.users[0], s.roomID)
	if err != nil {
		t.Fatal(err)
	}
	for id, text := range acknowledged {
		if v.messages[id] != text {
			t.Errorf("%q was acknowledged as %s; the room has %q", text, id, v.messages[id])
		}
	}
	count := map[string]int{}
	for _, text := range v.messages {
		count[text]++
	}
	for text, n := range count {
		if n > 1 && strings.HasPrefix(text, "round") {
			t.Errorf("%q is there %d times", text, n)
		}
	}
	t.Logf("%d messages were acknowledged over 4 kills", len(acknowledged))
}

// talkUntilKilled lets both users talk, kills node1 meanwhile, starts it again, and returns what was acknowledged.
func talkUntilKilled(t *testing.T, s *scenario, random *rand.Rand, round int) map[string]string {
	t.Helper()
	const talkers = 4
	acknowledged := map[string]string{}
	var mu sync.Mutex
	ctx, cancel := context.WithCancel(t.Context())
	var talking sync.WaitGroup
	for i := range talkers {
		talking.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				text := fmt.Sprintf("round %d talker %d message %d", round, i, n)
				id, err := s.users[i%2].Say(ctx, s.roomID, text)
				if err != nil {
					if i%2 == 0 {
						return // killed
					}
					var refusal *user.Error
					if errors.As(err, &refusal) {
						t.Errorf("the node that lives refuses: %v", err)
					}
					return
				}
				mu.Lock()
				acknowledged[id] = text
				mu.Unlock()
			}
		})
	}
	time.Sleep(time.Duration(50+random.IntN(400)) * time.Millisecond)
	s.network.processes[0].Kill()
	cancel()
	talking.Wait()
	if err := s.network.startNode(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	return acknowledged
}

// TestWhoAsksAfterAJoinSeesTheRoom: its members come a moment after the join, and a client that doesn't load them lazily is not shown a
// room without them.
func TestWhoAsksAfterAJoinSeesTheRoom(t *testing.T) {
	s := played(t, io.Discard)
	for range 10 {
		roomID, err := s.users[0].CreateRoom(t.Context(), map[string]any{"preset": "public_chat"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.users[1].Join(t.Context(), roomID, s.network.plan.Nodes[0].ServerName); err != nil {
			t.Fatal(err)
		}
		// On a slow machine the members may come after the answer's patience.
		for wait, until := time.Duration(0), time.Now().Add(3*time.Minute); ; wait = 5 * time.Second {
			answer, err := s.users[1].Sync(t.Context(), wait)
			if err != nil {
				t.Fatal(err)
			}
			if _, shown := answer.Rooms.Join[roomID]; shown {
				break
			}
			if time.Now().After(until) {
				t.Fatal("the room isn't shown")
			}
		}
	}
}

func TestPlansAreKept(t *testing.T) {
	dir := t.TempDir()
	plan, kept, err := loadOrMakePlan(dir, 7, "11")
	if err != nil || kept {
		t.Fatal(kept, err)
	}
	again, kept, err := loadOrMakePlan(dir, 0, "10")
	if err == nil || kept {
		t.Errorf("another room version is taken: %v", again)
	}
	again, kept, err = loadOrMakePlan(dir, 7, "11")
	if err != nil || !kept || !slices.Equal(plan.Nodes, again.Nodes) || plan.SharedSecret != again.SharedSecret {
		t.Errorf("kept %v, %v: %+v, not %+v", kept, err, again, plan)
	}
	other, err := net.Listen("tcp", plan.Nodes[3].Place.Federation())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := loadOrMakePlan(dir, 0, ""); err == nil || !strings.Contains(err.Error(), "is up already, or another program is at node4's address") {
		t.Errorf("a node's address is in use: %v", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, node := range plan.Nodes {
		names[node.ServerName] = true
	}
	if len(names) != 7 {
		t.Errorf("%v", names)
	}
	if err := os.WriteFile(planFile(dir), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := loadOrMakePlan(dir, 0, ""); err == nil || !strings.Contains(err.Error(), "another --dir") {
		t.Errorf("a broken plan: %v", err)
	}
}

func TestDifferencesAreNamed(t *testing.T) {
	plan := makePlan(make([]fabric.Place, 2), "")
	same := view{messages: map[string]string{"$1": "a"}, state: map[string]string{"m.room.create": "$0"}}
	for want, other := range map[string]view{
		"":                                     same,
		`node2 lacks the message "$1"`:         {state: same.state},
		`node1 lacks the message "$2"`:         {messages: map[string]string{"$1": "a", "$2": "b"}, state: same.state},
		`the state "m.room.create" is $0 on n`: {messages: same.messages, state: map[string]string{"m.room.create": "$9"}},
	} {
		if got := compare(plan, []view{same, other}); !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestNodeConfigFollowsTheOrders(t *testing.T) {
	dir := t.TempDir()
	if _, err := fabric.LoadOrCreateCA(dir); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"SERVER_NAME": "[::1]:8448", "BIND_ADDR": "127.0.0.9", "DATA_DIR": filepath.Join(dir, "data"), "CA_CERT": filepath.Join(dir, "ca.crt"),
		"CA_KEY": filepath.Join(dir, "ca.key"), "CA_BUNDLE": filepath.Join(dir, "ca.crt"), "DNS_SERVER": "127.0.0.1:53", "SHARED_SECRET": "s",
	}
	config, err := NodeConfig(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	if err := config.Validate(); err != nil {
		t.Error(err)
	}
	if config.Rooms.DefaultVersion != "10" || !config.Registration.Open || config.Federation.DNSServer != "127.0.0.1:53" ||
		config.Client.Listen[0] != "127.0.0.9:8008" || config.Federation.Listen[0] != "127.0.0.9:8448" {
		t.Errorf("%+v", config)
	}
	for _, name := range []string{"irc.yaml", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env["APPSERVICE_DIR"] = dir
	config, err = NodeConfig(func(name string) string { return env[name] })
	if want := []string{filepath.Join(dir, "irc.yaml")}; err != nil || !slices.Equal(config.ApplicationServices, want) {
		t.Errorf("application services %v, %v", config.ApplicationServices, err)
	}
	orders, err := adapter.OrdersFrom(func(name string) string { return env[name] })
	if err != nil || !slices.Contains(orders.Environ(), "SERVER_NAME=[::1]:8448") {
		t.Errorf("%+v, %v", orders, err)
	}
	delete(env, "CA_KEY")
	if _, err := NodeConfig(func(name string) string { return env[name] }); err == nil || !strings.Contains(err.Error(), "CA_KEY") {
		t.Errorf("without CA_KEY: %v", err)
	}
}
