package peer

import "time"

const (
	// requestTimeout bounds requests by hand and the headers of those that come in: all of it is loopback.
	requestTimeout = 20 * time.Second
	// maxBody bounds what is read of a request or an answer: a transaction of 50 of the largest events is 3.2 MB.
	maxBody = 32 << 20
	// maxMissing is how many events the peer answers to get_missing_events and backfill.
	maxMissing = 100
	// maxJournal is how many exchanges the journal keeps: those of the last test.
	maxJournal = 40
	// maxBrief is how many bytes of what was sent or got the journal shows.
	maxBrief = 1000
)
