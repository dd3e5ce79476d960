package sim

import "slices"

// Shape is how large a run is. Both kinds find faults that the other one rarely does: long runs come to rare paths, whose faults need many
// events; short ones are many, so that they try the order of a few events in many ways.
type Shape int

const (
	// BySeed makes one run in longEvery long, the others short.
	BySeed Shape = iota
	// Long runs have all faults at once, from the room's first event on.
	Long
	// Short runs have a few actions and two kinds of fault, after a beginning without faults that the runs of neighbouring seeds share.
	Short
)

// longEvery: one run in so many is long. The long runs take about a third of the processor's time then.
const longEvery = 16

// complete fills in what the configuration leaves to the seed.
func (n *network) complete() {
	if n.cfg.Shape == Short {
		n.completeShort()
	} else {
		n.completeLong()
	}
	if n.cfg.steps == nil {
		n.cfg.steps = n.script()
	}
}

// completeLong: most runs are small: a fault that needs few events and servers is found sooner by many small runs.
func (n *network) completeLong() {
	if size := n.rand.IntN(50); n.cfg.Servers == 0 {
		switch {
		case size < 33:
			n.cfg.Servers = 3
		case size < 49:
			n.cfg.Servers = 3 + n.rand.IntN(4)
		default:
			n.cfg.Servers = 7 + n.rand.IntN(14)
		}
	}
	if size := n.rand.IntN(20); n.cfg.Actions == 0 {
		switch {
		case size < 15:
			n.cfg.Actions = 8 + n.rand.IntN(16)
		case size < 19:
			n.cfg.Actions = 30 + n.rand.IntN(30)
		default:
			n.cfg.Actions = 120
		}
	}
	if n.cfg.Faults == (Faults{}) {
		n.cfg.Faults = DefaultFaults()
	}
	n.cfg.deliveries, n.cfg.pause, n.cfg.vary = 5, 1, 1000
}

// completeShort: the servers are those of the beginning.
func (n *network) completeShort() {
	if actions := 3 + n.rand.IntN(5); n.cfg.Actions == 0 {
		n.cfg.Actions = actions
	}
	if faults := n.oneFault().and(n.oneFault()); n.cfg.Faults == (Faults{}) {
		n.cfg.Faults = faults
	}
	n.cfg.deliveries, n.cfg.pause, n.cfg.vary = n.rand.IntN(4), 1, 1000
	if n.rand.IntN(2) == 0 {
		n.cfg.pause, n.cfg.vary = 0, 2 // things happen at the same time
	}
}

// oneFault is one kind of fault, more often than on a bad day. Short runs have two of them: all pairs come up.
func (n *network) oneFault() Faults {
	switch n.rand.IntN(8) {
	case 0:
		return Faults{Lost: 30, Fetch: 30}
	case 1:
		return Faults{Crash: 15, Forge: 25} // what is forged leads to events that wait, which a crash may lose
	case 2:
		return Faults{Partition: 30, Forget: 40}
	case 3:
		return Faults{Forge: 25, Lie: 90}
	case 4:
		if slices.ContainsFunc(n.servers, func(s *server) bool { return s.m == nil }) {
			return Faults{Partial: 90, Leave: 10}
		}
	case 5:
		return Faults{Leave: 30, Partial: 30}
	case 6:
		return Faults{Lose: 40}
	}
	return Faults{Forge: 35}
}

// and is both at once.
func (f Faults) and(o Faults) Faults {
	return Faults{
		Lost: f.Lost + o.Lost, Crash: f.Crash + o.Crash, Partition: f.Partition + o.Partition, Forget: f.Forget + o.Forget,
		Forge: f.Forge + o.Forge, Fetch: f.Fetch + o.Fetch, Lie: f.Lie + o.Lie, Partial: f.Partial + o.Partial, Leave: f.Leave + o.Leave, Lose: f.Lose + o.Lose,
	}
}
