package interop

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/testnet/user"
)

// Rooms of these versions are old and many: event IDs that servers choose (1, 2), state resolution of its own (1), redactions that
// need no more than a domain (1, 2), keys that are never too old (1 to 4).
var _ = Describe("old rooms of Hanse and "+peerTitle, func() {
	for _, d := range both("a room on %s") {
		for _, version := range []string{"1", "2", "3", "4", "5"} {
			Context(d.name+", version "+version, func() {
				BeforeEach(func(ctx SpecContext) { known(ctx, version) })
				It("takes every change of a membership, of users of both", func(ctx SpecContext) { memberships(ctx, d.direction, version) }, SpecTimeout(3*time.Minute))
				It("takes back what was said, by who may", func(ctx SpecContext) { redacted(ctx, d.direction, version) }, SpecTimeout(2*time.Minute))
				It("merges what two sides did to each other while apart", func(ctx SpecContext) { partition(ctx, d.direction, version) }, SpecTimeout(3*time.Minute))
			})
		}
	}
})

// memberships: from each membership to each that the rules allow, by the user and by a moderator of the other server.
func memberships(ctx context.Context, d direction, version string) {
	c := together(ctx, d, map[string]any{"room_version": version})
	carol, dave := (*d.visitor).newUser(ctx), (*d.resident).newUser(ctx)
	c.levels(ctx, c.alice, map[string]any{c.bob.ID: 50})
	c.agree(ctx)

	become := func(who *user.User, want string) {
		GinkgoHelper()
		for _, seen := range []*user.User{c.alice, c.bob} {
			Eventually(members(ctx, seen, c.room)).WithTimeout(patience).Should(HaveKeyWithValue(who.ID, want), "as %s sees it", seen.ID)
		}
	}
	by := func(moderator *user.User, what string, whom *user.User) {
		GinkgoHelper()
		Expect(do(ctx, moderator, "rooms/"+c.room+"/"+what, map[string]any{"user_id": whom.ID})).To(Succeed())
	}
	enter := func(who *user.User) {
		GinkgoHelper()
		_, err := who.Join(ctx, c.room, d.home())
		Expect(err).NotTo(HaveOccurred())
		become(who, "join")
	}
	for _, m := range []struct{ moderator, whom *user.User }{{c.alice, carol}, {c.bob, dave}} {
		news := told(ctx, m.whom, c.room)
		invite := func() {
			GinkgoHelper()
			by(m.moderator, "invite", m.whom)
			become(m.whom, "invite")
			Eventually(news).WithTimeout(patience).Should(Equal("invited"))
		}
		invite()
		Expect(m.whom.Leave(ctx, c.room)).To(Succeed())
		become(m.whom, "leave") // declined
		Eventually(news).WithTimeout(patience).Should(Equal("left"))
		invite()
		by(m.moderator, "kick", m.whom)
		become(m.whom, "leave") // taken back
		Eventually(news).WithTimeout(patience).Should(Equal("left"))
		invite()
		by(m.moderator, "ban", m.whom)
		become(m.whom, "ban")
		_, err := m.whom.Join(ctx, c.room, d.home())
		Expect(err).To(MatchError(ContainSubstring(" 403 ")), "a banned user stays out; Synapse calls it M_BAD_STATE")
		Expect(do(ctx, m.moderator, "rooms/"+c.room+"/invite", map[string]any{"user_id": m.whom.ID})).To(MatchError(ContainSubstring(" 403 ")))
		by(m.moderator, "unban", m.whom)
		become(m.whom, "leave")
		enter(m.whom)
		by(m.moderator, "kick", m.whom)
		become(m.whom, "leave")
		invite()
		enter(m.whom)
		by(m.moderator, "ban", m.whom)
		become(m.whom, "ban")
		by(m.moderator, "unban", m.whom)
		become(m.whom, "leave")
		by(m.moderator, "ban", m.whom) // who has left
		become(m.whom, "ban")
		by(m.moderator, "unban", m.whom)
		become(m.whom, "leave")
		enter(m.whom)
		Expect(do(ctx, m.whom, "rooms/"+c.room+"/leave", map[string]any{})).To(Succeed())
		become(m.whom, "leave")
	}
	c.talk(ctx)
}

// redacted: each takes back what they said, and the resident's user what another said; the other server sees it, and nobody else may.
func redacted(ctx context.Context, d direction, version string) {
	c := together(ctx, d, map[string]any{"room_version": version})
	say := func(who *user.User, text string) string {
		GinkgoHelper()
		eventID, err := who.Say(ctx, c.room, text)
		Expect(err).NotTo(HaveOccurred())
		for _, seen := range []*user.User{c.alice, c.bob} {
			Eventually(bodies(ctx, seen, c.room)).WithTimeout(patience).Should(ContainElement(text))
		}
		return eventID
	}
	for i, r := range []struct{ said, by *user.User }{{c.alice, c.alice}, {c.bob, c.bob}, {c.bob, c.alice}} {
		text := fmt.Sprintf("what %s said and %s takes back", r.said.ID, r.by.ID)
		eventID := say(r.said, text)
		Expect(redact(ctx, r.by, c.room, eventID, i)).NotTo(BeEmpty())
		for _, seen := range []*user.User{c.alice, c.bob} {
			Eventually(bodies(ctx, seen, c.room)).WithTimeout(patience).ShouldNot(ContainElement(text))
		}
	}
	kept := say(c.alice, "kept")
	_, err := redact(ctx, c.bob, c.room, kept, 3)
	Expect(err).To(MatchError(ContainSubstring("M_FORBIDDEN")), "he is no moderator, and of another server")
	c.talk(ctx)
	for _, seen := range []*user.User{c.alice, c.bob} {
		Expect(bodies(ctx, seen, c.room)()).To(ContainElement("kept"))
	}
}
