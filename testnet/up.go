package testnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"hanse/federation/roomversion"
)

// Options is what `hanse testnet up` can be told.
type Options struct {
	Nodes       int       // 1 to MaxNodes; 0: as many as the kept testnet has, or 3
	RoomVersion string    // of the room; empty: the server's default
	Once        bool      // end after the scenario
	Dir         string    // keep the data here; empty: a temporary folder, removed at the end
	JSON        bool      // JSON lines instead of text
	Program     string    // the hanse program that is each node
	In          io.Reader // commands for a testnet that stays up, a line each; nil: none
	Out         io.Writer // where progress goes
}

// Validate reports what can't be meant.
func (o Options) Validate() error {
	if o.Nodes < 0 || o.Nodes > MaxNodes {
		return fmt.Errorf("--nodes %d: a testnet has 1 to %d nodes", o.Nodes, MaxNodes)
	}
	if _, ok := roomversion.Lookup(roomversion.Version(o.RoomVersion)); o.RoomVersion != "" && !ok {
		return fmt.Errorf("--room-version %s: Hanse knows the room versions 1 to 12", o.RoomVersion)
	}
	return nil
}

// errInterrupted is the end of a testnet that was to run its scenario and was stopped before.
var errInterrupted = errors.New("interrupted before the scenario was through")

// Up starts a testnet, runs its scenario and, unless once, stays up until ctx ends. Every node has ended when it returns.
func Up(ctx context.Context, o Options) (err error) {
	if err := o.Validate(); err != nil {
		return err
	}
	report := &report{out: o.Out, json: o.JSON, began: time.Now()}
	dir, err := dataFolder(o.Dir)
	if err != nil {
		return err
	}
	if o.Dir == "" {
		defer func() {
			if err == nil || errors.Is(err, errInterrupted) { // after a failure the logs are what is needed
				err = errors.Join(err, os.RemoveAll(dir))
			}
		}()
	}
	plan, kept, err := loadOrMakePlan(dir, o.Nodes, o.RoomVersion)
	if err != nil {
		return err
	}
	again := ""
	if kept {
		again = ", which was up before"
	}
	report.text("A Matrix of %d nodes in %s%s.\n\n", len(plan.Nodes), dir, again)
	network, err := newNetwork(dir, o.Program, plan)
	if err != nil {
		return err
	}
	defer func() {
		stopErr := network.stop()
		if stopErr == nil {
			report.step("", "stopped all nodes")
		}
		err = errors.Join(err, stopErr)
	}()
	report.step("", "DNS server at %s, certificate authority in %s", network.dns.Addr(), filepath.Join(dir, "ca.crt"))
	return o.meet(ctx, network, report)
}

// meet starts the nodes and runs the scenario; a cancelled ctx ends it, without an error unless once.
func (o Options) meet(ctx context.Context, network *network, report *report) error {
	s := &scenario{network: network, report: report, patience: convergeTimeout}
	defer s.close()
	err := network.start(ctx, report)
	if err == nil {
		err = s.run(ctx)
	}
	if ctx.Err() != nil {
		report.text("\n")
		if o.Once {
			return errInterrupted
		}
		return nil
	}
	if err != nil {
		return err
	}
	report.table(network.plan, s.roomID, s.alias)
	if o.Once {
		return nil
	}
	first := network.plan.Nodes[0]
	report.text(`Point a client at it: in Element or any other, log in with the homeserver %s as %s,
password %s, and open the room %s.
Each node's configuration, data and log are in %s/node*/.
It stays up until Ctrl-C. Type help for what can be done to it meanwhile.
`, first.ClientURL(), first.User, first.Password, s.alias, network.dir)
	newSession(network, s, report).run(ctx, o.In)
	report.text("\n")
	return nil
}

// dataFolder makes the folder for a testnet's data; an empty name stands for a new temporary one.
func dataFolder(name string) (string, error) {
	if name == "" {
		path, err := os.MkdirTemp("", "hanse-testnet-")
		if err != nil {
			err = fmt.Errorf("make a folder for the testnet in %s, the folder for temporary files (TMPDIR): %w; name a folder with --dir", os.TempDir(), err)
		}
		return path, err
	}
	path, err := filepath.Abs(name)
	if err == nil {
		err = os.MkdirAll(path, 0o700)
	}
	if err != nil {
		return "", fmt.Errorf("--dir: %w", err)
	}
	return path, nil
}
