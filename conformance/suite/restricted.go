package suite

import (
	"context"
	"encoding/json"
	"net/http"
	"sync/atomic"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
	"hanse/federation/roomversion"
	"hanse/testnet/peer"
)

const (
	restrictedSection = "server-server-api#restricted-rooms"
	authorisedVia     = "join_authorised_via_users_server"
)

// restrict makes a room of a peer's that is for the members of another, which alice has joined.
func restrict(ctx context.Context, p *peer.Peer, version roomversion.Version, rule string) *peer.Room {
	GinkgoHelper()
	bob := p.User("bob")
	space, err := p.CreateRoom(version, bob, peer.RoomOptions{})
	Expect(err).NotTo(HaveOccurred())
	_, err = alice.Join(ctx, string(space.ID), string(p.Name))
	Expect(err).NotTo(HaveOccurred())
	room, err := p.CreateRoom(version, bob, peer.RoomOptions{JoinRule: "invite"})
	Expect(err).NotTo(HaveOccurred())
	_, err = room.Put(peer.StateDraft(bob, "m.room.join_rules", "", map[string]any{
		"join_rule": rule, "allow": []any{map[string]any{"type": "m.room_membership", "room_id": space.ID}},
	}))
	Expect(err).NotTo(HaveOccurred())
	return room
}

var _ = Describe("Restricted rooms", Label("s2s:joins"), func() {
	for _, version := range peer.Versions() {
		for rule, since := range map[string]int{"restricted": 8, "knock_restricted": 10} {
			if numberOf(version) < since {
				continue
			}
			It("a user here joins a room of another server whose join rule is "+rule+", in room version "+string(version), Label(labelVersion+string(version)),
				says("server-server-api#put_matrixfederationv2send_joinroomideventid", "event: The membership event sent to other servers by the resident server including a signature from the resident server. Required if the room is restricted and the joining user is authorised by one of the conditions."), func(ctx SpecContext) {
					p := newPeer()
					room := restrict(ctx, p, version, rule)
					_, err := alice.Join(ctx, string(room.ID), string(p.Name))
					Expect(err).NotTo(HaveOccurred())
					m := meeting{Room: room, peer: p, user: p.User("bob")}
					join := m.State("m.room.member", alice.ID)
					Expect(join.Membership()).To(Equal("join"))
					Expect(string(join.Content())).To(ContainSubstring(`"` + authorisedVia + `":"` + string(m.user) + `"`))
					verify(join, ownKeys(ctx, p))
					Expect(m.Check(join)).To(Succeed())

					m.fromAlice(ctx, "let in")
					m.marker(ctx)
					answer, err := p.Do(ctx, sut.name, historyRequest("event", m.ID, join.ID()))
					Expect(err).NotTo(HaveOccurred())
					var given struct {
						PDUs []json.RawMessage `json:"pdus"`
					}
					Expect(json.Unmarshal(answer.Body, &given)).To(Succeed())
					Expect(given.PDUs).To(HaveLen(1), "%s", answer.String())
					kept, err := event.Parse(m.Rules, given.PDUs[0])
					Expect(err).NotTo(HaveOccurred())
					Expect(kept.SignaturesOf(p.Name)).To(Equal(join.SignaturesOf(p.Name)), "the join that is kept lacks the signature that lets others believe it")
				})
		}
	}

	for code, sentence := range map[string]string{
		"M_UNABLE_TO_AUTHORISE_JOIN": "to denote that the resident server is unable to validate any of the conditions, usually because the resident server does not have state information about rooms required by the conditions",
		"M_UNABLE_TO_GRANT_JOIN":     "to denote that the joining server should try a different server",
	} {
		for _, endpoint := range []string{"make_join", "send_join"} {
			It("the next resident server is asked where one answers "+endpoint+" with "+code, says(restrictedSection, sentence), func(ctx SpecContext) {
				p, q := newPeer(), newPeer()
				room := restrict(ctx, p, mainVersion, "restricted")
				_, err := q.Join(ctx, p.Name, room.ID, q.User("carol"))
				Expect(err).NotTo(HaveOccurred())
				var asked atomic.Int32
				for _, resident := range []*peer.Peer{p, q} {
					resident.On(endpoint, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
						if asked.Add(1) == 1 { // whoever comes first
							peer.Fail(http.StatusBadRequest, code)(w, r, next)
						} else {
							next.ServeHTTP(w, r)
						}
					})
				}
				_, err = alice.Join(ctx, string(room.ID), string(p.Name), string(q.Name))
				Expect(err).NotTo(HaveOccurred())
				Expect(asked.Load()).To(BeEquivalentTo(2))
				Expect(joinedRooms(ctx, alice)).To(ContainElement(string(room.ID)))
			})
		}

		It("the user is refused where every resident server answers "+code,
			follows(restrictedSection, "a resident server that can't let the user in is no reason to be in the room"), func(ctx SpecContext) {
				p := newPeer()
				room := restrict(ctx, p, mainVersion, "restricted")
				p.On("make_join", peer.Fail(http.StatusBadRequest, code))
				_, err := alice.Join(ctx, string(room.ID), string(p.Name))
				Expect(status(err)).To(BeNumerically(">=", 400), "%s", errorText(err))
				Expect(p.Requests("send_join")).To(HaveLen(1), "the one for the other room")
				Expect(joinedRooms(ctx, alice)).NotTo(ContainElement(string(room.ID)))
			})
	}

	DescribeTable("who lies about letting the user in is not believed",
		says(rulesSection, "If content has a join_authorised_via_users_server key: If the event is not validly signed by the homeserver of the user ID denoted by the key, reject."), func(ctx SpecContext, endpoint string, lie func(p *peer.Peer, answer map[string]any)) {
			p := newPeer()
			room := restrict(ctx, p, mainVersion, "restricted")
			p.On(endpoint, peer.Lie(func(answer map[string]any) { lie(p, answer) }))
			_, err := alice.Join(ctx, string(room.ID), string(p.Name))
			Expect(status(err)).To(BeNumerically(">=", 400), "%s", errorText(err))
			Expect(joinedRooms(ctx, alice)).NotTo(ContainElement(string(room.ID)))
		},
		Entry("the join does not come back", "send_join", func(_ *peer.Peer, answer map[string]any) { delete(answer, "event") }),
		Entry("the join comes back without the signature", "send_join", func(p *peer.Peer, answer map[string]any) {
			delete(answer["event"].(map[string]any)["signatures"].(map[string]any), string(p.Name))
		}),
		Entry("the signature is wrong", "send_join", func(p *peer.Peer, answer map[string]any) {
			signatures := answer["event"].(map[string]any)["signatures"].(map[string]any)
			signatures[string(p.Name)] = map[string]any{"ed25519:peer": signatures[string(home)].(map[string]any)[anyKey(signatures[string(home)])]}
		}),
		Entry("the signature is under the name of another server", "send_join", func(p *peer.Peer, answer map[string]any) {
			signatures := answer["event"].(map[string]any)["signatures"].(map[string]any)
			signatures["elsewhere.test"] = signatures[string(p.Name)]
			delete(signatures, string(p.Name))
		}),
		Entry("another event comes back", "send_join", func(_ *peer.Peer, answer map[string]any) {
			answer["event"] = filter(answer["state"], func(e map[string]any) bool { return e["type"] == "m.room.member" })[0]
		}),
		Entry("nobody is named who lets the user in", "make_join", via(nil)),
		Entry("a user of another server is named", "make_join", via("@mallory:elsewhere.test")),
		Entry("a user is named who is not in the room", "make_join", func(p *peer.Peer, answer map[string]any) { via(p.User("mallory"))(p, answer) }),
		Entry("the user who joins is named", "make_join", func(p *peer.Peer, answer map[string]any) { via(alice.ID)(p, answer) }),
	)
})

// via names somebody else, or nobody, as who lets the user in.
func via(user any) func(p *peer.Peer, answer map[string]any) {
	return func(_ *peer.Peer, answer map[string]any) {
		content := answer["event"].(map[string]any)["content"].(map[string]any)
		if user == nil {
			delete(content, authorisedVia)
		} else {
			content[authorisedVia] = user
		}
	}
}

func anyKey(fields any) string {
	for key := range fields.(map[string]any) {
		return key
	}
	return ""
}
