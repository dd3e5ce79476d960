package room

import (
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/signedjson"
)

// Input is what a machine is stepped with: one of [Propose], [Receive], [Accept], [Adopt], [Complete], [Outliers], [Backfill],
// [Provide], [Resume].
type Input interface{ input() }

// Propose makes own events, in order, each on top of the one before, all or nothing. The machine fills room ID (but for a create
// event), prev_events, auth_events, depth and, where it is zero, origin_server_ts; it signs, and checks the rules before anything
// leaves it. Refused: the Commit is empty and Result.Verdicts has one entry, whose Draft is the index of the refused one.
// Done: one Accepted verdict a draft in their order, the events in Commit.Events. There are no other verdicts.
//
// Invites to users of other servers (whose servers sign too), and joins of rooms in which we have no user, are not made here:
// node/rooms makes them with [Machine.Template].
//
// Check 7 is not made either: where the room has a policy server, node/rooms makes the event with Template, has it signed, and
// hands it in as [Accept].
type Propose struct {
	Drafts []event.Draft
	Key    signedjson.Key
	// Quiet events are sent to nobody: others find them below the next event. For events that only merge extremities: if each
	// server that merges told all others at once, these would have more to merge than before.
	Quiet bool
}

// Receive hands in events which another server sent, in any order. Each gets a verdict: decided, Waiting, Duplicate or Dropped.
// Once the Commit is durable the transaction may be answered: waiting events are staged.
type Receive struct {
	Origin id.ServerName // who sent them: asked first for what is missing
	Events []*event.Event
}

// Accept is an own event that others sign or another server's membership event that comes to us as the resident server
// (send_join, send_leave, send_knock; our invites once the invited server has signed). It is checked like a received one,
// but it is committed only if Accepted: otherwise the Commit is empty and the verdict tells why. It never waits: unknown prev or
// auth events give Dropped. Result.Before is the state before the event, for the answer to send_join, also when it is a
// Duplicate. Result.Send relays it to the servers in the room but Origin.
//
// The caller has checked that the event is what the endpoint takes: its type, membership, sender and state key.
type Accept struct {
	Origin id.ServerName // ourselves for our invites
	Event  *event.Event
}

// Adopt takes over a room from the answer to our send_join. The state's events become outliers, Event gets the given state before
// it and becomes the forward extremity.
//
//   - In a room we aren't in (new, or left before) the given state replaces what we had: Event is the only forward extremity.
//     If its state was not whole when it was left, the events since the join of then lose their places.
//   - But if the given state doesn't know how we left the room, our old forward extremities stay beside Event, as they will for others, and
//     the current state is resolved of both: Event may be Accepted, and the user be out all the same. Without members it is refused for
//     [ReasonBehind]. In a room that was left before its state was whole both are resolved when it is, which can be had again now: its
//     [PartialState] stays, and until then the state is what follows from Event.
//   - In a room we are in (another server had to authorise the join of a restricted room) Event is merged like a received one.
//
// Unverifiable events have been left out by the caller. Events that fail the rules are left out here, with a verdict each. If
// the answer doesn't hold what it must (create event of this room and version; a state that lets us in) the Commit is
// empty and the verdict for Event tells why.
type Adopt struct {
	Event     *event.Event // our membership event
	State     []*event.Event
	AuthChain []*event.Event
	// Partial says that members were left out of State: see [PartialState]. Only for rooms that we aren't in. Servers are those
	// that the answer names.
	Partial bool
	Servers []id.ServerName
}

// Complete hands in the whole state before our join, of a room with a partial state. Where it fits, what was judged without it is
// judged again, and the verdict for Join is Accepted; those on events that are something else now come with it. Otherwise Join is
// Dropped, with the reason, and nothing has changed: another server may give a better answer. For a room whose state is whole, or
// partial by another join, it does nothing.
type Complete struct {
	Join id.EventID // PartialState.Join
	// States is the state before Join, or the states after each of its prev events: all their events. Of two with the same key the
	// first one counts. Those that aren't stored must be in Events.
	States [][]id.EventID
	// Events are those of the state and its auth chain that weren't handed in as Outliers.
	Events []*event.Event
	// Lost says that nobody has that state any more. Where another server has given us the room's state since, at a join after having left (see
	// [Adopt]), the members of that stand in for those that aren't known; else Join is Dropped. The other fields don't matter then.
	Lost bool
	// Strict refuses a state that differs from the one that we joined with in what that has.
	Strict bool
}

// Outliers hands in events of the room without a place in its graph: parts of a large state that is fetched for a [Complete]. Those
// that are known already change nothing; those whose auth events aren't known yet are dropped, with a verdict.
type Outliers struct{ Events []*event.Event }

// Backfill hands in history: events below those we have. They are stored as Backfilled and never become forward extremities; one that
// turns out to be below them is none any more. Check 6 isn't made. Clients may see an event or not by the state at it, so each needs a state:
// it is computed upwards from the oldest, for which the state is fetched if unknown. Events wait for that meanwhile, unstaged.
type Backfill struct {
	Origin id.ServerName // who answered
	Events []*event.Event
}

// Provide answers a [Fetch]. Err says that all of Fetch.From failed; the machine then decides what to do without.
type Provide struct {
	Fetch  Fetch
	From   id.ServerName  // who answered
	Events []*event.Event // verified like received ones; those the store had may be left out
	State  *StateAt       // for FetchState
	Err    error
	// Refused tells, beside Err, that each of the servers answered, and refused.
	Refused bool
}

// StateAt is the answer to FetchState: the state before the event At and the auth chain of that state. Provide.Events holds those
// of State, AuthChain and At itself which aren't stored and could be had and verified.
type StateAt struct {
	At        id.EventID
	State     []id.EventID
	AuthChain []id.EventID
}

// Resume has the events that were staged when the machine was loaded received again. Any other input but Propose does so too.
type Resume struct{}

func (Propose) input()  {}
func (Receive) input()  {}
func (Accept) input()   {}
func (Adopt) input()    {}
func (Complete) input() {}
func (Outliers) input() {}
func (Backfill) input() {}
func (Provide) input()  {}
func (Resume) input()   {}
