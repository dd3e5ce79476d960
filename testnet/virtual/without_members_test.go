package virtual

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"hanse/federation/event"
	"hanse/testnet/peer"
	"hanse/testnet/user"
)

// told is what a client was told of one room by one answer.
type told struct {
	there   bool
	initial bool
	members map[string]bool // whose membership events
	events  map[string]bool // of the timeline
	joined  int             // 0: not told
}

// tell takes in events of the state or the timeline.
func (a *told) tell(events []user.Event, timeline bool) {
	for _, e := range events {
		if timeline {
			a.events[e.ID] = true
		}
		if e.Type == "m.room.member" {
			a.members[*e.StateKey] = true
		}
	}
}

// slider is a connection of sliding sync that wants members in some way.
type slider struct {
	x             *guests
	name, members string
	pos           string
}

func (s *slider) ask() told {
	s.x.t.Helper()
	query := url.Values{}
	if s.pos != "" {
		query.Set("pos", s.pos)
	}
	body := map[string]any{"conn_id": s.name, "lists": map[string]any{"all": map[string]any{
		"ranges": [][]int{{0, 9}}, "timeline_limit": 5, "required_state": [][]string{{"m.room.member", s.members}, {"m.room.member", "$ME"}},
	}}}
	var answer struct {
		Pos   string
		Rooms map[string]struct {
			Initial       bool
			RequiredState []user.Event `json:"required_state"`
			Timeline      []user.Event
			Joined        int `json:"joined_count"`
		}
	}
	err := s.x.alice.Call(s.x.t.Context(), http.MethodPost, "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync", query, body, &answer)
	if err != nil {
		s.x.t.Fatal(err)
	}
	s.pos = answer.Pos
	room, there := answer.Rooms[string(s.x.room.ID)]
	a := told{there: there, initial: room.Initial, members: map[string]bool{}, events: map[string]bool{}, joined: room.Joined}
	a.tell(room.RequiredState, false)
	a.tell(room.Timeline, true)
	return a
}

// syncer is a client that syncs with a filter.
type syncer struct {
	x             *guests
	filter, since string
}

func (s *syncer) ask() told {
	s.x.t.Helper()
	query := url.Values{"filter": {s.filter}, "since": {s.since}, "timeout": {"0"}}
	if s.since == "" {
		query.Del("since")
	}
	var answer struct {
		Next  string `json:"next_batch"`
		Rooms struct {
			Join map[string]struct {
				Summary struct {
					Joined int `json:"m.joined_member_count"`
				}
				State, Timeline struct{ Events []user.Event }
			}
		}
	}
	if err := s.x.alice.Call(s.x.t.Context(), http.MethodGet, "/_matrix/client/v3/sync", query, nil, &answer); err != nil {
		s.x.t.Fatal(err)
	}
	s.since = answer.Next
	room, there := answer.Rooms.Join[string(s.x.room.ID)]
	a := told{there: there, members: map[string]bool{}, events: map[string]bool{}, joined: room.Summary.Joined}
	a.tell(room.State.Events, false)
	a.tell(room.Timeline.Events, true)
	return a
}

// Of a room that was joined without its members, clients that load them lazily are told at once, and not of all of them when they have
// come; those that want all are told then. Whoever knows the room already isn't kept waiting for what is said by wanting more.
func TestClientsOfARoomWithoutItsMembers(t *testing.T) {
	inGuests(t, func(t *testing.T, x *guests) {
		const few = 5
		leaveOut(x.first)
		var undo []func()
		for _, p := range []*peer.Peer{x.first, x.second} {
			for _, endpoint := range []string{"state_ids", "state"} {
				undo = append(undo, p.On(endpoint, peer.Fail(503, "M_UNKNOWN")))
			}
		}
		say := func(text string) string {
			t.Helper()
			return string(must[*event.Event](t)(x.room.Say(t.Context(), x.first.User("creator"), text)).ID())
		}
		lazy, all, both := &slider{x: x, name: "lazy", members: "$LAZY"}, &slider{x: x, name: "all", members: "*"}, &slider{x: x, name: "both", members: "$LAZY"}
		classic, old := &syncer{x: x, filter: `{"room":{"state":{"lazy_load_members":true}}}`}, &syncer{x: x, filter: `{}`}
		for _, ask := range []func() told{lazy.ask, all.ask, both.ask, classic.ask, old.ask} {
			ask()
		}
		must[string](t)(x.alice.Join(t.Context(), string(x.room.ID), string(x.first.Name)))
		time.Sleep(10 * time.Second)
		for name, ask := range map[string]func() told{"sliding": lazy.ask, "both": both.ask, "classic": classic.ask} {
			if a := ask(); !a.there || len(a.members) > few {
				t.Errorf("%s: told %v, with %d members", name, a.there, len(a.members))
			}
		}
		both.members = "*"
		both.ask()
		said := say("while they are missing")
		time.Sleep(time.Second)
		if a := both.ask(); !a.events[said] {
			t.Error("who wants the members of a room that they know isn't told what is said in it")
		}
		for name, ask := range map[string]func() told{"sliding": all.ask, "classic": old.ask} {
			if a := ask(); a.there {
				t.Errorf("%s: told of a room whose members are missing: %d of them", name, len(a.members))
			}
		}
		lazy.ask()
		classic.ask()

		for _, f := range undo {
			f()
		}
		time.Sleep(3 * time.Hour) // they are asked again in the end
		for name, ask := range map[string]func() told{"sliding": lazy.ask, "classic": classic.ask} {
			if a := ask(); len(a.members) > few || a.joined != members+3 {
				t.Errorf("%s: told of %d members, that there are %d", name, len(a.members), a.joined)
			}
		}
		for name, ask := range map[string]func() told{"sliding": all.ask, "both": both.ask, "classic": old.ask} {
			if a := ask(); len(a.members) < members || a.joined != members+3 {
				t.Errorf("%s: told of %d members, that there are %d", name, len(a.members), a.joined)
			}
		}
	})
}
