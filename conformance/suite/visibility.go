package suite

import (
	"net/http"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/testnet/peer"
)

var _ = Describe("History visibility", Label("s2s:history", "s2s:visibility"), func() {
	const section = "client-server-api#room-history-visibility"
	const early, invited, joined = "said-early", "said-invited", "said-joined"
	for visibility, seen := range map[string][]string{
		"world_readable": {early, invited, joined}, "shared": {early, invited, joined}, "invited": {invited, joined}, "joined": {joined},
	} {
		for _, endpoint := range []string{"backfill", "get_missing_events", "event"} {
			It("a server sees by "+endpoint+" what its users may see: "+visibility,
				says(section, "Whether a member of a room can see the events that happened in a room from before they joined: world_readable, shared, invited, joined."),
				says("server-server-api#backfilling-and-retrieving-missing-events", "Once a homeserver has joined a room, it receives all the events emitted by other homeservers in that room, and is thus aware of the entire history of the room from that moment onwards."), func(ctx SpecContext) {
					p := newPeer()
					roomID := roomOfAlice(ctx, mainVersion, map[string]any{"preset": "private_chat", "initial_state": []any{map[string]any{
						"type": "m.room.history_visibility", "state_key": "", "content": map[string]any{"history_visibility": visibility},
					}}})
					say := func(text string) id.EventID {
						GinkgoHelper()
						eventID, err := alice.Say(ctx, string(roomID), text)
						Expect(err).NotTo(HaveOccurred())
						return id.EventID(eventID)
					}
					ids := map[string]id.EventID{early: say(early)}
					Expect(alice.Invite(ctx, string(roomID), string(p.User("bob")))).To(Succeed())
					ids[invited] = say(invited)
					m := visit(ctx, p, roomID)
					ids[joined] = m.fromAlice(ctx, joined).ID()
					latest := m.fromAlice(ctx, "the latest").ID()
					for text, eventID := range ids {
						from := latest
						if endpoint == "event" {
							from = eventID
						}
						answer, err := p.Do(ctx, sut.name, historyRequest(endpoint, roomID, from))
						Expect(err).NotTo(HaveOccurred())
						if slices.Contains(seen, text) {
							Expect(answer.Status).To(Equal(http.StatusOK), "%s", answer.String())
							Expect(string(answer.Body)).To(ContainSubstring(text))
						} else {
							Expect(string(answer.Body)).NotTo(ContainSubstring(text))
						}
					}
				})
		}
	}

	It("what was said after a server's users left is not given to it",
		follows(section, "who has left sees nothing of what came after, whatever the visibility but world_readable"), func(ctx SpecContext) {
			m := meet(ctx, mainVersion)
			carol := m.other(ctx, "carol")
			m.fromAlice(ctx, "while they are here")
			for _, user := range []id.UserID{m.user, carol} {
				_, err := m.Send(ctx, peer.StateDraft(user, "m.room.member", string(user), map[string]any{"membership": "leave"}))
				Expect(err).NotTo(HaveOccurred())
				Eventually(membership(ctx, m.ID, user)).Should(Equal("leave"))
			}
			later, err := alice.Say(ctx, string(m.ID), "after they left")
			Expect(err).NotTo(HaveOccurred())
			for _, endpoint := range []string{"backfill", "event", "state", "state_ids", "event_auth", "get_missing_events"} {
				answer, err := m.peer.Do(ctx, sut.name, historyRequest(endpoint, m.ID, id.EventID(later)))
				Expect(err).NotTo(HaveOccurred())
				Expect(answer.Status).To(BeElementOf(http.StatusForbidden, http.StatusNotFound), endpoint+": "+answer.String())
			}
		})
})
