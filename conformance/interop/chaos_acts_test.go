package interop

import (
	"context"
	"fmt"
	"net/url"
	"strings"
)

// deed is what somebody does.
type deed struct {
	*chaos
	room   *chaosRoom
	by, to *person
	number int
	cited  string // an event of the room; "" if there is none yet
	other  string // a room
}

// via are the names of all servers but that of the one who acts.
func (d deed) via() []string {
	var names []string
	for _, s := range d.servers {
		if s != d.by.server {
			names = append(names, s.orders.ServerName)
		}
	}
	return names
}

func (d deed) text() string { return fmt.Sprintf("%s says %d", d.by.ID, d.number) }

// set sends a state event without a state key.
func (d deed) set(ctx context.Context, eventType string, content map[string]any) (string, error) {
	return d.by.SetState(ctx, d.room.ID, eventType, "", content)
}

// member does something to a member.
func (d deed) member(ctx context.Context, what string) (string, error) {
	return "", do(ctx, d.by.User, "rooms/"+d.room.ID+"/"+what, map[string]any{"user_id": d.to.ID})
}

// relates is a message that relates to an event.
func (d deed) relates(ctx context.Context, eventType, relation string) (string, error) {
	if d.cited == "" {
		return "", nil
	}
	return d.by.Send(ctx, d.room.ID, eventType, map[string]any{"msgtype": "m.text", "body": d.text(), "m.relates_to": map[string]any{
		"rel_type": relation, "event_id": d.cited, "key": d.text(),
	}})
}

// acts are what users do. They give the ID of an event that was acknowledged, if they know it.
var acts = map[string]func(context.Context, deed) (string, error){
	"say":    func(ctx context.Context, d deed) (string, error) { return d.by.Say(ctx, d.room.ID, d.text()) },
	"react":  func(ctx context.Context, d deed) (string, error) { return d.relates(ctx, "m.reaction", "m.annotation") },
	"thread": func(ctx context.Context, d deed) (string, error) { return d.relates(ctx, "m.room.message", "m.thread") },
	"redact": func(ctx context.Context, d deed) (string, error) {
		if d.cited == "" {
			return "", nil
		}
		return redact(ctx, d.by.User, d.room.ID, d.cited, d.number)
	},
	"join": func(ctx context.Context, d deed) (string, error) {
		_, err := d.by.Join(ctx, d.room.ID, d.via()...)
		return "", err
	},
	"knock": func(ctx context.Context, d deed) (string, error) {
		via := url.Values{"via": d.via(), "server_name": d.via()}
		return "", d.by.Call(ctx, "POST", "/_matrix/client/v3/knock/"+url.PathEscape(d.room.ID), via, map[string]any{}, nil)
	},
	"leave":  func(ctx context.Context, d deed) (string, error) { return "", d.by.Leave(ctx, d.room.ID) },
	"invite": func(ctx context.Context, d deed) (string, error) { return d.member(ctx, "invite") },
	"kick":   func(ctx context.Context, d deed) (string, error) { return d.member(ctx, "kick") },
	"ban":    func(ctx context.Context, d deed) (string, error) { return d.member(ctx, "ban") },
	"unban":  func(ctx context.Context, d deed) (string, error) { return d.member(ctx, "unban") },
	"topic": func(ctx context.Context, d deed) (string, error) {
		return d.set(ctx, "m.room.topic", map[string]any{"topic": d.text()})
	},
	"history": func(ctx context.Context, d deed) (string, error) {
		visibility := []string{"shared", "world_readable"}[d.number%2]
		return d.set(ctx, "m.room.history_visibility", map[string]any{"history_visibility": visibility})
	},
	"door": func(ctx context.Context, d deed) (string, error) {
		content := map[string]any{"join_rule": []string{"public", "public", "invite", "knock", "restricted"}[d.number%5]}
		content["allow"] = []any{map[string]any{"type": "m.room_membership", "room_id": d.other}}
		return d.set(ctx, "m.room.join_rules", content)
	},
	"power": func(ctx context.Context, d deed) (string, error) {
		var levels map[string]any
		path := "/_matrix/client/v3/rooms/" + url.PathEscape(d.room.ID) + "/state/m.room.power_levels/"
		if err := d.by.Call(ctx, "GET", path, nil, nil, &levels); err != nil {
			return "", err
		}
		if users, ok := levels["users"].(map[string]any); ok && (d.room.version != "12" || d.to != d.room.maker) {
			users[d.to.ID] = []int{0, 50, 75, 100}[d.number%4]
		}
		return d.set(ctx, "m.room.power_levels", levels)
	},
	"alias": func(ctx context.Context, d deed) (string, error) {
		alias := fmt.Sprintf("#alias%d:%s", d.number, d.by.server.orders.ServerName)
		path := "/_matrix/client/v3/directory/room/" + url.PathEscape(alias)
		if err := d.by.Call(ctx, "PUT", path, nil, map[string]any{"room_id": d.room.ID}, nil); err != nil {
			return "", err
		}
		return d.set(ctx, "m.room.canonical_alias", map[string]any{"alias": alias})
	},
	"name": func(ctx context.Context, d deed) (string, error) {
		path := "/_matrix/client/v3/profile/" + url.PathEscape(d.by.ID) + "/displayname"
		return "", d.by.Call(ctx, "PUT", path, nil, map[string]any{"displayname": d.text()}, nil)
	},
	"keys": func(ctx context.Context, d deed) (string, error) {
		key := func(n int) string { return fmt.Sprintf("%043d", n) }
		return "", d.by.Call(ctx, "POST", "/_matrix/client/v3/keys/upload", nil, map[string]any{"device_keys": map[string]any{
			"user_id": d.by.ID, "device_id": d.by.DeviceID, "algorithms": []string{"m.olm.v1.curve25519-aes-sha2"},
			"keys":       map[string]any{"ed25519:" + d.by.DeviceID: key(d.number), "curve25519:" + d.by.DeviceID: key(d.number + 1)},
			"signatures": map[string]any{d.by.ID: map[string]any{"ed25519:" + d.by.DeviceID: strings.Repeat("A", 86)}},
		}}, nil)
	},
	"device": func(ctx context.Context, d deed) (string, error) {
		err := d.by.SendToDevice(ctx, "org.example.chaos", d.to.ID, d.to.DeviceID, map[string]any{"body": d.text()})
		if err == nil {
			d.to.mu.Lock()
			d.to.owed[d.text()] = true
			d.to.mu.Unlock()
		}
		return "", err
	},
	"read": func(ctx context.Context, d deed) (string, error) {
		if d.cited == "" {
			return "", nil
		}
		return "", do(ctx, d.by.User, "rooms/"+d.room.ID+"/receipt/m.read/"+url.PathEscape(d.cited), map[string]any{})
	},
	"type": func(ctx context.Context, d deed) (string, error) {
		path := "/_matrix/client/v3/rooms/" + url.PathEscape(d.room.ID) + "/typing/" + url.PathEscape(d.by.ID)
		return "", d.by.Call(ctx, "PUT", path, nil, map[string]any{"typing": true, "timeout": 2000}, nil)
	},
}
