package node

import (
	"context"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hanse/federation/room"
	"hanse/federation/sender"
	"hanse/node/clientapi"
	"hanse/node/email"
	"hanse/node/store"
)

// metrics are the stages of an event's way: received, verified, judged, committed, queued for other servers, sent; refused
// at any of them. Labels come from closed sets: never a room, a user or a server.
type metrics struct {
	received, receivedEDUs, verified, committed prometheus.Counter

	judged  map[room.Status]prometheus.Counter
	refused *prometheus.CounterVec

	transactionEvents, commitEvents, fanOut, sentEvents prometheus.Observer
	commitInputs, commitSeconds                         prometheus.Observer
}

func newMetrics(registry prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		registry.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets ...float64) prometheus.Observer {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
		registry.MustRegister(h)
		return h
	}
	m := &metrics{
		received:     counter("hanse_events_received_total", "Events that transactions brought."),
		receivedEDUs: counter("hanse_edus_received_total", "EDUs that transactions brought."),
		verified:     counter("hanse_events_verified_total", "Events of transactions whose signatures were checked, good or not."),
		committed:    counter("hanse_events_committed_total", "Events written, those without a place in their room too."),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hanse_refused_total", Help: "What other servers sent or asked that was not taken, by what refused it.",
		}, []string{"what"}),
		transactionEvents: histogram("hanse_transaction_events", "How many events a received transaction had.", 0, 1, 2, 5, 10, 25, 50),
		commitEvents:      histogram("hanse_commit_events", "How many events a room's commit had.", 0, 1, 2, 5, 10, 50, 250, 1000, 10000),
		fanOut:            histogram("hanse_fan_out_servers", "How many servers an event goes to.", 1, 2, 5, 10, 50, 250, 1000, 5000),
		sentEvents:        histogram("hanse_sent_transaction_events", "How many events a delivered transaction had.", 0, 1, 2, 5, 10, 25, 50),
		commitInputs:      histogram("hanse_room_commit_inputs", "How many inputs (sends, transactions, joins) of one room shared a commit.", 1, 2, 4, 8, 16, 32, 64, 128),
		commitSeconds:     histogram("hanse_room_commit_seconds", "How long a room's commit took, from the machine's step to the disk.", .001, .002, .005, .01, .02, .05, .1, .5, 2),
		judged:            map[room.Status]prometheus.Counter{},
	}
	judged := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hanse_events_judged_total", Help: "What rooms made of events.",
	}, []string{"verdict"})
	registry.MustRegister(m.refused, judged)
	for _, status := range [...]room.Status{room.Accepted, room.SoftFailed, room.Rejected, room.Waiting, room.Dropped} {
		m.judged[status] = judged.WithLabelValues(status.String())
	}
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
	gauge("hanse_guests", "Guests there are.", func() float64 { return float64(len(n.store.Guests())) })
	gauge("hanse_reports", "Reports of users that nobody has dealt with.", func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		kept, err := n.store.ReportsKept(ctx)
		if err != nil {
			return math.NaN()
		}
		return float64(kept)
	})
	stored := func(read func(store.Stats) int64) func() float64 {
		return func() float64 { return float64(read(n.store.Stats())) }
	}
	sent := func(read func(sender.Stats) int64) func() float64 {
		return func() float64 { return float64(read(n.sender.Stats())) }
	}
	gauge("hanse_room_queue", "Inputs that wait for their room's turn.", func() float64 { return float64(n.rooms.Queued()) })
	gauge("hanse_room_fetches", "Fetches of missing events and states under way.", func() float64 { return float64(n.rooms.Fetching()) })
	gauge("hanse_federation_requests", "Requests of other servers being handled.", func() float64 { return float64(n.load.InFlight.Load()) })
	gauge("hanse_federation_body_bytes", "Bytes of request bodies of other servers held.", func() float64 { return float64(n.load.Bodies.Load()) })
	gauge("hanse_federation_unproven", "Requests of servers that never showed a good signature, being checked.",
		func() float64 { return float64(n.load.Unproven.Load()) })
	gauge("hanse_outbox_oldest_seconds", "Age of the oldest event or EDU that waits for a server; of what was there at the start, since then.",
		func() float64 { return n.store.OldestOutbox().Seconds() })
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

// registerMails makes counters of what becomes of mails.
func (n *Node) registerMails(mails *email.Sender) {
	n.telemetry.Registry.MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "hanse_mails_sent_total", Help: "Mails that the mail server has taken."},
			func() float64 { sent, _ := mails.Counts(); return float64(sent) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "hanse_mails_failed_total", Help: "Mails that could not be handed to the mail server."},
			func() float64 { _, failed := mails.Counts(); return float64(failed) }))
}

// registerLoads makes gauges of what the client-server API has to do, by kind of work.
func (n *Node) registerLoads(clients *clientapi.API) {
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) {
		n.telemetry.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, value))
	}
	for name, load := range clients.Loads() {
		lane := prometheus.Labels{"lane": name}
		gauge("hanse_client_requests", "Requests of clients being worked on, by kind of work.", lane, func() float64 { return float64(load().Working) })
		gauge("hanse_client_waiting", "Requests of clients that wait for their turn, by kind of work.", lane, func() float64 { return float64(load().Waiting) })
	}
	gauge("hanse_client_body_bytes", "Bytes of request bodies of clients held.", nil, func() float64 { return float64(clients.HeldBodies()) })
}
