// Package bench measures a homeserver as its clients and its peers see it: it starts the server through an adapter, plays
// the other servers and the clients over real HTTP and TLS with valid signed events, checks what arrives, and puts what
// the machine could do at best (the floors, measured in the same run) beside what the server did.
//
// It knows nothing of what runs inside the server, and takes no part in it: a figure is what anybody could measure.
package bench

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"hanse/federation/id"
	"hanse/testnet/adapter"
	"hanse/testnet/fabric"
)

// Options say what is measured. The zero value of a size is its default.
type Options struct {
	Program   string   // this hanse, the first column; empty: the adapters alone
	Adapters  []string // executables by the adapter contract, each a column
	Scenarios []string // by name; empty: all

	Members      int           // of the room that is joined: 10,000
	Destinations int           // servers in the room that is sent to: 20
	Clients      int           // that wait in /sync: 50
	Branches     int           // of the fork: 50
	Missed       int           // events that are missed in an outage: 500
	Duration     time.Duration // of the overload: 20 s
	Seed         uint64        // of texts, keys and orders: 1
	Quick        bool          // a tenth of everything: to see whether it works

	Dir      string    // where the servers' data goes; empty: a temporary folder, removed at the end
	JSON     bool      // print JSON in place of the table
	Out      io.Writer // the result
	Progress io.Writer // what happens while it happens; nil: nothing

	tiny bool // less than Quick, for tests
}

// Scenario is something that is measured.
type Scenario struct {
	Name string
	What string // for people

	run func(ctx context.Context, t *trial) error
}

// Scenarios are all there are, in the order of a run.
func Scenarios() []Scenario {
	return []Scenario{
		{"start", "time to ready, memory at rest with one room, size of the binary", start},
		{"join", "join of a large room: from the send_join answer to usable, complete and on disk", join},
		{"whole", "the same by way of a server that leaves no members out", joinWhole},
		{"talk", "joins of a small and of a large room: from the send_join answer to a message said", talk},
		{"answer", "answering another server's join of a large room", answerJoin},
		{"inbound", "transactions of 50 events from 10 servers, 10 rooms", inbound},
		{"local", "sends of clients, 64 at once, durable", local},
		{"outbound", "events to many servers, at a rate and at full speed", outbound},
		{"shared", "a send to many servers, against one in a room that they have left", shared},
		{"sync", "events to clients that wait in /sync, at full speed and at a rate", fanOut},
		{"catchup", "what was missed in an outage, of a peer and of the server", catchUp},
		{"fork", "a room that many servers changed at once", fork},
		{"overload", "ten times more clients and servers than it needs to be busy", overload},
	}
}

func (o *Options) complete() error {
	size := func(value *int, full, quick, most int, flag string) error {
		if *value == 0 {
			if *value = full; o.Quick {
				*value = quick
			}
		}
		if *value < 1 || *value > most {
			return fmt.Errorf("--%s %d: 1 to %d", flag, *value, most)
		}
		return nil
	}
	if o.Duration == 0 {
		if o.Duration = 20 * time.Second; o.Quick {
			o.Duration = 2 * time.Second
		}
	}
	if o.Duration < time.Second || o.Duration > maxDuration {
		return fmt.Errorf("--duration %s: %s to %s", o.Duration, time.Second, maxDuration)
	}
	o.Seed = cmp.Or(o.Seed, 1)
	return errors.Join(
		size(&o.Members, 10_000, 1000, maxMembers, "members"),
		size(&o.Destinations, 20, 5, maxDestinations, "destinations"),
		size(&o.Clients, 50, 10, maxWaiters, "clients"),
		size(&o.Branches, 50, 10, maxBranches, "branches"),
		size(&o.Missed, 500, 50, maxMissed, "missed"),
	)
}

// bench is a run.
type bench struct {
	Options
	began   time.Time
	dir     string
	ca      *fabric.CA
	places  []fabric.Place // the first is the server's under test
	world   *world
	servers []*server
	floors  *floors
	failed  bool // figures are void: the logs, which are named with the reasons, are kept

	mu  sync.Mutex // of Progress
	big *room      // the large room, made once
}

// Run measures every server in every scenario and writes the result to Out. The error is about the bench itself, or says
// that figures are void.
func Run(ctx context.Context, options Options) (err error) {
	if err := options.complete(); err != nil {
		return err
	}
	scenarios, err := chosen(options.Scenarios)
	if err != nil {
		return err
	}
	candidates, err := options.candidates()
	if err != nil {
		return err
	}
	b, err := newBench(options)
	if err != nil {
		return err
	}
	defer b.close()
	report := newReport(b, candidates)
	for _, scenario := range scenarios {
		for _, c := range candidates {
			if figures := b.trial(ctx, scenario, c); ctx.Err() == nil {
				report.add(c.name, figures)
			} // what was measured until somebody ended it is shown
		}
	}
	if err := errors.Join(report.write(options.Out, options.JSON), ctx.Err()); err != nil {
		return err
	}
	if voids := report.voids(); voids > 0 {
		b.failed = true
		return fmt.Errorf("figures are void: %d", voids)
	}
	return nil
}

func chosen(names []string) ([]Scenario, error) {
	all := Scenarios()
	if len(names) == 0 {
		return all, nil
	}
	var found []Scenario
	for _, name := range names {
		i := slices.IndexFunc(all, func(s Scenario) bool { return s.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("--scenario %s: there is no such scenario; --list shows them", name)
		}
		found = append(found, all[i])
	}
	return found, nil
}

func (o Options) candidates() ([]candidate, error) {
	var found []candidate
	if o.Program != "" {
		found = append(found, candidate{name: "hanse", program: o.Program, args: []string{"testnet", "node"}})
	}
	for _, file := range o.Adapters {
		if err := adapter.Check(file); err != nil {
			return nil, fmt.Errorf("--adapter: %w", err)
		}
		name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
		for n := 2; slices.ContainsFunc(found, func(c candidate) bool { return c.name == name }); n++ {
			name = fmt.Sprintf("%s-%d", strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), n)
		}
		found = append(found, candidate{name: name, program: file})
	}
	if len(found) == 0 {
		return nil, errors.New("there is no server to measure: give an --adapter")
	}
	return found, nil
}

func newBench(options Options) (*bench, error) {
	b := &bench{Options: options, began: time.Now(), dir: options.Dir}
	if b.dir == "" {
		dir, err := os.MkdirTemp("", "hanse-bench-")
		if err != nil {
			return nil, err
		}
		b.dir = dir
	}
	var err error
	if b.dir, err = filepath.Abs(b.dir); err != nil { // as a database's address it must be whole
		return nil, err
	}
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return nil, err
	}
	if b.ca, err = fabric.LoadOrCreateCA(b.dir); err != nil {
		return nil, err
	}
	// The server under test, a server a destination, one that comes to a large room, and those of the overload.
	if b.places, err = fabric.Places(1 + max(options.Destinations+1, joinServers+1, mixedServers+1, overloadServers)); err != nil {
		return nil, err
	}
	b.world = &world{pool: &tls.Config{RootCAs: b.ca.Pool()}}
	b.world.reset()
	b.floors = &floors{dir: b.dir, time: floorTime}
	if b.tiny {
		b.floors.time = floorTime / 10
	}
	return b, nil
}

func (b *bench) close() {
	for _, s := range b.servers {
		s.down()
	}
	if b.Dir != "" {
		return
	}
	found, _ := os.ReadDir(b.dir) // a folder in the system's own place for such folders
	for _, one := range found {
		if !b.failed || filepath.Ext(one.Name()) != ".log" {
			_ = os.RemoveAll(filepath.Join(b.dir, one.Name()))
		}
	}
	_ = os.Remove(b.dir) // where it is empty
}

// server is the bench's server of a number, which is started when it is first asked for.
func (b *bench) server(index int) (*server, error) {
	for len(b.servers) <= index {
		n := len(b.servers)
		s, err := newServer(b.world, b.ca, b.places[1+n], n, b.seed("server", n))
		if err != nil {
			return nil, err
		}
		b.servers = append(b.servers, s)
	}
	return b.servers[index], b.servers[index].up()
}

func (b *bench) firstServers(n int) ([]*server, error) {
	servers := make([]*server, n)
	for i := range servers {
		s, err := b.server(i)
		if err != nil {
			return nil, err
		}
		servers[i] = s
	}
	return servers, nil
}

// seed derives a seed from the run's.
func (b *bench) seed(what string, n int) [32]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64([]byte(fmt.Sprintf("%s %d ", what, n)), b.Seed))
}

func (b *bench) random(what string) *rand.Rand {
	return rand.New(rand.NewChaCha8(b.seed(what, 0)))
}

// say tells what happens.
func (b *bench) say(format string, args ...any) {
	if b.Progress == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	fmt.Fprintf(b.Progress, "%7.1f s  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// words is a text of the length that people's messages have: most are short, some are long. It is never the same twice.
func words(random *rand.Rand, prefix string) string {
	length := 20 + random.IntN(60)
	if random.IntN(10) == 0 {
		length += random.IntN(400)
	}
	text := []byte(prefix)
	for len(text) < length {
		text = append(text, ' ')
		for range 2 + random.IntN(8) {
			text = append(text, byte('a'+random.IntN(26)))
		}
	}
	return string(text)
}

// scaled is n, or a tenth of it (at least least) in a quick run.
func (b *bench) scaled(n, least int) int {
	switch {
	case b.tiny:
		return least
	case b.Quick:
		return max(n/10, least)
	}
	return n
}

// patience is how long a scenario at full speed goes on.
func (b *bench) patience() time.Duration {
	switch {
	case b.tiny:
		return 300 * time.Millisecond
	case b.Quick:
		return time.Second
	}
	return 6 * time.Second
}

// orders are what the server under test is told.
func (b *bench) orders(folder string) (adapter.Orders, id.ServerName) {
	place := b.places[0]
	name := netip.AddrPortFrom(place.IP, adapter.FederationPort).String()
	return adapter.Orders{
		ServerName: name, BindAddr: place.IP, DataDir: filepath.Join(b.dir, folder), SharedSecret: sharedSecret, RoomVersion: string(roomVersion),
		CACert: filepath.Join(b.dir, "ca.crt"), CAKey: filepath.Join(b.dir, "ca.key"), CABundle: filepath.Join(b.dir, "ca.crt"),
	}, id.ServerName(name)
}
