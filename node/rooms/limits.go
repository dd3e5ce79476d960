package rooms

import "time"

// Limits bounds what this package keeps in memory and does at a time. Zero fields get the default.
type Limits struct {
	// Mailbox is how many inputs may wait for one room (default 512). At the machine's usual pace that is under a
	// second of work; more waiting would only mean answers after the asker's time-out. Full: 429 M_LIMIT_EXCEEDED
	// to clients, 503 to servers.
	Mailbox int
	// Batch is how many inputs may share one commit (default 128): a commit's answers come when the whole is on
	// disk, so a batch must stay well under what the database writes in a few tens of milliseconds.
	Batch int
	// Loaded is how many rooms are kept in memory (default 2000). A loaded quiet room costs some tens of kilobytes.
	Loaded int
	// Idle is how long a loaded room may be quiet before it is dropped from memory (default 10 minutes).
	Idle time.Duration
	// Recent is how many of its latest events a room keeps at hand so that steps need not read what was just written
	// (default 128).
	Recent int
	// Changes is how many changes of its state, and entries of states that other servers gave, a room holds in memory, each up to some kilobytes,
	// before it reads its states from the store again (default 1000).
	Changes int
	// Fetches is how many fetches run at a time over all rooms (default 32): each holds a connection to another
	// server and an answer of up to some megabytes.
	Fetches int
	// FetchTime bounds one fetch, all its servers included (default 2 minutes; the first of several has
	// half of it, as it takes to get the state of the largest rooms): events wait for it.
	FetchTime time.Duration
	// Handshake bounds a join, leave or knock over federation, all candidates included (default 5 minutes: a join of
	// a large room downloads all its state).
	Handshake time.Duration
	// Candidates is how many servers a handshake tries (default 10).
	Candidates int
	// Page is the most events in one answer of /messages and one side of /context (default 1000, filtered ones not counted).
	Page int
	// Scan is the most events that are read to fill one page when a filter or history visibility leaves out most of
	// them (default 5000).
	Scan int
	// Backfill is how many events are asked of, and given to, another server at a time (default 100).
	Backfill int
	// Missing is the most events in an answer to get_missing_events (default 50; Synapse asks for 10, gives 20).
	Missing int
	// StateEvents bounds the state and the auth chain taken from another server, each (default 500,000 events).
	StateEvents int
	// StateChunk is how many events of a large state, which a room gets after the join, share a step and a commit (default 1000): what
	// happens in the room meanwhile waits no longer than for two.
	StateChunk int
	// StrippedState is how many events of invite_room_state and knock_room_state are taken (default 50).
	StrippedState int
	// StrippedBytes bounds what is kept of it, in bytes (default 64 KiB): ten usual events have some 5 KiB, and each /sync of a new client has
	// that of all invites.
	StrippedBytes int
	// Invited is how many invites to rooms of other servers a user may have that wait for an answer (default 1000), InvitedBy how many of them
	// from one server (default 300): people have a few, a bot that is out may have some hundred. Beyond Invited, and up to twice as many, a
	// server may make one that has made none.
	Invited, InvitedBy int
	// Invites is how many users one /createRoom may invite (default 100): each on another server is a handshake.
	Invites int
	// CatchUpAfter is how long after its start this server asks others for what it missed (default 2 s): they may ask for
	// its keys first, so it must be answering.
	CatchUpAfter time.Duration
	// InitialState is how many events of initial_state one /createRoom may bring (default 200).
	InitialState int
}

func (l Limits) withDefaults() Limits {
	def(&l.Mailbox, 512)
	def(&l.Batch, 128)
	def(&l.Loaded, 2000)
	def(&l.Idle, 10*time.Minute)
	def(&l.Recent, 128)
	def(&l.Changes, 1000)
	def(&l.Fetches, 32)
	def(&l.FetchTime, 2*time.Minute)
	def(&l.Handshake, 5*time.Minute)
	def(&l.Candidates, 10)
	def(&l.Page, 1000)
	def(&l.Scan, 5000)
	def(&l.Backfill, 100)
	def(&l.Missing, 50)
	def(&l.StateEvents, 500_000)
	def(&l.StateChunk, 1000)
	def(&l.StrippedState, 50)
	def(&l.StrippedBytes, 64<<10)
	def(&l.Invited, 1000)
	def(&l.InvitedBy, 300)
	def(&l.Invites, 100)
	def(&l.CatchUpAfter, 2*time.Second)
	def(&l.InitialState, 200)
	return l
}

func def[T int | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}
