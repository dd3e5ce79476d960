package client

import (
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// slowly brings so many bytes after each pause, so often.
type slowly struct {
	pause       time.Duration
	bytes, left int
}

func (s *slowly) Read(p []byte) (int, error) {
	time.Sleep(s.pause)
	if s.left == 0 {
		return 0, io.EOF
	}
	s.left--
	return min(len(p), s.bytes), nil
}

func (s *slowly) Close() error { return nil }

// TestAnswersThatTakeLongButComeOnAreRead: what brings enough in each Stall isn't given up, however long it takes; what brings less is.
func TestAnswersThatTakeLongButComeOnAreRead(t *testing.T) {
	const stall = 30 * time.Second
	for what, c := range map[string]struct {
		answer slowly
		goesOn bool
	}{
		"all the time":    {slowly{stall / 10, 20 << 10, 1000}, true},
		"now and then":    {slowly{stall - time.Second, minProgress, 100}, true},
		"a little a time": {slowly{stall / 20, minProgress / 10, 100}, true},
		"trickling":       {slowly{stall / 5, minProgress / 10, 100}, false},
		"standing still":  {slowly{2 * stall, minProgress, 1}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := newAttempt(t.Context(), "there.example", nil, time.Second, time.Second, stall)
			defer a.end()
			a.gotHeader()
			body := a.body(&http.Response{Body: &c.answer}, 100<<20)
			if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, body, make([]byte, 32<<10)); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if goesOn := a.ctx.Err() == nil; goesOn != c.goesOn {
				t.Errorf("%s: read to the end: %t", what, goesOn)
			}
		})
	}
}
