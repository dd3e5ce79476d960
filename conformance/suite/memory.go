package suite

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/testnet/peer"
)

const (
	// hostileBody is nearly as much as servers read of a transaction, and atOnce how many come at a time.
	hostileBody = 8 << 20 // bytes
	atOnce      = 2
	// mostGrowth is how much more memory a server may have meanwhile. What stands in a few bytes may take more where it
	// is taken apart.
	mostGrowth = 32 * atOnce * hostileBody // bytes
	// endless is how much of an answer is given at most, where the server does not give up.
	endless = 1 << 30 // bytes
)

// watchMemory looks at the memory of the server under test until stop, which gives by how much it grew at most, in
// bytes. It skips the test where that can't be seen.
func watchMemory() (stop func() int64) {
	GinkgoHelper()
	before, _ := sut.process.Memory()
	if before == 0 {
		Skip("this system does not tell how much memory a process has (/proc)")
	}
	watching, enough := context.WithCancel(context.Background())
	DeferCleanup(enough)
	most := make(chan int64, 1)
	go func() {
		highest := before
		for watching.Err() == nil {
			now, _ := sut.process.Memory()
			highest = max(highest, now)
			select {
			case <-watching.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
		most <- highest
	}()
	return func() int64 {
		enough()
		return <-most - before
	}
}

// fill repeats a text within another until the whole is about hostileBody long.
func fill(before, again, after string) func() []byte {
	return func() []byte {
		return []byte(before + strings.Repeat(again+",", hostileBody/(len(again)+1)) + again + after)
	}
}

var _ = Describe("Memory", Label("s2s:life"), Serial, func() {
	DescribeTable("stays within bounds while hostile requests come",
		follows("server-server-api#security-considerations", "hostile input is to be expected of other servers, and must not use up the machine"), func(ctx SpecContext, body func() []byte) {
			m := meet(ctx, mainVersion)
			stop := watchMemory()
			authorization, err := m.peer.Authorization(m.peer.SendRequest(), m.peer.Key(), m.peer.Name, sut.name) // of another request: anybody can send this
			Expect(err).NotTo(HaveOccurred())
			text := body()
			var senders sync.WaitGroup
			for range atOnce {
				r := m.peer.SendRequest()
				r.Body, r.Authorization = text, []string{authorization.String()}
				senders.Go(func() {
					defer GinkgoRecover()
					if answer, err := m.peer.Do(ctx, sut.name, r); err == nil { // a closed connection is a refusal too
						Expect(answer.Status).To(And(BeNumerically(">=", 400), BeNumerically("<", 500)), "%.300s", answer.String())
					}
				})
			}
			senders.Wait()
			m.marker(ctx)
			Expect(stop()).To(BeNumerically("<", mostGrowth), "bytes of memory more than before")
		},
		Entry("millions of empty events", fill(`{"pdus":[`, `{}`, `]}`)),
		Entry("millions of empty lists in one EDU", fill(`{"pdus":[],"edus":[{"edu_type":"m.typing","content":{"a":[`, `[]`, `]}}]}`)),
		Entry("millions of fields", func() []byte {
			text := []byte(`{"pdus":[]`)
			for i := 0; len(text) < hostileBody; i++ {
				text = append(strconv.AppendInt(append(text, `,"`...), int64(i), 36), `":1`...)
			}
			return append(text, '}')
		}),
	)

	DescribeTable("stays within bounds where an answer has no end",
		follows("server-server-api#security-considerations", "hostile input is to be expected of other servers, and must not use up the machine"), func(ctx SpecContext, endpoint, begin string, ask func(ctx context.Context, p *peer.Peer)) {
			p := newPeer()
			stop := watchMemory()
			p.On(endpoint, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
				_, _ = io.WriteString(w, begin)
				part := bytes.Repeat([]byte("x"), 1<<20)
				for given := 0; given < endless; given += len(part) {
					if _, err := w.Write(part); err != nil {
						break // who asked has enough
					}
				}
				panic(http.ErrAbortHandler)
			})
			ask(ctx, p)
			Expect(p.Requests(endpoint)).NotTo(BeEmpty())
			Expect(stop()).To(BeNumerically("<", mostGrowth), "bytes of memory more than before")
		},
		Entry("a profile", "profile", `{"displayname":"`, func(ctx context.Context, p *peer.Peer) {
			_, err := profileOf(ctx, p.User("bob"))
			Expect(status(err)).To(BeNumerically(">=", 400), "%s", errorText(err))
		}),
		Entry("a server's keys", "server", `{"server_name":"`, func(ctx context.Context, p *peer.Peer) {
			answer, err := p.Do(ctx, sut.name, profileRequest())
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Status).To(Equal(http.StatusUnauthorized), "%s", answer.String())
		}),
	)
})
