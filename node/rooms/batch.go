package rooms

import (
	"maps"
	"slices"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/node/store"
)

// batch is what several steps decided, merged into one commit, and the tasks that are answered when it is on disk.
// Between steps it also stands for what is not on disk yet: see source.
type batch struct {
	commit  room.Commit
	opts    store.CommitOptions
	waiting []waiting

	events     map[id.EventID]int             // index in commit.Events
	referenced map[id.EventID]struct{}        // prev events of its accepted events, and what lacks below refused ones
	changes    map[roomstate.Key]int          // index in commit.Changes; nil: not needed yet
	txns       map[store.ClientTxn]id.EventID // client transactions, EventID left out in the key
}

type waiting struct {
	task   *task
	result room.Result
}

func newBatch() *batch {
	return &batch{
		events:     make(map[id.EventID]int),
		referenced: make(map[id.EventID]struct{}),
		txns:       make(map[store.ClientTxn]id.EventID),
	}
}

// keptEvents is up to how many events of a batch, staged ones too, its maps and its list are kept for the next: as many as come from clients at
// once. It is some 40 KiB a room.
const keptEvents = 64

// emptied is an empty batch with the maps, and the list, of one whose tasks are answered, so that they needn't grow again; a large one's
// aren't kept.
func (b *batch) emptied() *batch {
	if max(len(b.events), len(b.opts.Arrivals), len(b.waiting)) > keptEvents {
		return newBatch()
	}
	clear(b.events)
	clear(b.referenced)
	clear(b.txns)
	clear(b.opts.Arrivals)
	clear(b.waiting)
	return &batch{
		waiting: b.waiting[:0], events: b.events, referenced: b.referenced, txns: b.txns,
		opts: store.CommitOptions{Arrivals: b.opts.Arrivals},
	}
}

// arrived notes how an event came.
func (b *batch) arrived(e id.EventID, how store.Arrival) {
	if b.opts.Arrivals == nil {
		b.opts.Arrivals = make(map[id.EventID]store.Arrival)
	}
	b.opts.Arrivals[e] = how
}

// idle tells that nothing is in it.
func (b *batch) idle() bool { return len(b.waiting) == 0 }

// add takes over what one step decided. The steps of a machine must be added in their order.
func (b *batch) add(t *task, result room.Result, opts store.CommitOptions) {
	b.waiting = append(b.waiting, waiting{t, result})
	c := result.Commit
	if c.Empty() {
		return
	}
	b.addEvents(c.Events)
	b.commit.Filled = append(b.commit.Filled, c.Filled...)
	b.commit.Lacking = append(b.commit.Lacking, c.Lacking...)
	for _, lack := range c.Lacking {
		b.referenced[lack.Event] = struct{}{}
	}
	b.addChanges(c.Changes)
	b.addMembers(c.Members)
	b.addStaged(c.Stage, c.Unstage)
	// The newest word counts.
	b.commit.RoomID, b.commit.Rules = c.RoomID, c.Rules
	b.commit.Forward, b.commit.Depth, b.commit.Current, b.commit.Resident = c.Forward, c.Depth, c.Current, c.Resident
	if b.commit.Servers == nil {
		b.commit.Servers = make(map[id.ServerName]int, len(c.Servers))
	}
	maps.Copy(b.commit.Servers, c.Servers)
	b.commit.Send = append(b.commit.Send, c.Send...)
	if c.Partial != nil {
		b.commit.Partial = c.Partial
	}
	b.commit.Whole = b.commit.Whole || c.Whole

	for i := range opts.ClientTxns {
		txn := &opts.ClientTxns[i]
		txn.EventID = lastAccepted(result)
		b.txns[txnKey(*txn)] = txn.EventID
	}
	b.opts.ClientTxns = append(b.opts.ClientTxns, opts.ClientTxns...)
	b.opts.Redactions = append(b.opts.Redactions, opts.Redactions...)
}

func (b *batch) addEvents(events []room.Committed) {
	b.commit.Events = slices.Grow(b.commit.Events, len(events)) // a whole state may come
	for _, c := range events {
		if i, known := b.events[c.Event.ID()]; known {
			// An outlier that found its place: what is said later replaces what was said before. It has a place in the store, or
			// has none, as before.
			c.Again = b.commit.Events[i].Again
			b.commit.Events = slices.Delete(b.commit.Events, i, i+1)
			for at, moved := range b.commit.Events[i:] {
				b.events[moved.Event.ID()] = i + at
			}
		}
		b.events[c.Event.ID()] = len(b.commit.Events)
		b.commit.Events = append(b.commit.Events, c)
		if c.Status == room.Accepted && !c.Outlier {
			for _, prev := range c.Event.PrevEvents() {
				b.referenced[prev] = struct{}{}
			}
		}
	}
}

// addChanges merges changes of the current state so that each key stands in it once: from before the batch to after it.
func (b *batch) addChanges(changes []room.StateChange) {
	if len(b.commit.Changes) == 0 { // all members of a large room may be in it
		b.commit.Changes = slices.Clip(changes)
		return
	}
	if b.changes == nil {
		b.commit.Changes = slices.Clone(b.commit.Changes) // the first step's own
		b.changes = make(map[roomstate.Key]int, len(b.commit.Changes)+len(changes))
		for i, c := range b.commit.Changes {
			b.changes[c.Key] = i
		}
	}
	for _, c := range changes {
		i, known := b.changes[c.Key]
		if !known {
			b.changes[c.Key] = len(b.commit.Changes)
			b.commit.Changes = append(b.commit.Changes, c)
			continue
		}
		b.commit.Changes[i].New = c.New
	}
}

func (b *batch) addMembers(members map[id.EventID]room.Member) {
	if len(members) == 0 {
		return
	}
	if b.commit.Members == nil { // all of a large room
		b.commit.Members = members
		return
	}
	b.commit.Members = maps.Clone(b.commit.Members)
	maps.Copy(b.commit.Members, members)
}

// addStaged merges staged events: one staged and decided within the batch is not staged at all.
func (b *batch) addStaged(stage []*event.Event, unstage []id.EventID) {
	for _, gone := range unstage {
		b.commit.Stage = slices.DeleteFunc(b.commit.Stage, func(e *event.Event) bool { return e.ID() == gone })
	}
	b.commit.Unstage = append(b.commit.Unstage, unstage...)
	for _, e := range stage {
		b.commit.Unstage = slices.DeleteFunc(b.commit.Unstage, func(gone id.EventID) bool { return gone == e.ID() })
	}
	b.commit.Stage = append(b.commit.Stage, stage...)
}

// txnKey is a client transaction without what it made.
func txnKey(txn store.ClientTxn) store.ClientTxn {
	txn.EventID = ""
	return txn
}

// lastAccepted is the event that a step made last.
func lastAccepted(result room.Result) id.EventID {
	for _, v := range slices.Backward(result.Verdicts) {
		if v.Status == room.Accepted && v.EventID != "" {
			return v.EventID
		}
	}
	return ""
}
