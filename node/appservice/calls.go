package appservice

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"unicode/utf8"

	"hanse/federation/exactjson"
)

// call is a request to a service.
type call struct {
	method string
	path   string // below /_matrix/app/v1
	// legacy is the path of drafts of the specification; "": there was none.
	legacy string
	query  url.Values
	body   []byte
	most   int64 // bytes of the answer that are read
}

// answer is what came back.
type answer struct {
	status int
	body   []byte // cut where it is too long
	cut    bool
}

func (a answer) good() bool { return a.status >= 200 && a.status < 300 }

// ask asks the service. The error is that there was no answer, whatever its status.
//
// The hs_token goes in the header. A service that refuses it there is from before Matrix 1.4, or has another token: it is asked
// once more with the token in the query too, and if that is taken, so it is from then on. Who doesn't know a path is asked by
// that of the drafts, where the token was in the query only.
//
// spec:application-service-api#authorisation
// spec:application-service-api#legacy-routes
func (s *Service) ask(ctx context.Context, c call) (answer, error) {
	inQuery := s.queryToken.Load()
	a, err := s.try(ctx, c, "/_matrix/app/v1"+c.path, inQuery)
	if err == nil && !inQuery && (a.status == http.StatusUnauthorized || a.status == http.StatusForbidden) {
		second, err := s.try(ctx, c, "/_matrix/app/v1"+c.path, true)
		if err == nil && second.status != http.StatusUnauthorized && second.status != http.StatusForbidden {
			s.queryToken.Store(true)
			a = second
		}
	}
	if err == nil && c.legacy != "" && a.unrecognized() {
		return s.try(ctx, c, c.legacy, true)
	}
	return a, err
}

// unrecognized tells whether a service doesn't know a path. The specification has any status but success lead to the old path: but
// who knows the new one and has trouble, or says that there is no such user, is believed, as by deployed servers. Some say that by
// an empty object.
func (a answer) unrecognized() bool {
	if a.status != http.StatusNotFound && a.status != http.StatusMethodNotAllowed && a.status != http.StatusNotImplemented {
		return false
	}
	code, object := a.code()
	return !object || code == "M_UNRECOGNIZED"
}

// code is the Matrix error code of an answer, "" if it has none, and whether it is a JSON object at all.
func (a answer) code() (code string, object bool) {
	var e map[string]json.RawMessage
	if exactjson.Unmarshal(a.body, &e) != nil || e == nil {
		return "", false
	}
	_ = exactjson.Unmarshal(e["errcode"], &code) // none, if it is no text
	return code, true
}

func (s *Service) try(ctx context.Context, c call, path string, inQuery bool) (answer, error) {
	query := c.query
	if inQuery {
		query = url.Values{"access_token": {s.HSToken}}
		for key, values := range c.query {
			query[key] = values
		}
	}
	address := s.URL + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, c.method, address, bytes.NewReader(c.body))
	if err != nil {
		return answer{}, errors.New("its url is no address")
	}
	request.Header.Set("Authorization", "Bearer "+s.HSToken)
	request.Header.Set("User-Agent", s.services.config.UserAgent)
	if c.body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := s.client.Do(request)
	if err != nil {
		return answer{}, withoutURL(err)
	}
	defer response.Body.Close() //nolint:errcheck // it is only read
	body, err := io.ReadAll(io.LimitReader(response.Body, c.most+1))
	if err != nil && !(err == io.ErrUnexpectedEOF && response.StatusCode != http.StatusOK) {
		return answer{}, withoutURL(err)
	}
	a := answer{status: response.StatusCode, body: body}
	if int64(len(body)) > c.most {
		a.body, a.cut = body[:c.most], true
	}
	return a, nil
}

// withoutURL is an error of the HTTP client's without the address, which may have the token in it.
func withoutURL(err error) error {
	if failed, ok := errors.AsType[*url.Error](err); ok {
		err = failed.Err
	}
	if timedOut(err) {
		return fmt.Errorf("no answer in time: %w", err)
	}
	return err
}

func timedOut(err error) bool { return errors.Is(err, context.DeadlineExceeded) || os.IsTimeout(err) }

// refused is an answer that is no success, as an error.
func (a answer) refused() error {
	text := fmt.Sprintf("it answers HTTP %d", a.status)
	switch {
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden:
		text += "; does its configuration have the hs_token of the registration?"
	case a.status >= 300 && a.status < 400:
		text += ", and redirects are not followed; give its right url in the registration"
	}
	if code, _ := a.code(); code != "" {
		text += " (" + a.shown(100) + ")"
	}
	return errors.New(text)
}

// shown is the beginning of the answer's text.
func (a answer) shown(most int) string {
	text := a.body
	if len(text) > most {
		text = text[:most]
	}
	return strings.ToValidUTF8(string(text), string(utf8.RuneError))
}
