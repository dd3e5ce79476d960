package testnet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"hanse/testnet/adapter"
)

// arrivalPatience is how long a message that was said by command may take to the other nodes before it is explained why it
// isn't there.
const arrivalPatience = 2 * time.Second

// session is a testnet that stays up and takes commands. Its fields belong to the goroutine of run.
type session struct {
	network  *network
	scenario *scenario
	report   *report
	cuts     map[[2]int]bool // pairs of nodes, the lower index first
	gone     chan ended
}

// ended says that a node's process has ended.
type ended struct {
	node    int
	process *adapter.Process
}

func newSession(n *network, s *scenario, r *report) *session {
	return &session{network: n, scenario: s, report: r, cuts: map[[2]int]bool{}, gone: make(chan ended)}
}

// command is something that can be done to a running testnet.
type command struct {
	name, args, what string
	do               func(s *session, ctx context.Context, args []string) error
}

// commands are listed by help, in this order.
func commands() []command {
	return []command{
		{"status", "", "which nodes run, which links are cut, what waits", (*session).status},
		{"say", "NODE TEXT", "the node's user says something; where it doesn't arrive, it is explained why", (*session).say},
		{"cut", "NODE NODE", "cut the link between two nodes, in both directions", (*session).cut},
		{"heal", "[NODE NODE]", "mend that link, or all", (*session).heal},
		{"kill", "NODE", "kill a node (SIGKILL)", (*session).kill},
		{"start", "NODE", "start a node that was killed", (*session).start},
		{"explain", "EVENT_ID [NODE]", "what became of an event, on every node or on one", (*session).explain},
		{"peers", "NODE", "how it stands with the other servers, as the node sees it", (*session).peers},
		{"rooms", "NODE", "the rooms, as the node sees them", (*session).rooms},
	}
}

// run takes commands until ctx ends, and reports nodes that end by themselves.
func (s *session) run(ctx context.Context, in io.Reader) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i := range s.network.processes {
		s.watch(ctx, i)
	}
	lines := s.lines(ctx, in)
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-s.gone:
			if s.network.processes[e.node] == e.process {
				s.network.processes[e.node] = nil
				node := s.network.plan.Nodes[e.node]
				s.report.step(node.Name, "ENDED by itself; %s; `start %s` starts it again", s.network.seeLog(node), node.Name)
			}
		case line, ok := <-lines:
			if !ok {
				lines = nil // nobody types; the testnet stays up
				continue
			}
			if err := s.obey(ctx, line); err != nil && ctx.Err() == nil {
				s.report.step("", "%v", err)
			}
		}
	}
}

// lines reads commands. The goroutine may stay in its last read when ctx ends: nothing takes standard input back.
func (s *session) lines(ctx context.Context, in io.Reader) <-chan string {
	if in == nil {
		return nil
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(in); scanner.Scan(); {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}

// watch has run told when the node's process ends.
func (s *session) watch(ctx context.Context, i int) {
	process := s.network.processes[i]
	go func() {
		select {
		case <-process.Ended():
		case <-ctx.Done():
			return
		}
		select {
		case s.gone <- ended{i, process}:
		case <-ctx.Done():
		}
	}()
}

// obey does what a line says.
func (s *session) obey(ctx context.Context, line string) error {
	words := strings.Fields(line)
	if len(words) == 0 {
		return nil
	}
	for _, c := range commands() {
		if c.name == words[0] {
			if err := c.do(s, ctx, words[1:]); errors.Is(err, errUsage) {
				return fmt.Errorf("%s %s: %s", c.name, c.args, c.what)
			} else {
				return err
			}
		}
	}
	if words[0] != "help" {
		return fmt.Errorf("%q is no command; help lists them", words[0])
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	for _, c := range commands() {
		fmt.Fprintf(w, "  %s %s\t%s\n", c.name, c.args, c.what)
	}
	_ = w.Flush() // to memory
	s.report.text("%s", table.String())
	return nil
}

// errUsage says that a command's arguments are not what it takes.
var errUsage = errors.New("usage")

// node finds a node by its name, its server name or its number; "n2" will do.
func (s *session) node(name string) (int, error) {
	for i, node := range s.network.plan.Nodes {
		number := fmt.Sprint(i + 1)
		if name == node.Name || name == node.ServerName || name == "n"+number || name == number {
			return i, nil
		}
	}
	return 0, fmt.Errorf("there is no node %q; status lists them", name)
}

// one is the node that a command is about which takes one and nothing else.
func (s *session) one(args []string) (int, error) {
	if len(args) != 1 {
		return 0, errUsage
	}
	return s.node(args[0])
}

func (s *session) nodes(args []string) ([2]int, error) {
	var pair [2]int
	if len(args) != 2 {
		return pair, errUsage
	}
	for i, name := range args {
		var err error
		if pair[i], err = s.node(name); err != nil {
			return pair, err
		}
	}
	if pair[0] == pair[1] {
		return pair, errors.New("a node's link to itself can't be cut")
	}
	slices.Sort(pair[:])
	return pair, nil
}

func (s *session) cut(_ context.Context, args []string) error {
	pair, err := s.nodes(args)
	if err != nil {
		return err
	}
	s.cuts[pair] = true
	s.report.step("", "cut the link between %s and %s", s.network.plan.Nodes[pair[0]].Name, s.network.plan.Nodes[pair[1]].Name)
	return s.order(pair[0], pair[1])
}

func (s *session) heal(_ context.Context, args []string) error {
	if len(args) == 0 {
		clear(s.cuts)
		s.report.step("", "mended all links")
		return s.order(indices(s.network.plan.Nodes)...)
	}
	pair, err := s.nodes(args)
	if err != nil {
		return err
	}
	delete(s.cuts, pair)
	s.report.step("", "mended the link between %s and %s", s.network.plan.Nodes[pair[0]].Name, s.network.plan.Nodes[pair[1]].Name)
	return s.order(pair[0], pair[1])
}

func indices[T any](list []T) []int {
	all := make([]int, len(list))
	for i := range list {
		all[i] = i
	}
	return all
}

// order tells nodes which of their links are cut.
func (s *session) order(nodes ...int) error {
	var errs []error
	for _, i := range nodes {
		if process := s.network.processes[i]; process != nil {
			line := strings.Join(append([]string{"cut"}, s.unreachable(i)...), " ")
			errs = append(errs, process.Order(line), s.obeyed(i, line))
		}
	}
	return errors.Join(errs...)
}

// obedience is how long a node may take to obey an order.
const obedience = time.Minute

// obeyed waits until a node has obeyed an order.
func (s *session) obeyed(i int, line string) error {
	node := s.network.plan.Nodes[i]
	for began := time.Now(); time.Since(began) < obedience; time.Sleep(5 * time.Millisecond) {
		if last, err := os.ReadFile(filepath.Join(s.network.nodeDir(node), obeyedFile)); err == nil && string(last) == line {
			return nil
		}
	}
	return fmt.Errorf("%s does not take the order to cut or mend links; %s", node.Name, s.network.seeLog(node))
}

// unreachable are the addresses that a node can't reach as links are cut.
func (s *session) unreachable(i int) []string {
	var addresses []string
	for _, other := range s.cutFrom(i) {
		place := s.network.plan.Nodes[other].Place
		addresses = append(addresses, place.Federation(), net.JoinHostPort(place.IP.String(), "443"))
	}
	return addresses
}

// cutFrom are the nodes to which a node's link is cut.
func (s *session) cutFrom(i int) []int {
	var others []int
	for pair := range s.cuts {
		switch i {
		case pair[0]:
			others = append(others, pair[1])
		case pair[1]:
			others = append(others, pair[0])
		}
	}
	slices.Sort(others)
	return others
}

func (s *session) kill(_ context.Context, args []string) error {
	i, err := s.one(args)
	if err != nil {
		return err
	}
	process := s.network.processes[i]
	if process == nil {
		return fmt.Errorf("%s doesn't run", s.network.plan.Nodes[i].Name)
	}
	s.network.processes[i] = nil
	process.Kill()
	s.report.step(s.network.plan.Nodes[i].Name, "killed")
	return nil
}

func (s *session) start(ctx context.Context, args []string) error {
	i, err := s.one(args)
	if err != nil {
		return err
	}
	node := s.network.plan.Nodes[i]
	if s.network.processes[i] != nil {
		return fmt.Errorf("%s runs already", node.Name)
	}
	began := time.Now()
	if err := s.network.startNode(ctx, i); err != nil {
		return err
	}
	s.watch(ctx, i)
	s.report.step(node.Name, "started %s, ready in %s", node.ServerName, seconds(time.Since(began)))
	return s.order(i)
}
