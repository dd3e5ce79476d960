package node

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hanse/federation/sender"
	"hanse/node/store"
)

// metrics are the stages of an event's way that the parts count themselves; they are read when somebody asks.
// Labels come from closed sets: never a room, a user or a server.
type metrics struct {
	commitInputs  prometheus.Histogram
	commitSeconds prometheus.Histogram
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		commitInputs: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hanse_room_commit_inputs", Help: "How many inputs (sends, transactions, joins) of one room shared a commit.",
			Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128},
		}),
		commitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hanse_room_commit_seconds", Help: "How long a room's commit took, from the machine's step to the disk.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .5, 2},
		}),
	}
	registry.MustRegister(m.commitInputs, m.commitSeconds)
	return m
}

// observeCommit is told of each room's commit.
func (m *metrics) observeCommit(inputs int, took time.Duration) {
	m.commitInputs.Observe(float64(inputs))
	m.commitSeconds.Observe(took.Seconds())
}

// registerStats makes metrics of what the parts count.
func (n *Node) registerStats() {
	gauge := func(name, help string, value func() float64) {
		n.telemetry.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	counter := func(name, help string, value func() float64) {
		n.telemetry.Registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, value))
	}
	stored := func(read func(store.Stats) int64) func() float64 {
		return func() float64 { return float64(read(n.store.Stats())) }
	}
	sent := func(read func(sender.Stats) int64) func() float64 {
		return func() float64 { return float64(read(n.sender.Stats())) }
	}
	gauge("hanse_rooms_loaded", "Rooms in memory.", func() float64 { return float64(n.rooms.Loaded()) })
	counter("hanse_room_state_resets_total", "Current state events that gave way to older ones, or to nothing, when branches of a room met.",
		func() float64 { return float64(n.rooms.Stats().Resets) })
	counter("hanse_room_dummy_events_total", "Events sent only to merge forward extremities.",
		func() float64 { return float64(n.rooms.Stats().Merged) })
	counter("hanse_room_recovered_events_total", "Events found by asking other servers after an outage of ours.",
		func() float64 { return float64(n.rooms.Stats().Recovered) })
	counter("hanse_store_transactions_total", "Durable transactions of the database.", stored(func(s store.Stats) int64 { return s.Transactions }))
	counter("hanse_store_operations_total", "Durable writes; several share a transaction.", stored(func(s store.Stats) int64 { return s.Operations }))
	counter("hanse_store_failures_total", "Writes that failed or were refused.", stored(func(s store.Stats) int64 { return s.Failures }))
	gauge("hanse_store_queue", "Writes that wait for the committer.", stored(func(s store.Stats) int64 { return int64(s.Queued) }))
	gauge("hanse_outbox_events", "Events kept because some server has not taken them yet.", stored(func(s store.Stats) int64 { return int64(s.Outbox) }))
	gauge("hanse_sender_busy", "Servers that are being sent to.", sent(func(s sender.Stats) int64 { return int64(s.Busy) }))
	gauge("hanse_sender_backing_off", "Servers that did not take the last transaction.", sent(func(s sender.Stats) int64 { return int64(s.BackingOff) }))
	counter("hanse_sender_transactions_total", "Transactions delivered.", sent(func(s sender.Stats) int64 { return s.Transactions }))
	counter("hanse_sender_pdus_total", "Events delivered.", sent(func(s sender.Stats) int64 { return s.PDUs }))
	counter("hanse_sender_edus_total", "EDUs delivered.", sent(func(s sender.Stats) int64 { return s.EDUs }))
	counter("hanse_sender_refused_total", "Delivered events that the receiving server reported an error for.", sent(func(s sender.Stats) int64 { return s.Refused }))
	counter("hanse_sender_failures_total", "Transactions that were not taken.", sent(func(s sender.Stats) int64 { return s.Failures }))
	counter("hanse_sender_given_up_total", "Events and EDUs that a server refuses for good.", sent(func(s sender.Stats) int64 { return s.GivenUp }))
	counter("hanse_sender_dropped_total", "Volatile EDUs (typing) that were not delivered.", sent(func(s sender.Stats) int64 { return s.Dropped }))
}
