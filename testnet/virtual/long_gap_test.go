package virtual

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"hanse/federation/event"
	"hanse/testnet/peer"
	"hanse/testnet/user"
)

// After an outage in which more was said than servers send again, what is new is there within half a minute, and somebody who reads back finds
// all of it, in order, each message once: though of three servers that have it the one asked first hangs, refuses, lies or gives little.
func TestALongGapIsFilled(t *testing.T) {
	long := 1000
	if *year {
		long = 5000
	}
	lie := func(key string) peer.Hook {
		return peer.Lie(func(answer map[string]any) {
			events := answer[key].([]any)
			for _, e := range events {
				e.(map[string]any)["content"] = map[string]any{"msgtype": "m.text", "body": "a lie"}
			}
			answer[key] = events[len(events)/2:]
		})
	}
	few := func(key string) peer.Hook {
		return peer.Lie(func(answer map[string]any) {
			answer[key] = answer[key].([]any)[:min(3, len(answer[key].([]any)))]
		})
	}
	for name, hooks := range map[string][2]peer.Hook{ // of get_missing_events and backfill
		"one hangs":        {peer.Hang(), peer.Hang()},
		"all are honest":   {},
		"one refuses":      {peer.Fail(403, "M_FORBIDDEN"), peer.Fail(403, "M_FORBIDDEN")},
		"one lies":         {lie("events"), lie("pdus")},
		"one gives little": {few("events"), few("pdus")},
		"one gives none":   {peer.Answer(http.StatusOK, `{"events":[]}`), peer.Answer(http.StatusOK, `{"origin":"p1.test","origin_server_ts":1,"pdus":[]}`)},
	} {
		if !*year && name != "one hangs" && name != "one lies" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			inGuests(t, func(t *testing.T, x *guests) {
				third := x.peer("p3.test")
				defer third.Close()
				must[peer.Joined](t)(third.Join(t.Context(), x.first.Name, x.room.ID, third.User("third")))
				must[string](t)(x.alice.Join(t.Context(), string(x.room.ID), string(x.first.Name)))
				time.Sleep(time.Second)
				x.s.stop()
				var said []string
				for i := range long {
					draft := peer.MessageDraft(x.first.User(fmt.Sprint("member", i%members)), fmt.Sprint("message ", i))
					if i%50 == 0 {
						draft = peer.StateDraft(x.first.User("creator"), "m.room.topic", "", map[string]any{"topic": fmt.Sprint("topic ", i)})
					}
					e := must[*event.Event](t)(x.room.Put(draft))
					if i%50 != 0 {
						said = append(said, string(e.ID()))
					}
				}
				for _, p := range []*peer.Peer{x.second, third} {
					for _, e := range x.room.Timeline() {
						if room := p.Room(x.room.ID); !room.Has(e.ID()) {
							if err := room.Add(e); err != nil {
								t.Fatal(err)
							}
						}
					}
				}
				x.s.start()
				if hooks[0] != nil {
					x.first.On("get_missing_events", hooks[0])
					x.first.On("backfill", hooks[1])
				}
				last := must[*event.Event](t)(x.second.Room(x.room.ID).Say(t.Context(), x.second.User("second"), "last"))
				said = append(said, string(last.ID()))
				time.Sleep(30 * time.Second)
				began := time.Now()
				var seen []string
				for _, e := range must[[]user.Event](t)(x.alice.History(t.Context(), string(x.room.ID))) {
					if e.Type == "m.room.message" {
						seen = append(seen, e.ID)
					}
				}
				slices.Reverse(seen)
				took := time.Since(began)
				t.Logf("reading back took %v; %d + %d + %d answers to backfill", took,
					len(x.first.Requests("backfill")), len(x.second.Requests("backfill")), len(third.Requests("backfill")))
				if !slices.Equal(seen, said) {
					t.Errorf("alice finds %d messages of %d, or not in their order", len(seen), len(said))
				}
				if took > 15*time.Second && name != "one gives little" { // the first page waits for who hangs, the others don't
					t.Errorf("reading back took %v", took)
				}
			})
		})
	}
}
