// Package torture kills a homeserver again and again while it works, and checks after each start that nothing which was
// acknowledged is lost, doubled or out of order, that what was to be sent goes out, and that the log complains of nothing.
// The server under torture and its peer are processes, seen from outside alone: what runs inside is not known here.
package torture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"time"

	"hanse/testnet/fabric"
)

// Options are what a campaign is.
type Options struct {
	Kills   int      // how often a process is killed
	Seed    uint64   // of what is random: when, where, under which load
	Dir     string   // where the servers' data goes; emptied of nothing
	Program []string // the adapter: the command that starts a server by the adapter contract
	// Database makes an empty database for a server of that name and returns its URL; nil for the embedded one.
	Database func(ctx context.Context, name string) (url string, err error)
	// Restart ends the database server as a crash would and starts it again; nil: it is left alone.
	Restart func(ctx context.Context) error
	Out     io.Writer // one line a generation of rooms
}

// Report counts what a campaign did.
type Report struct {
	Kills, AtStart, Births int // all; of those: while starting, of servers just born (migrations)
	Outages                int // crashes of the database server, through which the victim lives
	Acknowledged           int // messages, states, joins, account data
	Keys                   int // one-time keys that were given out, each once
	Retried                int // requests that were cut off and made again with the same transaction ID
	Holes                  int // times that a hole was seen, until it was closed
	Generations            int
	SlowestStart           time.Duration
}

const (
	// generationKills is how many kills a set of rooms lives through: reading a room back takes longer as it grows.
	generationKills = 20
	// longestWork and longestStart bound the time a process has before it is killed.
	longestWork  = 500 * time.Millisecond
	longestStart = 120 * time.Millisecond
	// spell is how many messages somebody sends at most until the victim is looked at: a database server that takes long to start
	// again must not make what is to be sent and read grow with it.
	spell = 300
	// patience is how long what was acknowledged may take to reach the other server.
	patience = 60 * time.Second
)

// campaign is one run.
type campaign struct {
	options Options
	random  *rand.Rand
	report  Report
	zone    *fabric.Zone
	ca      string
	caKey   string
	dns     *fabric.DNS
	places  []fabric.Place

	victim, peer *server
	mails        []*mail // between their users' devices
	keys         *keys   // of the victim's
	births       int
	data, next   int // of the account data, which outlives the generations: the newest acknowledged and sent
}

// Run runs a campaign. The error says what was found wrong; the servers' data is left in Options.Dir.
func Run(ctx context.Context, options Options) (Report, error) {
	c := &campaign{options: options, random: rand.New(rand.NewPCG(options.Seed, 0))}
	stop, err := c.network(ctx)
	if err != nil {
		return c.report, err
	}
	defer stop()
	err = c.run(ctx)
	if err != nil {
		err = fmt.Errorf("after %d kills, seed %d: %w; data and logs are in %s", c.report.Kills, options.Seed, err, options.Dir)
	}
	return c.report, err
}

// network makes what the servers stand on.
func (c *campaign) network(ctx context.Context) (stop func(), err error) {
	ca, err := fabric.LoadOrCreateCA(c.options.Dir)
	if err != nil {
		return nil, err
	}
	c.ca, c.caKey = filepath.Join(c.options.Dir, "torture-ca.crt"), filepath.Join(c.options.Dir, "torture-ca.key")
	if err := errors.Join(os.WriteFile(c.ca, ca.CertificatePEM(), 0o600), os.WriteFile(c.caKey, ca.KeyPEM(), 0o600)); err != nil {
		return nil, err
	}
	if c.places, err = fabric.Places(3); err != nil {
		return nil, err
	}
	if c.places[0].IP == c.places[1].IP {
		return nil, errors.New("the torture needs the loopback addresses 127.0.0.0/8")
	}
	c.zone = &fabric.Zone{}
	if c.dns, err = fabric.ListenDNS(net.JoinHostPort(c.places[0].IP.String(), "0"), c.zone); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.dns.Run(ctx) // a broken DNS server shows as a server that isn't found
	}()
	return func() { cancel(); <-ended }, nil
}

func (c *campaign) run(ctx context.Context) (err error) {
	if c.victim, err = c.newServer(ctx, "victim", 0, c.options.Database); err != nil {
		return err
	}
	defer c.victim.kill()
	if c.peer, err = c.newServer(ctx, "peer", 1, nil); err != nil {
		return err
	}
	defer c.peer.kill()
	for _, s := range []*server{c.victim, c.peer} {
		if err := s.start(ctx); err != nil {
			return err
		}
		if err := s.account(ctx); err != nil {
			return err
		}
	}
	c.mails, c.keys = between(c.victim, c.peer), newKeys(c.victim, c.peer)
	if err := c.keys.introduce(ctx); err != nil {
		return fmt.Errorf("uploading keys of a device: %w", err)
	}
	for c.report.Kills < c.options.Kills {
		if err := c.generation(ctx); err != nil {
			return err
		}
	}
	return errors.Join(c.victim.stop(), c.peer.stop())
}

// generation makes rooms, tortures the server with work in them, and looks whether both servers end with the same.
func (c *campaign) generation(ctx context.Context) error {
	c.report.Generations++
	g, err := c.newWork(ctx)
	if err != nil {
		return fmt.Errorf("making the rooms of generation %d: %w", c.report.Generations, err)
	}
	for kills := 0; kills < generationKills && c.report.Kills < c.options.Kills; kills++ {
		if err := c.killAtWork(ctx, g); err != nil {
			return err
		}
		if c.options.Restart != nil && c.random.IntN(4) == 0 {
			if err := c.outage(ctx, g); err != nil {
				return err
			}
		}
	}
	if err := c.birth(ctx); err != nil {
		return err
	}
	if err := c.exchanged(ctx, g); err != nil {
		return err
	}
	c.report.Keys = len(c.keys.given)
	fmt.Fprintf(c.options.Out, "%d kills (%d while starting, %d of servers just born): %d acknowledged, %d cut off and made again, %d keys given out, slowest start %s\n",
		c.report.Kills, c.report.AtStart, c.report.Births, c.report.Acknowledged, c.report.Retried, c.report.Keys, c.report.SlowestStart.Round(time.Millisecond))
	return nil
}

// killAtWork lets everybody work, kills the victim meanwhile, now and then while it starts again too, and checks it.
func (c *campaign) killAtWork(ctx context.Context, g *work) error {
	working, cancel := context.WithCancel(ctx)
	ended := g.begin(working)
	time.Sleep(time.Duration(c.random.Int64N(int64(longestWork))))
	c.victim.kill()
	c.report.Kills++
	cancel()
	if err := ended(); err != nil {
		return err
	}
	for c.random.IntN(4) == 0 {
		c.report.Kills++
		c.report.AtStart++
		if err := c.victim.startAndKill(ctx, time.Duration(c.random.Int64N(int64(longestStart)))); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := c.victim.start(ctx); err != nil {
		return err
	}
	c.report.SlowestStart = max(c.report.SlowestStart, time.Since(began))
	if err := c.victim.complaints(); err != nil {
		return err
	}
	return g.check(ctx)
}

// outage has the database server crash while everybody works. The victim may refuse what it can't store meanwhile; it goes on by
// itself, and has what it acknowledged.
func (c *campaign) outage(ctx context.Context, g *work) error {
	working, cancel := context.WithCancel(ctx)
	defer cancel()
	g.outage.Store(true)
	ended := g.begin(working)
	time.Sleep(time.Duration(c.random.Int64N(int64(longestWork))))
	if err := c.options.Restart(ctx); err != nil {
		return fmt.Errorf("the database server: %w", err)
	}
	c.report.Outages++
	cancel()
	if err := ended(); err != nil {
		return err
	}
	g.outage.Store(false)
	waiting, over := context.WithTimeout(ctx, patience)
	defer over()
	for {
		_, err := c.victim.user.Say(waiting, g.own, fmt.Sprintf("o%d 0", c.report.Outages))
		if err == nil {
			break
		}
		if waiting.Err() != nil {
			return fmt.Errorf("%s after its database was back: %w", patience, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	c.victim.forgive()
	return g.check(ctx)
}

// birth kills a server during its first starts, when its schema is made, and checks that it comes to life.
func (c *campaign) birth(ctx context.Context) error {
	c.births++
	s, err := c.newServer(ctx, fmt.Sprintf("born%d", c.births), 2, c.options.Database)
	if err != nil {
		return err
	}
	defer s.kill()
	for range 3 {
		c.report.Kills++
		c.report.Births++
		if err := s.startAndKill(ctx, time.Duration(c.random.Int64N(int64(longestStart)))); err != nil {
			return err
		}
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	if err := s.account(ctx); err != nil {
		return err
	}
	if err := s.complaints(); err != nil {
		return err
	}
	return s.stop()
}
