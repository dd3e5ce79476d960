package push

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/node/store"
)

// notification is what a gateway is told.
//
// spec:push-gateway-api#post_matrixpushv1notify
type notification struct {
	EventID           id.EventID      `json:"event_id,omitempty"`
	RoomID            id.RoomID       `json:"room_id,omitempty"`
	Type              string          `json:"type,omitempty"`
	Sender            id.UserID       `json:"sender,omitempty"`
	SenderDisplayName string          `json:"sender_display_name,omitempty"`
	RoomName          string          `json:"room_name,omitempty"`
	RoomAlias         string          `json:"room_alias,omitempty"`
	UserIsTarget      bool            `json:"user_is_target,omitempty"`
	Priority          string          `json:"prio,omitempty"`
	Content           json.RawMessage `json:"content,omitempty"`
	Counts            counts          `json:"counts"`
	Devices           []gatewayDevice `json:"devices"`
}

type counts struct {
	Unread int `json:"unread,omitempty"`
}

type gatewayDevice struct {
	AppID     string                     `json:"app_id"`
	PushKey   string                     `json:"pushkey"`
	PushKeyTS int64                      `json:"pushkey_ts"` // seconds
	Data      json.RawMessage            `json:"data"`
	Tweaks    map[string]json.RawMessage `json:"tweaks,omitempty"`
}

// notify tells a gateway of an event (nil: of the count alone). It gives the keys that the gateway rejects.
func (p *Pushers) notify(ctx context.Context, s store.Pusher, n *Notification, unread int) (rejected []string, err error) {
	pusher := readPusher(s)
	address, err := gatewayURL(pusher.Data)
	if err != nil {
		return nil, err
	}
	var data struct {
		Format string `json:"format"`
	}
	_ = exactjson.Unmarshal(pusher.Data, &data) // "" is the full format
	device := gatewayDevice{
		AppID: s.AppID, PushKey: s.PushKey, PushKeyTS: s.Updated.Unix(), Data: withoutURL(pusher.Data),
	}
	body := notification{Counts: counts{unread}}
	if n != nil {
		if err := p.describe(ctx, &body, s.User, n, data.Format == "event_id_only"); err != nil {
			return nil, err
		}
		if data.Format != "event_id_only" {
			device.Tweaks = n.Outcome.Tweaks
		}
	}
	body.Devices = []gatewayDevice{device}
	return p.post(ctx, address.String(), body)
}

// withoutURL is a pusher's data as the gateway gets it.
func withoutURL(data json.RawMessage) json.RawMessage {
	return canonicaljson.Filter(nil, data, func(key []byte) bool { return !canonicaljson.KeyIs(key, "url") })
}

// describe fills in what an event is.
func (p *Pushers) describe(ctx context.Context, body *notification, user id.UserID, n *Notification, idOnly bool) error {
	e := n.Event
	body.EventID, body.RoomID, body.Priority = e.ID(), e.RoomID(), "low"
	if _, sound := n.Outcome.Tweaks["sound"]; sound || n.Outcome.Highlight || e.Type() == "m.room.encrypted" {
		body.Priority = "high"
	}
	if idOnly {
		return nil
	}
	body.Type, body.Sender, body.UserIsTarget = e.Type(), e.Sender(), e.Is("m.room.member", string(user))
	if len(e.Content()) <= maxPushedContent {
		body.Content = e.Content()
	}
	state, err := p.config.Store.CurrentStateAt(ctx, e.RoomID(), p.config.Store.Position())
	if err != nil || state.Len() == 0 {
		return err
	}
	text := func(typ, stateKey, field string) (value string) {
		if err != nil {
			return ""
		}
		var events []*event.Event
		if events, err = p.config.Store.StateEvents(ctx, state, roomstate.Key{Type: typ, StateKey: stateKey}); err != nil || len(events) == 0 {
			return ""
		}
		raw, _ := canonicaljson.Get(events[0].Content(), field)
		value, _ = canonicaljson.String(raw)
		return value
	}
	body.SenderDisplayName = text("m.room.member", string(e.Sender()), "displayname")
	body.RoomName = text("m.room.name", "", "name")
	body.RoomAlias = text("m.room.canonical_alias", "", "alias")
	return err
}

// post sends it. An answer that is no JSON counts as one without rejected keys: the gateway took it.
func (p *Pushers) post(ctx context.Context, address string, body notification) (rejected []string, err error) {
	raw, err := json.Marshal(map[string]any{"notification": body})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, gatewayTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := p.config.Client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // what counts was read
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return nil, fmt.Errorf("the push gateway answers %s", response.Status)
	}
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxGatewayAnswer))
	if err != nil {
		return nil, err
	}
	var said struct {
		Rejected []string `json:"rejected"`
	}
	_ = exactjson.Unmarshal(answer, &said)
	return said.Rejected, nil
}
