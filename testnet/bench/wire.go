package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"time"
)

// wire is the connections of a server's clients, which are kept. With net/http's client a send took the bench half as long as the server,
// on the same processors: twice what it takes this way. Safe for concurrent use.
type wire struct {
	address string

	mu   sync.Mutex
	idle []*connection // guarded by mu; the one used last at the end
}

// connection speaks HTTP/1.1, without TLS, as the adapter's contract has it for clients. Used by one at a time.
type connection struct {
	net.Conn
	in   *bufio.Reader
	out  []byte // the last request: its room is used again
	used bool   // an answer came this way before
}

// reply is a server's answer to a request.
type reply struct {
	status     int
	retryAfter string // as the header has it; "": it has not
	body       []byte
	keep       bool // the connection can be used again
}

const (
	// maxHeadLine bounds a line of an answer's head, and maxHeadLines how many there are.
	maxHeadLine, maxHeadLines = 8 << 10, 200
	// bodyAhead is for how many bytes of a body room is made before they are there.
	bodyAhead = 1 << 20
)

// errStale is a kept connection that the server has closed meanwhile.
var errStale = errors.New("the connection was closed")

// ask makes a request and reads its answer, whatever its status. A token of "" is none.
func (w *wire) ask(ctx context.Context, method, path, token string, body []byte) (reply, error) {
	for {
		c, err := w.connection(ctx)
		if err != nil {
			return reply{}, err
		}
		r, err := c.ask(ctx, w.request(c.out[:0], method, path, token, body))
		switch {
		case err == nil && r.keep:
			w.keep(c)
		default:
			_ = c.Close() // nothing more is expected of it
		}
		if err == nil || !errors.Is(err, errStale) || ctx.Err() != nil {
			return r, err
		}
	}
}

func (w *wire) request(out []byte, method, path, token string, body []byte) []byte {
	out = append(append(append(append(out, method...), ' '), path...), " HTTP/1.1\r\nHost: "...)
	out = append(out, w.address...)
	if token != "" {
		out = append(append(out, "\r\nAuthorization: Bearer "...), token...)
	}
	if method != http.MethodGet {
		out = strconv.AppendInt(append(out, "\r\nContent-Type: application/json\r\nContent-Length: "...), int64(len(body)), 10)
	}
	return append(append(out, "\r\n\r\n"...), body...)
}

// connection is one that is kept, or a new one.
func (w *wire) connection(ctx context.Context) (*connection, error) {
	w.mu.Lock()
	if last := len(w.idle) - 1; last >= 0 {
		c := w.idle[last]
		w.idle = w.idle[:last]
		w.mu.Unlock()
		return c, nil
	}
	w.mu.Unlock()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", w.address)
	if err != nil {
		return nil, err
	}
	return &connection{Conn: conn, in: bufio.NewReaderSize(conn, maxHeadLine)}, nil
}

func (w *wire) keep(c *connection) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle = append(w.idle, c)
}

// close closes the connections that nobody uses.
func (w *wire) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.idle {
		_ = c.Close() // nothing more is expected of it
	}
	w.idle = nil
}

// ask writes a request and reads its answer, until the context or requestTimeout ends.
func (c *connection) ask(ctx context.Context, request []byte) (reply, error) {
	c.out = request
	if err := c.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return reply{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	r, err := c.exchange(request)
	if !stop() {
		return reply{}, ctx.Err()
	}
	return r, err
}

func (c *connection) exchange(request []byte) (reply, error) {
	_, err := c.Write(request)
	if err == nil {
		_, err = c.in.Peek(1)
	}
	if err != nil {
		var late net.Error
		if c.used && !(errors.As(err, &late) && late.Timeout()) {
			return reply{}, fmt.Errorf("%w: %w", errStale, err)
		}
		return reply{}, err
	}
	c.used = true
	return readReply(c.in)
}

// readReply reads an answer to a request other than HEAD.
func readReply(in *bufio.Reader) (reply, error) {
	for {
		r, length, err := readHead(in)
		if err != nil {
			return reply{}, fmt.Errorf("the head of an answer: %w", err)
		}
		if r.status < 200 {
			continue // 100 Continue, or a hint: the answer is still to come
		}
		if r.body, err = readReplyBody(in, &r, length); err != nil {
			return reply{}, fmt.Errorf("the body of an answer: %w", err)
		}
		return r, nil
	}
}

// What readHead tells of a body's length in place of a number.
const (
	untilClosed = -1
	inChunks    = -2
)

// readHead reads the status and the header of an answer, and how long its body is.
func readHead(in *bufio.Reader) (r reply, length int64, err error) {
	line, err := readLine(in)
	if err != nil {
		return reply{}, 0, err
	}
	version, rest, _ := bytes.Cut(line, []byte(" "))
	status, _, _ := bytes.Cut(rest, []byte(" "))
	r.status, err = strconv.Atoi(string(status))
	if err != nil || r.status < 100 || r.status > 999 || !bytes.HasPrefix(version, []byte("HTTP/1.")) {
		return reply{}, 0, fmt.Errorf("%.100q is no status of HTTP/1.1", line)
	}
	r.keep, length = string(version) != "HTTP/1.0", untilClosed
	for range maxHeadLines {
		if line, err = readLine(in); err != nil {
			return reply{}, 0, err
		}
		if len(line) == 0 {
			return r, length, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		is := func(known string) bool { return strings.EqualFold(string(name), known) }
		switch {
		case is("Content-Length") && length != inChunks:
			if length, err = strconv.ParseInt(string(value), 10, 64); err != nil || length < 0 {
				return reply{}, 0, fmt.Errorf("%.100q is no length", value)
			}
		case is("Transfer-Encoding"):
			if length = inChunks; !strings.EqualFold(string(value), "chunked") {
				return reply{}, 0, fmt.Errorf("%.100q was not asked for", line)
			}
		case is("Connection"):
			r.keep = r.keep && !strings.EqualFold(string(value), "close")
		case is("Retry-After"):
			r.retryAfter = string(value)
		}
	}
	return reply{}, 0, fmt.Errorf("more than %d lines", maxHeadLines)
}

// readLine reads a line without its end. It is good until the next is read.
func readLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return nil, whole(err)
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

func readReplyBody(in *bufio.Reader, r *reply, length int64) ([]byte, error) {
	switch {
	case r.status == http.StatusNoContent || r.status == http.StatusNotModified:
		return nil, nil
	case length > maxBody:
		return nil, fmt.Errorf("%d bytes are too many", length)
	case length >= 0:
		var body bytes.Buffer
		body.Grow(int(min(length, bodyAhead)) + bytes.MinRead)
		_, err := io.CopyN(&body, in, length)
		return body.Bytes(), whole(err)
	case length == inChunks:
		body, err := readUpTo(httputil.NewChunkedReader(in))
		for line := []byte("-"); err == nil && len(line) > 0; { // what follows the last chunk
			line, err = readLine(in)
		}
		return body, err
	}
	r.keep = false
	return readUpTo(in)
}

// readUpTo reads all, but no more than maxBody.
func readUpTo(from io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(from, maxBody+1))
	if err == nil && len(body) > maxBody {
		err = fmt.Errorf("more than %d bytes are too many", maxBody)
	}
	return body, err
}

// whole tells that an answer ended in its middle.
func whole(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
