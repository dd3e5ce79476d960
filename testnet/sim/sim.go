// Package sim runs the room machines of several servers against each other: one room, a network that delays, reorders, repeats and
// loses, servers that crash, users who ban each other at the same time, and a forger. It is one thread without IO, and all chance comes
// from a seed, so that a run can be repeated.
//
// After each run the network is healed, and what must hold in every federation is checked: all servers in the room agree on the
// current state, on the forward extremities, on what was rejected, and on the state at every event that they have in common; nothing
// that was acknowledged is gone; nobody who is banned shows as joined.
//
// It is no model of HTTP or of the database: whole nodes are tested elsewhere.
package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/crypto/ed25519"

	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
)

// Config is what a run is made of. The zero values are sane, but for Seed and Version.
type Config struct {
	Seed    uint64
	Version roomversion.Version
	Servers int // 3 to 8; 0: by the seed
	Actions int // what users do; 0: 120
	Faults  Faults
	Trace   func(format string, args ...any) // told of everything that happens; nil: nobody is
}

// Faults are the chances, in percent, of what goes wrong. All zero: DefaultFaults.
type Faults struct {
	Lost      int // a transaction doesn't arrive, or its answer doesn't
	Crash     int // a server crashes after a step: half of the times before the commit is durable
	Partition int // at each action: the network is cut in two, or whole again
	Forget    int // a server that couldn't reach another keeps only the newest event for it
	Forge     int // at each action: a user's server makes an event on an old part of the graph
	Fetch     int // a server doesn't answer a fetch
}

// DefaultFaults are those of a bad day.
func DefaultFaults() Faults {
	return Faults{Lost: 20, Crash: 4, Partition: 6, Forget: 10, Forge: 15, Fetch: 15}
}

// Report counts what a run went through. A test of many runs holds it against what should be reached.
type Report struct {
	Events, Accepted, SoftFailed, Rejected, Waited, Dropped, Duplicates int
	FetchedMissing, FetchedAuth, FetchedState, FailedFetches            int
	Merges, StateOnly                                                   int // forward extremities merged; state changed by an event that isn't its own
	Crashes, Restaged, Partitions, Joins, Rejoins, Backfills            int
	Reset                                                               int // servers whose return was undone by state resolution
}

// Add sums up reports.
func (r *Report) Add(o Report) {
	r.Events += o.Events
	r.Accepted += o.Accepted
	r.SoftFailed += o.SoftFailed
	r.Rejected += o.Rejected
	r.Waited += o.Waited
	r.Dropped += o.Dropped
	r.Duplicates += o.Duplicates
	r.FetchedMissing += o.FetchedMissing
	r.FetchedAuth += o.FetchedAuth
	r.FetchedState += o.FetchedState
	r.FailedFetches += o.FailedFetches
	r.Merges += o.Merges
	r.StateOnly += o.StateOnly
	r.Crashes += o.Crashes
	r.Restaged += o.Restaged
	r.Partitions += o.Partitions
	r.Joins += o.Joins
	r.Rejoins += o.Rejoins
	r.Backfills += o.Backfills
	r.Reset += o.Reset
}

// Failure is a broken invariant. The same Config breaks it again.
type Failure struct {
	Seed      uint64
	Version   roomversion.Version
	Invariant string
	Detail    string
}

func (f *Failure) Error() string {
	return fmt.Sprintf("seed %d, room version %s: %s: %s", f.Seed, f.Version, f.Invariant, f.Detail)
}

// network is a run.
type network struct {
	cfg      Config
	rules    *roomversion.Rules
	rand     *rand.Rand
	key      signedjson.Key // signs for everybody: machines don't look at signatures
	now      time.Time
	servers  []*server
	flying   []flight
	side     map[id.ServerName]bool // which side of the partition a server is on
	parted   bool
	healed   bool // no more faults
	report   Report
	messages int
}

// Run makes one run. The error is a *Failure, or that of a machine.
func Run(cfg Config) (Report, error) {
	rules, ok := roomversion.Lookup(cfg.Version)
	if !ok {
		return Report{}, fmt.Errorf("sim: no room version %q", cfg.Version)
	}
	n := &network{
		cfg: cfg, rules: rules, rand: rand.New(rand.NewPCG(cfg.Seed, 0x9e3779b97f4a7c15)), now: time.UnixMilli(1_700_000_000_000),
		key:  signedjson.Key{ID: "ed25519:1", Private: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))},
		side: make(map[id.ServerName]bool),
	}
	if n.cfg.Servers == 0 {
		n.cfg.Servers = 3 + n.rand.IntN(4)
	}
	if n.cfg.Actions == 0 {
		n.cfg.Actions = 120
	}
	if n.cfg.Faults == (Faults{}) {
		n.cfg.Faults = DefaultFaults()
	}
	for i := range n.cfg.Servers {
		n.servers = append(n.servers, newServer(n, i))
	}
	if err := n.play(); err != nil {
		return n.report, err
	}
	if err := n.heal(); err != nil {
		return n.report, err
	}
	return n.report, n.check()
}

func (n *network) play() error {
	if err := n.found(); err != nil {
		return err
	}
	for range n.cfg.Actions {
		n.now = n.now.Add(time.Duration(1+n.rand.IntN(1000)) * time.Millisecond)
		n.weather()
		if err := n.act(); err != nil {
			return err
		}
		for range n.rand.IntN(6) {
			if err := n.deliverOne(); err != nil {
				return err
			}
		}
	}
	return nil
}

// heal ends all faults, lets everything arrive, and has the stewards of all servers speak until everybody has heard all of them.
func (n *network) heal() error {
	n.trace("healed")
	n.healed, n.parted = true, false
	for round := range 4 {
		if err := n.deliverAll(); err != nil {
			return err
		}
		for _, s := range n.servers {
			if !s.present() || round == 3 && s != n.servers[0] {
				continue
			}
			if err := s.speak(s.steward()); err != nil {
				return err
			}
		}
	}
	return n.deliverAll()
}

func (n *network) chance(percent int) bool { return !n.healed && n.rand.IntN(100) < percent }

func (n *network) trace(format string, args ...any) {
	if n.cfg.Trace != nil {
		n.cfg.Trace(format, args...)
	}
}

func (n *network) fail(invariant, format string, args ...any) error {
	return &Failure{Seed: n.cfg.Seed, Version: n.cfg.Version, Invariant: invariant, Detail: fmt.Sprintf(format, args...)}
}

func (n *network) byName(name id.ServerName) *server {
	i := slices.IndexFunc(n.servers, func(s *server) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return n.servers[i]
}

// reach tells whether a request from a to b gets through now.
func (n *network) reach(a, b *server) bool {
	return !n.parted || n.side[a.name] == n.side[b.name]
}

// count takes a result into the report.
func (n *network) count(r room.Result) {
	for _, v := range r.Verdicts {
		switch {
		case v.Duplicate:
			n.report.Duplicates++
		case v.Status == room.Accepted:
			n.report.Accepted++
		case v.Status == room.SoftFailed:
			n.report.SoftFailed++
		case v.Status == room.Rejected:
			n.report.Rejected++
		case v.Status == room.Waiting:
			n.report.Waited++
		case v.Status == room.Dropped:
			n.report.Dropped++
		}
	}
	n.report.Events += len(r.Commit.Events)
	own := make(map[id.EventID]bool, len(r.Commit.Events))
	for _, c := range r.Commit.Events {
		own[c.Event.ID()] = true
	}
	for _, change := range r.Commit.Changes {
		if !own[change.New] {
			n.report.StateOnly++
			break
		}
	}
}
