package inbound

import (
	"hanse/federation/event"
	"hanse/federation/id"
)

// Watch is told what becomes of the events of transactions. Its functions must be quick and may be called concurrently.
type Watch struct {
	// Received: a transaction brought so many events and EDUs.
	Received func(events, edus int)
	// Verified: an event of a transaction has passed the checks 1 to 3, or its signatures were not good.
	Verified func(origin id.ServerName, e *event.Event, err error)
	// Dropped: a PDU was not handed to its room, by this check.
	Dropped func(Dropped)
}

// Dropped is a PDU that was not handed to its room.
type Dropped struct {
	Origin id.ServerName
	Room   id.RoomID  // "" if it names none
	Event  id.EventID // "" if it has none
	Check  Check
	Why    string // for people
}

// Check is what a PDU has to pass before its room sees it.
type Check int

// The checks, in their order.
const (
	CheckRoom Check = iota // we know its room and are in it
	CheckFormat
	CheckACL
	CheckSignature
)

func (w Watch) received(events, edus int) {
	if w.Received != nil {
		w.Received(events, edus)
	}
}

func (w Watch) verified(origin id.ServerName, e *event.Event, err error) {
	if w.Verified != nil {
		w.Verified(origin, e, err)
	}
}

func (w Watch) dropped(d Dropped) {
	if w.Dropped != nil {
		w.Dropped(d)
	}
}
