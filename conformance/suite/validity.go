package suite

import (
	"encoding/json"
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
	"hanse/testnet/peer"
)

var _ = Describe("Validity of signing keys", Label("s2s:events", "s2s:keys"), func() {
	for _, version := range peer.Versions() {
		section := "rooms/v" + string(version) + "#signing-key-validity-period"
		if numberOf(version) < 5 {
			It("is not enforced in room version "+string(version), Label(labelVersion+string(version)),
				follows("rooms/v5#signing-key-validity-period", "room versions before 5 do not enforce the validity of signing keys"), func(ctx SpecContext) {
					m := meet(ctx, version)
					e := m.dated(48 * time.Hour)
					m.delivered(ctx, e.JSON())
					m.sees(ctx, e.ID())
				})
			continue
		}
		It("is enforced in room version "+string(version), Label(labelVersion+string(version)),
			says(section, "When validating event signatures, servers MUST enforce the valid_until_ts property from a key request is at least as large as the origin_server_ts for the event being validated."),
			says("server-server-api#validating-hashes-and-signatures-on-received-events", "Additionally, any keys that are known to have expired prior to the event's origin_server_ts are ignored."), func(ctx SpecContext) {
				m := meet(ctx, version)
				good := m.dated(12 * time.Hour) // the peer's keys are valid for 24
				Expect(m.Add(good)).To(Succeed())
				m.delivered(ctx, good.JSON())
				m.sees(ctx, good.ID())
				bad, next := m.dated(48*time.Hour), m.dated(13*time.Hour)
				m.delivered(ctx, bad.JSON(), next.JSON())
				m.sees(ctx, next.ID())
				Expect(eventStatus(ctx, alice, m.ID, bad.ID())).To(Equal(http.StatusNotFound), "signed with a key that is not valid at the event's time")
			})
	}

	It("lets an old key's events from before its end count, and none from after it",
		says("server-server-api#publishing-keys", "old_verify_keys: The public keys that the server used to use and when it stopped using them."), func(ctx SpecContext) {
			m := meet(ctx, mainVersion)
			old := m.peer.Key()
			build := func(text string, after time.Duration) *event.Event {
				GinkgoHelper()
				d := peer.MessageDraft(m.user, text)
				d.OriginServerTS = time.Now().Add(after).UnixMilli()
				e, err := m.Build(d)
				Expect(err).NotTo(HaveOccurred())
				return e
			}
			before, after := build("before the end", -time.Hour), build("after the end", time.Hour)
			m.peer.RotateKey(peer.NewKey("ed25519:second"))
			Expect(old.ID).NotTo(Equal(m.peer.Key().ID))
			marker, err := m.Put(peer.MessageDraft(m.user, "by the new key"))
			Expect(err).NotTo(HaveOccurred())
			Eventually(func() int { // the server must learn of the new key first
				m.deliveredByHand(ctx, marker.JSON())
				return eventStatus(ctx, alice, m.ID, marker.ID())
			}).Should(Equal(http.StatusOK))
			m.deliveredByHand(ctx, before.JSON(), after.JSON())
			m.sees(ctx, before.ID())
			Expect(eventStatus(ctx, alice, m.ID, after.ID())).To(Equal(http.StatusNotFound), "signed with a key that was out of use")
		})
})

// dated is a message of the peer's whose time is so far from now.
func (m meeting) dated(from time.Duration) *event.Event {
	GinkgoHelper()
	d := peer.MessageDraft(m.user, "dated")
	d.OriginServerTS = time.Now().Add(from).UnixMilli()
	e, err := m.Build(d)
	Expect(err).NotTo(HaveOccurred())
	return e
}

// deliveredByHand sends events in a transaction that is signed with the peer's key of now.
func (m meeting) deliveredByHand(ctx SpecContext, pdus ...json.RawMessage) {
	GinkgoHelper()
	_, err := m.peer.Do(ctx, sut.name, m.peer.SendRequest(pdus...))
	Expect(err).NotTo(HaveOccurred())
}
