package suite

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/testnet/peer"
	"hanse/testnet/user"
)

const sendJoinSection = "server-server-api#put_matrixfederationv2send_joinroomideventid"

// withoutMembers checks an answer to send_join that was asked to leave out members. Whether a server does is its choice.
func withoutMembers(ctx context.Context, p *peer.Peer, joined peer.Joined) {
	GinkgoHelper()
	completeState(ctx, p, joined)
	for _, eventType := range []string{"m.room.create", "m.room.power_levels", "m.room.join_rules", "m.room.history_visibility"} {
		Expect(joined.Room.State(eventType, "")).NotTo(BeNil(), "the state lacks "+eventType)
	}
	if joined.Answer.MembersOmitted {
		Expect(joined.Answer.ServersInRoom).To(ContainElement(sut.name))
		Expect(joined.Answer.ServersInRoom).NotTo(ContainElement(p.Name), "it wasn't in the room before the join")
		return
	}
	Expect(joined.Room.Membership(id.UserID(alice.ID))).To(Equal("join"))
}

// stateHas tells whether the state in the answer has a member event.
func stateHas(joined peer.Joined, member id.UserID) bool {
	for _, raw := range joined.Answer.State {
		e, err := event.Parse(joined.Room.Rules, raw)
		if err == nil && e.Is("m.room.member", string(member)) {
			return true
		}
	}
	return false
}

// hostOmitting is host, of a peer that leaves out members and answers questions about states as it is told.
func hostOmitting(ctx context.Context, version roomversion.Version, members int, states peer.Hook) meeting {
	GinkgoHelper()
	p := newPeer()
	room, err := p.CreateRoom(version, p.User("bob"), peer.RoomOptions{})
	Expect(err).NotTo(HaveOccurred())
	for i := range members {
		member := p.User("member" + string(rune('a'+i)))
		_, err := room.Put(peer.StateDraft(member, "m.room.member", string(member), map[string]any{"membership": "join"}))
		Expect(err).NotTo(HaveOccurred())
	}
	_, err = room.Put(peer.StateDraft(p.User("bob"), "m.room.name", "", map[string]any{"name": "Harbour"}))
	Expect(err).NotTo(HaveOccurred())
	p.On("send_join", peer.OmitMembers())
	if states != nil {
		p.On("state_ids", states)
		p.On("state", states)
	}
	_, err = alice.Join(ctx, string(room.ID), string(p.Name))
	Expect(err).NotTo(HaveOccurred())
	return meeting{Room: room, peer: p, user: p.User("bob")}
}

var _ = Describe("Joins without members", Label("s2s:joins"), func() {
	DescribeTable("another server joins a room here and wants no members",
		says(sendJoinSection, "members_omitted: true if m.room.member events have been omitted from state."), func(ctx SpecContext, version roomversion.Version) {
			p := newPeer()
			roomID := roomOfAlice(ctx, version, map[string]any{"name": "Harbour"})
			joined, err := p.JoinWithoutMembers(ctx, sut.name, roomID, p.User("bob"))
			Expect(err).NotTo(HaveOccurred())
			withoutMembers(ctx, p, joined)
			Eventually(membership(ctx, roomID, p.User("bob"))).Should(Equal("join"))
			said, err := alice.Say(ctx, string(roomID), "welcome")
			Expect(err).NotTo(HaveOccurred())
			Eventually(func() bool { return joined.Room.Has(id.EventID(said)) }).Should(BeTrue())
		}, eachVersion())

	It("the members by whom a room without a name is named are not left out",
		says(sendJoinSection, "The resident server should include these members' membership events in the response state field, and include the auth chains for these membership events in the response auth_chain field."), func(ctx SpecContext) {
			p := newPeer()
			joined, err := p.JoinWithoutMembers(ctx, sut.name, roomOfAlice(ctx, mainVersion, nil), p.User("bob"))
			Expect(err).NotTo(HaveOccurred())
			withoutMembers(ctx, p, joined)
			Expect(stateHas(joined, id.UserID(alice.ID))).To(BeTrue(), "alice is who names the room")
		})

	DescribeTable("a user here joins a room on a server that leaves out members, and has them later",
		says(sendJoinSection, "If the request had omit_members set to true, events of type m.room.member may be omitted from the response to reduce the size of the response."), func(ctx SpecContext, version roomversion.Version) {
			m := hostOmitting(ctx, version, 5, nil)
			m.fromAlice(ctx, "here I am")
			m.marker(ctx)
			Eventually(membership(ctx, m.ID, m.peer.User("membera"))).Should(Equal("join"))
			Expect(membership(ctx, m.ID, m.user)()).To(Equal("join"))
			m.fromAlice(ctx, "and still am")
		}, eachVersion())

	It("a room can be used while its members are not to be had, and has them when they are",
		follows(sendJoinSection, "A server that asked to leave out members needs them in the end, and other servers are slow or fail."), func(ctx SpecContext) {
			m := hostOmitting(ctx, mainVersion, 5, peer.Fail(http.StatusInternalServerError, "M_UNKNOWN"))
			m.fromAlice(ctx, "here I am")
			m.marker(ctx)
			Expect(stateContent(ctx, alice, m.ID, "m.room.name", "")()).To(HaveKeyWithValue("name", "Harbour"))
			m.peer.On("state_ids", func(w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) })
			m.peer.On("state", func(w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) })
			Eventually(membership(ctx, m.ID, m.peer.User("membere"))).WithTimeout(30 * time.Second).Should(Equal("join"))
			m.fromAlice(ctx, "now I see you")
		})

	It("clients that load members lazily see the room at once, others when its members are there",
		follows("client-server-api#lazy-loading-room-members", "Clients that don't load members lazily take those that they get for all, and encrypt for nobody else."), func(ctx SpecContext) {
			release := make(chan struct{})
			freed := false
			free := func() {
				if !freed {
					close(release)
				}
				freed = true
			}
			defer free()
			m := hostOmitting(ctx, mainVersion, 3, heldUntil(release))
			lazy := `{"room":{"rooms":["` + string(m.ID) + `"],"state":{"lazy_load_members":true}}}`
			var first, next user.SyncAnswer
			Expect(alice.Call(ctx, http.MethodGet, "/_matrix/client/v3/sync", query("timeout", "0", "filter", lazy), nil, &first)).To(Succeed())
			shown := first.Rooms.Join[string(m.ID)]
			has := func(events []user.Event, eventType, stateKey string) bool {
				return slices.ContainsFunc(events, func(e user.Event) bool {
					return e.Type == eventType && e.StateKey != nil && *e.StateKey == stateKey
				})
			}
			all := slices.Concat(shown.State.Events, shown.Timeline.Events)
			Expect(has(all, "m.room.name", "")).To(BeTrue(), "the room has its name")
			Expect(has(all, "m.room.member", alice.ID)).To(BeTrue(), "alice is in the room")

			// A client that wants all members would take those that are known for all.
			everything := freshFilter(m.ID)
			first = user.SyncAnswer{}
			Expect(alice.Call(ctx, http.MethodGet, "/_matrix/client/v3/sync", query("timeout", "0", "filter", everything), nil, &first)).To(Succeed())
			Expect(first.Rooms.Join).NotTo(HaveKey(string(m.ID)), "a client that wants all members is shown the room when these are there")
			free()
			since := first.NextBatch
			var told []user.Event
			Eventually(func() (bool, error) {
				next = user.SyncAnswer{}
				err := alice.Call(ctx, http.MethodGet, "/_matrix/client/v3/sync", query("timeout", "100", "filter", everything, "since", since), nil, &next)
				if err != nil {
					return false, err
				}
				since = next.NextBatch
				told = slices.Concat(told, next.Rooms.Join[string(m.ID)].State.Events, next.Rooms.Join[string(m.ID)].Timeline.Events)
				return has(told, "m.room.member", string(m.peer.User("memberc"))) && has(told, "m.room.member", string(m.user)), nil
			}).Should(BeTrue(), "the members reach the client")
		})

	It("of a member event that was left out, the sender is taken from the auth events",
		follows(sendJoinSection, "Events of members that were left out arrive before the members do."), func(ctx SpecContext) {
			release := make(chan struct{})
			defer close(release)
			m := hostOmitting(ctx, mainVersion, 2, heldUntil(release))
			said, err := m.Say(ctx, m.peer.User("memberb"), "you don't know me")
			Expect(err).NotTo(HaveOccurred())
			Eventually(timeline(ctx, alice, m.ID)).Should(ContainElement(said.ID()))
		})

	It("members that were left out are seen typing and reading",
		follows(sendJoinSection, "a server that is said to be in the room is believed about its users who aren't known yet, others are not"), func(ctx SpecContext) {
			release := make(chan struct{})
			defer close(release)
			m := hostOmitting(ctx, mainVersion, 2, heldUntil(release))
			typing := func(p *peer.Peer) {
				GinkgoHelper()
				Expect(p.SendEDU(ctx, sut.name, "m.typing", map[string]any{"room_id": m.ID, "user_id": p.User("memberb"), "typing": true})).To(Succeed())
			}
			elsewhere := newPeer()
			typing(elsewhere)
			typing(m.peer)
			Expect(m.peer.SendEDU(ctx, sut.name, "m.receipt", map[string]any{string(m.ID): map[string]any{"m.read": map[string]any{
				string(m.peer.User("membera")): map[string]any{"data": map[string]any{"ts": 1}, "event_ids": []string{"$read"}},
			}}})).To(Succeed())
			lazy := `{"room":{"rooms":["` + string(m.ID) + `"],"state":{"lazy_load_members":true}}}`
			shown := func() string {
				sync := raw(ctx, alice, http.MethodGet, "/_matrix/client/v3/sync", query("timeout", "0", "filter", lazy), nil)
				return fmt.Sprint(sync["rooms"].(map[string]any)["join"].(map[string]any)[string(m.ID)].(map[string]any)["ephemeral"])
			}
			Eventually(shown).Should(And(ContainSubstring(string(m.peer.User("memberb"))), ContainSubstring("$read")))
			Expect(shown()).NotTo(ContainSubstring(string(elsewhere.Name)))
		})
})

// heldUntil is a hook that holds requests until release is closed.
func heldUntil(release <-chan struct{}) peer.Hook {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
		next.ServeHTTP(w, r)
	}
}
