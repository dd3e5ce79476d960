package event

import "fmt"

// FormatError says why a text is not an event of its room version: the event is dropped.
// (Text that is no JSON gives an error of package canonicaljson.)
//
// spec:server-server-api#checks-performed-on-receipt-of-a-pdu 1
type FormatError struct {
	Field  string // the member that is wrong, "" if the event as a whole is
	Reason string // what is wrong with it
}

// Error is a sentence for people.
func (e *FormatError) Error() string {
	if e.Field == "" {
		return "event: " + e.Reason
	}
	return fmt.Sprintf("event: %s %s", e.Field, e.Reason)
}

func wrong(field, reason string) error { return &FormatError{Field: field, Reason: reason} }
