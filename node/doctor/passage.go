package doctor

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"hanse/federation"
	"hanse/federation/exactjson"
	"hanse/resolver"
)

const (
	// plainEvent and escapedEvent are IDs of events that there are not, in a path. Event IDs of old rooms have slashes in them, and
	// signatures cover the path as it was sent.
	// ofVersion2 is a path of version 2 of the API, which some proxies forget: it is not a page to be got, but that is for the homeserver to say.
	ofVersion2               = "/_matrix/federation/v2/invite/%21doctor/%24doctor"
	plainEvent, escapedEvent = "/_matrix/federation/v1/event/%24doctor", "/_matrix/federation/v1/event/%24doctor%2F%21%3Adoctor"
	// largeTransaction is the size of a transaction that may well come: half as many events as it may have, of the largest size;
	// in bytes.
	largeTransaction = 25 * 64 << 10
)

// asForward is how a path gets through proxies as it was sent.
const asForward = "the reverse proxy must forward path and query as they came (nginx: proxy_pass http://127.0.0.1:8008; with nothing after the port, not even a slash, " +
	"and no rewrite; Apache: AllowEncodedSlashes NoDecode, and nocanon at the end of ProxyPass)"

// passage finds out what a proxy on the way does to requests that a browser would not make. It closes the connection.
func (x *examination) passage(conn *bufferedTLS, target resolver.Target, where string) {
	defer conn.Close()
	unsigned, ok := x.forwarded(conn, target, where)
	if !ok {
		return
	}
	if len(x.Key.Private) > 0 {
		ok = x.signed(conn, target, where, unsigned)
	} else {
		ok = x.unsigned(conn, target, where, unsigned)
	}
	if !ok {
		return
	}
	x.large(conn, target, where)
}

// forwarded asks for a path of each version of the API, for there are proxies that forward a list of paths. It returns the answer to
// plainEvent.
func (x *examination) forwarded(conn *bufferedTLS, target resolver.Target, where string) (plain webAnswer, ok bool) {
	for _, path := range [...]string{ofVersion2, plainEvent} {
		if plain, ok = x.get(conn, target, path, ""); !ok {
			return plain, false
		}
		if errcode, _ := said(plain); errcode == "" && plain.status != http.StatusMethodNotAllowed { // which some homeservers say without a word
			x.wrong("proxy", where, fmt.Sprintf("GET %s doesn't get through: %d, %s", path, plain.status, told(plain)),
				"the reverse proxy must forward all of /_matrix/ to the homeserver, not only some paths of it")
			return plain, false
		}
	}
	return plain, true
}

// unsigned asks for an event without a signature, as plain was: where the path of the plain one is known, that of the other is, too.
func (x *examination) unsigned(conn *bufferedTLS, target resolver.Target, where string, plain webAnswer) (goOn bool) {
	escaped, ok := x.get(conn, target, escapedEvent, "")
	if ok && plain.status == http.StatusUnauthorized && escaped.status != http.StatusUnauthorized {
		x.wrong("proxy", where, fmt.Sprintf("paths with %%2F in them don't get through: it answers %d where it should ask for a signature", escaped.status), asForward)
	}
	return ok
}

// signed asks our own server, as ourselves; unsigned is what it says to others.
func (x *examination) signed(conn *bufferedTLS, target resolver.Target, where string, unsigned webAnswer) (goOn bool) {
	ask := func(path string) (webAnswer, bool) {
		authorization, err := federation.SignRequest(x.Key, http.MethodGet, path, x.name, x.name, nil)
		if err != nil {
			x.wrong("keys", where, err.Error(), "restore the signing key from a backup")
			return webAnswer{}, false
		}
		return x.get(conn, target, path, authorization.String())
	}
	plain, ok := ask(plainEvent)
	if !ok {
		return false
	}
	if plain.status == http.StatusUnauthorized {
		if string(plain.body) == string(unsigned.body) {
			x.wrong("proxy", where, "the Authorization header of requests doesn't get through", "the reverse proxy must forward it, and not ask for a password of its own (nginx: no auth_basic, no proxy_set_header Authorization)")
		} else {
			x.wrong("proxy", where, "a signed request is refused: "+told(plain), asForward)
		}
		return true
	}
	escaped, ok := ask(escapedEvent)
	switch {
	case !ok:
		return false
	case escaped.status != plain.status:
		x.wrong("proxy", where, fmt.Sprintf("paths with %%2F in them don't get through as they were sent (%d: %s)", escaped.status, told(escaped)), asForward)
	default:
		x.fine("proxy", where, "signed requests get through, also with %%2F in the path")
	}
	return true
}

// said is the error in a homeserver's answer; errcode is "" in what others say.
func said(answer webAnswer) (errcode, text string) {
	var body struct {
		Errcode string `json:"errcode"`
		Error   string `json:"error"`
	}
	if exactjson.Unmarshal(answer.body, &body) != nil {
		return "", ""
	}
	return body.Errcode, body.Error
}

// told is the error in an answer, for people.
func told(answer webAnswer) string {
	errcode, text := said(answer)
	if errcode == "" {
		return "not in the words of a Matrix server (Server: " + header(answer.header, "Server") + ")"
	}
	return errcode + " " + text
}

// large announces a large transaction.
func (x *examination) large(conn *bufferedTLS, target resolver.Target, where string) {
	if x.announce(conn, "PUT", target.Host, "/_matrix/federation/v1/send/doctor", largeTransaction) == http.StatusRequestEntityTooLarge {
		x.wrong("proxy", where, fmt.Sprintf("a transaction of %.1f MiB is refused (413): events of others will be lost", float64(largeTransaction)/(1<<20)),
			"let the reverse proxy take bodies as large as media.max_size, and never less than 13 MiB (nginx: client_max_body_size 100m;)")
	}
}

// upload announces to where clients go a file as large as may be uploaded.
func (x *examination) upload(base string) {
	at, err := url.Parse(base)
	if x.MaxUpload == 0 || err != nil || at.Scheme != "https" {
		return
	}
	port := at.Port()
	if port == "" {
		port = "443"
	}
	conn, err := x.dial(x.ctx, net.JoinHostPort(at.Hostname(), port))
	if err != nil {
		return // what is wrong there is said where more is asked
	}
	defer conn.Close()
	secure := tls.Client(conn, &tls.Config{ServerName: at.Hostname(), RootCAs: x.Roots, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
	path := strings.TrimRight(at.Path, "/") + "/_matrix/media/v3/upload"
	if x.announce(&bufferedTLS{Conn: secure, reader: bufio.NewReader(secure)}, "POST", at.Host, path, x.MaxUpload) == http.StatusRequestEntityTooLarge {
		x.warn("clients", base+"/_matrix/media/v3/upload", fmt.Sprintf("files of %d MiB, which media.max_size allows, are refused (413)", x.MaxUpload>>20),
			"let the reverse proxy take bodies as large (nginx: client_max_body_size), or lower media.max_size")
	}
}

// announce announces a body of so many bytes, and sends none: who doesn't take it says so at once. It returns the status of the
// answer; 0 if there is none, since some wait for the body all the same. Nothing can be asked after it.
func (x *examination) announce(conn *bufferedTLS, method, host, path string, size int64) (status int) {
	_ = conn.SetDeadline(time.Now().Add(x.Timeout)) // of a connection that works
	if _, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
		method, path, host, x.UserAgent, size); err != nil {
		return 0
	}
	response, err := http.ReadResponse(conn.reader, nil)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	return response.StatusCode
}
