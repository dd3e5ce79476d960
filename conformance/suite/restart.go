package suite

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/testnet/peer"
	"hanse/testnet/user"
)

// second is a server of its own for tests that stop it; the suite's servers are otherwise shared.
func second(ctx context.Context) (*server, *user.User) {
	GinkgoHelper()
	peers++
	s := newServer(fmt.Sprintf("restarted%d.test", peers), places[1])
	s.start()
	return s, s.newUser(ctx)
}

// again starts the server anew with the data that it has; dora is its user from before.
func (s *server) again() {
	GinkgoHelper()
	s.start()
}

// meetAt is a room of a user of the given server that a new peer's user has joined.
func meetAt(ctx context.Context, s *server, u *user.User) meeting {
	GinkgoHelper()
	p := newPeer()
	roomID, err := u.CreateRoom(ctx, map[string]any{"preset": "public_chat", "room_version": string(mainVersion)})
	Expect(err).NotTo(HaveOccurred())
	joined, err := p.Join(ctx, s.name, id.RoomID(roomID), p.User("bob"))
	Expect(err).NotTo(HaveOccurred())
	return meeting{Room: joined.Room, peer: p, user: p.User("bob")}
}

// poke lets the server hear from the peer, so that it tries again to send.
func (m meeting) poke(ctx context.Context, s *server) {
	GinkgoHelper()
	_, err := m.peer.Do(ctx, s.name, peer.ByHand{Method: http.MethodGet, URI: "/_matrix/federation/v1/query/profile?user_id=@nobody:" + string(s.name)})
	Expect(err).NotTo(HaveOccurred())
}

var _ = Describe("Restart", Label("s2s:restart"), Serial, func() {
	It("SIGTERM ends the server in order, and what it had is there again",
		follows("server-server-api#transactions", "(the adapter contract: SIGTERM ends the server; its data is kept over restarts)"), func(ctx SpecContext) {
			s, dora := second(ctx)
			m := meetAt(ctx, s, dora)
			_, err := dora.Sync(ctx, 0)
			Expect(err).NotTo(HaveOccurred())
			said, err := dora.Say(ctx, string(m.ID), "before")
			Expect(err).NotTo(HaveOccurred())
			theirs, err := m.Say(ctx, m.user, "from the peer")
			Expect(err).NotTo(HaveOccurred())
			oldKeys := keysOf(ctx, s, m.peer)

			Expect(s.process.Stop()).To(Succeed())
			s.again()

			Eventually(timeline(ctx, dora, m.ID)).Should(ContainElements(id.EventID(said), theirs.ID()))
			answer, err := dora.Sync(ctx, 0)
			Expect(err).NotTo(HaveOccurred(), "the sync token from before")
			var shown []string
			for _, e := range answer.Rooms.Join[string(m.ID)].Timeline.Events {
				shown = append(shown, e.ID)
			}
			Expect(shown).To(ContainElements(said, string(theirs.ID())))
			Expect(keysOf(ctx, s, m.peer).VerifyKeys).To(Equal(oldKeys.VerifyKeys))
			after, err := dora.Say(ctx, string(m.ID), "after")
			Expect(err).NotTo(HaveOccurred())
			m.arrives(id.EventID(after))
			back, err := m.Say(ctx, m.user, "welcome back")
			Expect(err).NotTo(HaveOccurred())
			Eventually(timeline(ctx, dora, m.ID)).Should(ContainElement(back.ID()))
		})

	It("SIGKILL loses nothing that was acknowledged",
		follows("server-server-api#transactions", "a transaction that was answered with 200, and a request of a client that was, are not repeated: they must have been kept"), func(ctx SpecContext) {
			s, dora := second(ctx)
			m := meetAt(ctx, s, dora)
			var mu sync.Mutex
			var acknowledged []id.EventID
			var writers sync.WaitGroup
			talking, hush := context.WithCancel(ctx)
			note := func(eventID id.EventID, err error) bool {
				if err == nil {
					mu.Lock()
					defer mu.Unlock()
					acknowledged = append(acknowledged, eventID)
				}
				return err == nil && talking.Err() == nil
			}
			writers.Go(func() {
				for i := 0; ; i++ {
					eventID, err := dora.Say(ctx, string(m.ID), fmt.Sprintf("mine %d", i))
					if !note(id.EventID(eventID), err) {
						return
					}
				}
			})
			writers.Go(func() {
				for i := 0; ; i++ {
					e, err := m.Put(peer.MessageDraft(m.user, fmt.Sprintf("theirs %d", i)))
					if err == nil {
						_, err = m.peer.Transaction(ctx, s.name, e.JSON())
					}
					if !note(e.ID(), err) {
						return
					}
				}
			})
			time.Sleep(400 * time.Millisecond)
			Eventually(func() int { mu.Lock(); defer mu.Unlock(); return len(acknowledged) }).ShouldNot(BeZero())
			s.process.Kill()
			hush()
			writers.Wait()
			Expect(acknowledged).NotTo(BeEmpty())
			s.again()
			Eventually(timeline(ctx, dora, m.ID)).Should(ContainElements(acknowledged))
			eventID, err := dora.Say(ctx, string(m.ID), "after the crash")
			Expect(err).NotTo(HaveOccurred())
			m.poke(ctx, s)
			Eventually(func() bool { return m.peer.Room(m.ID).Event(id.EventID(eventID)) != nil || received(m.peer, eventID) }).Should(BeTrue())
		})

	It("what waits for a server that was down is sent after a restart",
		says("server-server-api#transactions", "The sending server must wait and retry for a 200 OK response before sending a transaction with a different txnId to the receiving server."), func(ctx SpecContext) {
			s, dora := second(ctx)
			m := meetAt(ctx, s, dora)
			up := m.peer.On("send", peer.Fail(http.StatusServiceUnavailable, "M_UNKNOWN"))
			var said []id.EventID
			for i := range 60 { // more than one transaction holds
				eventID, err := dora.Say(ctx, string(m.ID), fmt.Sprintf("while you were down %d", i))
				Expect(err).NotTo(HaveOccurred())
				said = append(said, id.EventID(eventID))
			}
			Eventually(func() []peer.Request { return m.peer.Requests("send") }).ShouldNot(BeEmpty())
			Expect(s.process.Stop()).To(Succeed())
			up()
			s.again()
			m.poke(ctx, s)
			last := said[len(said)-1]
			Eventually(func() bool { _, ok := m.peer.Received(last); return ok }).Should(BeTrue(), "the last of the messages comes")
			m.fetchGap(ctx, s, last)
			for _, eventID := range said {
				Expect(m.Event(eventID)).NotTo(BeNil(), "%s can't be had", eventID)
			}
		})

	It("goes on where the other server was down for a while",
		says("server-server-api#transactions", "The sending server must wait and retry for a 200 OK response"), func(ctx SpecContext) {
			m := meet(ctx, mainVersion)
			up := m.peer.On("send", peer.Fail(http.StatusServiceUnavailable, "M_UNKNOWN"))
			eventID, err := alice.Say(ctx, string(m.ID), "can you hear me?")
			Expect(err).NotTo(HaveOccurred())
			Eventually(func() []peer.Request { return m.peer.Requests("send") }).ShouldNot(BeEmpty())
			up()
			m.poke(ctx, sut)
			m.arrives(id.EventID(eventID))
			contents := map[string][][]json.RawMessage{}
			for _, request := range m.peer.Requests("send") {
				var txn federation.Transaction
				Expect(json.Unmarshal(request.Body, &txn)).To(Succeed())
				contents[request.URI] = append(contents[request.URI], txn.PDUs)
			}
			for uri, sent := range contents {
				for _, pdus := range sent[1:] {
					Expect(pdus).To(Equal(sent[0]), "one transaction ID, two contents: %s", uri)
				}
			}
		})

	It("sends a room's events in their order, at most 50 at a time",
		says("server-server-api#transactions", "Transactions are limited in size; they can have at most 50 PDUs and 100 EDUs."), func(ctx SpecContext) {
			m := meet(ctx, mainVersion)
			up := m.peer.On("send", peer.Delay(200*time.Millisecond))
			defer up()
			var said []id.EventID
			for i := range 70 {
				eventID, err := alice.Say(ctx, string(m.ID), fmt.Sprintf("many %d", i))
				Expect(err).NotTo(HaveOccurred())
				said = append(said, id.EventID(eventID))
			}
			m.arrives(said[len(said)-1])
			var got []id.EventID
			perTxn := map[string]int{}
			for _, received := range m.peer.Inbox() {
				if received.Event != nil && received.Event.Type() == "m.room.message" {
					got = append(got, received.Event.ID())
				}
				perTxn[received.Txn]++
			}
			Expect(got).To(Equal(said))
			for txn, n := range perTxn {
				Expect(n).To(BeNumerically("<=", 50), txn)
			}
		})
})

func received(p *peer.Peer, eventID string) bool {
	_, ok := p.Received(id.EventID(eventID))
	return ok
}

// keysOf is the key document of a server.
func keysOf(ctx context.Context, s *server, p *peer.Peer) keyDocument {
	GinkgoHelper()
	raw, err := p.Client.ServerKeys(ctx, s.name)
	Expect(err).NotTo(HaveOccurred())
	return readKeys(raw)
}

// fetchGap asks for what lies between the peer's room and an event that came, as a server that was down does.
func (m meeting) fetchGap(ctx context.Context, s *server, from id.EventID) {
	GinkgoHelper()
	for range 20 {
		if m.Has(from) {
			return
		}
		events, err := m.peer.Client.Backfill(ctx, s.name, m.ID, 100, []id.EventID{from})
		Expect(err).NotTo(HaveOccurred())
		Expect(m.Take(events)).To(Succeed())
	}
}
