package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/testnet/user"
)

func membership(e user.Event) string {
	var content struct {
		Membership string `json:"membership"`
	}
	if json.Unmarshal(e.Content, &content) != nil {
		return ""
	}
	return content.Membership
}

// direction is which server has the room and which one comes to it.
type direction struct{ resident, visitor **server }

// both are the two directions, named by a text in which %s is the resident server.
func both(text string) []namedDirection {
	return []namedDirection{
		{fmt.Sprintf(text, "Hanse"), direction{&hanse, &peer}},
		{fmt.Sprintf(text, peerTitle), direction{&peer, &hanse}},
	}
}

type namedDirection struct {
	name string
	direction
}

var _ = Describe("users of Hanse and "+peerTitle, func() {
	for _, d := range both("in a room on %s") {
		for _, version := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"} {
			Context(fmt.Sprintf("%s, version %s", d.name, version), Ordered, func() { meet(d.direction, version) })
		}
		Context(d.name+", over an outage", Ordered, func() { outage(d.direction) })
	}
})

// makeRoom makes a public room and returns its ID and alias.
func makeRoom(ctx context.Context, u *user.User, version, alias, serverName string) (room, fullAlias string) {
	GinkgoHelper()
	room = create(ctx, u, map[string]any{"room_version": version, "room_alias_name": alias, "name": "The " + alias})
	return room, "#" + alias + ":" + serverName
}

// known skips a test in a room version that the peer does not know.
func known(ctx context.Context, version string) {
	GinkgoHelper()
	var answer struct {
		Capabilities struct {
			RoomVersions struct {
				Available map[string]string `json:"available"`
			} `json:"m.room_versions"`
		} `json:"capabilities"`
	}
	Expect(peer.newUser(ctx).Call(ctx, "GET", "/_matrix/client/v3/capabilities", nil, nil, &answer)).To(Succeed())
	if _, is := answer.Capabilities.RoomVersions.Available[version]; !is {
		Skip(peerTitle + " does not know version " + version)
	}
}

// meet is joins by alias and by invite, talk, a profile of state, and leaving.
func meet(d direction, version string) {
	var (
		alice, bob, carol *user.User
		room, alias       string
	)
	BeforeAll(func(ctx SpecContext) { known(ctx, version) }, NodeTimeout(time.Minute))

	It("is joined by its alias", func(ctx SpecContext) {
		alice, bob = (*d.resident).newUser(ctx), (*d.visitor).newUser(ctx)
		room, alias = makeRoom(ctx, alice, version, "meeting"+version, (*d.resident).orders.ServerName)
		Expect(alice.Say(ctx, room, "before anybody came")).NotTo(BeEmpty())
		joined, err := bob.Join(ctx, alias)
		Expect(err).NotTo(HaveOccurred())
		Expect(joined).To(Equal(room))
		Eventually(members(ctx, alice, room)).WithTimeout(patience).Should(HaveKeyWithValue(bob.ID, "join"))
	}, SpecTimeout(2*time.Minute))

	It("carries messages both ways", func(ctx SpecContext) {
		for i := range 3 {
			Expect(alice.Say(ctx, room, fmt.Sprintf("from the resident %d", i))).NotTo(BeEmpty())
			Eventually(bodies(ctx, bob, room)).WithTimeout(patience).Should(ContainElement(fmt.Sprintf("from the resident %d", i)))
			Expect(bob.Say(ctx, room, fmt.Sprintf("from the visitor %d", i))).NotTo(BeEmpty())
			Eventually(bodies(ctx, alice, room)).WithTimeout(patience).Should(ContainElement(fmt.Sprintf("from the visitor %d", i)))
		}
	}, SpecTimeout(2*time.Minute))

	It("shows its history to who came later", func(ctx SpecContext) {
		Eventually(bodies(ctx, bob, room)).WithTimeout(patience).Should(ContainElement("before anybody came"))
	}, SpecTimeout(time.Minute))

	It("takes an invited user of the other server", func(ctx SpecContext) {
		carol = (*d.visitor).newUser(ctx)
		_, err := alice.SetState(ctx, room, "m.room.join_rules", "", map[string]any{"join_rule": "invite"})
		Expect(err).NotTo(HaveOccurred())
		Eventually(joinRule(ctx, bob, room)).WithTimeout(patience).Should(Equal("invite"))
		_, err = carol.Join(ctx, room, (*d.resident).orders.ServerName)
		Expect(err).To(HaveOccurred(), "the room is for invited users only")
		Expect(alice.Invite(ctx, room, carol.ID)).To(Succeed())
		Eventually(func() (map[string]bool, error) {
			answer, err := carol.Sync(ctx, time.Second)
			invites := map[string]bool{}
			for invited := range answer.Rooms.Invite {
				invites[invited] = true
			}
			return invites, err
		}).WithTimeout(patience).Should(HaveKey(room))
		if (*d.visitor).kind == "dendrite" {
			Eventually(members(ctx, bob, room)).WithTimeout(patience).Should(HaveKeyWithValue(carol.ID, "invite"))
		}
		_, err = carol.Join(ctx, room)
		Expect(err).NotTo(HaveOccurred())
		Expect(carol.Say(ctx, room, "thanks for the invite")).NotTo(BeEmpty())
		Eventually(bodies(ctx, alice, room)).WithTimeout(patience).Should(ContainElement("thanks for the invite"))
		Eventually(bodies(ctx, bob, room)).WithTimeout(patience).Should(ContainElement("thanks for the invite"))
	}, SpecTimeout(2*time.Minute))

	It("carries changes of state both ways", func(ctx SpecContext) {
		_, err := alice.SetState(ctx, room, "m.room.topic", "", map[string]any{"topic": "of the resident"})
		Expect(err).NotTo(HaveOccurred())
		Eventually(topic(ctx, bob, room)).WithTimeout(patience).Should(Equal("of the resident"))
	}, SpecTimeout(time.Minute))

	It("shows on both sides who left, was removed and was banned", func(ctx SpecContext) {
		Expect(bob.Leave(ctx, room)).To(Succeed())
		Eventually(members(ctx, alice, room)).WithTimeout(patience).Should(HaveKeyWithValue(bob.ID, "leave"))
		Expect(alice.Call(ctx, "POST", "/_matrix/client/v3/rooms/"+room+"/ban", nil, map[string]any{"user_id": carol.ID}, nil)).To(Succeed())
		Eventually(func() error {
			_, err := carol.Say(ctx, room, "still here?")
			return err
		}).WithTimeout(patience).Should(MatchError(ContainSubstring("M_FORBIDDEN")))
		Expect(members(ctx, alice, room)()).To(HaveKeyWithValue(carol.ID, "ban"))
	}, SpecTimeout(2*time.Minute))
}

// stateText reads a string from the content of a room's state event.
func stateText(ctx context.Context, u *user.User, room, eventType, key string) func() (string, error) {
	return func() (string, error) {
		var content map[string]any
		err := u.Call(ctx, "GET", "/_matrix/client/v3/rooms/"+room+"/state/"+eventType, nil, nil, &content)
		text, _ := content[key].(string) // another type is another text
		return text, err
	}
}

func topic(ctx context.Context, u *user.User, room string) func() (string, error) {
	return stateText(ctx, u, room, "m.room.topic", "topic")
}

func joinRule(ctx context.Context, u *user.User, room string) func() (string, error) {
	return stateText(ctx, u, room, "m.room.join_rules", "join_rule")
}

// outage is a gap of more messages than one question about missing events returns, filled when the server is back.
func outage(d direction) {
	const missed = 30
	It("fills the gap", func(ctx SpecContext) {
		alice, bob := (*d.resident).newUser(ctx), (*d.visitor).newUser(ctx)
		room, alias := makeRoom(ctx, alice, "10", "outage", (*d.resident).orders.ServerName)
		_, err := bob.Join(ctx, alias)
		Expect(err).NotTo(HaveOccurred())
		Eventually(members(ctx, alice, room)).WithTimeout(patience).Should(HaveKeyWithValue(bob.ID, "join"))

		(*d.visitor).stop()
		var want []string
		for i := range missed {
			text := fmt.Sprintf("while you were out %d", i)
			want = append(want, text)
			Expect(alice.Say(ctx, room, text)).NotTo(BeEmpty())
		}
		(*d.visitor).start()
		Expect(bob.Say(ctx, room, "I am back")).NotTo(BeEmpty()) // the resident hears from us, and so tries again
		Eventually(bodies(ctx, bob, room)).WithTimeout(patience).WithPolling(300 * time.Millisecond).Should(ContainElements(want))
		Eventually(bodies(ctx, alice, room)).WithTimeout(patience).Should(ContainElement("I am back"))
	}, SpecTimeout(4*time.Minute))
}
