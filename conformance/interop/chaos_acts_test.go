package interop

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"hanse/testnet/user"
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

// users are those whose membership in the room, as far as the one who acts sees, is a given one.
func (d deed) users(ctx context.Context, membership string) ([]string, error) {
	all, err := members(ctx, d.by.User, d.room.ID)()
	maps.DeleteFunc(all, func(_, m string) bool { return m != membership })
	return slices.Sorted(maps.Keys(all)), err
}

// each has all users of the server of the one who acts do something. The error is the first of them.
func (d deed) each(do func(p *person) error) (err error) {
	for _, p := range d.crews[d.by.server] {
		err = cmp.Or(err, do(p))
	}
	return err
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
		visibility := []string{"shared", "world_readable", "invited", "joined"}[d.number%4]
		if d.number%4 > 1 {
			d.room.hides.Store(true)
		}
		return d.set(ctx, "m.room.history_visibility", map[string]any{"history_visibility": visibility})
	},
	"door": func(ctx context.Context, d deed) (string, error) {
		content := map[string]any{"join_rule": []string{"public", "public", "invite", "knock", "restricted", "knock_restricted"}[d.number%6]}
		content["allow"] = []any{map[string]any{"type": "m.room_membership", "room_id": d.other}}
		return d.set(ctx, "m.room.join_rules", content)
	},
	"answer": func(ctx context.Context, d deed) (string, error) { // one who knocks
		knocking, err := d.users(ctx, "knock")
		if len(knocking) == 0 {
			return "", err
		}
		body := map[string]any{"user_id": knocking[d.number%len(knocking)]}
		return "", do(ctx, d.by.User, "rooms/"+d.room.ID+"/"+[]string{"invite", "kick", "ban"}[d.number%3], body)
	},
	"reply": func(ctx context.Context, d deed) (string, error) { // to an invite
		d.by.mu.Lock()
		invited := slices.Sorted(maps.Keys(d.by.invites))
		d.by.mu.Unlock()
		if len(invited) == 0 {
			return "", nil
		}
		room := invited[d.number%len(invited)]
		if d.number%2 == 0 {
			return "", d.by.Leave(ctx, room)
		}
		_, err := d.by.Join(ctx, room, d.via()...)
		return "", err
	},
	"pardon": func(ctx context.Context, d deed) (string, error) {
		banned, err := d.users(ctx, "ban")
		banned = slices.DeleteFunc(banned, func(name string) bool { return strings.HasPrefix(name, "@nobody") })
		if len(banned) == 0 {
			return "", err
		}
		return "", do(ctx, d.by.User, "rooms/"+d.room.ID+"/unban", map[string]any{"user_id": banned[d.number%len(banned)]})
	},
	"exodus": func(ctx context.Context, d deed) (string, error) {
		return "", d.each(func(p *person) error { return p.Leave(ctx, d.room.ID) })
	},
	"return": func(ctx context.Context, d deed) (string, error) {
		return "", d.each(func(p *person) error {
			_, err := p.Join(ctx, d.room.ID, d.via()...)
			return err
		})
	},
	"acl": func(ctx context.Context, d deed) (string, error) {
		deny := []string{d.to.server.orders.BindAddr.String()}
		if d.to.server == d.by.server || d.number%2 == 0 {
			deny = nil
		}
		return d.set(ctx, "m.room.server_acl", map[string]any{"allow": []string{"*"}, "deny": deny})
	},
	"upgrade": func(ctx context.Context, d deed) (string, error) {
		if d.number%4 > 0 { // it ends a room
			return "", nil
		}
		return "", do(ctx, d.by.User, "rooms/"+d.room.ID+"/upgrade", map[string]any{"new_version": "11"})
	},
	"efface": func(ctx context.Context, d deed) (string, error) { // what makes the state
		state, err := d.by.State(ctx, d.room.ID)
		state = slices.DeleteFunc(state, func(e user.Event) bool {
			return e.Type == "m.room.create" || e.Type == "m.room.server_acl" // Synapse takes neither back
		})
		if len(state) == 0 {
			return "", err
		}
		return redact(ctx, d.by.User, d.room.ID, state[d.number%len(state)].ID, d.number)
	},
	"power": func(ctx context.Context, d deed) (string, error) {
		var levels map[string]any
		path := "/_matrix/client/v3/rooms/" + url.PathEscape(d.room.ID) + "/state/m.room.power_levels/"
		if err := d.by.Call(ctx, "GET", path, nil, nil, &levels); err != nil {
			return "", err
		}
		if users, ok := levels["users"].(map[string]any); ok && !slices.Contains(d.room.creators, d.to) {
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
		if d.number%4 == 0 {
			return "", d.by.Call(ctx, "DELETE", path, nil, nil, nil)
		}
		return d.set(ctx, "m.room.canonical_alias", map[string]any{"alias": alias})
	},
	"name": func(ctx context.Context, d deed) (string, error) {
		path := "/_matrix/client/v3/profile/" + url.PathEscape(d.by.ID) + "/displayname"
		return "", d.by.Call(ctx, "PUT", path, nil, map[string]any{"displayname": d.text()}, nil)
	},
	"keys": func(ctx context.Context, d deed) (string, error) { return "", upload(ctx, d.by.User, d.number) },
	"login": func(ctx context.Context, d deed) (string, error) {
		other := user.New(d.by.URL)
		defer other.Close()
		if err := other.Login(ctx, d.by.ID, password); err != nil {
			return "", err
		}
		if err := upload(ctx, other, d.number); err != nil || d.number%2 == 0 {
			return "", err
		}
		return "", do(ctx, other, "logout", map[string]any{})
	},
	"device": func(ctx context.Context, d deed) (string, error) {
		d.by.turn.Lock()
		defer d.by.turn.Unlock()
		d.by.sent[d.to]++
		m := message{From: d.by.ID, Number: d.by.sent[d.to]}
		err := d.by.SendToDevice(ctx, "org.example.chaos", d.to.ID, d.to.DeviceID, m)
		if err == nil {
			d.to.mu.Lock()
			d.to.owed[m] = true
			d.to.mu.Unlock()
		}
		return "", err
	},
	"file": func(ctx context.Context, d deed) (string, error) {
		var answer struct {
			URI string `json:"content_uri"`
		}
		err := d.by.Call(ctx, "POST", "/_matrix/media/v3/upload", nil, map[string]any{"body": d.text()}, &answer)
		if err == nil {
			d.mu.Lock()
			d.files = append(d.files, strings.TrimPrefix(answer.URI, "mxc://"))
			d.mu.Unlock()
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

// clashing are acts that those who have power do at once, on all servers.
var clashing = []string{"power", "door", "topic", "history", "acl", "ban", "kick", "invite", "unban", "answer", "name"}
