package interop

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// Both ask to leave out members when they join, and both do when they are asked: in all rooms, but in these it matters.
var _ = Describe("large rooms of Hanse and "+peerTitle, func() {
	for _, d := range both("a room on %s") {
		Context(d.name, func() {
			It("is joined without its members, used at once, and has them soon", func(ctx SpecContext) { joinLarge(ctx, d.direction, false) }, SpecTimeout(2*time.Minute))
			It("has its members after a restart", func(ctx SpecContext) { joinLarge(ctx, d.direction, true) }, SpecTimeout(3*time.Minute))
		})
	}
})

// joinLarge joins a room with more members than are fetched one by one; the server that joined may be restarted at once.
func joinLarge(ctx context.Context, d direction, restart bool) {
	GinkgoHelper()
	c := company{direction: d, alice: (*d.resident).newUser(ctx), bob: (*d.visitor).newUser(ctx)}
	c.room = create(ctx, c.alice, map[string]any{"name": "The large one"})
	for i := range 55 { // members all the same
		Expect(do(ctx, c.alice, "rooms/"+c.room+"/ban", map[string]any{"user_id": fmt.Sprintf("@nobody%d:elsewhere.example", i)})).To(Succeed())
	}
	_, err := c.bob.Join(ctx, c.room, d.home())
	Expect(err).NotTo(HaveOccurred())
	said, err := c.bob.Say(ctx, c.room, "here at once")
	Expect(err).NotTo(HaveOccurred())
	Expect(said).NotTo(BeEmpty())
	Eventually(bodies(ctx, c.alice, c.room)).WithTimeout(patience).Should(ContainElement("here at once"))
	if restart {
		(*d.visitor).stop()
		(*d.visitor).start()
	}
	_, err = c.alice.Say(ctx, c.room, "so I hear")
	Expect(err).NotTo(HaveOccurred())
	Eventually(bodies(ctx, c.bob, c.room)).WithTimeout(patience).Should(ContainElements("here at once", "so I hear"))
	c.agree(ctx)
	Expect(members(ctx, c.bob, c.room)()).To(HaveLen(57))
}
