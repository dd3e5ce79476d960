// Package delayed keeps events that users have scheduled, and sends them when it is time: MSC4140, which clients use so that they
// are seen to leave a call also when they are gone. It is in no version of the specification yet.
//
// Events are on disk from when they are scheduled until they are sent or cancelled, and each is sent once: it is sent with its ID as
// the client's transaction. Whether it may be sent is decided when it is.
package delayed

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"hash/maphash"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/rooms"
	"hanse/node/store"
)

const (
	// MaxDelay is the longest delay; Element Call asks for seconds, what sees to calls on its behalf for hours.
	MaxDelay = 24 * time.Hour
	// maxEach is how many a user may have scheduled: one a call and device, and some to spare. They are kept whole.
	maxEach = 100
	// page is how many are read at once, parallel how many are sent at once.
	page, parallel = 100, 8
	// sendTime bounds how long one may hold up the others; retryAfter is when one is tried again that could not be sent for reasons
	// of this server's, and how long to wait when the database can't be read. giveUpAfter is for how long it is tried. lookEvery is
	// for how long a timer is believed at most: the machine's clock may be set, and its timers don't go by it.
	sendTime    = 30 * time.Second
	retryAfter  = 30 * time.Second
	giveUpAfter = time.Hour
	lookEvery   = time.Minute
)

// Sender puts events into rooms; *rooms.Rooms is one.
type Sender interface {
	// Send returns once the event is on disk. The same Device and TxnID is the same event. A *federation.Error of 4xx is for good,
	// but for M_LIMIT_EXCEEDED.
	Send(ctx context.Context, req rooms.SendRequest) (id.EventID, error)
}

// Events are all scheduled events of this server. Safe for concurrent use.
type Events struct {
	store  *store.Store
	sender Sender
	log    *slog.Logger

	changed chan struct{}  // something may be sent sooner than was known; holds one
	seed    maphash.Seed   // immutable
	made    time.Time      // immutable
	turns   [64]sync.Mutex // by ID: one is sent, moved or cancelled under it
}

// New makes them; Run sends them. log may be nil: silent.
func New(s *store.Store, sender Sender, log *slog.Logger) *Events {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Events{store: s, sender: sender, log: log, changed: make(chan struct{}, 1), seed: maphash.MakeSeed(), made: time.Now()}
}

// TooLongError says that a delay is longer than MaxDelay.
type TooLongError struct{}

func (TooLongError) Error() string { return "events can be delayed by 24 hours at most" }

// Schedule keeps an event until delay has passed, and returns its ID, which is as good as a key to it. A request with the same
// Device and TxnID returns the same. Errors: TooLongError, M_LIMIT_EXCEEDED.
func (e *Events) Schedule(ctx context.Context, req rooms.SendRequest, delay time.Duration) (delayID string, err error) {
	if delay > MaxDelay {
		return "", TooLongError{}
	}
	now := time.Now()
	event := store.DelayedEvent{
		ID: rand.Text(), User: req.Sender, Room: req.Room, Type: req.Type, StateKey: req.StateKey, Content: req.Content,
		Redacts: req.Redacts, TS: req.TS, Delay: delay, RunningSince: now, SendAt: now.Add(delay), Position: e.store.Position(),
	}
	txn := txnOf(req, event.ID)
	delayID, next, err := e.store.AddDelayedEvent(ctx, event, txn, maxEach)
	if errors.Is(err, store.ErrFull) {
		if err := e.dropSuperseded(ctx, req.Sender); err != nil {
			return "", err
		}
		delayID, next, err = e.store.AddDelayedEvent(ctx, event, txn, maxEach)
	}
	if errors.Is(err, store.ErrFull) {
		return "", federation.LimitExceeded(max(time.Until(next), time.Second))
	}
	if err == nil {
		e.wake()
	}
	return delayID, err
}

// Scheduled is what Schedule has returned to a request with the same Device and TxnID; false if there was none, or the event is scheduled no more.
func (e *Events) Scheduled(ctx context.Context, req rooms.SendRequest) (delayID string, found bool, err error) {
	return e.store.DelayedEventBy(ctx, req.Sender, txnOf(req, rand.Text()))
}

// txnOf is what tells a request from others of its user; without a transaction each is another.
func txnOf(req rooms.SendRequest, fresh string) []byte {
	text := "fresh\x00" + fresh
	if req.Device != "" && req.TxnID != "" {
		text = "txn\x00" + req.Device + "\x00" + string(req.Room) + "\x00" + req.Type + "\x00" + req.TxnID
	}
	hash := sha256.Sum256([]byte(text))
	return hash[:]
}

// Of are a user's events, in the order in which they are sent.
func (e *Events) Of(ctx context.Context, user id.UserID) ([]store.DelayedEvent, error) {
	scheduled, _, err := e.sorted(ctx, user)
	return scheduled, err
}

// sorted are a user's events, those that are sent and those that count as cancelled.
func (e *Events) sorted(ctx context.Context, user id.UserID) (scheduled, superseded []store.DelayedEvent, err error) {
	all, err := e.store.DelayedEventsOf(ctx, user)
	if err != nil {
		return nil, nil, err
	}
	for _, event := range all {
		switch gone, err := e.superseded(ctx, event); {
		case err != nil:
			return nil, nil, err
		case gone:
			superseded = append(superseded, event)
		default:
			scheduled = append(scheduled, event)
		}
	}
	return scheduled, superseded, nil
}

// dropSuperseded forgets a user's events that count as cancelled, so that there is room for others.
func (e *Events) dropSuperseded(ctx context.Context, user id.UserID) error {
	_, superseded, err := e.sorted(ctx, user)
	if err != nil {
		return err
	}
	for _, event := range superseded {
		err := e.inTurn(ctx, event.ID, func(store.DelayedEvent) error { return nil }) // that forgets it
		if refusal, ok := errors.AsType[*federation.Error](err); err != nil && (!ok || refusal.Code != federation.CodeNotFound) {
			return err
		}
	}
	return nil
}

// superseded tells whether somebody else has set the state since then: that counts as cancelled.
func (e *Events) superseded(ctx context.Context, event store.DelayedEvent) (bool, error) {
	if event.StateKey == nil {
		return false, nil
	}
	state, err := e.store.CurrentState(ctx, event.Room)
	if err != nil {
		return false, err
	}
	current, err := state.Event(event.Type, *event.StateKey)
	if err != nil || current == "" {
		return false, err
	}
	row, _, err := e.store.Event(ctx, current)
	return err == nil && row.Position > event.Position && row.Event.Sender() != event.User, err
}

// Restart begins an event's delay anew; M_NOT_FOUND if it was sent or cancelled.
func (e *Events) Restart(ctx context.Context, delayID string) error {
	return e.inTurn(ctx, delayID, func(event store.DelayedEvent) error {
		now := time.Now()
		return e.store.MoveDelayedEvent(ctx, delayID, now, now.Add(event.Delay)) // later, mostly: Run finds that by itself
	})
}

// Cancel forgets an event; M_NOT_FOUND if it was sent or cancelled.
func (e *Events) Cancel(ctx context.Context, delayID string) error {
	return e.inTurn(ctx, delayID, func(store.DelayedEvent) error { return e.store.DeleteDelayedEvent(ctx, delayID) })
}

// Send sends an event now; M_NOT_FOUND if it was sent or cancelled. If it can't be sent, the error says why, and it stays scheduled.
func (e *Events) Send(ctx context.Context, delayID string) error {
	return e.inTurn(ctx, delayID, func(event store.DelayedEvent) error {
		if err := e.send(ctx, event); err != nil {
			return err
		}
		return e.store.DeleteDelayedEvent(ctx, delayID)
	})
}

func (e *Events) inTurn(ctx context.Context, delayID string, do func(store.DelayedEvent) error) error {
	turn := &e.turns[maphash.String(e.seed, delayID)%uint64(len(e.turns))]
	turn.Lock()
	defer turn.Unlock()
	event, found, err := e.store.DelayedEvent(ctx, delayID)
	if err == nil && found {
		var gone bool
		if gone, err = e.superseded(ctx, event); gone {
			found, err = false, e.store.DeleteDelayedEvent(ctx, delayID)
		}
	}
	if err == nil && !found {
		err = federation.NotFound("there is no such delayed event (any more)")
	}
	if err != nil {
		return err
	}
	return do(event)
}

// send puts an event into its room, unless its sender was locked, suspended or deactivated meanwhile: whose account is gone must not
// come back into a room by it.
func (e *Events) send(ctx context.Context, event store.DelayedEvent) error {
	if now := e.store.Restrictions(event.User); now.Locked || now.Suspended {
		return federation.NewError(http.StatusForbidden, federation.CodeUserSuspended, "the account is locked or suspended")
	}
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	switch account, _, err := e.store.User(ctx, event.User); {
	case err != nil:
		return err
	case account.Deactivated:
		return federation.Forbidden("the account is deactivated")
	}
	_, err := e.sender.Send(ctx, rooms.SendRequest{
		Room: event.Room, Sender: event.User, Type: event.Type, StateKey: event.StateKey, Content: event.Content,
		Redacts: event.Redacts, TS: event.TS, Device: "delayed event", TxnID: event.ID,
	})
	return err
}

func (e *Events) wake() {
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// Run sends what is due, until ctx ends; what was due while nothing ran, first.
func (e *Events) Run(ctx context.Context) error {
	for {
		wait, err := e.sendDue(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			e.log.Error("delayed events can't be read; it is tried again", "error", err, "in", retryAfter)
			wait = retryAfter
		}
		timer := time.NewTimer(min(wait, lookEvery))
		select {
		case <-timer.C:
		case <-e.changed:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// sendDue sends what is due, and tells how long there is nothing to do.
func (e *Events) sendDue(ctx context.Context) (wait time.Duration, err error) {
	for {
		first, err := e.store.NextDelayedEvents(ctx, page)
		if err != nil {
			return 0, err
		}
		now := time.Now()
		var group errgroup.Group
		var failed atomic.Bool
		group.SetLimit(parallel)
		due := 0
		for ; due < len(first) && !first[due].SendAt.After(now); due++ {
			delayID := first[due].ID // its content is read when it is its turn: it may be long
			group.Go(func() error {
				if !e.fire(ctx, delayID) {
					failed.Store(true)
				}
				return nil
			})
		}
		_ = group.Wait() // none has an error
		switch {
		case ctx.Err() != nil:
			return 0, nil
		case failed.Load():
			return retryAfter, nil
		case due > 0: // there may be more by now
		case len(first) > 0:
			return time.Until(first[0].SendAt), nil
		default:
			return MaxDelay, nil
		}
	}
}

// firstTry is when it was first tried to send an event whose time has come: at the start, if that was missed.
func (e *Events) firstTry(event store.DelayedEvent) time.Time {
	if due := event.RunningSince.Add(event.Delay); due.After(e.made) {
		return due
	}
	return e.made
}

// fire sends one event whose time has come, if it hasn't been moved. One that may not be sent is forgotten; one that can't be sent
// now is tried again for an hour. False: the database takes nothing.
func (e *Events) fire(ctx context.Context, delayID string) bool {
	err := e.inTurn(ctx, delayID, func(event store.DelayedEvent) error {
		if event.SendAt.After(time.Now()) {
			return nil
		}
		err := e.send(ctx, event)
		wire, refused := errors.AsType[*federation.Error](err)
		switch {
		case ctx.Err() != nil:
			return nil // the next start sends it
		case err == nil:
		case refused && wire.Status < 500 && wire.Status != http.StatusTooManyRequests:
			e.log.Info("a delayed event may not be sent, and is forgotten", "user", event.User, "room", event.Room, "type", event.Type, "error", err)
		case time.Since(e.firstTry(event)) > giveUpAfter:
			e.log.Warn("a delayed event could not be sent, and is forgotten", "user", event.User, "room", event.Room, "type", event.Type, "error", err)
		default:
			e.log.Warn("a delayed event could not be sent; it is tried again", "user", event.User, "room", event.Room, "type", event.Type, "error", err, "in", retryAfter)
			return e.store.MoveDelayedEvent(ctx, delayID, event.RunningSince, time.Now().Add(retryAfter))
		}
		return e.store.DeleteDelayedEvent(ctx, delayID)
	})
	if wire, ok := errors.AsType[*federation.Error](err); err != nil && ctx.Err() == nil && !(ok && wire.Status == http.StatusNotFound) {
		e.log.Error("a delayed event could not be read, or stored as sent; it is not sent twice", "delay_id", delayID, "error", err)
		return false
	}
	return true
}
