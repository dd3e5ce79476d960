package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/signedjson"
)

// ByHand is a request made by hand. The zero value of Authorization signs it as it should be.
type ByHand struct {
	Method string
	URI    string // path and query, escaped
	Body   []byte // nil: none
	// Authorization are the headers' values in place of the right one; an empty list (not nil) sends none.
	Authorization []string
	Header        http.Header // in addition
}

// ByHandAnswer is what came back.
type ByHandAnswer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Code is the Matrix error code of the answer; "" if it is none.
func (a ByHandAnswer) Code() string {
	var refusal federation.Error
	_ = json.Unmarshal(a.Body, &refusal) // not JSON: no code
	return refusal.Code
}

// String is the answer for people.
func (a ByHandAnswer) String() string { return fmt.Sprintf("%d %s", a.Status, a.Body) }

// Do makes a request by hand. Redirects are not followed.
func (p *Peer) Do(ctx context.Context, to id.ServerName, r ByHand) (ByHandAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, r.Method, "https://"+string(to)+r.URI, bytes.NewReader(r.Body))
	if err != nil {
		return ByHandAnswer{}, err
	}
	for name, values := range r.Header {
		request.Header[name] = values
	}
	if r.Body != nil && request.Header.Get("Content-Type") == "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if r.Authorization == nil {
		authorization, err := p.Authorization(r, p.Key(), p.Name, to)
		if err != nil {
			return ByHandAnswer{}, err
		}
		r.Authorization = []string{authorization.String()}
	}
	request.Header["Authorization"] = r.Authorization
	sent := fmt.Sprintf("sent   %s %s %s", r.Method, r.URI, Brief(r.Body))
	for _, header := range r.Authorization {
		sent += "\n  Authorization: " + header
	}
	response, err := p.http.Do(request)
	if err != nil {
		p.note("%s\n  got  no answer: %v", sent, err)
		return ByHandAnswer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	answer := ByHandAnswer{Status: response.StatusCode, Header: response.Header, Body: body}
	p.note("%s\n  got  %d %s", sent, answer.Status, Brief(answer.Body))
	return answer, err
}

// Authorization signs a request with any key in any name.
func (p *Peer) Authorization(r ByHand, key signedjson.Key, origin, destination id.ServerName) (federation.Authorization, error) {
	return federation.SignRequest(key, r.Method, r.URI, origin, destination, r.Body)
}

// SendRequest is the request of a transaction with the given events, to be changed and sent by hand.
func (p *Peer) SendRequest(pdus ...json.RawMessage) ByHand {
	body := federation.Transaction{Origin: p.Name, OriginServerTS: time.Now().UnixMilli(), PDUs: pdus}.AppendJSON(nil)
	return ByHand{Method: http.MethodPut, URI: "/_matrix/federation/v1/send/" + p.NextTxn(), Body: body}
}
