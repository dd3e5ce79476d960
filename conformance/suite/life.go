package suite

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/testnet/peer"
)

var _ = Describe("Life", Label("s2s:life"), func() {
	It("servers that are dead do not hold up those that live",
		follows("server-server-api#transactions", "each destination has its own order of transactions"), func(ctx SpecContext) {
			m := meet(ctx, mainVersion)
			for range 5 {
				gone := visit(ctx, newPeer(), m.ID)
				gone.peer.Close()
			}
			slow := visit(ctx, newPeer(), m.ID)
			slow.peer.On("send", peer.Hang())
			for i := range 10 {
				eventID, err := alice.Say(ctx, string(m.ID), fmt.Sprint("to who lives ", i))
				Expect(err).NotTo(HaveOccurred())
				Eventually(func() bool { return m.peer.Room(m.ID).Event(id.EventID(eventID)) != nil || received(m.peer, eventID) }).Should(BeTrue())
			}
		})

	DescribeTable("hostile requests are refused, and the server goes on",
		follows("server-server-api#security-considerations", "hostile input is to be expected of other servers"), func(ctx SpecContext, body func() string) {
			m := meet(ctx, mainVersion)
			r := m.peer.SendRequest()
			r.Body = []byte(body())
			if a, err := m.peer.Authorization(r, m.peer.Key(), m.peer.Name, sut.name); err == nil {
				r.Authorization = []string{a.String()}
			} else { // it can't be signed: as if it were
				a, err := m.peer.Authorization(m.peer.SendRequest(), m.peer.Key(), m.peer.Name, sut.name)
				Expect(err).NotTo(HaveOccurred())
				r.Authorization = []string{a.String()}
			}
			answer, err := m.peer.Do(ctx, sut.name, r)
			if err == nil { // a closed connection is a refusal too
				Expect(answer.Status).To(And(BeNumerically(">=", 400), BeNumerically("<", 500)), "%.300s", answer.String())
			}
			m.marker(ctx)
		},
		Entry("nesting without end", func() string { return `{"pdus":` + strings.Repeat("[", 200000) + strings.Repeat("]", 200000) + `}` }),
		Entry("objects without end", func() string {
			return `{"pdus":[` + strings.Repeat(`{"a":`, 100000) + `1` + strings.Repeat(`}`, 100000) + `]}`
		}),
		Entry("what is no UTF-8", func() string { return "{\"origin\":\"\xff\xfe\",\"pdus\":[]}" }),
		Entry("cut off", func() string { return `{"origin":"x","origin_server_ts":1,"pdus":[{"type":"m.room.mess` }),
		Entry("nothing", func() string { return "" }),
		Entry("thirty million blanks", func() string { return strings.Repeat(" ", 30<<20) }),
	)

	It("an event with hundreds of unknown fields is taken as it is",
		follows("server-server-api#pdus", "fields that a server doesn't know are part of the event"), func(ctx SpecContext) {
			m := meet(ctx, mainVersion)
			e, err := m.Build(peer.MessageDraft(m.user, "odd fields"))
			Expect(err).NotTo(HaveOccurred())
			raw, eventID := m.Forge(e, func(fields map[string]any) {
				for i := range 500 {
					fields[fmt.Sprintf("org.example.%d", i)] = i
				}
			}, peer.Forgery{})
			m.delivered(ctx, raw)
			m.sees(ctx, eventID)
		})

	It("a kill in the middle of a join leaves a server that can join again", Serial,
		follows("server-server-api#joining-rooms", "a join that did not come to its end can be made again"), func(ctx SpecContext) {
			s, dora := second(ctx)
			p := newPeer()
			room, err := p.CreateRoom(mainVersion, p.User("bob"), peer.RoomOptions{})
			Expect(err).NotTo(HaveOccurred())
			release := p.On("send_join", peer.Hang())
			joining, give := context.WithTimeout(ctx, 10*time.Second)
			defer give()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_, _ = dora.Join(joining, string(room.ID), string(p.Name)) // it is killed
			}()
			Eventually(func() []peer.Request { return p.Requests("send_join") }).ShouldNot(BeEmpty())
			s.process.Kill()
			<-ended
			release()
			s.again()
			Eventually(func() error {
				_, err := dora.Join(ctx, string(room.ID), string(p.Name))
				return err
			}).Should(Succeed())
			said, err := dora.Say(ctx, string(room.ID), "here at last")
			Expect(err).NotTo(HaveOccurred())
			Eventually(func() bool { return room.Has(id.EventID(said)) }).Should(BeTrue())
			Expect(status(dora.Call(ctx, http.MethodGet, "/_matrix/client/v3/joined_rooms", nil, nil, nil))).To(Equal(http.StatusOK))
		})
})
