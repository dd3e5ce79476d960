package hostile

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/testnet/peer"
)

// endless begins an answer and goes on with the same until nobody listens.
func endless(begin, more string) peer.Hook {
	chunk := strings.Repeat(more, 1+32<<10/len(more))
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		_, err := io.WriteString(w, begin)
		for err == nil && r.Context().Err() == nil {
			_, err = io.WriteString(w, chunk)
		}
		panic(http.ErrAbortHandler)
	}
}

var _ = Describe("servers", Serial, func() {
	DescribeTable("that answer a join with", func(ctx SpecContext, endpoint string, hook peer.Hook) {
		n := startNode()
		alice := n.newUser(ctx)
		p := newPeer()
		room, err := p.CreateRoom(roomversion.V10, p.User("mallory"), peer.RoomOptions{})
		Expect(err).NotTo(HaveOccurred())
		p.On(endpoint, hook)
		calm(ctx, n, 200e6, 3*time.Second, func() {
			_, err := alice.Join(ctx, string(room.ID), string(p.Name))
			Expect(err).To(HaveOccurred())
		})
	},
		Entry("a template that doesn't end", "make_join", endless(`{"room_version":"10","event":{"type":"`, "x")),
		Entry("a state of one event that doesn't end", "send_join", endless(`{"state":[{"type":"`, "x")),
		Entry("something unknown that doesn't end", "send_join", endless(`{"x":"`, "x")),
		Entry("lists in lists that don't end", "send_join", endless(`{"state":`, "[")),
		Entry("a state that is nothing", "send_join", peer.Answer(200, `{"state":null,"auth_chain":null}`)),
		Entry("a lie about its members", "send_join", peer.Lie(func(a map[string]any) { a["members_omitted"], a["state"] = true, []any{} })),
		Entry("a state without what it needs", "send_join", peer.Lie(func(a map[string]any) { a["state"] = a["state"].([]any)[1:]; a["auth_chain"] = []any{} })),
		Entry("another room's template", "make_join", peer.Lie(func(a map[string]any) { a["event"].(map[string]any)["room_id"] = "!other:x.test" })),
		Entry("key documents that don't end", "server", endless(`{"server_name":"`, "x")),
		Entry("key documents of another name", "server", peer.Lie(func(a map[string]any) { a["server_name"] = "other.test" })),
		Entry("redirects in circles", "send_join", circle),
		Entry("a template that redirects in circles", "make_join", circle),
		Entry("a million events", "send_join", million()),
		Entry("bombs", "send_join", bomb()),
	)

	It("whose auth chains have no end", func(ctx SpecContext) {
		n := startNode()
		alice := n.newUser(ctx)
		roomID, err := alice.CreateRoom(ctx, map[string]any{"preset": "public_chat"})
		Expect(err).NotTo(HaveOccurred())
		p := newPeer()
		joined, err := p.Join(ctx, n.name, id.RoomID(roomID), p.User("mallory"))
		Expect(err).NotTo(HaveOccurred())
		var asked, made atomic.Int64
		// deeper makes an event that rests on one which nobody has yet.
		deeper := func() json.RawMessage {
			e, err := joined.Room.Build(peer.MessageDraft(p.User("mallory"), fmt.Sprint(made.Add(1))))
			if err != nil {
				return nil
			}
			raw, _ := joined.Room.Forge(e, func(fields map[string]any) {
				fields["auth_events"] = append(fields["auth_events"].([]any), fmt.Sprintf("$%043d", made.Add(1)))
			}, peer.Forgery{})
			return raw
		}
		for _, endpoint := range []string{"event_auth", "event", "get_missing_events", "state_ids"} {
			p.On(endpoint, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				asked.Add(1)
				peer.Answer(200, fmt.Sprintf(`{"auth_chain":[%[1]s],"pdus":[%[1]s],"events":[%[1]s],"pdu_ids":["$x"],"auth_chain_ids":["$y"]}`, deeper()))(w, r, next)
			})
		}
		calm(ctx, n, 200e6, 2*time.Second, func() {
			for range 10 {
				_, err := p.Transaction(ctx, n.name, deeper())
				Expect(err).NotTo(HaveOccurred())
			}
			Eventually(func() int64 { // until it asks no more
				before := asked.Load()
				time.Sleep(500 * time.Millisecond)
				return asked.Load() - before
			}).WithTimeout(3 * patience).Should(BeZero())
		})
		Expect(asked.Load()).To(BeNumerically("<", 2000), "questions for ten events")
		history, err := alice.History(ctx, roomID)
		Expect(err).NotTo(HaveOccurred())
		for _, e := range history {
			Expect(e.Type).NotTo(Equal("m.room.message"), "nothing of it is shown")
		}
	})

	It("that can't be reached, a thousand of them", func(ctx SpecContext) {
		n := startNode()
		alice := n.newUser(ctx)
		roomID, err := alice.CreateRoom(ctx, map[string]any{"preset": "public_chat"})
		Expect(err).NotTo(HaveOccurred())
		calm(ctx, n, 200e6, 2*time.Second, func() {
			var asking sync.WaitGroup
			for worker := range 20 {
				asking.Go(func() {
					for i := range 50 {
						_ = alice.Invite(ctx, roomID, fmt.Sprintf("@x:gone%d-%d.test", worker, i)) // it can't be
					}
				})
			}
			asking.Wait()
		})
	})
})

// circle redirects to itself.
func circle(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	http.Redirect(w, r, r.URL.String(), http.StatusTemporaryRedirect)
}

// million answers with a state of a million events, none of which is one.
func million() peer.Hook {
	some := strings.Repeat(`{"type":"m.room.member","state_key":"@somebody:peer.test","content":{"membership":"join"},"depth":7},`, 1000)
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		_, err := io.WriteString(w, `{"auth_chain":[],"state":[`)
		for i := 0; i < 1000 && err == nil; i++ {
			_, err = io.WriteString(w, some)
		}
		if err == nil {
			_, _ = io.WriteString(w, "{}]}") // who went away misses it
		}
	}
}

// bomb is an answer that is small on the wire: it says that it is compressed, and is 400 MB of zeros then.
func bomb() peer.Hook {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		zip := zipped(400 << 20)
		_, _ = w.Write(zip) // who went away misses it
	}
}
