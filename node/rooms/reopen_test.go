package rooms_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/node/rooms"
)

var _ = Describe("The state of a room that changes much", func() {
	It("isn't kept in memory by its machine, at who makes it and at who joins", func() {
		w := newWorld()
		a, b := w.start("a.test", limited(rooms.Limits{Changes: 50})), w.start("b.test", limited(rooms.Limits{Changes: 50}))
		alice, bob := a.user("alice"), b.user("bob")
		roomID := a.create(rooms.CreateRequest{Creator: alice, Preset: "public_chat"})
		inMemory := func(h *host) int {
			n, err := h.rooms.InMemory(context.Background(), roomID)
			Expect(err).NotTo(HaveOccurred())
			return n
		}
		var nodes []int
		for i := range 150 {
			a.set(alice, roomID, "org.example.x", fmt.Sprint(i), "{}")
			nodes = append(nodes, inMemory(a))
		}
		b.join(bob, roomID, "a.test")
		Expect(a.state(roomID).Len()).To(BeNumerically(">", 150))
		Expect(slices.Max(nodes)).To(BeNumerically(">", 5))
		Expect(slices.Min(nodes[100:])).To(Equal(1))
		Eventually(inMemory).WithArguments(b).WithTimeout(time.Minute).Should(Equal(1)) // what it has decided by then may not be stored yet
	})
})
