package rooms_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ed25519"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/keys"
	"hanse/node/rooms"
)

// rotate gives the server a new key; the one it had is published as used until then. It is restarted.
func (h *host) rotate(until time.Time) {
	GinkgoHelper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	was := h.key.Current
	h.stop()
	h.key = &keys.KeyFile{
		Current: keys.SigningKey{ID: "ed25519:new", Private: private},
		Old:     map[id.KeyID]keys.OldVerifyKey{was.ID: {Key: was.Private.Public().(ed25519.PublicKey), ExpiredTS: until.UnixMilli()}},
	}
	h.boot()
}

var _ = Describe("signing keys", func() {
	ctx := context.Background()

	It("are changed while events are on their way", func() {
		w := newWorld()
		one, two := w.start("one.test"), w.start("two.test")
		bob := two.user("bob")
		roomID := one.create(rooms.CreateRequest{})
		two.join(bob, roomID, one.name)
		agree(roomID, one, two)
		w.cut(two)
		before := two.say(bob, roomID, "signed by the first key")
		two.rotate(time.Now())
		w.heal(two)
		after := two.say(bob, roomID, "signed by the second key")
		one.sees(before, after)
		two.sees(one.say(one.user("alice"), roomID, "both are good"))

		three := w.start("three.test") // who never saw the first key in use
		three.join(three.user("carol"), roomID, one.name)
		Expect(three.membership(roomID, bob)).To(Equal("join"), "signed by the first key")
		agree(roomID, one, three)
	})

	DescribeTable("that have expired are not good for what is made later", func(version roomversion.Version, refused bool) {
		w := newWorld()
		one, two := w.start("one.test"), w.start("two.test", silent)
		bob := two.user("bob")
		roomID := one.create(rooms.CreateRequest{Version: version})
		two.join(bob, roomID, one.name)
		agree(roomID, one, two)
		info, _, err := one.store.Room(ctx, roomID)
		Expect(err).NotTo(HaveOccurred())
		late := two.forged(bob, roomID, info.Forward, info.Depth+1, 1)[0]
		two.rotate(time.Now().Add(-time.Minute))
		one.restart() // it learns of the new key by what is signed with it
		deliver := func(e *event.Event) string {
			GinkgoHelper()
			results, err := one.inbound.Transaction(ctx, two.name, string(e.ID()), federation.Transaction{Origin: two.name, PDUs: []json.RawMessage{e.JSON()}})
			Expect(err).NotTo(HaveOccurred())
			return results[e.ID()].Error
		}
		Expect(deliver(two.forged(bob, roomID, info.Forward, info.Depth+1, 1)[0])).To(BeEmpty())
		if refused {
			Expect(deliver(late)).To(ContainSubstring("signature"))
			Expect(one.has(late.ID())).To(BeFalse())
		} else {
			Expect(deliver(late)).To(BeEmpty())
			Expect(one.has(late.ID())).To(BeTrue())
		}
	}, Entry("version 4", roomversion.Version("4"), false), Entry("version 5", roomversion.Version("5"), true), Entry("version 12", roomversion.Version("12"), true))

	It("of a server that is gone are had from a notary", func() {
		w := newWorld()
		one, two := w.start("one.test"), w.start("two.test")
		bob := two.user("bob")
		roomID := one.create(rooms.CreateRequest{})
		two.join(bob, roomID, one.name)
		said := two.say(bob, roomID, "my last words")
		one.sees(said)
		w.cut(two)
		without := w.start("four.test")
		without.join(without.user("dora"), roomID, one.name)
		Expect(without.membership(roomID, bob)).To(BeEmpty(), "nobody vouches for his join")
		three := w.start("three.test", func(h *host) { h.notaries = []id.ServerName{one.name} })
		three.join(three.user("carol"), roomID, one.name)
		Expect(three.membership(roomID, bob)).To(Equal("join"))
	})
})
