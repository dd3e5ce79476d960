package client

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// newWeb is an HTTP client for addresses that other servers name: it connects by the guarded dialer alone, whatever the name,
// the proxy settings of the environment or a redirect say.
func newWeb(t *transport) *http.Client {
	config := t.tls.Clone()
	config.NextProtos = nil // the transport's own choice
	return &http.Client{
		Transport: &http.Transport{
			DialContext: t.dial, TLSClientConfig: config, TLSHandshakeTimeout: t.timeouts.Connect, ForceAttemptHTTP2: true,
			MaxIdleConns: maxWebIdle, IdleConnTimeout: idleTimeout, MaxResponseHeaderBytes: maxHeader, DisableCompression: true,
		},
		CheckRedirect: func(request *http.Request, via []*http.Request) error {
			if len(via) > maxWebRedirects {
				return fmt.Errorf("more than %d redirects", maxWebRedirects)
			}
			return webURL(request.URL)
		},
	}
}

// webURL checks that a URL leads to the web.
func webURL(target *url.URL) error {
	switch {
	case target.Scheme != "https" && target.Scheme != "http":
		return fmt.Errorf("%.20q is no scheme of the web", target.Scheme)
	case target.Host == "" || target.User != nil:
		return errors.New("the URL names no host, or a user")
	}
	return nil
}
