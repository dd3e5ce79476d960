package directory

import "time"

// All bounds of the package, each with its reason.
const (
	// maxPage and defaultPage bound a page of the list of rooms: an entry is about a kilobyte.
	maxPage     = 500
	defaultPage = 100
	// maxSummaries bounds the summaries that are kept in memory.
	maxSummaries = 10_000
	// maxText bounds a name or topic in a summary: events may carry 64 KiB, a list of rooms should not.
	maxText = 4096
	// maxTokenBytes bounds a pagination token.
	maxTokenBytes = 1024
	// maxSearchBytes bounds a search term.
	maxSearchBytes = 512
	// maxAliasesPerRoom keeps the answer of /aliases, and a room's hold on the names of a server, small.
	maxAliasesPerRoom = 1000
	// maxServers is how many servers an alias leads to: the joiner asks a few of them in turn.
	maxServers = 20
	// remoteTimeout bounds the wait for another server, as a client waits.
	remoteTimeout = 30 * time.Second
)
