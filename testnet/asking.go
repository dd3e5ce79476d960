package testnet

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"hanse/node/admin"
)

// ask asks a node an operator's question.
func (n *network) ask(ctx context.Context, i int, path string, query url.Values, answer any) error {
	return admin.Dial(n.nodeDir(n.plan.Nodes[i])).Get(ctx, path, query, answer)
}

// explainOn reports what became of an event on a node.
func (n *network) explainOn(ctx context.Context, report *report, i int, eventID string) {
	var x admin.Explanation
	node := n.plan.Nodes[i]
	if err := n.ask(ctx, i, "/explain", url.Values{"event": {eventID}}, &x); err != nil {
		report.step(node.Name, "can't tell what became of %s: %v", eventID, err)
		return
	}
	report.tell(node.Name, x, func(t admin.Text) { t.Explanation(&x) })
}

func (s *session) explain(ctx context.Context, args []string) error {
	if len(args) != 1 && len(args) != 2 {
		return errUsage
	}
	nodes := indices(s.network.plan.Nodes)
	if len(args) == 2 {
		i, err := s.node(args[1])
		if err != nil {
			return err
		}
		nodes = []int{i}
	}
	for _, i := range nodes {
		s.network.explainOn(ctx, s.report, i, args[0])
	}
	return nil
}

func (s *session) peers(ctx context.Context, args []string) error {
	return askOne(ctx, s, args, "/peers", admin.Text.Peers)
}

func (s *session) rooms(ctx context.Context, args []string) error {
	return askOne(ctx, s, args, "/rooms", admin.Text.Rooms)
}

// askOne asks the node that a command is about, and shows its answer.
func askOne[T any](ctx context.Context, s *session, args []string, path string, text func(admin.Text, T)) error {
	i, err := s.one(args)
	if err != nil {
		return err
	}
	var answer T
	if err := s.network.ask(ctx, i, path, nil, &answer); err != nil {
		return err
	}
	s.report.tell(s.network.plan.Nodes[i].Name, answer, func(t admin.Text) { text(t, answer) })
	return nil
}

// status reports each node: whether it runs, its cut links, whom it can't reach, what waits.
func (s *session) status(ctx context.Context, _ []string) error {
	for i, node := range s.network.plan.Nodes {
		if s.network.processes[i] == nil {
			s.report.step(node.Name, "doesn't run")
			continue
		}
		facts := []string{"runs"}
		for _, other := range s.cutFrom(i) {
			facts = append(facts, "cut from "+s.network.plan.Nodes[other].Name)
		}
		var peers []admin.Peer
		if err := s.network.ask(ctx, i, "/peers", nil, &peers); err != nil {
			facts = append(facts, err.Error())
		}
		for _, p := range peers {
			if p.Failures > 0 {
				facts = append(facts, fmt.Sprintf("can't reach %s (%s), %d events and %d EDUs wait", p.Server, p.Kind, p.Events, p.EDUs))
			}
		}
		s.report.step(node.Name, "%s", strings.Join(facts, "; "))
	}
	return nil
}

// say has a node's user say something, and reports where it arrives; where it doesn't, why.
func (s *session) say(ctx context.Context, args []string) error {
	if len(args) < 2 {
		return errUsage
	}
	from, err := s.node(args[0])
	if err != nil {
		return err
	}
	began, text := time.Now(), strings.Join(args[1:], " ")
	eventID, err := s.scenario.users[from].Say(ctx, s.scenario.roomID, text)
	if err != nil {
		return s.scenario.failed(from, "send a message", err)
	}
	s.scenario.step(from, began, "%s says %q, %s", s.scenario.users[from].ID, text, eventID)
	missing := false
	type arrival struct {
		node  int
		has   bool
		after time.Duration
	}
	arrivals, asked := make(chan arrival), 0
	for i, node := range s.network.plan.Nodes {
		switch {
		case i == from:
		case s.network.processes[i] == nil:
			missing = true
			s.report.step(node.Name, "has it not: it doesn't run")
		default:
			asked++
			go func() {
				has := s.arrives(ctx, i, eventID, began)
				arrivals <- arrival{i, has, time.Since(began)}
			}()
		}
	}
	for range asked {
		a := <-arrivals
		name := s.network.plan.Nodes[a.node].Name
		if a.has {
			s.report.step(name, "has it (%s)", milliseconds(a.after))
			continue
		}
		missing = true
		s.report.step(name, "has it NOT after %s", arrivalPatience)
		s.network.explainOn(ctx, s.report, a.node, eventID)
	}
	if missing {
		s.network.explainOn(ctx, s.report, from, eventID)
	}
	return ctx.Err()
}

// arrives waits until a node has accepted an event.
func (s *session) arrives(ctx context.Context, i int, eventID string, since time.Time) bool {
	for ctx.Err() == nil {
		var x admin.Explanation
		err := s.network.ask(ctx, i, "/explain", url.Values{"event": {eventID}}, &x)
		if err == nil && x.Status == "accepted" {
			return true
		}
		if time.Since(since) > arrivalPatience {
			return false
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	return false
}

// maxDisputed bounds the events that are explained when the nodes don't agree.
const maxDisputed = 2

// disputed are events that some of the nodes show and others don't.
func disputed(views []view) []string {
	var list []string
	seen := map[string]int{}
	count := func(eventID string) { seen[eventID]++ }
	for _, v := range views {
		for eventID := range v.messages {
			count(eventID)
		}
		for _, eventID := range v.state {
			count(eventID)
		}
	}
	for eventID, n := range seen {
		if n < len(views) && len(list) < maxDisputed {
			list = append(list, eventID)
		}
	}
	return list
}
