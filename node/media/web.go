package media

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// DialFunc connects to "name:port". It must refuse the addresses that nobody may make this server call, at the last moment:
// whatever names and redirects lead there.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// newWeb is an HTTP client that connects by dial alone, whatever the environment says of proxies.
func newWeb(dial DialFunc, trust *tls.Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				ctx, cancel := context.WithTimeout(ctx, webPatience)
				defer cancel()
				return dial(ctx, network, address)
			},
			TLSClientConfig: trust, TLSHandshakeTimeout: webPatience, ResponseHeaderTimeout: webPatience, ForceAttemptHTTP2: true,
			MaxIdleConns: maxWebIdle, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: maxWebHeader,
		},
		CheckRedirect: func(request *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return fmt.Errorf("more than %d redirects", maxRedirects)
			}
			return checkURL(request.URL)
		},
	}
}

// parseURL reads the address of something on the web; base is where it was found, nil if it stands for itself.
func parseURL(text string, base *url.URL) (*url.URL, error) {
	if len(text) > maxURLBytes {
		return nil, errors.New("the URL is too long")
	}
	parsed, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("this is no URL")
	}
	if base != nil {
		parsed = base.ResolveReference(parsed)
	}
	parsed.Fragment, parsed.RawFragment = "", ""
	return parsed, checkURL(parsed)
}

// checkURL checks that a URL leads to the web.
func checkURL(target *url.URL) error {
	switch {
	case target.Scheme != "https" && target.Scheme != "http":
		return fmt.Errorf("%.20q is no scheme of the web", target.Scheme)
	case target.Host == "" || target.User != nil:
		return errors.New("the URL names no host, or a user")
	}
	return nil
}

// get fetches something; take gets the answer if its status is 200.
func (p *previews) get(ctx context.Context, target *url.URL, accept, language string, take func(*http.Response) error) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", p.userAgent)
	request.Header.Set("Accept", accept)
	if language != "" {
		request.Header.Set("Accept-Language", language)
	}
	response, err := p.web.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer is %s", response.Status)
	}
	return take(response)
}

// errMore says that something is larger than may be.
var errMore = errors.New("it is too large")

// atMost reads n bytes of what is longer and then fails.
type atMost struct {
	from io.Reader
	left int64
}

// Read implements io.Reader.
func (a *atMost) Read(p []byte) (int, error) {
	if int64(len(p)) > a.left+1 {
		p = p[:a.left+1]
	}
	n, err := a.from.Read(p)
	if int64(n) > a.left {
		return int(a.left), errMore
	}
	a.left -= int64(n)
	return n, err
}
