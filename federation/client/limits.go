package client

import "time"

// Timeouts bound how long a call may take, each phase for itself, so that an error tells whether a server can't be
// reached or is slow. The zero value of each means the default. A call's context bounds it as a whole.
type Timeouts struct {
	// Connect bounds connecting to one address: TCP and TLS. Default 10 s: three lost SYNs are seven seconds. Where a server has many
	// addresses, each has its part of Connecting at most.
	Connect time.Duration
	// Connecting bounds connecting to all addresses of a server together. Default 30 s.
	Connecting time.Duration
	// Short bounds the wait for the answer's header of small questions: version, keys, profile, directory, event, and the templates of
	// joins, leaves and knocks, for which deployed servers wait 20 s. Default 30 s.
	Short time.Duration
	// Send is for transactions: the peer may work on them before it answers. Default 60 s, as deployed servers wait.
	Send time.Duration
	// Long is for what may cost the peer much: joins, state, history. Default 3 minutes: joining the largest rooms
	// takes deployed servers that long.
	Long time.Duration
	// Stall bounds how long an answer's body may take for each 16 KiB: whether it stands still or trickles. Default 30 s.
	Stall time.Duration
}

func (t Timeouts) withDefaults() Timeouts {
	orElse(&t.Connect, 10*time.Second)
	orElse(&t.Connecting, 30*time.Second)
	orElse(&t.Short, 30*time.Second)
	orElse(&t.Send, time.Minute)
	orElse(&t.Long, 3*time.Minute)
	orElse(&t.Stall, 30*time.Second)
	return t
}

// Limits bound how many bytes of an answer are read, after decompression. The zero value of each means the default.
type Limits struct {
	// Small is for answers that hold one event or less: version, make_join, event, invite, profile, transaction
	// results. Default 512 KiB: an event has at most 64 KiB, and escaping can lengthen it sixfold.
	Small int64
	// Keys is for key documents and notary answers. Default 2 MiB: some hundred documents of a few KiB.
	Keys int64
	// List is for backfill, missing events, the stripped state of an invite, public rooms and directory answers.
	// Default 32 MiB: a hundred events of the largest size, several times over.
	List int64
	// IDs is for state_ids. Default 64 MiB: a million event IDs.
	IDs int64
	// State is for send_join, state and event_auth. Default 256 MiB: the largest known rooms answer with about 200.
	State int64
	// Held bounds the bytes of all answers of the two last kinds that are being read or worked on. Default 512 MiB: two of the
	// largest at once. One for which there is no room fails for now.
	Held int64
}

func (l Limits) withDefaults() Limits {
	orElse(&l.Small, 512<<10)
	orElse(&l.Keys, 2<<20)
	orElse(&l.List, 32<<20)
	orElse(&l.IDs, 64<<20)
	orElse(&l.State, 256<<20)
	orElse(&l.Held, 512<<20)
	return l
}

func orElse[T int64 | time.Duration](value *T, standard T) {
	if *value == 0 {
		*value = standard
	}
}

const (
	// maxErrorBody bounds what is read of an answer that is an error, in bytes: the standard error is a line.
	maxErrorBody = 64 << 10
	// maxDrain bounds what is read and thrown away behind an answer to be able to use its connection again, in bytes.
	maxDrain = 4 << 10
	// minProgress is how many bytes an answer's body must bring in each Stall: one that brings a byte now and then holds up what it is
	// for as much as one that stands still. The slowest modem brings three times as much.
	minProgress = 16 << 10
	// maxTargets bounds how many addresses of a server are tried in one call: each has nearly four seconds then, as Connecting is.
	maxTargets = 8
	// maxHeader bounds an answer's header, in bytes.
	maxHeader = 64 << 10

	// maxWebRedirects bounds the redirects of media that is elsewhere, which may go in circles.
	maxWebRedirects = 5
	// maxWebIdle bounds the connections kept to where media is elsewhere.
	maxWebIdle = 20

	// maxIdle and maxIdlePerServer bound the connections kept open without a call on them. A busy destination needs
	// one for transactions and one for questions; HTTP/2 needs one for all.
	maxIdle          = 2000
	maxIdlePerServer = 4
	// maxPerServer bounds the HTTP/1.1 connections to one server: more calls than that wait.
	maxPerServer = 64
	// idleTimeout is how long an idle connection is kept.
	idleTimeout = 90 * time.Second
	// pingAfter and pingTimeout find HTTP/2 connections that died silently.
	pingAfter   = 30 * time.Second
	pingTimeout = 15 * time.Second
	// noHeaderTable is so small a table of headers to be repeated in an HTTP/2 connection, in bytes, that there is none: a signature and a
	// path never come again, and each would push out the one before, for as much processor time as half a signature takes.
	noHeaderTable = 1
	// maxSessions bounds the TLS sessions kept for resumption, which saves most of a handshake.
	maxSessions = 1000
)
