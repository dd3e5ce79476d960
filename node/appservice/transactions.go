package appservice

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"hanse/federation/id"
	"hanse/node/store"
)

// worker sends one service what happens. Owned by Delivery.send.
type worker struct {
	*Service
	config   DeliveryConfig
	store    *store.Store
	feed     *store.Follower
	upto     store.Position // what the feed has told: everything up to here can be read
	interest *interest
	// encryption is nil if the service gets nothing for the encryption of its devices.
	encryption *encryption
	news       *news          // nil: the service gets no ephemeral data
	unsaved    bool           // a transaction was taken, and the table doesn't know it
	saved      store.Position // how far it is by the table,
	savedAt    time.Time      // and when that was told
}

// refusedError says that the service did not take a transaction: it is tried again after a while. Other errors are our own trouble.
type refusedError struct{ error }

// send sends a service what happens, in order, a transaction at a time, until ctx ends.
func (d *Delivery) send(ctx context.Context, s *Service) error {
	w := &worker{
		Service: s, config: d.config, store: d.config.Store, feed: d.config.Store.Follow(maxNotices),
		interest: newInterest(s, d.config.Store), saved: s.cursor.Upto, savedAt: time.Now(),
	}
	defer w.feed.Close()
	if s.Encryption {
		w.encryption = newEncryption(w)
	}
	if s.Ephemeral || s.UnstableEphemeral {
		w.news = newNews(w)
		defer w.news.close()
	}
	defer w.saveLast(ctx)
	for ctx.Err() == nil {
		w.absorb()
		more, err := w.round(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			w.pause(ctx, w.waitAfter(ctx, err))
		case !more:
			w.await(ctx)
		}
	}
	return nil
}

// waitAfter is how long to wait after an error.
func (w *worker) waitAfter(ctx context.Context, err error) time.Duration {
	if refused, ok := errors.AsType[refusedError](err); ok {
		return w.failed(ctx, refused.error)
	}
	w.log.Warn("what an application service is to be sent can't be read or written; it is tried again", "error", err)
	return readRetry
}

// absorb takes what the feed has.
func (w *worker) absorb() {
	notices, upto, lost := w.feed.Take()
	w.upto = upto
	if lost {
		w.interest.forget()
		w.encryption.again()
	}
	for _, n := range notices {
		switch {
		case n.Kind == store.KindEvents && n.Members, n.Kind == store.KindMembership:
			w.interest.changed(n.Room)
		case n.Kind == store.KindReceipt && w.news != nil:
			w.news.receipt(n)
		}
		w.encryption.notice(n)
	}
}

// round does what is next; more says that there may be something else at once.
func (w *worker) round(ctx context.Context) (more bool, err error) {
	if w.cursor.Transaction == nil {
		if more, err = w.next(ctx); err != nil {
			return false, err
		}
	}
	switch {
	case w.cursor.Transaction != nil:
		return true, w.send(ctx)
	case more:
		return true, nil
	case w.unsaved || w.saved != w.cursor.Upto && time.Since(w.savedAt) > saveEvery:
		if err := w.save(ctx, w.cursor); err != nil {
			return false, err
		}
	}
	w.at(w.cursor.Upto, false)
	if w.news == nil {
		return false, nil
	}
	return w.news.send(ctx)
}

// transaction is what the next transaction is to have.
type transaction struct {
	events  []store.LiveEvent
	reached store.Position // it has what interests the service up to here
	beside
}

// cut leaves what is after a position to the next transaction.
func (t *transaction) cut(upto store.Position) {
	t.reached = upto
	t.events = slices.DeleteFunc(t.events, func(e store.LiveEvent) bool { return e.Position > upto })
}

func (t *transaction) empty() bool { return len(t.events) == 0 && t.beside.empty() }

// next makes the next transaction, if there is something that interests the service, and has it be durable before it is sent: it is
// sent again as it is until it is taken. more says that not all has been looked through.
//
// spec:application-service-api#pushing-events
func (w *worker) next(ctx context.Context) (more bool, err error) {
	t, more, err := w.gather(ctx)
	if err == nil && !t.empty() {
		err = w.begin(ctx, t)
	}
	if err != nil {
		w.encryption.again() // what was to be sent with it
		return false, err
	}
	if t.empty() {
		w.cursor.Upto = t.reached
	}
	return more, nil
}

// gather looks for what is next. Messages go before events, which may be encrypted with keys that are in them.
func (w *worker) gather(ctx context.Context) (t transaction, more bool, err error) {
	t.reached = w.cursor.Upto
	alone, err := w.encryption.messages(ctx, &t)
	if err != nil {
		return t, false, err
	}
	if !alone {
		if t.events, t.reached, err = w.choose(ctx); err != nil {
			return t, false, err
		}
		if err := w.encryption.lists(ctx, &t); err != nil {
			return t, false, err
		}
	}
	more, err = w.encryption.keys(ctx, &t)
	return t, more || t.reached < w.upto, err
}

// begin has a transaction be under way.
func (w *worker) begin(ctx context.Context, t transaction) error {
	w.at(w.cursor.Upto, true)
	events := []json.RawMessage{}
	var err error
	if len(t.events) > 0 {
		if events, err = w.config.Forms.Events(ctx, w.Sender, w.Covers, t.events); err != nil {
			return err
		}
	}
	form := map[string]any{"events": events}
	if err := t.beside.put(form); err != nil {
		return err
	}
	body, err := json.Marshal(form)
	if err != nil {
		return err
	}
	c := w.cursor
	c.Transaction, c.TransactionUpto, c.TransactionID = body, t.reached, strconv.FormatInt(int64(t.reached), 10)
	if t.reached == w.cursor.Upto { // others lead, or led, to the same place
		c.TransactionID += "-" + rand.Text()
	}
	if err := w.save(ctx, c, t.messages...); err != nil {
		return err
	}
	w.counts.events.Add(int64(len(events)))
	w.counts.messages.Add(int64(len(t.messages)))
	return nil
}

// choose looks for the next events that interest the service, and tells up to where these are all.
func (w *worker) choose(ctx context.Context) (chosen []store.LiveEvent, reached store.Position, err error) {
	size := 0
	reached = w.cursor.Upto
	for page := 0; reached < w.upto && len(chosen) < maxEvents && page < scanPages; page++ {
		events, upto, err := w.store.LiveEvents(ctx, reached, w.upto, scanPage)
		if err != nil {
			return nil, 0, err
		}
		for _, e := range events {
			wanted, err := w.interest.event(ctx, e)
			if err != nil {
				return nil, 0, err
			}
			if !wanted {
				continue
			}
			if size += len(e.Event.JSON()); len(chosen) == maxEvents || size > maxTransactionBytes && len(chosen) > 0 {
				return chosen, e.Position - 1, nil
			}
			chosen = append(chosen, e)
		}
		reached = upto
	}
	return chosen, reached, nil
}

// send sends the transaction that is under way. Its ID begins with the place that it leads to, so that no two have the same.
func (w *worker) send(ctx context.Context) error {
	w.at(w.cursor.Upto, true)
	txn := cmp.Or(w.cursor.TransactionID, strconv.FormatInt(int64(w.cursor.TransactionUpto), 10))
	if err := w.put(ctx, txn, w.cursor.Transaction); err != nil {
		return err
	}
	w.cursor = store.ServiceCursor{Service: w.cursor.Service, Upto: w.cursor.TransactionUpto}
	w.unsaved = true // told with the next transaction, or as soon as there is none
	return nil
}

// put sends a transaction.
//
// spec:application-service-api#put_matrixappv1transactionstxnid
func (w *worker) put(ctx context.Context, txn string, body []byte) error {
	within, cancel := context.WithTimeout(ctx, transactionTimeout)
	defer cancel()
	path := "/transactions/" + url.PathEscape(txn)
	a, err := w.ask(within, call{method: http.MethodPut, path: path, legacy: path, body: body, most: maxAnswerBytes})
	if err == nil && !a.good() {
		err = a.refused()
	}
	if err != nil {
		return refusedError{err}
	}
	w.taken()
	return nil
}

// save stores how far the service is, and that messages are in its transaction.
func (w *worker) save(ctx context.Context, c store.ServiceCursor, taken ...store.ToDevice) error {
	if err := w.store.SaveService(ctx, c, taken...); err != nil {
		return err
	}
	w.cursor, w.unsaved, w.saved, w.savedAt = c, false, c.Upto, time.Now()
	return nil
}

// saveLast is save at the end.
func (w *worker) saveLast(ctx context.Context) {
	if !w.unsaved && w.saved == w.cursor.Upto {
		return
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	if err := w.save(within, w.cursor); err != nil {
		w.log.Warn("how far an application service is could not be stored; it may get its last transaction again", "error", err)
	}
}

// await waits for news.
func (w *worker) await(ctx context.Context) {
	var typing <-chan id.RoomID
	var presence <-chan time.Time
	if w.news != nil {
		typing, presence = w.news.changes, w.news.ticker.C
	}
	select {
	case <-w.feed.Wake:
	case room, open := <-typing:
		w.news.typing(room, !open)
	case <-presence:
	case <-w.wake:
	case <-ctx.Done():
	}
}

// pause waits for a while, or until the service shows that it is there. What happens meanwhile is noted.
func (w *worker) pause(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return
		case <-w.wake:
			return
		case <-w.feed.Wake:
			w.absorb()
		case <-ctx.Done():
			return
		}
	}
}
