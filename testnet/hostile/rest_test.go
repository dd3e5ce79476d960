package hostile

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/testnet/adapter"
	"hanse/testnet/peer"
)

// zipped is so many zeros, compressed.
func zipped(size int) []byte {
	var out bytes.Buffer
	to := gzip.NewWriter(&out)
	zeros := make([]byte, 1<<20)
	for range size / len(zeros) {
		if _, err := to.Write(zeros); err != nil {
			panic(err) // a buffer takes all
		}
	}
	if err := to.Close(); err != nil {
		panic(err) // as above
	}
	return out.Bytes()
}

var _ = Describe("a node", Serial, func() {
	It("is small, starts quickly and rests with little", func(ctx SpecContext) {
		info, err := os.Stat(binary)
		Expect(err).NotTo(HaveOccurred())
		Expect(info.Size()).To(BeNumerically("<=", 40<<20))
		n := startNode()
		u := n.newUser(ctx)
		_, err = u.CreateRoom(ctx, map[string]any{"preset": "public_chat"})
		Expect(err).NotTo(HaveOccurred())
		busy := n.use()
		Expect(n.process.Stop()).To(Succeed())
		command, err := n.orders.Command(binary, "testnet", "node")
		Expect(err).NotTo(HaveOccurred())
		command.Env = append(command.Env, "HANSE_MONITOR="+n.monitor, "HANSE_LOG=info")
		started := time.Now()
		n.process, err = adapter.Start(ctx, command)
		ready := time.Since(started)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(n.process.Kill)
		time.Sleep(time.Second)
		AddReportEntry("at rest", fmt.Sprintf("binary %.1f MB, ready after %v, %v; after its first user and room: %v", float64(info.Size())/1e6, ready, n.use(), busy))
		Expect(n.resident()).To(BeNumerically("<=", 80<<20)) // how much of the program a system keeps mapped is the system's choice
		if measuring() {
			Expect(n.resident()).To(BeNumerically("<=", 40<<20))
			Expect(ready).To(BeNumerically("<=", 200*time.Millisecond))
		}
	})

	It("stays as it is under mixed load, while servers come and go", func(ctx SpecContext) {
		if *soakTime == 0 {
			Skip("needs -soak, as in `make hostile`")
		}
		h := newHall(ctx, 5, 4)
		life, cancel := context.WithTimeout(ctx, *soakTime)
		defer cancel()
		var working sync.WaitGroup
		for i := range 4 {
			working.Go(func() {
				c := h.talker(i).(*talker)
				load(life, []caller{c}, *soakTime, 20*time.Millisecond)
			})
			working.Go(func() {
				for life.Err() == nil {
					_, _ = h.users[i].Sync(life, time.Second) // the load's end cuts it off
				}
			})
		}
		working.Go(func() {
			for life.Err() == nil {
				visit(life, h)
			}
		})
		time.Sleep(*soakTime / 3)
		first, sent := h.node.use(), h.node.metric("hanse_store_operations_total")
		AddReportEntry("after a third", first.String())
		working.Wait()
		time.Sleep(time.Second)
		last := h.node.use()
		AddReportEntry("at the end", fmt.Sprintf("%v; %.0f writes since", last, h.node.metric("hanse_store_operations_total")-sent))
		Expect(last.resident).To(BeNumerically("<", first.resident+first.resident/2+30e6))
		Expect(last.goroutines).To(BeNumerically("<", first.goroutines+50))
		Expect(last.descriptors).To(BeNumerically("<", first.descriptors+30))
	})
})

// visit is a server that joins, says some things and is gone.
func visit(ctx context.Context, h *hall) {
	defer GinkgoRecover()
	p := newVisitor()
	defer p.Close()
	joined, err := p.Join(ctx, h.node.name, id.RoomID(h.rooms[rand.IntN(len(h.rooms))]), p.User("guest"))
	if err != nil {
		return
	}
	for i := range 20 {
		if _, err := joined.Room.Say(ctx, p.User("guest"), strings.Repeat("guest ", i)); err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	_, _ = p.Leave(ctx, h.node.name, joined.Room.Rules, joined.Room.ID, p.User("guest")) // it may be over
}

func newVisitor() *peer.Peer {
	p, err := peer.Start(peer.Config{Listen: places[2].IP.String() + ":0", CA: ca, DNSServer: dns.Addr()})
	Expect(err).NotTo(HaveOccurred())
	return p
}
