package admin

import (
	"context"
	"errors"
	"slices"
	"strings"

	"hanse/federation/authrules"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/node/store"
)

// Check is one of the checks on receipt of a PDU.
//
// spec:server-server-api#checks-performed-on-receipt-of-a-pdu
type Check struct {
	Number  int    `json:"number"`
	What    string `json:"what"`
	Verdict string `json:"verdict"` // passed, failed, not made
	// Of a failed one: the rule by its name and its place in the specification.
	Rule   string `json:"rule,omitempty"`
	Spec   string `json:"spec,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Now is what the same check says today, where that is something else than when the event came.
	Now string `json:"now,omitempty"`
	// By are the events that the rules looked at.
	By []Deciding `json:"by,omitempty"`
}

// Deciding is an event that a rule looked at.
type Deciding struct {
	Event   string `json:"event_id"`
	Key     string `json:"key"` // type and state key
	Sender  string `json:"sender,omitempty"`
	Content string `json:"content,omitempty"`
	Status  string `json:"status,omitempty"`
}

// Verdicts of a check.
const (
	passed  = "passed"
	failed  = "failed"
	notMade = "not made"
)

// checks tells of each check what it said: the stored verdict, and beside it the rules applied again to what is stored now.
func (a *Admin) checks(ctx context.Context, row store.EventRow, e *event.Event) ([]Check, error) {
	ours := e.Sender().Server() == a.Self
	list := []Check{
		{Number: 1, What: "it is a valid event of its room version", Verdict: passed},
		{Number: 2, What: "the signatures of its servers", Verdict: passed},
		{Number: 3, What: "its content hash", Verdict: passed},
	}
	if ours {
		list[1].Reason = "signed here"
	}
	if !e.ContentHashMatches() {
		list[2].Verdict, list[2].Reason = failed, "it was redacted when it came, and is kept so"
	}
	again := recheck{a: a, ctx: ctx, src: a.Store.Source(ctx, e.Rules()), e: e}
	four, err := again.authEvents()
	if err != nil {
		return nil, err
	}
	list = append(list, four)
	if row.Outlier {
		list = append(list, Check{Number: 5, What: "the state before it", Verdict: notMade, Reason: "it has no place in the room here"})
		return decided(list, row), nil
	}
	before, ok, err := a.Store.StateBefore(ctx, e.ID())
	if err != nil {
		return nil, err
	}
	if ok {
		five, err := again.against(5, "the state before it", before)
		if err != nil {
			return nil, err
		}
		list = append(list, five)
	}
	six := Check{Number: 6, What: "the room's current state when it came", Verdict: notMade}
	switch {
	case row.Backfilled:
		six.Reason = "history isn't judged by what came later"
	case row.Status == room.Rejected:
		six.Reason = "it was rejected before"
	default:
		current, err := a.Store.CurrentStateAt(ctx, row.RoomID, row.Position-1)
		if err != nil {
			return nil, err
		}
		if current.Len() == 0 {
			six.Verdict, six.Reason = passed, "it is the beginning of what we know of the room"
		} else if six, err = again.against(6, six.What, current); err != nil {
			return nil, err
		}
	}
	list = append(list, six)
	policy, err := before.Event("m.room.policy", "")
	if err != nil {
		return nil, err
	}
	if policy != "" {
		list = append(list, Check{Number: 7, What: "the room's policy server", Verdict: passed})
	}
	return decided(list, row), nil
}

// decided makes what was stored when the event was judged the verdict; what the rules say now is put beside it where it is
// something else.
func decided(list []Check, row store.EventRow) []Check {
	culprit := 0 // the check that failed when the event came
	if row.Status == room.Rejected || row.Status == room.SoftFailed {
		for _, number := range [...]int{4, 5, 6, 7} {
			if strings.Contains(row.Reason, " "+string(rune('0'+number))+". ") {
				culprit = number
			}
		}
	}
	for i := range list {
		c := &list[i]
		switch {
		case c.Number < 4:
		case c.Number == culprit:
			if c.Verdict == passed {
				c.Now = "with what is known today it would pass"
			}
			c.Verdict, c.Reason = failed, row.Reason
			if r := row.Rejection; r != nil {
				c.Rule, c.Spec, c.Reason = r.Rule, r.Spec, r.Reason
			}
		case culprit != 0 && c.Number > culprit:
			c.Verdict, c.Rule, c.Spec, c.By = notMade, "", "", nil
			c.Reason = "it had failed before"
		case c.Verdict == failed:
			c.Now = "with what is known today it would fail: " + c.Reason
			c.Verdict, c.Rule, c.Spec, c.Reason = passed, "", "", ""
		}
	}
	return list
}

// recheck applies the rules again to what is stored.
type recheck struct {
	a   *Admin
	ctx context.Context
	src room.Source
	e   *event.Event
}

// authEvents is check 4.
func (r recheck) authEvents() (Check, error) {
	c := Check{Number: 4, What: "the auth events that it names"}
	ids := slices.Clone(r.e.AuthEvents())
	if create, ok := r.e.RoomID().CreateEvent(); ok && r.e.Rules().RoomIDIsCreateEvent && r.e.Type() != "m.room.create" {
		ids = append(ids, create)
	}
	found, err := r.src.Events(ids)
	if err != nil {
		return c, err
	}
	var listed, state []*event.Event
	for i, a := range ids {
		stored, ok := found[a]
		if !ok {
			c.Verdict, c.Reason = failed, "the auth event "+string(a)+" isn't there"
			return c, nil
		}
		if state = append(state, stored.Event); i < len(r.e.AuthEvents()) {
			listed = append(listed, stored.Event)
		}
		c.By = append(c.By, deciding(stored))
	}
	err = authrules.CheckAuthEvents(r.e, listed, func(a id.EventID) bool { return found[a].Status == room.Rejected })
	if err == nil {
		err = authrules.Check(r.e, authrules.EventsState(state))
	}
	return c, c.judge(err)
}

// against is check 5 or 6.
func (r recheck) against(number int, what string, state roomstate.Map) (Check, error) {
	c := Check{Number: number, What: what}
	watched := &watchedState{state: state, src: r.src}
	err := c.judge(authrules.Check(r.e, watched))
	for _, stored := range watched.read {
		c.By = append(c.By, deciding(stored))
	}
	return c, err
}

// judge makes the verdict of what the rules said.
func (c *Check) judge(err error) error {
	rejection, rejected := errors.AsType[*authrules.Rejection](err)
	switch {
	case err == nil:
		c.Verdict = passed
	case rejected:
		c.Verdict, c.Rule, c.Spec, c.Reason = failed, rejection.Rule, rejection.Spec, rejection.Reason
	default:
		return err
	}
	return nil
}

func deciding(stored room.Stored) Deciding {
	e := stored.Event
	stateKey, _ := e.StateKey()
	d := Deciding{Event: string(e.ID()), Key: key(roomstate.Key{Type: e.Type(), StateKey: stateKey}), Sender: string(e.Sender()), Content: brief(e)}
	if stored.Status != room.Accepted {
		d.Status = stored.Status.String()
	}
	return d
}

// watchedState is a state that notes what the rules ask of it.
type watchedState struct {
	state roomstate.Map
	src   room.Source
	read  []room.Stored
}

// StateEvent implements authrules.State.
func (w *watchedState) StateEvent(typ, stateKey string) (*event.Event, error) {
	at, err := w.state.Event(typ, stateKey)
	if err != nil || at == "" {
		return nil, err
	}
	found, err := w.src.Events([]id.EventID{at})
	if err != nil {
		return nil, err
	}
	stored, ok := found[at]
	if !ok {
		return nil, errors.New("the event " + string(at) + " of a stored state isn't stored")
	}
	if !slices.ContainsFunc(w.read, func(s room.Stored) bool { return s.Event.ID() == at }) {
		w.read = append(w.read, stored)
	}
	return stored.Event, nil
}
