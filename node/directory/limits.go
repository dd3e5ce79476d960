package directory

import "time"

// All bounds of the package, each with its reason.
const (
	// maxPage and defaultPage bound a page of the list of rooms: an entry is about a kilobyte.
	maxPage     = 500
	defaultPage = 100
	// maxSummaries bounds the summaries that are kept in memory, some 500 bytes each: a list of 100,000 published rooms would
	// otherwise be read anew for each page.
	maxSummaries = 150_000
	// largeList is from how many published rooms on the list may be a little old, listLife for how long: putting it together
	// costs some microseconds a room.
	largeList = 2000
	listLife  = 10 * time.Second
	// maxText bounds a name or topic in a summary: events may carry 64 KiB, a list of rooms should not.
	maxText = 4096
	// maxNetworkBytes bounds the ID of a third-party network.
	maxNetworkBytes = 255
	// maxTokenBytes bounds a pagination token.
	maxTokenBytes = 1024
	// maxSearchBytes bounds a search term.
	maxSearchBytes = 512
	// maxAliasesPerRoom keeps the answer of /aliases, and a room's hold on the names of a server, small.
	maxAliasesPerRoom = 1000
	// maxServers is how many servers an alias leads to: the joiner asks a few of them in turn.
	maxServers = 20
	// maxConditions bounds the conditions of a restricted room that are looked at.
	maxConditions = 100
	// maxVia is how many servers of an m.space.child event are taken for those that know the room.
	maxVia = 20
	// maxSpaceRooms bounds a page of a space's rooms, maxSpaceDepth how deep a space is gone into, and maxSpaceWalk how many
	// rooms are visited for one page: each may be a question to another server.
	maxSpaceRooms = 50
	maxSpaceDepth = 20
	maxSpaceWalk  = 1000
	// spaceParallel is how many servers are asked at a time for a user who waits.
	spaceParallel = 8
	// maxAsked is how many servers are asked for one room, askTimeout how long each may take.
	maxAsked   = 3
	askTimeout = 10 * time.Second
	// maxAnswers bounds the answers kept, and maxRefusals those that tell nothing, some 200 bytes each; keepAnswers is for how long,
	// keepSilence how long a new walk believes that nobody answers.
	maxAnswers  = 500
	maxRefusals = 10_000
	keepAnswers = 5 * time.Minute
	keepSilence = 30 * time.Second
	// remoteTimeout bounds the wait for another server, as a client waits.
	remoteTimeout = 30 * time.Second
)
