package server

import (
	"runtime"
	"time"

	"hanse/federation/places"
)

// Limits bound what peers can make the server do at once. The zero value of each means the default.
type Limits struct {
	// InFlight bounds the requests worked on at once, PerOrigin those of one server. More are answered with 429.
	// Defaults 1,000 and 100: deployed servers send one transaction at a time and ask some tens of questions.
	InFlight, PerOrigin int
	// Transactions bounds those worked on at once, by the KiB of their bodies, which is about the number of their events;
	// each counts as one at least. Some more wait for a moment, the rest are answered with 429. Default 128 for each
	// processor, at least 256: enough that all are busy while others wait for the disk, and that a write to it is shared.
	Transactions int
	// Unproven bounds the requests under check of servers that never showed a good signature. Default 200: each may
	// wait for keys that don't come. Once half of them are taken, one address has an eighth.
	Unproven int
	// BodyMemory bounds the bytes of request bodies held at once, and, once half of that is, an eighth of it those of one address. Default 256 MiB.
	BodyMemory int64
	// BodyTime bounds how long reading one body may take. Default 60 s: the largest at 2 Mbit/s.
	BodyTime time.Duration
	// RetryAfter is when a refused request is told to come again. Default 2 s.
	RetryAfter time.Duration
}

func (l Limits) withDefaults() Limits {
	orElse(&l.InFlight, 1000)
	orElse(&l.PerOrigin, 100)
	orElse(&l.Transactions, max(256, 128*runtime.GOMAXPROCS(0)))
	orElse(&l.Unproven, 200)
	orElse(&l.BodyMemory, 256<<20)
	orElse(&l.BodyTime, time.Minute)
	orElse(&l.RetryAfter, 2*time.Second)
	return l
}

func orElse[T int | int64 | time.Duration](value *T, standard T) {
	if *value == 0 {
		*value = standard
	}
}

// Limits of request bodies, in bytes, before anything in them is looked at.
const (
	// maxTransaction is for PUT /send: 50 events of the largest size (64 KiB) and 100 EDUs, with room for JSON that
	// escapes more than it must.
	maxTransaction = 13 << 20
	// maxEvent is for one event with its stripped room state: some twenty times the largest event.
	maxEvent = 2 << 20
	// maxQuestion is for get_missing_events, publicRooms and key queries: lists of identifiers.
	maxQuestion = 512 << 10

	// largeBody is from what size on bodies are looked at in turns.
	largeBody = 256 << 10

	// maxAuthorizations bounds how many X-Matrix headers of one request are looked at: one for each key of a server.
	maxAuthorizations = 8
	// maxProven bounds how many servers are remembered to have shown a good signature: some hundred bytes each.
	maxProven = 50_000
	// maxTransactionID bounds a transaction's ID, in bytes: it is stored.
	maxTransactionID = 255
	// maxParameter bounds free query parameters (since, third_party_instance_id, field), in bytes.
	maxParameter = 1024

	// transactionsWaiting is how much may wait for each that is worked on. What would wait for longer than
	// transactionWait, at the pace of late, is refused at once; what has waited for transactionPatience is refused too:
	// what is let in is answered within a second or so, and who is refused loses little.
	transactionsWaiting = 8
	// transactionWork is what a transaction shall take once it has its turn: less is worked on at once where the pace is too slow for
	// that, though transactionsLeast, which is a full transaction's weight.
	transactionWork     = 500 * time.Millisecond
	transactionsLeast   = 32
	transactionWait     = 500 * time.Millisecond
	transactionPatience = time.Second
	// paceTime is how long the pace is measured before it counts.
	paceTime = 250 * time.Millisecond
	// refusalPause is how long a transaction waits before it is refused unread, refusalsHeld how many do at once, each some
	// 10 KiB.
	refusalPause = 250 * time.Millisecond
	refusalsHeld = 1000
	// transactionsPerOrigin bounds those of one server that run, wait, or wait for other servers: deployed servers send
	// one at a time.
	transactionsPerOrigin = 16

	// maxPixels bounds a thumbnail's sides as they are asked for, in pixels; what is served is the handler's choice.
	maxPixels = 1 << 16
	// defaultMediaWait is the specification's, maxMediaWait the longest a peer may have us wait for an upload.
	defaultMediaWait = 20 * time.Second
	maxMediaWait     = time.Minute
	// lists and listsPerOrigin bound the answers that are lists of up to a hundred events, states and statesPerOrigin those with a state or
	// an auth chain: those that are made or read by the peer at a time. As many of all wait for slow readers besides. Synapse
	// lets one server have three requests of any kind. Who finds no place within placePatience is told to come again: Synapse waits a minute
	// for an answer's header, and takes a server that refuses it some times for one that is down.
	lists, listsPerOrigin   = 32, 8
	states, statesPerOrigin = 32, 4
	placePatience           = 45 * time.Second
	// largeAnswer is from how many bytes on a peer that doesn't read is cut off: less than that is in the kernel's hands at once.
	largeAnswer = 64 << 10
)

// pace bounds how long reading an answer, or media, may take. Who needs as long for a large state keeps nobody else out, as places are lent.
var pace = places.Pace{Patience: time.Minute, BytesPerSecond: 16 << 10}
