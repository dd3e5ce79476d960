package admin

import (
	"cmp"
	"context"
	"slices"
	"time"

	"hanse/federation/id"
	"hanse/federation/sender"
	"hanse/node/telemetry"
)

// Bounds of what is told of servers.
const (
	maxPeers      = 5000 // listed
	maxACLRooms   = 500  // whose server ACL is looked at, for one server
	maxRefusedOf  = 20   // refusals of what one server sent
	maxSharedRoom = 50   // rooms listed of one server
)

// Peer is how it stands with another server.
type Peer struct {
	Server    string     `json:"server"`
	Reachable *bool      `json:"reachable,omitempty"` // absent: nothing was sent to it since the start
	Since     *time.Time `json:"since,omitempty"`     // unreachable since
	Kind      string     `json:"kind,omitempty"`      // DNS, TCP, TLS, slow, signature, HTTP 502, …
	Why       string     `json:"why,omitempty"`
	Failures  int        `json:"failures,omitempty"` // in a row
	NextTry   *time.Time `json:"next_try,omitempty"`
	LastTaken *time.Time `json:"last_taken,omitempty"`
	Rooms     int        `json:"rooms"` // shared
	Events    int        `json:"events_waiting"`
	EDUs      int        `json:"edus_waiting"`
	// CatchUp are rooms of which it gets the newest events first, as it was away for long.
	CatchUp int  `json:"rooms_to_catch_up,omitempty"`
	More    bool `json:"more_waiting,omitempty"` // more than was counted

	// Only where one server is asked about:
	RefusesOfOurs []Refused           `json:"refuses_of_ours,omitempty"`
	WeRefuse      []telemetry.Refusal `json:"we_refuse,omitempty"`
	DeniedIn      []string            `json:"denied_in,omitempty"` // rooms whose server ACL denies it
	SharedRooms   []string            `json:"shared_rooms,omitempty"`
}

// Refused is something of ours that a server reported an error for.
type Refused struct {
	Event   string    `json:"event_id,omitempty"`
	Why     string    `json:"why"`
	At      time.Time `json:"at"`
	GivenUp bool      `json:"given_up,omitempty"` // it isn't sent again
}

// Peers lists the servers that we share rooms with or have something for: those with trouble first, then by name.
func (a *Admin) Peers(ctx context.Context) ([]Peer, error) {
	shared, err := a.Store.SharedServers(ctx, maxPeers)
	if err != nil {
		return nil, err
	}
	list := []Peer{}
	known := map[id.ServerName]bool{}
	for _, p := range a.Sender.Peers() {
		known[p.Server] = true
		peer, err := a.peer(ctx, p, shared[p.Server])
		if err != nil {
			return nil, err
		}
		if len(list) < maxPeers {
			list = append(list, peer)
		}
	}
	for server, n := range shared {
		if !known[server] && len(list) < maxPeers {
			peer, err := a.peer(ctx, sender.Peer{Server: server}, n)
			if err != nil {
				return nil, err
			}
			list = append(list, peer)
		}
	}
	slices.SortFunc(list, func(x, y Peer) int { return cmp.Or(cmp.Compare(x.rank(), y.rank()), cmp.Compare(x.Server, y.Server)) })
	return list, nil
}

// rank orders servers by how much they want an operator's eye.
func (p Peer) rank() int {
	switch {
	case p.Failures > 0:
		return 0
	case p.Events > 0 || p.EDUs > 0:
		return 1
	}
	return 2
}

func (a *Admin) peer(ctx context.Context, p sender.Peer, rooms int) (Peer, error) {
	peer := Peer{Server: string(p.Server), Rooms: rooms, Failures: p.Failures, Kind: p.Kind, Why: p.Why}
	if !p.LastTry.IsZero() || p.Failures > 0 {
		reachable := p.Reachable()
		peer.Reachable = &reachable
	}
	peer.Since, peer.LastTaken = timeOf(p.Since), timeOf(p.LastTaken)
	if p.Failures > 0 {
		peer.NextTry = timeOf(p.Until)
	}
	backlog, err := a.Store.Backlog(ctx, p.Server)
	peer.Events, peer.EDUs, peer.CatchUp, peer.More = backlog.PDUs, backlog.EDUs+p.Typing, backlog.Rooms, backlog.More
	return peer, err
}

func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// Peer tells all that is known of one server.
func (a *Admin) Peer(ctx context.Context, server id.ServerName) (Peer, error) {
	rooms, err := a.Store.RoomsWith(ctx, server)
	if err != nil {
		return Peer{}, err
	}
	p := a.Sender.Peer(server)
	peer, err := a.peer(ctx, p, len(rooms))
	if err != nil {
		return peer, err
	}
	for _, r := range p.Refused {
		peer.RefusesOfOurs = append(peer.RefusesOfOurs, Refused{Event: string(r.Event), Why: r.Why, At: r.At.UTC(), GivenUp: r.GivenUp})
	}
	peer.WeRefuse = a.Journal.Find(maxRefusedOf, func(r telemetry.Refusal) bool { return r.Server == string(server) })
	for _, room := range rooms[:min(len(rooms), maxACLRooms)] {
		if allowed, err := a.Rooms.Allowed(ctx, room, server); err != nil {
			return peer, err
		} else if !allowed {
			peer.DeniedIn = append(peer.DeniedIn, string(room))
		}
		if len(peer.SharedRooms) < maxSharedRoom {
			peer.SharedRooms = append(peer.SharedRooms, string(room))
		}
	}
	return peer, nil
}
