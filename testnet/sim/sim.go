// Package sim runs the room machines of several servers against each other: one room, a network that delays, reorders, repeats and
// loses, servers that crash, users who ban each other at the same time, and a forger. It is one thread without IO, and all chance comes
// from a seed, so that a run can be repeated.
//
// After each run the network is healed, and what must hold in every federation is checked: all servers in the room agree on the
// current state, on the forward extremities, on what was rejected, and on the state at every event that they have in common; nothing
// that was acknowledged is gone; nobody who is banned shows as joined; and who joined with a partial state ends like all others.
//
// A run that fails can be made smaller ([Shrink]) and told as a scenario in the text form of federation/room's tests ([Scenario]).
//
// It is no model of HTTP or of the database: whole nodes are tested elsewhere.
package sim

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"time"

	"golang.org/x/crypto/ed25519"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
)

// Config is what a run is made of. The zero values are sane, but for Seed and Version.
type Config struct {
	Seed    uint64
	Version roomversion.Version
	Shape   Shape
	Servers int // 3 to 20; 0: by the seed, mostly few
	Actions int // what users do; 0: by the seed, 8 to 120 in long runs, 3 to 7 in short ones
	Faults  Faults
	steps   []stepOf                         // what happens; nil: by the seed
	holds   func(*network) error             // one more invariant, of a test; nil: none
	stored  func(*server, room.Commit) error // one more check of what a server stores, of a test; nil: none
	record  int                              // the number of the server whose scenario is told, from 1 on; 0: none
	Trace   func(format string, args ...any) // told of everything that happens; nil: nobody is

	deliveries  int // at most so many things arrive after an action
	pause, vary int // between actions so many milliseconds pass, and less than so many more
}

// Faults are the chances, in percent, of what goes wrong. All zero: DefaultFaults.
type Faults struct {
	Lost      int // a transaction doesn't arrive, or its answer doesn't
	Crash     int // a server crashes after a step: half of the times before the commit is durable
	Partition int // at each action: the network is cut in two, or whole again
	Forget    int // a server that couldn't reach another keeps only the newest event for it
	Forge     int // at each action: a user's server makes an event on an old part of the graph
	Fetch     int // a server doesn't answer a fetch
	Lie       int // the last server gives redacted copies of auth events, where another one has whole ones
	Partial   int // a server is given its state without the members when it joins
	Leave     int // at each action: all users of a server leave, besides those who do so without a fault
	Lose      int // at each action: a server makes a backup, or loses its disk and goes on with that
}

// DefaultFaults are those of a bad day.
func DefaultFaults() Faults {
	return Faults{Lost: 20, Crash: 4, Partition: 6, Forget: 10, Forge: 15, Fetch: 15, Lie: 70, Partial: 40, Lose: 3}
}

// Report counts what a run went through. A test of many runs holds it against what should be reached.
type Report struct {
	Events, Accepted, SoftFailed, Rejected, Waited, Dropped, Duplicates int
	FetchedMissing, FetchedAuth, FetchedState, FailedFetches            int
	Merges, StateOnly                                                   int // forward extremities merged; state changed by an event that isn't its own
	Gaps                                                                int // events below which history has a hole
	Crashes, Restaged, Partitions, Joins, Rejoins, Backfills            int
	Restores                                                            int // of old backups, or of nothing
	Wide                                                                int // events that name up to twenty prev events
	Behind, Outlasted                                                   int // joins by servers that hadn't heard of the leave; of which nothing came
	Redacted                                                            int // copies given of events that were redacted
	Lies, Mended                                                        int // redacted copies given; rejected events that became valid by a whole copy
	PartialJoins, Completed, Rejudged                                   int // states that were whole later; verdicts that this changed
	Displaced                                                           int // events of rooms left in partial state and joined again
	Subgraphs                                                           int // merges in which the conflicted state subgraph added events (v2.1)
	Elsewhere                                                           int // events of other rooms
	Outsiders                                                           int // old events, and events on top of them, by servers that have left
	Reset                                                               int // servers whose return was undone by state resolution
	Stranded                                                            int // servers whose state nobody knows any more who is in the room
}

// Add sums up reports.
func (r *Report) Add(o Report) {
	sum, more := reflect.ValueOf(r).Elem(), reflect.ValueOf(o)
	for i := range sum.NumField() {
		sum.Field(i).SetInt(sum.Field(i).Int() + more.Field(i).Int())
	}
}

// Failure is a broken invariant. The same Config breaks it again.
type Failure struct {
	Seed      uint64
	Version   roomversion.Version
	Invariant string
	Detail    string
	server    id.ServerName // whose machine shows it; "" if none does more than others
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
	events   map[id.EventID]*event.Event // all there are, where a scenario is told
	told     *teller                     // of the scenario of one server; nil: nobody asks for it
}

// Run makes one run. The error is a *Failure, or that of a machine.
func Run(cfg Config) (Report, error) { return new(Runner).Run(cfg) }

// newNetwork begins a long run.
func newNetwork(cfg Config) (*network, error) {
	n, err := bare(cfg, seeded(cfg.Seed))
	if err != nil {
		return nil, err
	}
	n.complete()
	n.populate()
	return n, nil
}

// bare is a network without servers.
func bare(cfg Config, chance *rand.Rand) (*network, error) {
	rules, ok := roomversion.Lookup(cfg.Version)
	if !ok {
		return nil, fmt.Errorf("sim: no room version %q", cfg.Version)
	}
	return &network{
		cfg: cfg, rules: rules, rand: chance, now: time.UnixMilli(1_700_000_000_000),
		key:  signedjson.Key{ID: "ed25519:1", Private: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))},
		side: make(map[id.ServerName]bool),
	}, nil
}

// populate makes the servers.
func (n *network) populate() {
	for i := range n.cfg.Servers {
		n.servers = append(n.servers, newServer(n, i))
	}
	if n.cfg.record > 0 {
		n.events = make(map[id.EventID]*event.Event)
		n.told = newTeller(n, n.servers[n.cfg.record-1])
	}
}

func (n *network) run() (Report, error) {
	if err := n.play(); err != nil {
		return n.report, err
	}
	if err := n.heal(); err != nil {
		return n.report, err
	}
	if n.cfg.holds != nil {
		if err := n.cfg.holds(n); err != nil {
			return n.report, err
		}
	}
	return n.report, n.check()
}

func (n *network) play() error {
	if n.cfg.Shape == Long {
		if err := n.found(); err != nil {
			return err
		}
	}
	for _, step := range n.cfg.steps {
		n.rand = seeded(step.seed)
		if err := step.do(n); err != nil {
			return err
		}
	}
	return nil
}

// heal ends all faults, lets everything arrive, and has the stewards of all servers speak until everybody has heard all of them. In a short
// run they speak only as long as the servers differ; where they agree at once, the first one says something every few runs. Where they
// differ after two rounds they speak in turn, and where they still do, once more: an event names ten at most, so that many who speak at once
// may never name what one of them has kept to itself, and who is among the first to speak in turn may have more than ten to name then.
func (n *network) heal() error {
	n.trace("healed")
	n.healed, n.parted, n.rand = true, false, seeded(n.cfg.Seed+1)
	for round := range 5 {
		if err := n.deliverAll(); err != nil {
			return err
		}
		if err := n.completeAll(); err != nil {
			return err
		}
		last := round == 4 || round >= 2 && n.calm()
		if n.cfg.Shape == Short && n.calm() {
			if last = true; round == 0 && n.rand.IntN(4) > 0 {
				return nil
			}
		}
		for _, s := range n.servers {
			if !s.present() || last && s != n.servers[0] {
				continue
			}
			if err := s.speak(s.steward()); err != nil {
				return err
			}
			if round >= 2 {
				if err := n.deliverAll(); err != nil {
					return err
				}
			}
		}
		if last {
			break
		}
	}
	return n.deliverAll()
}

// calm tells whether all servers have the same forward extremities and the same state, and none knows a part only or waits for anything.
func (n *network) calm() bool {
	first := n.servers[0].store
	for _, s := range n.servers {
		if s.present() && (s.store.partial != nil || s.m.Waiting() > 0 || !s.store.current.Equal(first.current) || !slices.Equal(s.store.forward, first.forward)) {
			return false
		}
	}
	return true
}

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)) }

// knows keeps an event for the scenario that is told: the whole copy of it.
func (n *network) knows(e *event.Event) {
	if n.events != nil && (n.events[e.ID()] == nil || e.ContentHashMatches()) {
		n.events[e.ID()] = e
	}
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

// failAt is fail of what one server's machine shows.
func (n *network) failAt(s *server, invariant, format string, args ...any) error {
	return &Failure{Seed: n.cfg.Seed, Version: n.cfg.Version, Invariant: invariant, Detail: fmt.Sprintf(format, args...), server: s.name}
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
		if c.Gap {
			n.report.Gaps++
		}
		if c.Outlier && c.Again {
			n.report.Displaced++
		}
	}
	if r.Commit.Whole {
		n.report.Completed++
		for _, v := range r.Verdicts {
			if !v.Duplicate && own[v.EventID] {
				n.report.Rejudged++
			}
		}
	}
	for _, change := range r.Commit.Changes {
		if !own[change.New] {
			n.report.StateOnly++
			break
		}
	}
}
