package room

import (
	"time"

	"hanse/federation/event"
)

// Bounds, each with its reason. What goes over one is dropped with a verdict that says so; the machine stays healthy.
const (
	// MaxPrevEvents is how many forward extremities an own event merges, newest first. The spec's event format allows 20; deployed
	// servers use 10, and servers that see more than that begin to merge. Those left over are merged by the next events.
	MaxPrevEvents = 10

	// maxOwnSize is how many bytes an event of ours may have. Synapse puts an unsigned into what has none before it measures, and refuses what
	// is larger then, and with it what stands on it. Of others what the specification allows is taken.
	//
	// spec:client-server-api#size-limits
	maxOwnSize = event.MaxSize - len(`"unsigned":{},`)
	// maxForward bounds the forward extremities that are of users of one server. Each costs every resolution of the state, and events of ours
	// merge what is more than ten, unless nobody of ours may speak. The most that a server is known to have made without meaning harm, a
	// bridge that spoke too fast, were 1,600 (github.com/matrix-org/synapse/issues/7086).
	maxForward = 2000

	// maxWaiting bounds the events of a room that wait, so that a peer can't fill our memory with events that hang in the air.
	// 1,000 usual events are about 1 MB.
	maxWaiting = 1000
	// maxWaitingOrigin is the part of it that one origin may use: a hostile one leaves room for the others.
	maxWaitingOrigin = 500
	// maxWaitingBytes and maxWaitingOriginBytes are the same bounds for what events weigh, each of which may have 64 KiB: an answer to
	// get_missing_events that is full of the largest ones may wait.
	maxWaitingBytes, maxWaitingOriginBytes = 16 << 20, 8 << 20

	// maxChases bounds the servers we ask at the same time in one room: each has one fetch going. Others wait their turn.
	maxChases = 8
	// maxFetches bounds the fetches that one run of waiting events of one origin may cause. A gap needs one to some ten
	// get_missing_events and one state fetch a missing prev event (20 at most for one event); a peer that causes more plays with us.
	maxFetches = 60
	// maxMissingRounds is how often we ask for missing events before we jump the gap with a state fetch. Deployed servers give at
	// most 20 events an answer, so that gaps of 200 events are closed; what lies in a longer gap is backfilled when a client looks.
	maxMissingRounds = 10
	// missingLimit is the limit of get_missing_events asked for. Servers cut it to theirs (Synapse: 20).
	missingLimit = 100
	// fullMissing is how many missing events every server gives at once, if there are as many: an answer of fewer is all that it has.
	fullMissing = 5
	// maxLatest and maxEarliest bound the lists in a get_missing_events request.
	maxLatest   = 20
	maxEarliest = 20
	// maxFrom is how many servers are tried for one fetch: the origin, then those with most users.
	maxFrom = 5
	// maxBackfillFetches bounds the states fetched for one Backfill: history that forks a lot below what we have is read in
	// several goes.
	maxBackfillFetches = 10
	// maxNamedByPage bounds the prev and auth events that those of one Backfill name, of which each is looked up. Old events may have some 1,400
	// of them, so the page is read in several goes too. A page of 100 events that are as new ones may be names 3,100.
	maxNamedByPage = 4000

	// maxState is the greatest state taken from another server; the largest rooms known have some 300,000 members.
	maxState = 1_000_000

	// maxNoted bounds the membership events of a state coming in parts that are kept in memory, at some 250 bytes each: those of the largest rooms
	// known. What is beyond it is read again.
	maxNoted = 300_000

	// maxNewcomers and newcomerTime bound for whom, and for how long, we pass events on that were sent by servers which hadn't heard
	// of them yet: hearing of a join takes one transaction.
	maxNewcomers = 50
	newcomerTime = 5 * time.Minute

	// maxSourceBatch is how many events are asked of the Source at a time: more would be one huge database query.
	maxSourceBatch = 1000

	// maxRead is how many bytes of events a step keeps of what state resolution reads, which may be all that the store has of a room. What is beyond
	// it is read again when it is asked for again.
	maxRead = 16 << 20

	// maxWalk bounds the walk back over soft-failed and rejected events when forward extremities are replaced. Past it an extremity
	// may stay that is an ancestor of another, which is harmless: it is merged by our next event.
	maxWalk = 100

	// maxStrays bounds the events that a server from outside has brought, nobody has vouched for, and are kept in mind to be vouched for: 100 kB.
	maxStrays = 1000

	// maxNamed bounds what is kept in mind of what events name whose states were given: 100 kB.
	maxNamed = 1000

	// maxUnsure bounds the events that are judged while the state isn't whole. They are judged again in one step, of about a second
	// at this number; what comes beyond it is dropped, and asked for when the state is whole.
	maxUnsure = 20_000
	// maxLeftOut bounds the rejected events that are kept in mind for each state given meanwhile: an honest server's has none, or those that we
	// rejected for want of the members.
	maxLeftOut = 1000
	// maxTold bounds the servers of a room that we believe another server's word for; the largest rooms known have some 10,000.
	maxTold = 50_000

	// Caches, in entries a generation of two. Events: those that authorise the next ones (create, power levels, join rules, members
	// who talk). States and resolutions: of forward extremities and of recent merges; nodes are shared, entries are small.
	cachedEvents      = 64
	cachedStates      = 32
	cachedResolutions = 16
)
