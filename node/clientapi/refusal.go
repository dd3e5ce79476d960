package clientapi

import (
	"io"
	"net/http"
	"time"
)

// leavesUnread tells a client of HTTP/1 that its connection ends with the answer, where the body is one that we may refuse without having read
// it: it may be long, or nobody knows how long. Short ones net/http reads by itself. A handler that has read the body takes it back.
func (r *request) leavesUnread(uploads bool) {
	const short = 256 << 10 // net/http's
	if r.ProtoMajor == 1 && (uploads || r.ContentLength < 0 || r.ContentLength > short) {
		r.writer.Header().Set("Connection", "close")
	}
}

// linger reads what is still coming of a body that was refused, when the answer is out. A connection that is closed on what nobody has read
// is reset, which takes the answer away from who is still sending (RFC 9112, 9.6): a browser then knows of no answer at all, and
// reverse proxies such as nginx and Apache, which send bodies whole, say 502 in our place, so that a client whose token had expired would
// not get a new one. Who sends on for longer than a file may stand still is cut off all the same.
func linger(w http.ResponseWriter, rest io.Reader) {
	control := http.NewResponseController(w)
	if control.Flush() != nil || control.SetReadDeadline(time.Now().Add(fileStall)) != nil {
		return // the client is gone, or it is no connection, in tests
	}
	_, _ = io.Copy(io.Discard, rest) // it ends as it ends
}
