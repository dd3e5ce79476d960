package federation

import (
	"io"
	"strings"
	"testing"
)

// endless is an answer that goes on with the same byte for ever.
type endless struct {
	begin io.Reader
	more  byte
	given int
}

func (e *endless) Read(into []byte) (int, error) {
	if n, err := e.begin.Read(into); err == nil {
		return n, nil
	}
	for i := range into {
		into[i] = e.more
	}
	e.given += len(into)
	return len(into), nil
}

func TestAValueThatDoesNotEndIsNotReadForEver(t *testing.T) {
	for _, begin := range []string{`{"state":[{"type":"`, `{"unknown":"`, `{"`, `{"state":[`, ``} {
		for _, more := range []byte{'x', ' '} {
			if more == ' ' && begin == `{"state":[{"type":"` {
				continue
			}
			answer := &endless{begin: strings.NewReader(begin), more: more}
			if _, err := DecodeSendJoin(answer, false); err == nil {
				t.Errorf("%s…: no error", begin)
			}
			if answer.given > 2*maxValue {
				t.Errorf("%s…: %d bytes are read", begin, answer.given)
			}
		}
	}
}
