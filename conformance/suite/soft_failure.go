package suite

import (
	"context"
	"net/http"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/testnet/peer"
)

// banned is the specification's example: the peer's user X is banned (B); X then tries to say something (C) on top of
// what was before the ban (A).
func banned(ctx context.Context) (m meeting, carol id.UserID, a []id.EventID, b, c *event.Event) {
	GinkgoHelper()
	m = meet(ctx, mainVersion)
	carol = m.other(ctx, "carol")
	a = m.Ends()
	Expect(alice.Call(ctx, http.MethodPost, "/_matrix/client/v3/rooms/"+string(m.ID)+"/ban", nil, map[string]any{"user_id": m.user}, nil)).To(Succeed())
	Eventually(func() string { return m.Membership(m.user) }).Should(Equal("ban"))
	b = m.State("m.room.member", string(m.user))
	d := peer.MessageDraft(m.user, "evading the ban")
	d.PrevEvents = a
	c, err := m.Build(d)
	Expect(err).NotTo(HaveOccurred())
	return m, carol, a, b, c
}

var _ = Describe("Checks on receipt: soft-failed", Label("s2s:events", "s2s:soft-failure"), func() {
	const section = "server-server-api#soft-failure"

	It("an event that evades a ban is neither shown nor referred to",
		says(section, "When an event is \"soft failed\" it should not be relayed to the client nor be referenced by new events created by the homeserver"), func(ctx SpecContext) {
			m, _, _, _, c := banned(ctx)
			results := m.delivered(ctx, c.JSON())
			Expect(results[c.ID()]).To(BeEmpty(), "a soft-failed event is handled as usual")
			m.notPrev(ctx, c.ID())
			m.invisible(ctx, c.ID())
			raw, err := m.peer.Client.Event(ctx, sut.name, c.ID())
			Expect(err).NotTo(HaveOccurred(), "A soft failed event should be returned in response to federation requests where appropriate (e.g. in /event/<event_id>)")
			got, err := event.Parse(m.Rules, raw)
			Expect(err).NotTo(HaveOccurred())
			Expect(got.ID()).To(Equal(c.ID()))
		})

	It("an event that refers to it is handled as normal",
		says(section, "If later another server sends an event D that references both B and C … then servers will handle D as normal."), func(ctx SpecContext) {
			m, carol, _, b, c := banned(ctx)
			m.delivered(ctx, c.JSON())
			Expect(m.Add(c)).To(Succeed())
			d := peer.MessageDraft(carol, "D")
			d.PrevEvents = []id.EventID{b.ID(), c.ID()}
			e, err := m.Put(d)
			Expect(err).NotTo(HaveOccurred())
			m.delivered(ctx, e.JSON())
			Eventually(timeline(ctx, alice, m.ID)).Should(ContainElement(e.ID()))
			m.invisible(ctx, c.ID())
			Expect(m.fromAlice(ctx, "on top of D").PrevEvents()).To(ContainElement(e.ID()))
		})

	It("an event that is only referred to by one that comes later is fetched",
		says(section, "Note that soft failed events are returned in /backfill and /get_missing_events responses only if the requests include events referencing the soft failed events."), func(ctx SpecContext) {
			m, carol, _, b, c := banned(ctx)
			Expect(m.Add(c)).To(Succeed()) // the server under test doesn't get it
			d := peer.MessageDraft(carol, "D")
			d.PrevEvents = []id.EventID{b.ID(), c.ID()}
			e, err := m.Put(d)
			Expect(err).NotTo(HaveOccurred())
			m.delivered(ctx, e.JSON())
			Eventually(timeline(ctx, alice, m.ID)).Should(ContainElement(e.ID()))
			m.invisible(ctx, c.ID())
		})

	It("state that evades a ban does not get into the room",
		says(section, "It is the job of the state resolution algorithm to ensure that malicious events cannot be injected into the room state via this mechanism."), func(ctx SpecContext) {
			m, carol, a, b, _ := banned(ctx)
			draft := peer.StateDraft(m.user, "m.room.member", string(m.user), map[string]any{"membership": "join", "displayname": "back again"})
			draft.PrevEvents = a
			c, err := m.Put(draft)
			Expect(err).NotTo(HaveOccurred())
			m.delivered(ctx, c.JSON())
			Expect(membership(ctx, m.ID, m.user)()).To(Equal("ban"))
			d := peer.MessageDraft(carol, "D")
			d.PrevEvents = []id.EventID{b.ID(), c.ID()}
			e, err := m.Put(d)
			Expect(err).NotTo(HaveOccurred())
			m.delivered(ctx, e.JSON())
			Eventually(timeline(ctx, alice, m.ID)).Should(ContainElement(e.ID()))
			Expect(membership(ctx, m.ID, m.user)()).To(Equal("ban"))
		})
})
