package sender

import (
	"runtime"
	"time"

	"hanse/federation"
)

// Limits bound what the sender does at once and how long it waits. The zero value of each means the default.
type Limits struct {
	// Parallel bounds the sends under way at once. Default 256: a send is a goroutine, a connection and a batch; most
	// of its time goes by waiting for the other side.
	Parallel int
	// Computing bounds those among them that do anything but wait. Default half of the processors: the others are for who waits for us.
	// Behind bounds them while the next in line is a server for which events gather. Default twice the processors: where more is said than
	// can be sent on the side, who says it gives way, rather than all others getting it later and later.
	Computing, Behind int
	// MinBackoff is the wait after the first failure; each further one doubles it, up to MaxBackoff. Default 1 s and
	// 1 h: a restarting server is found again at once, one that is gone for good costs a connection an hour.
	MinBackoff, MaxBackoff time.Duration
	// RetryGap is the least time between two tries of a server that keeps speaking to us but can't be reached.
	// Default 2 s.
	RetryGap time.Duration
	// VolatilePerServer and Volatile bound the volatile EDUs that gather for one server and for all. Default 100, a
	// transaction's worth, and 100,000.
	VolatilePerServer, Volatile int
}

func (l Limits) withDefaults() Limits {
	orElse(&l.Parallel, 256)
	orElse(&l.Computing, max(runtime.GOMAXPROCS(0)/2, 1))
	orElse(&l.Behind, max(2*runtime.GOMAXPROCS(0), l.Computing))
	orElse(&l.MinBackoff, time.Second)
	orElse(&l.MaxBackoff, time.Hour)
	orElse(&l.RetryGap, 2*time.Second)
	orElse(&l.VolatilePerServer, federation.MaxTransactionEDUs)
	orElse(&l.Volatile, 100_000)
	return l
}

func orElse[T int | time.Duration](value *T, standard T) {
	if *value == 0 {
		*value = standard
	}
}

const (
	// manyServers is how many servers are many to Wake, and moment how much later they get what is new: as long as a client takes to read
	// the answer that was written before. It is nothing beside what so many take.
	manyServers = 100
	moment      = time.Millisecond
	// manyEvents is how many events in a transaction mean that its server is behind: what is said now and then doesn't gather.
	manyEvents = 10
	// maxRefusals is how often one event, sent alone, may be refused before it is given up.
	maxRefusals = 3
	// maxAgain is how many batches one server may have taken from the process before this one without its being noted: more than go out to
	// one in the second by which notes may be behind (95 were measured).
	maxAgain = 128
	// toldWait is the longest wait for a server that says when to come again, unless it says later. The waits still grow up to it: what
	// it refuses because too much comes must become less.
	toldWait = time.Minute
	// doneTimeout bounds noting that a batch went out when the sender is being stopped.
	doneTimeout = 10 * time.Second
	// outboxPause is the wait after the Outbox failed: the trouble is ours, the server has nothing to do with it.
	outboxPause = 5 * time.Second
)
