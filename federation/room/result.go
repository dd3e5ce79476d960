package room

import (
	"slices"

	"hanse/federation/authrules"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
)

// Status is what the checks made of an event.
type Status int

const (
	// Accepted events passed all checks.
	Accepted Status = iota
	// SoftFailed events passed but for the check against the current state: stored, kept from clients, no forward extremities.
	SoftFailed
	// Rejected events failed a check against their auth events or the state before them: stored, without effect on the state.
	Rejected
	// Waiting events need something fetched first.
	Waiting
	// Dropped events were not judged and are not stored: what they need can't be had, or a bound was reached, or they were of a stay
	// in the room that doesn't count any more. The same event may be received again. Verdict.Reason tells why.
	Dropped
)

// String is the status in the spec's words.
func (s Status) String() string {
	switch s {
	case Accepted:
		return "accepted"
	case SoftFailed:
		return "soft-failed"
	case Rejected:
		return "rejected"
	case Waiting:
		return "waiting"
	case Dropped:
		return "dropped"
	}
	return "unknown"
}

// Result is what a Step decided. The caller makes Commit durable BEFORE it answers the peer, releases Send or shows Commit to
// readers. Fetch may start at once.
type Result struct {
	Commit   Commit
	Fetch    []Fetch
	Send     []Send
	Verdicts []Verdict     // of all events decided in this Step: also of those that waited and of those fetched
	Before   roomstate.Map // Accept only: the state before the event
}

// Verdict finds the last verdict on an event.
func (r Result) Verdict(e id.EventID) (Verdict, bool) {
	for _, v := range slices.Backward(r.Verdicts) {
		if v.EventID == e {
			return v, true
		}
	}
	return Verdict{}, false
}

// Verdict tells what became of an event.
type Verdict struct {
	EventID   id.EventID // "" for a refused draft
	Status    Status
	Rejection *authrules.Rejection // the rule, if a rule decided (Rejected, SoftFailed)
	Duplicate bool                 // it was known before; Status is what it is known as
	Draft     int                  // Propose: index of the draft
	Reason    string               // for people: which check, and why
}

// FetchKind is what a Fetch asks for.
type FetchKind int

const (
	// FetchMissing asks for the events between Latest and Earliest: /get_missing_events with Limit and MinDepth.
	FetchMissing FetchKind = iota
	// FetchAuth asks for the auth events Events of the event At and their auth chains: /event_auth of At, or /event of each.
	FetchAuth
	// FetchState asks for the event At, the state before it and its auth chain: /state_ids and the events not stored (or /state),
	// and /event of At.
	FetchState
)

// String names the endpoint.
func (k FetchKind) String() string {
	switch k {
	case FetchMissing:
		return "get_missing_events"
	case FetchAuth:
		return "event_auth"
	case FetchState:
		return "state_ids"
	}
	return "unknown"
}

// Fetch is something to ask other servers for. The caller tries From in order until one gives a usable answer, and hands it in as
// [Provide], or hands in the last error.
type Fetch struct {
	Ticket   int64 // tells fetches of one machine apart
	Kind     FetchKind
	From     []id.ServerName // at least one, never ourselves
	Latest   []id.EventID    // FetchMissing
	Earliest []id.EventID    // FetchMissing
	MinDepth int64           // FetchMissing
	Limit    int             // FetchMissing
	Events   []id.EventID    // FetchAuth: those that are missing
	At       id.EventID      // FetchAuth, FetchState
	silent   bool            // one that was to be asked before From gave no answer
}

// Send is an event and the servers that get it: those with joined users before or after it, and of the user who was kicked, banned
// or had an invite or knock taken back; not ourselves, not where it came from. These are our events, those that we accepted as the
// resident server, and what is passed on to newcomers. Servers is shared: it must not be changed.
type Send struct {
	Event   *event.Event
	Servers []id.ServerName
}

// Commit is what is to be written, in one transaction.
type Commit struct {
	RoomID   id.RoomID
	Rules    *roomversion.Rules
	Events   []Committed           // parents first
	Filled   []*event.Event        // whole events that are stored, or are in Events, with a place and redacted: to replace those copies, and nothing else
	Lacking  []Lack                // what isn't there below refused events that accepted ones stand on
	Forward  []id.EventID          // all forward extremities after this commit
	Depth    int64                 // greatest depth among Forward
	Current  roomstate.Map         // after this commit
	Changes  []StateChange         // what changed in Current; after a merge also keys that no event of this commit has
	Members  map[id.EventID]Member // what stored membership events of Changes say, where many had to be read: they need not be read again
	Stage    []*event.Event        // to be kept until unstaged
	Unstage  []id.EventID          // decided or dropped
	Send     []Send                // the same as Result.Send: outbox rows
	Servers  map[id.ServerName]int // joined members, of only those servers whose number changed; 0: none left
	Resident bool                  // after this commit
	Partial  *PartialState         // the room has a partial state from this commit on; its Unsure is to be made of Events
	Whole    bool                  // the state is whole from this commit on: nothing is unsure any more
}

// Lack is a prev event that has no place here, of a refused event that an accepted one has as an ancestor. So that one has it as an ancestor
// too, as if it named it: see [Source].Referenced. It may get its place in the same commit.
type Lack struct {
	Event, Child id.EventID
	Depth        int64 // of Child
}

// Member is what a membership event says.
type Member struct {
	Membership string
	Sender     id.UserID
}

// Stored is the event as a [Source] gives it.
func (c *Committed) Stored() Stored {
	return Stored{Event: c.Event, Status: c.Status, Outlier: c.Outlier, Deep: c.Deep, Given: c.Given}
}

// StateChange is a change of the current state. Old or New is "" for absent.
type StateChange struct {
	Key      roomstate.Key
	Old, New id.EventID
}

// Empty tells that there is nothing to write.
func (c Commit) Empty() bool {
	return len(c.Events) == 0 && len(c.Stage) == 0 && len(c.Unstage) == 0 && len(c.Changes) == 0 && len(c.Filled) == 0 && !c.Whole
}

// Committed is an event to be stored. An event may be stored already as an outlier; what is said here then replaces that: the copy
// of the event too. An outlier replaces an outlier if that was rejected for a bad copy of itself or of its auth events, and a new
// answer brought a good one. A rejected event that has its place in the graph keeps it and its verdict. An outlier that is decided Again
// has lost its place, and all that came with it: what was decided there isn't to be trusted, see [PartialState].
type Committed struct {
	Event      *event.Event
	Status     Status               // Accepted, SoftFailed, Rejected
	Rejection  *authrules.Rejection // why, if a rule decided
	Reason     string               // why, for people; "" if Accepted
	Outlier    bool                 // no place in the graph: no states
	Backfilled bool                 // history: older than what we have, not to be shown as new
	Gap        bool                 // some of its prev events aren't stored: history has a hole below it
	Deep       bool                 // some servers drop it, or what it stands on, for its depth; never with Accepted
	Unsure     bool                 // judged by a partial state: to be kept for PartialState.Unsure, in the order of the commit
	Below      bool                 // with Unsure: an accepted event was known to stand on it
	Given      bool                 // another server gave the state before it
	LeftOut    []id.EventID         // events of that state which were rejected, and so aren't in Before
	Again      bool                 // stored with its place; was unsure: what is said here replaces what was said of it
	// Before and After are the states before and after the event, unset for outliers. After a rejected event: the one before it.
	Before, After roomstate.Map
}

// AsUnsure is what is kept of an event that is Unsure.
func (c *Committed) AsUnsure() Unsure {
	u := Unsure{Event: c.Event.ID(), Backfilled: c.Backfilled, Below: c.Below, Given: c.Given}
	if c.Given {
		u.Before, u.LeftOut = c.Before, c.LeftOut
	}
	return u
}
