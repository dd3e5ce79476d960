package places

import (
	"io"
	"net/http"
	"time"
)

const (
	// restsEach and restsAll bound the bodies that are read on after their request was refused, of an address and of all: each costs some
	// 20 KiB, as any connection does.
	restsEach, restsAll = 64, 1024
	// restTime is for how long one is read.
	restTime = 30 * time.Second
)

// LeavesUnread tells whether an answer that is given without reading the request's body must end the connection, which is HTTP/1's: the body may be
// long, or nobody knows how long. Short ones net/http reads by itself.
func LeavesUnread(r *http.Request) bool {
	const short = 256 << 10 // net/http's
	return r.ProtoMajor == 1 && r.Body != http.NoBody && (r.ContentLength < 0 || r.ContentLength > short)
}

// Rests are what is still coming of bodies that were refused. A connection that is closed on what nobody has read is reset, which takes the
// answer away from who is still sending (RFC 9112, 9.6): a browser, or a server, then knows of no answer at all, and reverse proxies such as
// nginx and Apache, which send bodies whole, say 502 in our place, so that a client whose token had expired would not get a new one. Safe for
// concurrent use.
type Rests struct{ places *Places[string] }

// NewRests makes an empty set.
func NewRests() *Rests { return &Rests{New[string](restsEach, restsAll)} }

// Read reads the rest of a body, when the answer is written and its request holds nothing any more, for half a minute at most. Where too many are read
// already, of that address or of all, it isn't read.
func (s *Rests) Read(w http.ResponseWriter, rest io.Reader, address string) {
	release, free := s.places.Try(address)
	if !free {
		return
	}
	defer release()
	control := http.NewResponseController(w)
	if control.Flush() != nil || control.SetReadDeadline(time.Now().Add(restTime)) != nil {
		return // the peer is gone, or it is no connection, in tests
	}
	_, _ = io.Copy(io.Discard, rest) // it ends as it ends
}
