package keys

import (
	"errors"
	"testing"
)

func TestErrorsTellWhoAndWhy(t *testing.T) {
	cause := errors.New("connection refused")
	for _, c := range []struct {
		err       *Error
		text      string
		temporary bool
	}{
		{&Error{Server: "a.test", Kind: Unreachable, Err: cause}, "signature of a.test: keys can't be fetched: connection refused", true},
		{&Error{Server: "a.test", KeyID: "ed25519:1", Kind: NoSuchKey}, "signature of a.test with key ed25519:1: no such key", false},
		{&Error{Server: "a.test", KeyID: "ed25519:1", Kind: Expired}, "signature of a.test with key ed25519:1: key not valid at that time", false},
		{&Error{Server: "a.test", KeyID: "ed25519:1", Kind: BadSignature}, "signature of a.test with key ed25519:1: signature doesn't match", false},
	} {
		if c.err.Error() != c.text || c.err.Temporary() != c.temporary {
			t.Errorf("got %q, temporary %v", c.err, c.err.Temporary())
		}
	}
	if !errors.Is(&Error{Err: cause}, cause) {
		t.Error("the cause is lost")
	}
}
