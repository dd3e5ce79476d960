package oauth

import (
	"errors"
	"net/url"
	"slices"
	"strings"
)

// readWebURI reads the address of a web page. Its host is shown to people, who are to know the client by it, and named in policies: url.Parse decodes
// %D0%B0 in it to a letter that looks like another.
func readWebURI(text string) (*url.URL, error) {
	if err := plainURI(text); err != nil {
		return nil, err
	}
	uri, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("is no URI")
	case uri.Scheme != "https":
		return nil, errors.New("must begin with https://")
	case uri.User != nil:
		return nil, errors.New("must have no user or password")
	case uri.Hostname() == "" || strings.HasPrefix(uri.Hostname(), ".") || strings.HasSuffix(uri.Hostname(), "."):
		return nil, errors.New("has no host, or one that begins or ends with a dot")
	case strings.ContainsFunc(uri.Hostname(), func(r rune) bool { return !isLetterOrDigit(r) && !strings.ContainsRune("-.:", r) }):
		return nil, errors.New("has a host with other characters than letters a to z, digits, - and dots; names of other letters begin with xn--")
	}
	return uri, nil
}

func isLetterOrDigit(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// plainURI is nil for a text of the characters that URIs have, without a fragment: browsers read some others as slashes, or leave
// them out.
func plainURI(text string) error {
	const others = "-._~:/?[]@!$&'()*+,;=%"
	switch {
	case len(text) > maxURIBytes:
		return errors.New("is too long")
	case strings.Contains(text, "#"):
		return errors.New("must have no fragment")
	case strings.ContainsFunc(text, func(r rune) bool { return !isLetterOrDigit(r) && !strings.ContainsRune(others, r) }):
		return errors.New("has characters that no URI has")
	}
	return nil
}

// loopbacks are how redirect URIs to a program on the user's machine begin.
var loopbacks = []string{"http://localhost", "http://127.0.0.1", "http://[::1]"}

// checkRedirect is nil for a redirect URI that a client from that host may register.
//
// spec:client-server-api#redirect-uri-validation
func checkRedirect(text, home string, native bool) error {
	if err := plainURI(text); err != nil {
		return err
	}
	if strings.HasPrefix(text, "https:") {
		uri, err := readWebURI(text)
		switch {
		case err != nil:
			return err
		case !under(uri.Hostname(), home):
			return errors.New("is neither on the host of client_uri nor below it")
		}
		return nil
	}
	if !native {
		return errors.New("must begin with https://, as the application_type is web")
	}
	if strings.HasPrefix(text, "http:") {
		for _, loopback := range loopbacks {
			if rest, ok := strings.CutPrefix(text, loopback); ok && (rest == "" || rest[0] == '/' || rest[0] == '?') {
				return nil
			}
		}
		return errors.New("must be http://localhost, http://127.0.0.1 or http://[::1], without a port")
	}
	scheme, rest, found := strings.Cut(text, ":")
	labels := strings.Split(strings.ToLower(home), ".")
	slices.Reverse(labels)
	prefix := strings.Join(labels, ".")
	switch {
	case !found || scheme != prefix && !strings.HasPrefix(scheme, prefix+"."):
		return errors.New("must have a scheme that begins with " + prefix)
	case strings.HasPrefix(rest, "//"):
		return errors.New("must have no // after its scheme")
	}
	if _, err := url.Parse(text); err != nil {
		return errors.New("is no URI")
	}
	return nil
}

// allows tells whether users may be sent back to that URI: it is one of those registered, to the letter, except for the port of the
// user's own machine.
func (c Client) allows(redirect string) bool {
	if slices.Contains(c.RedirectURIs, redirect) {
		return true
	}
	portless, ok := withoutLoopbackPort(redirect)
	return ok && slices.Contains(c.RedirectURIs, portless)
}

func withoutLoopbackPort(redirect string) (string, bool) {
	for _, loopback := range loopbacks {
		rest, ok := strings.CutPrefix(redirect, loopback+":")
		if !ok {
			continue
		}
		path := strings.TrimLeft(rest, "0123456789")
		digits := len(rest) - len(path)
		return loopback + path, digits > 0 && digits <= 5
	}
	return "", false
}

// FormTarget is what a page's Content-Security-Policy must name for a form whose answer leads to the URI: its origin, or its scheme.
func FormTarget(redirect string) string {
	uri, err := url.Parse(redirect)
	switch {
	case err != nil:
		return ""
	case uri.Host == "" || strings.HasPrefix(uri.Host, "["): // the policy's language has no such hosts
		return uri.Scheme + ":"
	}
	return uri.Scheme + "://" + uri.Host
}
