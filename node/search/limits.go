package search

import "time"

// All bounds of the package, each with its reason.
const (
	// maxWords is how many words of an event it is found by: some pages of text, as an event has at most 64 KiB.
	maxWords = 2000
	// maxNameWords is how many words of a user's name they are found by.
	maxNameWords = 20
	// maxTermWords is how many words of a search count.
	maxTermWords = 16
	// batch is how many events are noted at once, and pause how long the next batch waits when nobody searches: at most some
	// thousand rows in a second, so that sending stays as fast as it is.
	batch = 200
	pause = 250 * time.Millisecond
	// gather is how long an event waits for others to be noted with, when nobody searches.
	gather = time.Second
	// retry is how long the next try waits after the database failed.
	retry = 10 * time.Second
	// catchUp is how long a search waits for what was sent before it to be noted.
	catchUp = 5 * time.Second
	// maxCandidates is how many events with the words are read at a time, maxScan how many for one answer: the most relevant
	// ones are found among so many of the newest.
	maxCandidates = 250
	maxScan       = 2000
	// maxBytes is from how many bytes of these on no more is read: they are looked through for the words, and held to be put in order.
	maxBytes = 8 << 20
	// maxRooms is how many rooms of a user are searched.
	maxRooms = 5000
)
