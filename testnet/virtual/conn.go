package virtual

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// maxInFlight bounds the bytes that a direction of a connection holds, as a kernel's buffers do.
const maxInFlight = 1 << 20

// stream is one direction of a connection: bytes that arrive some time after they were written. All waiting is by
// channels and timers, so that time in a bubble goes on.
type stream struct {
	mu       sync.Mutex
	changed  chan struct{} // closed and replaced whenever something that somebody waits for may have changed
	segments []segment     // guarded by mu, as all below
	inFlight int
	ended    bool      // no more is written; what is in flight still arrives
	broken   error     // all is lost
	read     time.Time // deadlines; zero: none
	write    time.Time
}

type segment struct {
	arrives time.Time
	bytes   []byte
}

func newStream() *stream { return &stream{changed: make(chan struct{})} }

func (s *stream) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.wake()
}

// wake lets those look again who wait; mu is held.
func (s *stream) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// wait waits until something has changed or one of the times has come. The lock is held when it is called, and when it returns.
func (s *stream) wait(times ...time.Time) {
	var soonest time.Time
	for _, t := range times {
		if !t.IsZero() && (soonest.IsZero() || t.Before(soonest)) {
			soonest = t
		}
	}
	changed := s.changed
	s.mu.Unlock()
	defer s.mu.Lock()
	if soonest.IsZero() {
		<-changed
		return
	}
	timer := time.NewTimer(time.Until(soonest))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
}

func past(deadline time.Time) bool { return !deadline.IsZero() && !time.Now().Before(deadline) }

func (s *stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		var next time.Time
		switch {
		case s.broken != nil:
			return 0, s.broken
		case past(s.read):
			return 0, os.ErrDeadlineExceeded
		case len(s.segments) > 0:
			first := &s.segments[0]
			if next = first.arrives; next.After(time.Now()) {
				break
			}
			n := copy(p, first.bytes)
			if first.bytes = first.bytes[n:]; len(first.bytes) == 0 {
				s.segments = s.segments[1:]
			}
			s.inFlight -= n
			s.wake()
			return n, nil
		case s.ended:
			return 0, io.EOF
		}
		s.wait(next, s.read)
	}
}

// send writes p so that it arrives after the latency.
func (s *stream) send(p []byte, latency time.Duration) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.broken != nil:
			return 0, s.broken
		case s.ended:
			return 0, net.ErrClosed
		case past(s.write):
			return 0, os.ErrDeadlineExceeded
		case s.inFlight < maxInFlight:
			s.segments = append(s.segments, segment{time.Now().Add(latency), append([]byte(nil), p...)})
			s.inFlight += len(p)
			s.wake()
			return len(p), nil
		}
		s.wait(s.write)
	}
}

// conn is one end of a connection. Safe for concurrent use.
type conn struct {
	in, out       *stream
	local, remote net.Addr
	latency       time.Duration
	closed        func()
}

// connect makes a connection; closed is called, once or more, when either end is closed.
func connect(from, to net.Addr, latency time.Duration, closed func()) (near, far *conn) {
	there, back := newStream(), newStream()
	return &conn{in: back, out: there, local: from, remote: to, latency: latency, closed: closed},
		&conn{in: there, out: back, local: to, remote: from, latency: latency, closed: closed}
}

func (c *conn) Read(p []byte) (int, error)  { return c.in.Read(p) }
func (c *conn) Write(p []byte) (int, error) { return c.out.send(p, c.latency) }
func (c *conn) LocalAddr() net.Addr         { return c.local }
func (c *conn) RemoteAddr() net.Addr        { return c.remote }

func (c *conn) Close() error {
	c.out.change(func() { c.out.ended = true })
	c.in.change(func() { c.in.broken = errors.Join(c.in.broken, net.ErrClosed) })
	c.closed()
	return nil
}

// reset breaks the connection for both ends, as a host that went away does once it is noticed.
func (c *conn) reset() {
	for _, s := range []*stream{c.in, c.out} {
		s.change(func() { s.broken = syscall.ECONNRESET })
	}
}

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.change(func() { c.in.read = t })
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.change(func() { c.out.write = t })
	return nil
}
