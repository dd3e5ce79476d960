package sim

import (
	"slices"
	"time"

	"hanse/federation/id"
)

// stepOf is one thing that happens in a run. It has chances of its own, so that what is left of a run keeps its sense when others are
// taken out.
type stepOf struct {
	kind stepKind
	seed uint64
}

type stepKind int

const (
	stepWeather stepKind = iota // the network changes, time goes on
	stepAct                     // somebody does something
	stepDeliver                 // something arrives
)

// script are the steps of a run.
func (n *network) script() []stepOf {
	var steps []stepOf
	add := func(kind stepKind) { steps = append(steps, stepOf{kind, n.rand.Uint64()}) }
	for range n.cfg.Actions {
		add(stepWeather)
		add(stepAct)
		for range n.rand.IntN(n.cfg.deliveries + 1) {
			add(stepDeliver)
		}
	}
	return steps
}

func (s stepOf) do(n *network) error {
	switch s.kind {
	case stepWeather:
		n.now = n.now.Add(time.Duration(n.cfg.pause+n.rand.IntN(n.cfg.vary)) * time.Millisecond)
		n.weather()
		return nil
	case stepAct:
		return n.act()
	}
	return n.deliverOne()
}

// Shrink looks for a smaller run that breaks the same invariant as cfg does, in at most so many runs. It gives cfg back if that doesn't
// fail.
func Shrink(cfg Config, runs int) (Config, *Failure) {
	cfg.Trace = nil
	n, err := new(Runner).network(cfg)
	if err != nil {
		return cfg, nil
	}
	small := n.cfg
	_, err = n.run()
	failure, ok := err.(*Failure)
	if !ok {
		return cfg, nil
	}
	fails := func(c Config) bool {
		runs--
		_, err := Run(c)
		again, ok := err.(*Failure)
		if ok = ok && again.Invariant == failure.Invariant; ok {
			small, failure = c, again
		}
		return ok
	}
	for c := small; c.Servers > 3 && runs > 0; {
		if c.Servers--; !fails(c) {
			break
		}
	}
	for size := len(small.steps) / 2; size > 0 && runs > 0; {
		shorter := false
		for at := 0; at < len(small.steps) && runs > 0; {
			c := small
			c.steps = slices.Delete(slices.Clone(small.steps), at, min(at+size, len(small.steps)))
			if fails(c) {
				shorter = true
			} else {
				at += size
			}
		}
		if !shorter || size > 1 {
			size /= 2
		}
	}
	return small, failure
}

// Scenario tells what a run brings to one server, in the text form that federation/room's tests read: the server that a failure is about,
// else the one of that number, from 0 on.
func Scenario(cfg Config, failure *Failure, server int) string {
	cfg.Trace = nil
	if failure != nil && failure.server != "" {
		server = slices.IndexFunc(names(20), func(name id.ServerName) bool { return name == failure.server })
	}
	cfg.record = server + 1
	n, err := new(Runner).network(cfg)
	if err != nil {
		return err.Error()
	}
	_, _ = n.run() // what is told is what came before
	return n.told.String()
}
