package keys

import (
	"fmt"

	"hanse/federation/id"
)

// Kind says why a signature could not be accepted.
type Kind int

const (
	// Unreachable: the keys could not be had now: the server (and the notaries) didn't answer, or the context ended.
	// Trying again later may help.
	Unreachable Kind = iota
	// NoSuchKey: the server's keys are known, none of them has the ID that the signature names, or there is no
	// signature by that server at all.
	NoSuchKey
	// Expired: the key is known but wasn't valid at the time in question.
	Expired
	// BadSignature: the key is known and valid, and the signature isn't made with it.
	BadSignature
)

// String is the kind in words.
func (k Kind) String() string {
	switch k {
	case Unreachable:
		return "keys can't be fetched"
	case NoSuchKey:
		return "no such key"
	case Expired:
		return "key not valid at that time"
	case BadSignature:
		return "signature doesn't match"
	}
	return "unknown"
}

// Error is the verdict on one signature check.
type Error struct {
	Server id.ServerName
	KeyID  id.KeyID // empty when no single key is to blame
	Kind   Kind
	Err    error // what lies below, for logs; may be nil
}

// Error tells a person what is wrong with which server's key.
func (e *Error) Error() string {
	msg := fmt.Sprintf("signature of %s", e.Server)
	if e.KeyID != "" {
		msg += fmt.Sprintf(" with key %s", e.KeyID)
	}
	msg += ": " + e.Kind.String()
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	return msg
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Temporary tells whether trying again later may help.
func (e *Error) Temporary() bool { return e.Kind == Unreachable }
