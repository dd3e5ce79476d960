package virtual

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/testnet/peer"
	"hanse/testnet/user"
)

// A server that has let a question hang is asked behind the others, but it is asked: it may be the only one that has what is missing.
func TestTheOnlyServerWithHistoryIsAskedThoughItHung(t *testing.T) {
	inGuests(t, func(t *testing.T, x *guests) {
		said := must[*event.Event](t)(x.room.Put(peer.MessageDraft(x.first.User("creator"), "long ago")))
		x.second.On("backfill", peer.Fail(404, "M_NOT_FOUND"))
		for i := range 3 {
			other := x.peer(fmt.Sprintf("q%d.test", i))
			defer other.Close()
			must[peer.Joined](t)(other.Join(t.Context(), x.first.Name, x.room.ID, other.User("other")))
			other.On("backfill", peer.Fail(404, "M_NOT_FOUND"))
		}
		must[string](t)(x.alice.Join(t.Context(), string(x.room.ID), string(x.first.Name)))
		finds := func(e id.EventID) bool {
			history := must[[]user.Event](t)(x.alice.History(t.Context(), string(x.room.ID)))
			return slices.ContainsFunc(history, func(found user.Event) bool { return found.ID == string(e) })
		}
		works := x.first.On("backfill", peer.Hang())
		if finds(said.ID()) {
			t.Fatal("alice finds what nobody gave")
		}
		works()
		time.Sleep(time.Second)
		if !finds(said.ID()) {
			t.Error("alice doesn't find what a server has that hung once")
		}
	})
}
