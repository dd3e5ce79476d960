package inbound

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"sync"

	"golang.org/x/sync/errgroup" // the rooms of one transaction at a time

	"hanse/federation"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/server"
	"hanse/keys"
)

// Transaction handles a transaction: its events in their rooms, different rooms at a time, then its EDUs. When it
// returns without an error, what was accepted, rejected or has to wait is on disk. An error means that the server should
// send the transaction again: then what was done is found done.
//
// spec:server-server-api#transactions
func (i *Inbound) Transaction(ctx context.Context, origin id.ServerName, txnID string, txn federation.Transaction) (federation.PDUResults, error) {
	// The server that sent it may give up and send it again while we are at it.
	result := i.flights.DoChan(string(origin)+"\x00"+txnID, func() (answer any, err error) {
		defer func() { // what a peer sends must never stop more than its own transaction
			if p := recover(); p != nil {
				err = fmt.Errorf("inbound: panic: %v\n%s", p, debug.Stack())
			}
		}()
		return i.once(context.WithoutCancel(ctx), origin, txnID, txn)
	})
	select {
	case res := <-result:
		results, _ := res.Val.(federation.PDUResults)
		return results, res.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// once handles a transaction unless it was handled before: the answers to the newest are in memory, those to transactions with EDUs in the
// store. One that brings events alone may come again as often as it likes: they are found done, and the answer is the same.
func (i *Inbound) once(ctx context.Context, origin id.ServerName, txnID string, txn federation.Transaction) (federation.PDUResults, error) {
	this := flight{origin, txnID}
	if results, ok := i.answered.get(this); ok {
		return results, nil
	}
	handle := i.handle
	if len(txn.EDUs) > 0 {
		handle = i.handleStored
	}
	results, err := handle(ctx, this, txn)
	if err == nil {
		i.answered.put(this, results)
	}
	return results, err
}

// handleStored is handle for a transaction that must not be handled twice: its answer is in the store before it goes out.
func (i *Inbound) handleStored(ctx context.Context, this flight, txn federation.Transaction) (federation.PDUResults, error) {
	if stored, ok, err := i.cfg.Store.Transaction(ctx, this.origin, this.txnID); err != nil {
		return nil, err
	} else if ok {
		var answer federation.SendResponse
		if err := exactjson.Unmarshal(stored, &answer); err != nil {
			return nil, fmt.Errorf("inbound: stored answer: %w", err)
		}
		return answer.PDUs, nil
	}
	results, err := i.handle(ctx, this, txn)
	if err != nil {
		return nil, err
	}
	response, err := json.Marshal(federation.SendResponse{PDUs: results})
	if err != nil {
		return nil, fmt.Errorf("inbound: answer: %w", err)
	}
	if err := i.cfg.Store.SaveTransaction(ctx, this.origin, this.txnID, response); err != nil {
		return nil, fmt.Errorf("inbound: %w", err)
	}
	return results, nil
}

// handle does what a transaction says.
func (i *Inbound) handle(ctx context.Context, this flight, txn federation.Transaction) (federation.PDUResults, error) {
	i.cfg.Watch.received(len(txn.PDUs), len(txn.EDUs))
	ctx = keys.WhileAsking(ctx, func() func() { return server.Pause(ctx) })
	d := &delivery{in: i, origin: this.origin, results: make(federation.PDUResults, len(txn.PDUs)), rooms: make(map[id.RoomID]*place)}
	if err := d.pdus(ctx, txn.PDUs); err != nil {
		return nil, err
	}
	return d.results, i.edus(ctx, this.origin, txn.EDUs)
}

// pdus handles the events of a transaction.
func (d *delivery) pdus(ctx context.Context, raws []json.RawMessage) error {
	if err := d.parse(ctx, raws); err != nil {
		return err
	}
	// The store looks for all events at once, before each room does for its own.
	ids := d.eventIDs()
	var expected errgroup.Group
	expected.Go(func() error { return d.in.cfg.Store.Expect(ctx, ids) })
	d.verify(ctx)
	if err := expected.Wait(); err != nil {
		return err
	}
	var resident, outside []*place
	for _, p := range d.rooms {
		switch {
		case len(p.events) == 0:
		case p.resident:
			resident = append(resident, p)
		default:
			outside = append(outside, p)
		}
	}
	var group errgroup.Group
	for _, p := range outside {
		group.Go(func() error { return d.rescindAll(ctx, p.events) })
	}
	return cmp.Or(d.submit(ctx, resident), group.Wait())
}

// edus hands the EDUs to who is registered for them. The room's server ACL is looked at by the handlers, which know the
// rooms that an EDU is about.
//
// spec:server-server-api#edus
func (i *Inbound) edus(ctx context.Context, origin id.ServerName, edus []federation.EDU) error {
	for len(edus) > 0 {
		handler := i.cfg.EDUs[edus[0].Type]
		if handler == nil {
			i.log.Debug("an EDU is ignored: its type is not handled", "origin", origin, "type", edus[0].Type)
			edus = edus[1:]
			continue
		}
		n := 1
		var err error
		if many, ok := handler.(EDUsHandler); ok {
			for n < len(edus) && i.cfg.EDUs[edus[n].Type] == handler {
				n++
			}
			err = many.HandleEDUs(ctx, origin, edus[:n])
		} else {
			err = handler.HandleEDU(ctx, origin, edus[0])
		}
		if err != nil {
			switch edus[0].Type {
			case federation.EDUDirectToDevice, federation.EDUDeviceListUpdate, federation.EDUSigningKeyUpdate:
				return fmt.Errorf("inbound: an EDU of type %s: %w", edus[0].Type, err)
			}
			i.log.Warn("what another server told for the moment, as who is typing, was lost", "origin", origin, "type", edus[0].Type, "error", err)
		}
		edus = edus[n:]
	}
	return nil
}

// delivery is the events of one transaction on their way.
type delivery struct {
	in     *Inbound
	origin id.ServerName
	rooms  map[id.RoomID]*place

	mu      sync.Mutex
	results federation.PDUResults // guarded by mu until pdus returns
}

// result notes what became of an event.
func (d *delivery) result(eventID id.EventID, result federation.PDUResult) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.results[eventID] = result
}
