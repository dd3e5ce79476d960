package virtual

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"testing"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/testnet/peer"
)

// A server in the room that is asked for the state at an event it hadn't told of gives one without the power levels, and with its own in their
// place: they stay what they are, be all that the event stands on known or a part. So does sytest's "take over the room".
func TestNobodyTakesOverARoomByTheStateTheyGive(t *testing.T) {
	for _, what := range []string{"all it stands on is known", "a part is", "a part is, and the rest comes"} {
		t.Run(what, func(t *testing.T) {
			inEntering(t, func(t *testing.T, x *entering) {
				made := must[string](t)(x.alice.CreateRoom(t.Context(), map[string]any{"preset": "public_chat", "room_version": "11"}))
				x.room = must[peer.Joined](t)(x.first.Join(t.Context(), x.self(), id.RoomID(made), x.charlie)).Room
				power, join, create := x.room.State("m.room.power_levels", ""), x.room.State("m.room.member", string(x.charlie)), x.room.State("m.room.create", "")
				state := slices.DeleteFunc(x.room.StateBefore(join.ID()), func(e id.EventID) bool { return e == power.ID() })
				forged := peer.StateDraft(x.charlie, "m.room.power_levels", "", map[string]any{"users": map[id.UserID]int{x.charlie: 100}})
				forged.AuthEvents = []id.EventID{create.ID(), join.ID()}
				ours := must[*event.Event](t)(x.room.Build(forged))
				if err := x.room.AddRejected(ours); err != nil {
					t.Fatal(err)
				}
				lie := must[[]byte](t)(json.Marshal(append(state, join.ID(), ours.ID())))
				stands := peer.MessageDraft(x.charlie, "C")
				stands.PrevEvents = []id.EventID{join.ID()}
				var hidden *event.Event
				if what != "all it stands on is known" {
					beside := peer.MessageDraft(x.charlie, "hidden")
					beside.PrevEvents = stands.PrevEvents
					hidden = x.put(beside)
					stands.PrevEvents = append(stands.PrevEvents, hidden.ID())
				}
				c := x.put(stands)
				next := peer.MessageDraft(x.charlie, "D")
				next.PrevEvents = []id.EventID{c.ID()}
				d := x.put(next)
				last := peer.MessageDraft(x.charlie, "E")
				last.PrevEvents = []id.EventID{d.ID()}
				e := x.put(last)
				x.first.On("get_missing_events", peer.Answer(http.StatusOK, fmt.Sprintf(`{"events":[%s]}`, d.JSON())))
				x.first.On("state_ids", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
					peer.Answer(http.StatusOK, fmt.Sprintf(`{"pdu_ids":%s,"auth_chain_ids":[]}`, lie))(w, r, next)
				})
				x.tell(e)
				time.Sleep(time.Minute)
				x.sees(e, true)
				if what == "a part is, and the rest comes" {
					x.tell(hidden)
				}
				var now struct{ Users map[id.UserID]int }
				x.ask(x.alice, http.MethodGet, path.Join("rooms", url.PathEscape(made), "state/m.room.power_levels")+"/", nil, &now)
				if now.Users[x.charlie] != 0 || now.Users[id.UserID(x.alice.ID)] != 100 {
					t.Errorf("the power levels are %v", now.Users)
				}
			})
		})
	}
}
