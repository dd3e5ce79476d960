package torture

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// mail is numbered messages from a user of one server to the device of the other's: each that was acknowledged comes to the
// device, once and in order, whichever server is killed meanwhile. It outlives the generations, as the devices do.
type mail struct {
	from, to *server
	sent     int    // acknowledged: those below
	cutOff   bool   // the next one was sent before
	retried  int    // owned by send
	since    string // owned by read: up to where the device has acknowledged
	read     int    // owned by read: those below came
}

// mailType is the type of the messages, mailPause the pause between two.
const (
	mailType  = "torture.mail"
	mailPause = 5 * time.Millisecond
)

// send sends messages until ctx ends or the server does.
func (m *mail) send(ctx context.Context) error {
	for end := m.sent + spell; ctx.Err() == nil && m.sent < end; {
		if err := m.sendOne(ctx); err != nil {
			return refused(err)
		}
		time.Sleep(mailPause)
	}
	return nil
}

func (m *mail) sendOne(ctx context.Context) error {
	if m.cutOff {
		m.retried++
	}
	path := fmt.Sprintf("/_matrix/client/v3/sendToDevice/%s/mail%d", mailType, m.sent)
	body := map[string]any{"messages": map[string]any{m.to.user.ID: map[string]any{m.to.user.DeviceID: map[string]any{"n": m.sent}}}}
	err := m.from.user.Call(ctx, http.MethodPut, path, nil, body, nil)
	if m.cutOff = err != nil; !m.cutOff {
		m.sent++
	}
	return err
}

// receive reads on until ctx ends or the server does.
func (m *mail) receive(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := m.sync(ctx); err != nil {
			return err
		}
	}
	return nil
}

// sync reads what came to the device since the last time.
func (m *mail) sync(ctx context.Context) error {
	query := url.Values{"timeout": {"100"}, "filter": {`{"room":{"rooms":[]}}`}}
	if m.since != "" {
		query.Set("since", m.since)
	}
	var answer struct {
		NextBatch string `json:"next_batch"`
		ToDevice  struct {
			Events []struct {
				Type    string `json:"type"`
				Content struct {
					N int `json:"n"`
				} `json:"content"`
			} `json:"events"`
		} `json:"to_device"`
	}
	if err := m.to.user.Call(ctx, http.MethodGet, "/_matrix/client/v3/sync", query, nil, &answer); err != nil {
		return refused(err)
	}
	for _, e := range answer.ToDevice.Events {
		if e.Type != mailType {
			continue
		}
		if e.Content.N != m.read {
			return fmt.Errorf("the device of %s has the message %d after %d: lost, twice or out of order", m.to.user.ID, e.Content.N, m.read-1)
		}
		m.read++
	}
	m.since = answer.NextBatch
	return nil
}

// missing says what the device lacks.
func (m *mail) missing(ctx context.Context) (string, error) {
	for before := -1; before < m.read && m.read < m.sent; { // each answer has some of what waits
		before = m.read
		if err := m.sync(ctx); err != nil {
			return "", err
		}
	}
	if m.read < m.sent {
		return fmt.Sprintf("the device of %s has %d of the %d messages to it", m.to.user.ID, m.read, m.sent), nil
	}
	return "", nil
}

// between is mail both ways.
func between(a, b *server) []*mail {
	return []*mail{{from: a, to: b}, {from: b, to: a}}
}

// MailReport says how long messages took whose receiver was out.
type MailReport struct {
	Messages int
	Sent     time.Duration // until all were acknowledged to the sender, one after the other
	Read     time.Duration // from the start of the receiver's server until the device had them
}

// MailThroughAnOutage sends messages to a device whose server is out, and waits until the device has them when it is back.
func MailThroughAnOutage(ctx context.Context, options Options, messages int) (MailReport, error) {
	report := MailReport{Messages: messages}
	c := &campaign{options: options}
	stop, err := c.network(ctx)
	if err != nil {
		return report, err
	}
	defer stop()
	servers := make([]*server, 2)
	for place, name := range []string{"sender", "receiver"} {
		s, err := c.newServer(ctx, name, place, options.Database)
		if err != nil {
			return report, err
		}
		defer s.kill()
		if err := s.start(ctx); err != nil {
			return report, err
		}
		if err := s.account(ctx); err != nil {
			return report, err
		}
		servers[place] = s
	}
	m := &mail{from: servers[0], to: servers[1]}
	if err := m.sync(ctx); err != nil {
		return report, err
	}
	m.to.kill()
	began := time.Now()
	for m.sent < messages {
		if err := m.sendOne(ctx); err != nil {
			return report, err
		}
	}
	report.Sent = time.Since(began)
	m.from.kill() // what waits is on disk
	began = time.Now()
	for _, s := range []*server{m.to, m.from} {
		if err := s.start(ctx); err != nil {
			return report, err
		}
	}
	// The sender's server, which has tried in vain, hears from the receiver's, and tries again.
	query := map[string]any{"device_keys": map[string]any{m.from.user.ID: []string{}}}
	if err := m.to.user.Call(ctx, http.MethodPost, "/_matrix/client/v3/keys/query", nil, query, nil); err != nil {
		return report, err
	}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for m.read < messages {
		if err := m.sync(waiting); err != nil {
			return report, err
		}
		if waiting.Err() != nil {
			return report, fmt.Errorf("within %s the device got %d of %d messages", patience, m.read, messages)
		}
	}
	report.Read = time.Since(began)
	return report, m.sync(ctx) // and nothing more
}
