package clientsync

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"hanse/federation/id"
	"hanse/node/rooms"
	"hanse/node/store"
)

// An answer that would become too large tells of each room all the same, and what it leaves out is found: messages before the timeline, from
// its prev_batch back to where the client was, and changes of the state in the rest.
func TestWhatAnAnswerHasNoPlaceForIsFound(t *testing.T) {
	for _, stateAfter := range []bool{false, true} {
		t.Run(fmt.Sprint("state after ", stateAfter), func(t *testing.T) {
			c, ctx := newChat(t, 1), context.Background()
			alice := c.users[0]
			c.syncer.answerBytes = 100_000
			all := []id.RoomID{c.room}
			for range 3 {
				room, err := c.rooms.Create(ctx, rooms.CreateRequest{Creator: alice, Preset: "public_chat"})
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, room)
			}
			since := c.sync(t, Request{User: alice, Initial: true}).Next
			sent, topics := map[id.RoomID][]id.EventID{}, map[id.RoomID]id.EventID{}
			for _, room := range all {
				send := func(request rooms.SendRequest) id.EventID {
					t.Helper()
					request.Room, request.Sender = room, alice
					e, err := c.rooms.Send(ctx, request)
					if err != nil {
						t.Fatal(err)
					}
					sent[room] = append(sent[room], e)
					return e
				}
				nothing := ""
				topics[room] = send(rooms.SendRequest{Type: "m.room.topic", StateKey: &nothing, Content: json.RawMessage(`{"topic":"new"}`)})
				for range 5 {
					send(rooms.SendRequest{Type: "m.room.message", Content: json.RawMessage(`{"body":"` + strings.Repeat("x", 30_000) + `"}`)})
				}
			}
			answer := c.sync(t, Request{User: alice, Since: since, StateAfter: stateAfter})
			held, short := 0, 0
			for _, room := range all {
				joined := answer.Joined[room]
				if joined == nil || len(joined.Timeline.Events) == 0 {
					t.Fatalf("nothing is told of %s", room)
				}
				var found []id.EventID
				for _, e := range joined.Timeline.Events {
					found = append(found, e.Event.ID())
					held += e.Event.Size()
				}
				known := map[id.EventID]bool{}
				for _, e := range joined.State {
					known[e.Event.ID()] = true
				}
				if joined.Rest != nil {
					if err := joined.Rest.Each(ctx, func(e Decorated) error { known[e.Event.ID()] = true; return nil }); err != nil {
						t.Fatal(err)
					}
				}
				if len(found) < len(sent[room]) {
					short++
					if !joined.Timeline.Limited {
						t.Errorf("%s has %d of %d events, and isn't limited", room, len(found), len(sent[room]))
					}
					if !known[topics[room]] {
						t.Errorf("the topic of %s isn't told", room)
					}
				}
				at := joined.Timeline.PrevBatch
				for from := (rooms.Point{Topological: at.At, Below: at.Below, Told: at.Told}); len(found) < len(sent[room]); {
					page, err := c.rooms.Messages(ctx, rooms.MessagesRequest{
						User: alice, Room: room, From: from, To: rooms.Point{Topological: store.End(), Below: since.Position + 1}, Backwards: true, Limit: 2,
					})
					if err != nil || !page.More {
						t.Fatalf("messages before the timeline of %s: %d of %d, %v", room, len(found), len(sent[room]), err)
					}
					for _, e := range page.Events {
						found = slices.Insert(found, 0, e.Event.ID())
					}
					from = page.End
				}
				if !slices.Equal(found, sent[room]) {
					t.Errorf("%s: %v are found, want %v", room, found, sent[room])
				}
			}
			if short == 0 || held > c.syncer.answerBytes+len(all)*5*31_000/2 {
				t.Errorf("%d rooms are told in part, all of %d bytes", short, held)
			}
			if next := c.sync(t, Request{User: alice, Since: answer.Next}); !next.Empty() {
				t.Errorf("it is told again: %+v", next.Joined)
			}
		})
	}
}
