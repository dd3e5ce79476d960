package authrules

import (
	"fmt"

	"hanse/federation/event"
)

// Rejection says which rule refuses an event, and why. It is a verdict on the event, not a failure of the check.
type Rejection struct {
	Rule   string // the rule's stable name, the same in every room version, e.g. "member.join.banned"
	Spec   string // where it stands in the event's room version, e.g. "rooms/v11#authorisation-rules 4.3.3"
	Reason string // for people: what is wrong with this event
}

// Error gives the reason with the rule's name and place.
func (r *Rejection) Error() string {
	return fmt.Sprintf("%s (%s, %s)", r.Reason, r.Rule, r.Spec)
}

// reject makes the rejection of the event under check by the rule of that name.
func (c *check) reject(rule, format string, args ...any) error {
	return reject(c.e, rule, format, args...)
}

// reject makes the rejection of e by the rule of that name, which has to be in the list in rules.go.
func reject(e *event.Event, rule, format string, args ...any) error {
	return &Rejection{Rule: rule, Spec: specOf(e.Rules(), rule), Reason: fmt.Sprintf(format, args...)}
}
