package hostile

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"hanse/federation/id"
)

func id2room(text string) id.RoomID { return id.RoomID(text) }

// wire is an HTTP/1.1 connection that is written by hand: cheap enough to make more load than a node can take, and free
// to be wrong.
type wire struct {
	net.Conn
	in *bufio.Reader
}

// dialClient connects to the client-server API.
func (n *node) dialClient() (*wire, error) {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(n.orders.BindAddr.String(), "8008"), patience)
	if err != nil {
		return nil, err
	}
	return &wire{Conn: conn, in: bufio.NewReaderSize(conn, 4<<10)}, nil
}

// dialFederation connects to the server-server API; protocols are what is offered (ALPN).
func (n *node) dialFederation(protocols ...string) (*wire, error) {
	config := n.tlsConfig()
	config.NextProtos = protocols
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", n.orders.FederationAddr(), config)
	if err != nil {
		return nil, err
	}
	return &wire{Conn: conn, in: bufio.NewReaderSize(conn, 4<<10)}, nil
}

// reply is the answer to a request, as far as it matters here.
type reply struct {
	status     int
	body       []byte // at most its first 64 KiB
	retryAfter time.Duration
	closed     bool // the node ends the connection
}

// do writes a whole request and reads its answer. The request's bytes are as the caller made them.
func (w *wire) do(request []byte) (reply, error) {
	if err := w.SetDeadline(time.Now().Add(3 * patience)); err != nil {
		return reply{}, err
	}
	if _, err := w.Write(request); err != nil {
		return reply{}, err
	}
	return w.read()
}

// read reads one answer.
func (w *wire) read() (reply, error) {
	var r reply
	line, err := w.in.ReadSlice('\n')
	if err != nil {
		return r, err
	}
	if len(line) < 12 {
		return r, fmt.Errorf("no status line: %q", line)
	}
	if r.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return r, fmt.Errorf("no status line: %q", line)
	}
	length := int64(-1)
	chunked := false
	for {
		line, err = w.in.ReadSlice('\n')
		if err != nil {
			return r, err
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch string(name) {
		case "Content-Length":
			length, _ = strconv.ParseInt(string(value), 10, 64) // a wrong one shows below
		case "Retry-After":
			seconds, _ := strconv.Atoi(string(value)) // a wrong one is none
			r.retryAfter = time.Duration(seconds) * time.Second
		case "Connection":
			r.closed = string(value) == "close"
		case "Transfer-Encoding":
			chunked = true
		}
	}
	switch {
	case chunked:
		return r, errors.New("a chunked answer is not read here")
	case r.status == http.StatusNoContent:
		return r, nil
	case length < 0:
		return r, errors.New("an answer without a length")
	}
	r.body = make([]byte, min(length, 64<<10))
	if _, err := io.ReadFull(w.in, r.body); err != nil {
		return r, err
	}
	_, err = w.in.Discard(int(length) - len(r.body))
	return r, err
}

// appendRequest makes the bytes of a request.
func appendRequest(to []byte, method, target, authorization string, body []byte) []byte {
	to = fmt.Appendf(to, "%s %s HTTP/1.1\r\nHost: node\r\nContent-Length: %d\r\n", method, target, len(body))
	if authorization != "" {
		to = fmt.Appendf(to, "Authorization: %s\r\n", authorization)
	}
	return append(append(to, "\r\n"...), body...)
}
