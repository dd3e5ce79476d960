package resolver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"hanse/federation/exactjson"
	"hanse/federation/id"
)

// WellKnown is the answer to GET /.well-known/matrix/server: who speaks for the server.
//
// spec:server-server-api#resolving-server-names
type WellKnown struct {
	Server id.ServerName
}

// ParseWellKnown reads the body of the answer. Other members than m.server are nobody's business here.
func ParseWellKnown(body []byte) (WellKnown, error) {
	var answer struct {
		Server *string `json:"m.server"`
	}
	if err := exactjson.Unmarshal(body, &answer); err != nil {
		return WellKnown{}, fmt.Errorf("the answer is not the JSON it should be: %w", err)
	}
	if answer.Server == nil {
		return WellKnown{}, errors.New("the answer has no m.server")
	}
	server, err := id.ParseServerName(*answer.Server)
	if err != nil {
		return WellKnown{}, fmt.Errorf("m.server: %w", err)
	}
	return WellKnown{Server: server}, nil
}

// webClient is the HTTP client for well-known: every connection passes the guard.
func (r *Resolver) webClient(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				ctx, cancel := context.WithTimeout(ctx, connectTimeout)
				defer cancel()
				return r.DialContext(ctx, network, address)
			},
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			DisableKeepAlives:      true, // nobody asks again soon
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxWellKnownHeader,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return fmt.Errorf("more than %d redirects", maxRedirects)
			}
			if req.URL.Scheme != "https" {
				return fmt.Errorf("a redirect to %s, which is not https", req.URL.Redacted())
			}
			return nil
		},
	}
}

// lookupWellKnown asks a host for its delegation. An answer counts for as long as its headers say, within bounds; a
// failure for a short time that doubles. If the host can't be asked, or says that it can't answer now, an earlier answer
// goes on to count.
func (r *Resolver) lookupWellKnown(ctx context.Context, host string, before previous[WellKnown]) answer[WellKnown] {
	ctx, cancel := context.WithTimeout(ctx, wellKnownTimeout)
	defer cancel()
	known, keep, err := r.fetchWellKnown(ctx, host)
	if err == nil {
		return answer[WellKnown]{value: known, keep: keep}
	}
	retry := lastRetry
	if before.failures < 10 {
		retry = min(lastRetry, firstRetry<<before.failures)
	}
	if status, ok := errors.AsType[statusError](err); ok && status < 500 && status != http.StatusTooManyRequests {
		return answer[WellKnown]{err: err, keep: retry} // it has no delegation any more
	}
	return before.instead(err, retry)
}

// statusError is an answer other than 200.
type statusError int

func (e statusError) Error() string {
	return fmt.Sprintf("the answer is %d %s", int(e), http.StatusText(int(e)))
}

// fetchWellKnown makes the request.
func (r *Resolver) fetchWellKnown(ctx context.Context, host string) (WellKnown, time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/.well-known/matrix/server", nil)
	if err != nil {
		return WellKnown{}, 0, err
	}
	req.Header.Set("Accept", "application/json")
	if r.userAgent != "" {
		req.Header.Set("User-Agent", r.userAgent)
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return WellKnown{}, 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return WellKnown{}, 0, statusError(resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxWellKnown+1))
	if err != nil {
		return WellKnown{}, 0, err
	}
	if len(body) > maxWellKnown {
		return WellKnown{}, 0, fmt.Errorf("the answer has more than %d bytes", maxWellKnown)
	}
	known, err := ParseWellKnown(body)
	if err != nil {
		return WellKnown{}, 0, err
	}
	return known, lifetime(resp.Header, time.Now()), nil
}

// lifetime is how long an answer with these headers counts.
//
// spec:server-server-api#resolving-server-names
func lifetime(header http.Header, now time.Time) time.Duration {
	life, said := maxAge(header.Values("Cache-Control"))
	if !said {
		if expires := header.Get("Expires"); expires != "" {
			said = true
			if at, err := http.ParseTime(expires); err == nil {
				if date, err := http.ParseTime(header.Get("Date")); err == nil {
					now = date // the other's clock may be wrong
				}
				life = at.Sub(now)
			} // what is no date means: expired
		}
	}
	if !said {
		life = wellKnownDefault
	}
	if age, err := strconv.ParseUint(header.Get("Age"), 10, 31); err == nil {
		life -= time.Duration(age) * time.Second
	}
	return min(max(life, wellKnownMin), wellKnownMax)
}

// maxAge reads the lifetime out of Cache-Control headers; false when they don't tell.
func maxAge(headers []string) (time.Duration, bool) {
	for _, directive := range strings.Split(strings.Join(headers, ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "no-store", "no-cache":
			return 0, true
		case "max-age":
			seconds, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 31)
			if err != nil {
				return 0, true
			}
			return time.Duration(seconds) * time.Second, true
		}
	}
	return 0, false
}
