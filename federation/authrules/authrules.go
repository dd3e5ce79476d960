// Package authrules decides whether an event is authorised: the numbered rules of every room version, the
// selection of auth events, and the power levels behind them.
//
// The code reads like the list of the newest room version: comments quote its numbers ("5.3.3" is a rule of
// room version 12). What differs in older versions is asked of roomversion.Rules; the number that a Rejection
// carries is that of the event's own room version and comes from the list in rules.go.
//
// It is not about hashes, formats and the signatures of servers (federation/event, keys), nor about which state to
// check against (federation/room).
package authrules

import (
	"hanse/federation/event"
	"hanse/federation/roomversion"
)

// State is the room state that an event is checked against.
type State interface {
	// StateEvent returns the state event of that type and state key, nil when there is none. An error is not a
	// verdict: the check ends and returns it.
	StateEvent(typ, stateKey string) (*event.Event, error)
}

// The event types that the rules speak of.
const (
	typeCreate           = "m.room.create"
	typeMember           = "m.room.member"
	typeJoinRules        = "m.room.join_rules"
	typePowerLevels      = "m.room.power_levels"
	typeThirdPartyInvite = "m.room.third_party_invite"
	typeAliases          = "m.room.aliases"
	typeRedaction        = "m.room.redaction"
)

// verdict is what a rule group says when it doesn't reject.
type verdict bool

const (
	next  verdict = false // the group doesn't decide: go on with the next one
	allow verdict = true  // the event is allowed, whatever follows
)

// check is one event being checked against one state. The create event has been read; the rest is read when asked.
type check struct {
	e      *event.Event
	rules  *roomversion.Rules
	state  State
	create *event.Event // the state's create event; nil when there is none
}

// Check applies the authorisation rules of e's room version to e in the given state: all but those on the list of
// auth events, which are CheckAuthEvents'. It returns nil when e is allowed, a *Rejection that names the rule when
// it is not, and any other error as it came from the state.
//
// The state of a room of version 12 contains the create event like any other state, although no event names it as
// an auth event: whoever checks against a list of auth events adds it.
//
// One rule needs more than state: that a restricted join is signed by the authorising user's server (5.2.1). Check
// sees that such a signature is there; that it is good is checked with all other signatures (keys.Ring).
//
// spec:rooms/v12#authorisation-rules
func Check(e *event.Event, state State) error {
	c := &check{e: e, rules: e.Rules(), state: state}
	if e.Type() != typeCreate {
		create, err := state.StateEvent(typeCreate, "")
		if err != nil {
			return err
		}
		c.create = create
	}
	for _, group := range [...]func(*check) (verdict, error){
		(*check).createEvent,      // 1
		(*check).roomID,           // 2
		(*check).federate,         // 4
		(*check).aliases,          // room versions 1–5
		(*check).member,           // 5
		(*check).senderJoined,     // 6
		(*check).thirdPartyInvite, // 7
		(*check).requiredLevel,    // 8
		(*check).stateKey,         // 9
		(*check).powerLevels,      // 10
		(*check).redaction,        // room versions 1–2
	} {
		if v, err := group(c); err != nil || v == allow {
			return err
		}
	}
	return nil // 11. Otherwise, allow.
}

// roomID is rule 2, and its counterpart in versions that list the create event among the auth events: without a
// create event there is no room.
func (c *check) roomID() (verdict, error) {
	if !c.rules.RoomIDIsCreateEvent {
		// spec:rooms/v11#authorisation-rules 2.4
		if c.create == nil {
			return next, c.reject("auth_events.no_create", "the room has no m.room.create event here")
		}
		return next, nil
	}
	// spec:rooms/v12#authorisation-rules 2
	if want, ok := c.e.RoomID().CreateEvent(); !ok || c.create == nil || c.create.ID() != want {
		return next, c.reject("room_id.no_create", "room %s has no accepted m.room.create event of that ID", c.e.RoomID())
	}
	return next, nil
}

// federate is rule 4.
func (c *check) federate() (verdict, error) {
	// spec:rooms/v12#authorisation-rules 4
	if value, ok := member(c.create.Content(), "m.federate"); ok && string(value) == "false" &&
		c.e.Sender().Server() != c.create.Sender().Server() {
		return next, c.reject("federate", "the room is closed to servers other than %s", c.create.Sender().Server())
	}
	return next, nil
}

// senderJoined is rule 6.
func (c *check) senderJoined() (verdict, error) {
	// spec:rooms/v12#authorisation-rules 6
	membership, err := c.membership(string(c.e.Sender()))
	if err != nil {
		return next, err
	}
	if membership != "join" {
		return next, c.reject("sender.not_joined", "%s is not joined to the room", c.e.Sender())
	}
	return next, nil
}

// requiredLevel is rule 8.
func (c *check) requiredLevel() (verdict, error) {
	levels, err := LevelsOf(c.state)
	if err != nil {
		return next, err
	}
	// spec:rooms/v12#authorisation-rules 8
	need, have := levels.Event(c.e.Type(), c.e.IsState()), levels.User(c.e.Sender())
	if need > have {
		return next, c.reject("event.level", "%s needs power level %d, %s has %d", c.e.Type(), need, c.e.Sender(), have)
	}
	return next, nil
}

// stateKey is rule 9.
func (c *check) stateKey() (verdict, error) {
	// spec:rooms/v12#authorisation-rules 9
	if key, ok := c.e.StateKey(); ok && len(key) > 0 && key[0] == '@' && key != string(c.e.Sender()) {
		return next, c.reject("state_key.other_user", "the state key %q belongs to another user than the sender %s", key, c.e.Sender())
	}
	return next, nil
}

// membership is the user's membership in the state: "" when there has never been one.
func (c *check) membership(user string) (string, error) {
	e, err := c.state.StateEvent(typeMember, user)
	if err != nil || e == nil {
		return "", err
	}
	return e.Membership(), nil
}
