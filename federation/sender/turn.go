package sender

import (
	"context"
	"net/http/httptrace"
	"sync"
	"time"
)

// turnTime is how long a turn lasts at most: several times what it takes to read a batch, sign it and write it.
const turnTime = 2 * time.Millisecond

// turn is the right to compute, which few sends have at a time. An event for a thousand servers would otherwise put hundreds of
// goroutines in front of those of a client that waits for an answer. end gives it to the next one, and may be called again. Who waits for
// something else has no use for it: it also ends when the request is written, for which the context that is returned is to be used, and
// after turnTime, for a server that can't be reached or a disk that is slow.
func (s *Sender) turn(ctx context.Context) (during context.Context, end func()) {
	give := sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.computing--
		s.dispatch()
	})
	late := time.AfterFunc(turnTime, give)
	end = func() { late.Stop(); give() }
	during = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { end() }})
	return during, end
}
