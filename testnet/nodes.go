package testnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"hanse/testnet/adapter"
	"hanse/testnet/fabric"
)

// parallelStarts bounds how many nodes start at once: a start is short, a laptop has few cores.
const parallelStarts = 4

// network is a running testnet.
type network struct {
	plan      Plan
	dir       string
	program   string // the hanse that is each node
	ca        *fabric.CA
	dns       *fabric.DNS
	stopDNS   func()
	processes []*adapter.Process // by the plan's order
}

// newNetwork makes what the nodes stand on: the certificate authority and the DNS server.
func newNetwork(dir, program string, plan Plan) (*network, error) {
	ca, err := fabric.LoadOrCreateCA(dir)
	if err != nil {
		return nil, err
	}
	dns, err := fabric.ListenDNS(net.JoinHostPort(plan.Nodes[0].Place.IP.String(), "0"), plan.zone())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background()) // it outlives the order to stop: nodes ask it until they end
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = dns.Run(ctx) // a broken DNS server shows as a node that isn't found
	}()
	return &network{
		plan: plan, dir: dir, program: program, ca: ca, dns: dns,
		stopDNS:   func() { cancel(); <-ended },
		processes: make([]*adapter.Process, len(plan.Nodes)),
	}, nil
}

// start starts every node and reports each as it becomes ready.
func (n *network) start(ctx context.Context, report *report) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelStarts)
	for i, node := range n.plan.Nodes {
		group.Go(func() error {
			began := time.Now()
			if err := n.startNode(ctx, i); err != nil {
				return err
			}
			report.step(node.Name, "started %s, ready in %s", node.ServerName, seconds(time.Since(began)))
			return nil
		})
	}
	return group.Wait()
}

// startNode starts one node; the process of an earlier start must have ended.
func (n *network) startNode(ctx context.Context, i int) error {
	command, err := n.prepare(n.plan.Nodes[i])
	if err != nil {
		return fmt.Errorf("%s: prepare its data folder: %w", n.plan.Nodes[i].Name, err)
	}
	process, err := adapter.Start(ctx, command)
	if err != nil {
		return err
	}
	n.processes[i] = process
	return nil
}

// prepare writes a node's certificate and configuration into its data folder.
func (n *network) prepare(node PlanNode) (adapter.Command, error) {
	dir := n.nodeDir(node)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return adapter.Command{}, err
	}
	certificate, key, err := n.ca.Issue(node.hostname(), node.targetHost())
	if err != nil {
		return adapter.Command{}, err
	}
	config := filepath.Join(dir, "hanse.yaml")
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "federation.key"), key, 0o600),
		os.WriteFile(filepath.Join(dir, "federation.crt"), certificate, 0o600),
		os.WriteFile(config, []byte(n.config(node)), 0o600),
	); err != nil {
		return adapter.Command{}, err
	}
	return adapter.Command{
		Name: node.Name, Args: []string{n.program, "testnet", "member", "--config", config},
		LogFile: n.logFile(node), ClientURL: node.ClientURL(), LiveByStdin: true,
	}, nil
}

func (n *network) nodeDir(node PlanNode) string { return filepath.Join(n.dir, node.Name) }
func (n *network) logFile(node PlanNode) string { return filepath.Join(n.nodeDir(node), "hanse.log") }

// seeLog says where a node's log is, and, where nothing can be written beside it, why the log may say nothing.
func (n *network) seeLog(node PlanNode) string {
	text := "its log is " + n.logFile(node)
	probe := filepath.Join(n.nodeDir(node), "probe")
	if err := fabric.WriteFile(probe, make([]byte, 4096), 0o600); err != nil {
		return fmt.Sprintf("%s, if it could be written: %v", text, err)
	}
	_ = os.Remove(probe) // it is in a folder of a testnet's own
	return text
}

// config is a node's configuration file: what anybody could write for a server of their own.
func (n *network) config(node PlanNode) string {
	dir := n.nodeDir(node)
	listen, wellKnown := strconv.Quote(node.Place.Federation()), ""
	if node.Discovery == ByWellKnown {
		listen += ", " + strconv.Quote(net.JoinHostPort(node.Place.IP.String(), "443"))
		wellKnown = fmt.Sprintf("  well_known: %q\n", fmt.Sprintf("%s:%d", node.targetHost(), node.Place.FederationPort))
	}
	defaultVersion := ""
	if n.plan.RoomVersion != "" {
		defaultVersion = fmt.Sprintf("rooms:\n  default_version: %q\n", n.plan.RoomVersion)
	}
	return fmt.Sprintf(`# Written by hanse testnet for %s.
server_name: %q
data_dir: %q
client:
  listen: [%q]
  public_url: %q
federation:
  listen: [%s]
  certificate: %q
  key: %q
%s  trusted_cas: %q
  dns_server: %q
  allow_addresses: ["127.0.0.0/8"] # a testnet lives on loopback
registration:
  open: true
  shared_secret: %q
rate_limits:
  disabled: true
log:
  level: debug
%s`, node.Name, node.ServerName, dir, node.Place.Client(), node.ClientURL(), listen,
		filepath.Join(dir, "federation.crt"), filepath.Join(dir, "federation.key"), wellKnown,
		filepath.Join(n.dir, "ca.crt"), n.dns.Addr(), n.plan.SharedSecret, defaultVersion)
}

// stop ends every node that runs, and then the DNS server.
func (n *network) stop() error {
	errs := make([]error, len(n.processes))
	var waiting sync.WaitGroup
	for i, process := range n.processes {
		if process != nil {
			waiting.Go(func() { errs[i] = process.Stop() })
		}
	}
	waiting.Wait()
	n.stopDNS()
	return errors.Join(errs...)
}
