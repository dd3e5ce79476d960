package authrules

import (
	"hanse/federation/event"
	"hanse/federation/id"
)

// redaction is the rule on m.room.redaction events of room versions 1 and 2.
func (c *check) redaction() (verdict, error) {
	// spec:rooms/v2#authorisation-rules 11
	if !c.rules.RedactionAuthRule || c.e.Type() != typeRedaction {
		return next, nil
	}
	levels, err := LevelsOf(c.state)
	if err != nil {
		return next, err
	}
	// spec:rooms/v2#authorisation-rules 11.1
	if levels.User(c.e.Sender()) >= levels.Redact() {
		return allow, nil
	}
	// spec:rooms/v2#authorisation-rules 11.2
	if target, ok := c.e.Redacts(); ok && sameServer(target, c.e.ID()) {
		return allow, nil
	}
	// spec:rooms/v2#authorisation-rules 11.3
	return next, c.reject("redaction.forbidden", "%s has not the power level %d that redacting another server's event needs",
		c.e.Sender(), levels.Redact())
}

// sameServer tells whether both event IDs (of the form of room versions 1 and 2) name the same server.
func sameServer(a, b id.EventID) bool {
	x, ok := a.Server()
	y, ok2 := b.Server()
	return ok && ok2 && x == y
}

// MayRedact tells whether an accepted redaction is to be applied to its target, with the power levels of the state
// before the redaction: the sender has the redact level, or is of the same server as the target's sender. In room
// versions 1 and 2 the servers are those of the event IDs, as in the authorisation rule.
//
// The event that creates the room never is, as by Synapse: up to version 10 it would lose the room's version, without which nobody can join.
//
// spec:rooms/v12#handling-redactions
func MayRedact(redaction, target *event.Event, state State) (bool, error) {
	if redaction.RoomID() != target.RoomID() || target.Is(typeCreate, "") {
		return false, nil
	}
	if redaction.Rules().RedactionAuthRule {
		if sameServer(redaction.ID(), target.ID()) {
			return true, nil
		}
	} else if redaction.Sender().Server() == target.Sender().Server() {
		return true, nil
	}
	levels, err := LevelsOf(state)
	if err != nil {
		return false, err
	}
	return levels.User(redaction.Sender()) >= levels.Redact(), nil
}
