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
	for ctx.Err() == nil {
		if m.cutOff {
			m.retried++
		}
		path := fmt.Sprintf("/_matrix/client/v3/sendToDevice/%s/mail%d", mailType, m.sent)
		body := map[string]any{"messages": map[string]any{m.to.user.ID: map[string]any{m.to.user.DeviceID: map[string]any{"n": m.sent}}}}
		err := m.from.user.Call(ctx, http.MethodPut, path, nil, body, nil)
		if m.cutOff = err != nil; m.cutOff {
			return refused(err)
		}
		m.sent++
		time.Sleep(mailPause)
	}
	return nil
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
	if err := m.sync(ctx); err != nil {
		return "", err
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
