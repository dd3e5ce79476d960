package ephemeral_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ed25519"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	machine "hanse/federation/room"
	"hanse/federation/sender"
	"hanse/federation/signedjson"
	"hanse/node/ephemeral"
	"hanse/node/store"
)

// postman counts the transactions that servers get.
type postman struct {
	mu    sync.Mutex
	times map[id.ServerName][]time.Time
	edus  map[id.ServerName]int
}

func (p *postman) SendTransaction(_ context.Context, server id.ServerName, _ string, txn federation.Transaction) (federation.PDUResults, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.times[server] = append(p.times[server], time.Now())
	p.edus[server] += len(txn.EDUs)
	return nil, nil
}

// addServers has a user of each of so many other servers join the world's room.
func (w *world) addServers(ctx context.Context, number int) {
	GinkgoHelper()
	var users []id.UserID
	for i := range number {
		users = append(users, id.UserID(fmt.Sprintf("@user:server%d.test", i)))
	}
	w.become(ctx, "join", users...)
}

// leave has a user leave the world's room.
func (w *world) leave(ctx context.Context, user id.UserID) {
	GinkgoHelper()
	w.become(ctx, "leave", user)
}

// become gives users a membership of the world's room.
func (w *world) become(ctx context.Context, membership string, users ...id.UserID) {
	GinkgoHelper()
	snap, found, err := w.store.LoadRoom(ctx, w.room)
	Expect(err).NotTo(HaveOccurred())
	Expect(found).To(BeTrue())
	_, private, err := ed25519.GenerateKey(rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	m := machine.Load(self, snap)
	var drafts []event.Draft
	for _, user := range users {
		key := string(user)
		drafts = append(drafts, event.Draft{
			Type: "m.room.member", StateKey: &key, Sender: user, Content: json.RawMessage(fmt.Sprintf(`{"membership":%q}`, membership)),
		})
	}
	result, err := m.Step(time.Now(), machine.Propose{Drafts: drafts, Key: signedjson.Key{ID: "ed25519:1", Private: private}}, w.store.Source(ctx, snap.Rules))
	Expect(err).NotTo(HaveOccurred())
	for _, v := range result.Verdicts {
		Expect(v.Status).To(Equal(machine.Accepted), v.Reason)
	}
	result.Commit.Send = nil
	_, err = w.store.Commit(ctx, result.Commit, store.CommitOptions{})
	Expect(err).NotTo(HaveOccurred())
}

var _ = Describe("a room of many servers", func() {
	It("costs each server a transaction a second, and no write", func(ctx context.Context) {
		const servers = 250
		w := newWorld(nil)
		w.addServers(ctx, servers)
		post := &postman{times: map[id.ServerName][]time.Time{}, edus: map[id.ServerName]int{}}
		out := sender.New(sender.Config{Origin: self, Client: post, Outbox: w.store})
		config := w.config
		config.Send = func(destinations []id.ServerName, edus ...federation.EDU) { out.EDUs(edus, destinations...) }
		e, err := ephemeral.New(config)
		Expect(err).NotTo(HaveOccurred())
		running, stop := context.WithCancel(ctx)
		var parts sync.WaitGroup
		parts.Go(func() { _ = e.Run(running) })
		parts.Go(func() { _ = out.Run(running) })

		began, before := time.Now(), w.store.Stats().Operations
		own := int64(0) // what our users were promised is stored
		for i := 0; time.Since(began) < 1500*time.Millisecond; i++ {
			for _, user := range []id.UserID{alice, bob} {
				Expect(e.SetTyping(ctx, w.room, user, i%2 == 0, 0)).To(Succeed())
				if i < len(w.events) {
					Expect(e.SetReceipt(ctx, w.room, user, ephemeral.Read, w.events[i], "")).To(Succeed())
					own++
				}
			}
			time.Sleep(20 * time.Millisecond)
		}
		sent := func() map[id.ServerName]int {
			post.mu.Lock()
			defer post.mu.Unlock()
			counts := map[id.ServerName]int{}
			for server := range post.times {
				counts[server] = len(post.times[server])
			}
			return counts
		}
		Eventually(sent).Should(HaveLen(servers + 1))
		stop()
		parts.Wait()
		seconds := int(time.Since(began)/time.Second) + 2 // one at once, then one a second, then what was under way
		for server, number := range sent() {
			Expect(number).To(BeNumerically("<=", seconds), string(server))
		}
		Expect(w.store.Stats().Operations-before).To(Equal(own), "receipts of our own are the only writes")
	}, SpecTimeout(5*time.Minute))
})
