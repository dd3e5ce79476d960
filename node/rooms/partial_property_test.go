package rooms_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/node/rooms"
)

var partialRuns = flag.Int("partial-runs", 2, "random joins without members")

// Whatever happens while the members are missing, the room ends the same on all servers, those that had all members all the time included.
var _ = Describe("a room joined without its members", func() {
	for i := range *partialRuns {
		It(fmt.Sprint("ends as on the others, run ", i), func(ctx SpecContext) {
			seed := uint64(GinkgoRandomSeed()) + uint64(i)
			GinkgoWriter.Println("seed", seed)
			partialRun(ctx, rand.New(rand.NewPCG(seed, 3)))
		}, SpecTimeout(10*time.Minute))
	}
})

func partialRun(ctx context.Context, random *rand.Rand) {
	GinkgoHelper()
	w := newWorld()
	one, three := w.start("one.test"), w.start("three.test")
	two := w.start("two.test", limited(rooms.Limits{StateChunk: 1 + random.IntN(4)})) // the members come in several parts
	versions := roomversion.All()
	roomID := one.create(rooms.CreateRequest{Version: versions[random.IntN(len(versions))].Version, Name: "A room"})
	three.join(three.user("carol"), roomID, one.name)
	three.completes(roomID)
	for i := range 4 {
		three.join(three.user(fmt.Sprint("u", i)), roomID)
		one.join(one.user(fmt.Sprint("u", i)), roomID)
	}
	agree(roomID, one, three)
	release, _ := one.hold()
	releaseThree, _ := three.hold()
	two.join(two.user("bob"), roomID, one.name)
	one.sees(two.say(two.user("bob"), roomID, "hello"))
	three.sees(two.say(two.user("bob"), roomID, "hello you"))
	two.sees(three.say(three.user("carol"), roomID, "hello")) // all have each other's keys now
	act := func() {
		host := []*host{one, two, three}[random.IntN(3)]
		user := host.user(fmt.Sprint("u", random.IntN(4)))
		target := []*struct{ id.UserID }{{one.user(fmt.Sprint("u", random.IntN(4)))}, {three.user(fmt.Sprint("u", random.IntN(4)))}}[random.IntN(2)].UserID
		ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond) // what waits for members must not keep the others
		defer cancel()
		// Much of this is refused, as the user isn't in the room or has no power.
		switch random.IntN(8) {
		case 0:
			_ = one.rooms.Kick(ctx, rooms.MembershipRequest{Room: roomID, Sender: one.user("alice"), Target: target})
		case 1:
			_ = one.rooms.Ban(ctx, rooms.MembershipRequest{Room: roomID, Sender: one.user("alice"), Target: target})
		case 2:
			_ = one.rooms.Unban(ctx, rooms.MembershipRequest{Room: roomID, Sender: one.user("alice"), Target: target})
		case 3:
			_ = host.rooms.Leave(ctx, user, roomID, "")
		case 4:
			_ = host.rooms.Join(ctx, rooms.JoinRequest{User: user, Room: roomID, Via: []id.ServerName{one.name, three.name}})
		default:
			_, _ = host.rooms.Send(ctx, message(user, roomID, fmt.Sprint("message ", random.IntN(1000))))
		}
	}
	for range 40 {
		act()
		switch random.IntN(20) {
		case 0:
			two.restart()
		case 1:
			w.cut(three)
		case 2:
			w.heal(three)
		case 3:
			releaseThree()
		}
	}
	w.heal(three)
	release()
	releaseThree()
	for range 10 {
		act()
	}
	two.join(two.user("bob"), roomID, one.name) // should he have been thrown out
	two.completes(roomID)
	for _, h := range []*host{one, three, two} {
		user := map[*host]id.UserID{one: one.user("alice"), two: two.user("bob"), three: three.user("carol")}[h]
		last := h.say(user, roomID, "the last word")
		for _, other := range []*host{one, two, three} {
			Eventually(func() bool { return other.has(last) }).WithTimeout(2*time.Minute).WithPolling(20*time.Millisecond).Should(BeTrue(), "%s on %s", last, other.name)
		}
	}
	agree(roomID, one, two, three)
}
