package suite

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/testnet/peer"
	"hanse/testnet/user"
)

const (
	inviteSection = "server-server-api#inviting-to-a-room"
	inviteV2      = "server-server-api#put_matrixfederationv2inviteroomideventid"
)

// invitation is what a user's sync shows of an invite: the stripped state.
func invitation(ctx context.Context, u *user.User, roomID id.RoomID) func() (map[string]json.RawMessage, error) {
	return func() (map[string]json.RawMessage, error) {
		var answer user.SyncAnswer
		err := u.Call(ctx, http.MethodGet, "/_matrix/client/v3/sync", query("timeout", "0", "filter", freshFilter("")), nil, &answer)
		state := map[string]json.RawMessage{}
		for _, e := range answer.Rooms.Invite[string(roomID)].InviteState.Events {
			state[e.Type] = e.Content
		}
		return state, err
	}
}

// privateRoom is a room of a new peer's that is for invited users.
func privateRoom(version roomversion.Version) meeting {
	GinkgoHelper()
	p := newPeer()
	room, err := p.CreateRoom(version, p.User("bob"), peer.RoomOptions{JoinRule: "invite"})
	Expect(err).NotTo(HaveOccurred())
	_, err = room.Put(peer.StateDraft(p.User("bob"), "m.room.name", "", map[string]any{"name": "The den"}))
	Expect(err).NotTo(HaveOccurred())
	return meeting{Room: room, peer: p, user: p.User("bob")}
}

var _ = Describe("Invites", Label("s2s:invites"), func() {
	DescribeTable("a user of another server is invited",
		says(inviteSection, "when a user invites another user on a different homeserver, a request to that homeserver to have the event signed and verified must be made."),
		says(inviteV2, "invite_room_state: MUST contain the m.room.create event for the room. All events listed MUST additionally be formatted according to the room version specification."), func(ctx SpecContext, version roomversion.Version) {
			p := newPeer()
			roomID := roomOfAlice(ctx, version, map[string]any{"preset": "private_chat", "name": "The den"})
			Expect(alice.Invite(ctx, string(roomID), string(p.User("bob")))).To(Succeed())
			Expect(p.Invites()).To(HaveLen(1), "the invited server is asked before the invite succeeds")
			invite := p.Invites()[0]
			Expect(invite.RoomVersion).To(Equal(version))
			Expect(invite.Event.RoomID()).To(Equal(roomID))
			Expect(invite.Event.Membership()).To(Equal("invite"))
			Expect(invite.Event.ContentHashMatches()).To(BeTrue())
			verify(invite.Event, ownKeys(ctx, p))
			Eventually(membership(ctx, roomID, p.User("bob"))).Should(Equal("invite"))

			rules, _ := roomversion.Lookup(version)
			var types []string
			for _, raw := range invite.State {
				e, err := event.Parse(rules, raw)
				Expect(err).NotTo(HaveOccurred(), "not in the format of room version %s: %s", version, raw)
				Expect(e.RoomID()).To(Equal(roomID))
				types = append(types, e.Type())
			}
			Expect(types).To(ContainElements("m.room.create", "m.room.join_rules", "m.room.name"))

			m := visit(ctx, p, roomID)
			Eventually(membership(ctx, roomID, p.User("bob"))).Should(Equal("join"))
			kept := m.Event(invite.Event.ID())
			Expect(kept).NotTo(BeNil(), "the invite is an auth event of the join")
			Expect(kept.SignaturesOf(p.Name)).NotTo(BeEmpty(), "the invited server's signature is kept")
			m.marker(ctx)
		}, eachVersion())

	DescribeTable("an old server is invited by the first form of the request",
		says(inviteV2, "Senders which receive a 400 or 404 response to this endpoint should retry using the v1 API as the server may be older, if the room version is \"1\" or \"2\"."), func(ctx SpecContext, status int) {
			p := newPeer()
			p.On("invite", peer.Fail(status, "M_UNRECOGNIZED"))
			roomID := roomOfAlice(ctx, roomversion.V1, map[string]any{"preset": "private_chat"})
			Expect(alice.Invite(ctx, string(roomID), string(p.User("bob")))).To(Succeed())
			Expect(p.Invites()).To(HaveLen(1))
			Expect(p.Invites()[0].State).NotTo(BeEmpty(), "unsigned.invite_room_state")
			Eventually(membership(ctx, roomID, p.User("bob"))).Should(Equal("invite"))
		},
		Entry("after 404", Label("rooms:v1"), http.StatusNotFound),
		Entry("after 400", Label("rooms:v1"), http.StatusBadRequest),
	)

	DescribeTable("an invite that the other server does not sign does not happen",
		says(inviteSection, "a request to that homeserver to have the event signed and verified must be made."), func(ctx SpecContext, hook func(p *peer.Peer) peer.Hook) {
			p := newPeer()
			p.On("invite", hook(p))
			roomID := roomOfAlice(ctx, mainVersion, nil)
			Expect(status(alice.Invite(ctx, string(roomID), string(p.User("bob"))))).To(BeNumerically(">=", 400))
			Consistently(membership(ctx, roomID, p.User("bob"))).Should(BeEmpty())
		},
		Entry("it refuses", func(*peer.Peer) peer.Hook { return peer.Fail(http.StatusForbidden, "M_FORBIDDEN") }),
		Entry("it answers with another event", func(p *peer.Peer) peer.Hook {
			return peer.Lie(func(answer map[string]any) { answer["event"].(map[string]any)["depth"] = 99 })
		}),
		Entry("it answers with something that is no event", func(*peer.Peer) peer.Hook { return peer.Answer(http.StatusOK, `{"event":{}}`) }),
	)

	DescribeTable("a user here is invited",
		says(inviteV2, "Once the event has been signed by both the inviting homeserver and the invited homeserver, it can be sent to all of the servers in the room"), func(ctx SpecContext, version roomversion.Version) {
			m := privateRoom(version)
			carol := sut.newUser(ctx)
			signed, err := m.Invite(ctx, m.user, id.UserID(carol.ID))
			Expect(err).NotTo(HaveOccurred())
			verify(signed, ownKeys(ctx, m.peer))
			Expect(signed.SignaturesOf(m.peer.Name)).NotTo(BeEmpty(), "the inviting server's signature is kept")
			Eventually(invitation(ctx, carol, m.ID)).Should(HaveKey("m.room.name"))
			Expect(invitation(ctx, carol, m.ID)()).To(HaveKey("m.room.member"))
			_, err = carol.Join(ctx, string(m.ID))
			Expect(err).NotTo(HaveOccurred(), "the inviting server is asked for the join, without being named")
			Expect(m.Membership(id.UserID(carol.ID))).To(Equal("join"))
			eventID, err := carol.Say(ctx, string(m.ID), "thanks")
			Expect(err).NotTo(HaveOccurred())
			m.arrives(id.EventID(eventID))
		}, eachVersion())

	It("takes an invite in the first form of the request", Label("rooms:v1"),
		says("server-server-api#put_matrixfederationv1inviteroomideventid", "Servers which receive a v1 invite request must assume that the room version is either 1 or 2."), func(ctx SpecContext) {
			m := privateRoom(roomversion.V1)
			carol := sut.newUser(ctx)
			invite, err := m.Build(peer.StateDraft(m.user, "m.room.member", carol.ID, map[string]any{"membership": "invite"}))
			Expect(err).NotTo(HaveOccurred())
			body, err := json.Marshal(federation.InviteRequestV1{Event: invite.JSON(), InviteRoomState: m.InviteState()})
			Expect(err).NotTo(HaveOccurred())
			answer, err := m.peer.Do(ctx, sut.name, peer.ByHand{
				Method: http.MethodPut, Body: body,
				URI: "/_matrix/federation/v1/invite/" + url.PathEscape(string(m.ID)) + "/" + url.PathEscape(string(invite.ID())),
			})
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Status).To(Equal(http.StatusOK), "%s", answer.String())
			var pair []json.RawMessage
			Expect(json.Unmarshal(answer.Body, &pair)).To(Succeed())
			Expect(pair).To(HaveLen(2))
			Expect(string(pair[0])).To(Equal("200"))
			Eventually(invitation(ctx, carol, m.ID)).Should(HaveKey("m.room.member"))
		})

	It("a user here rejects an invite",
		says("server-server-api#leaving-rooms-rejecting-invites", "In the case of rejecting invites, the resident server may be the server which sent the invite. After receiving a template event from /make_leave, the leaving server signs the event … This is then sent to the resident server via /send_leave."), func(ctx SpecContext) {
			m := privateRoom(mainVersion)
			carol := sut.newUser(ctx)
			_, err := m.Invite(ctx, m.user, id.UserID(carol.ID))
			Expect(err).NotTo(HaveOccurred())
			Eventually(invitation(ctx, carol, m.ID)).ShouldNot(BeEmpty())
			Expect(carol.Leave(ctx, string(m.ID))).To(Succeed())
			Eventually(func() string { return m.Membership(id.UserID(carol.ID)) }).Should(Equal("leave"))
			verify(m.State("m.room.member", carol.ID), ownKeys(ctx, m.peer))
			Eventually(invitation(ctx, carol, m.ID)).Should(BeEmpty())
		})

	It("a user here is rid of an invite although its server is gone",
		says("client-server-api#post_matrixclientv3roomsroomidleave", "If the user was invited to the room, but had not joined, this call serves to reject the invite."), func(ctx SpecContext) {
			m := privateRoom(mainVersion)
			carol := sut.newUser(ctx)
			_, err := m.Invite(ctx, m.user, id.UserID(carol.ID))
			Expect(err).NotTo(HaveOccurred())
			Eventually(invitation(ctx, carol, m.ID)).ShouldNot(BeEmpty())
			m.peer.Close()
			Expect(carol.Leave(ctx, string(m.ID))).To(Succeed())
			Eventually(invitation(ctx, carol, m.ID)).Should(BeEmpty())
		})

	It("an invite is withdrawn",
		follows("server-server-api#inviting-to-a-room", "the invited server learns of a withdrawn invite by the leave event in a transaction"), func(ctx SpecContext) {
			m := privateRoom(mainVersion)
			carol := sut.newUser(ctx)
			_, err := m.Invite(ctx, m.user, id.UserID(carol.ID))
			Expect(err).NotTo(HaveOccurred())
			Eventually(invitation(ctx, carol, m.ID)).ShouldNot(BeEmpty())
			leave, err := m.Put(peer.StateDraft(m.user, "m.room.member", carol.ID, map[string]any{"membership": "leave"}))
			Expect(err).NotTo(HaveOccurred())
			m.delivered(ctx, leave.JSON())
			Eventually(invitation(ctx, carol, m.ID)).Should(BeEmpty())
		})

	It("an invite is not withdrawn by what withdrew an earlier one",
		follows("server-server-api#inviting-to-a-room", "the leave event ends the invite that it is authorised with; it may come late"), func(ctx SpecContext) {
			m := privateRoom(mainVersion)
			carol := sut.newUser(ctx)
			_, err := m.Invite(ctx, m.user, id.UserID(carol.ID))
			Expect(err).NotTo(HaveOccurred())
			leave, err := m.Put(peer.StateDraft(m.user, "m.room.member", carol.ID, map[string]any{"membership": "leave"}))
			Expect(err).NotTo(HaveOccurred())
			_, err = m.Invite(ctx, m.user, id.UserID(carol.ID))
			Expect(err).NotTo(HaveOccurred())
			_, err = m.peer.Transaction(ctx, sut.name, leave.JSON())
			Expect(err).NotTo(HaveOccurred())
			Consistently(invitation(ctx, carol, m.ID)).ShouldNot(BeEmpty())
		})

	It("an invite is not withdrawn by another user than its sender",
		follows("server-server-api#inviting-to-a-room", "who isn't in the room can't tell who else may end an invite"), func(ctx SpecContext) {
			m := privateRoom(mainVersion)
			carol := sut.newUser(ctx)
			_, err := m.Invite(ctx, m.user, id.UserID(carol.ID))
			Expect(err).NotTo(HaveOccurred())
			Eventually(invitation(ctx, carol, m.ID)).ShouldNot(BeEmpty())
			for _, ended := range []string{"leave", "ban"} {
				kick, err := m.Put(peer.StateDraft(m.peer.User("dave"), "m.room.member", carol.ID, map[string]any{"membership": ended}))
				Expect(err).NotTo(HaveOccurred())
				_, err = m.peer.Transaction(ctx, sut.name, kick.JSON())
				Expect(err).NotTo(HaveOccurred())
			}
			Consistently(invitation(ctx, carol, m.ID)).ShouldNot(BeEmpty())
		})

	It("another server's user rejects an invite",
		says("server-server-api#leaving-rooms-rejecting-invites", "the server which wishes to leave the room starts with sending a /make_leave request to a resident server."), func(ctx SpecContext) {
			p := newPeer()
			roomID := roomOfAlice(ctx, mainVersion, map[string]any{"preset": "private_chat"})
			Expect(alice.Invite(ctx, string(roomID), string(p.User("bob")))).To(Succeed())
			rules, _ := roomversion.Lookup(mainVersion)
			_, err := p.Leave(ctx, sut.name, rules, roomID, p.User("bob"))
			Expect(err).NotTo(HaveOccurred())
			Eventually(membership(ctx, roomID, p.User("bob"))).Should(Equal("leave"))
		})

	DescribeTable("an event that is no good invite is not signed",
		says(inviteV2, "Servers MUST apply certain validation to ensure they don't accidentally sign non-invite events from a malicious server."), func(ctx SpecContext, forge func(m meeting, carol *user.User) event.Draft, wrongKey bool) {
			m := privateRoom(mainVersion)
			carol := sut.newUser(ctx)
			draft := forge(m, carol)
			e, err := m.Build(draft)
			Expect(err).NotTo(HaveOccurred())
			raw := json.RawMessage(e.JSON())
			if wrongKey {
				raw, _ = m.Forge(e, asIs, peer.Forgery{Key: peer.NewKey("ed25519:peer")})
			}
			_, err = m.peer.Client.Invite(ctx, sut.name, federation.InviteRequest{
				RoomID: m.ID, EventID: e.ID(), RoomVersion: mainVersion, Event: raw, InviteRoomState: m.InviteState(),
			})
			Expect(err).To(refused())
			Expect(invitation(ctx, carol, m.ID)()).To(BeEmpty())
		},
		Entry("a bad signature", func(m meeting, carol *user.User) event.Draft {
			return peer.StateDraft(m.user, "m.room.member", carol.ID, map[string]any{"membership": "invite"})
		}, true),
		Entry("a message", func(m meeting, _ *user.User) event.Draft { return peer.MessageDraft(m.user, "sign this") }, false),
		Entry("a join", func(m meeting, carol *user.User) event.Draft {
			return peer.StateDraft(m.user, "m.room.member", carol.ID, map[string]any{"membership": "join"})
		}, false),
		Entry("another type", func(m meeting, carol *user.User) event.Draft {
			return peer.StateDraft(m.user, "org.example.member", carol.ID, map[string]any{"membership": "invite"})
		}, false),
		Entry("a user of another server", func(m meeting, _ *user.User) event.Draft {
			return peer.StateDraft(m.user, "m.room.member", "@carol:elsewhere.test", map[string]any{"membership": "invite"})
		}, false),
		Entry("a sender of another server", func(m meeting, carol *user.User) event.Draft {
			return peer.StateDraft("@bob:elsewhere.test", "m.room.member", carol.ID, map[string]any{"membership": "invite"})
		}, false),
	)

	It("refuses an invite to a room of a version that it doesn't know",
		says(inviteV2, "400: … the room the server is attempting to join has a version that is not [supported]: M_INCOMPATIBLE_ROOM_VERSION"), func(ctx SpecContext) {
			m := privateRoom(mainVersion)
			e, err := m.Build(peer.StateDraft(m.user, "m.room.member", alice.ID, map[string]any{"membership": "invite"}))
			Expect(err).NotTo(HaveOccurred())
			body, err := json.Marshal(federation.InviteRequestV2{RoomVersion: "org.example.unheard-of", Event: e.JSON(), InviteRoomState: m.InviteState()})
			Expect(err).NotTo(HaveOccurred())
			answer, err := m.peer.Do(ctx, sut.name, peer.ByHand{
				Method: http.MethodPut, Body: body,
				URI: "/_matrix/federation/v2/invite/" + url.PathEscape(string(m.ID)) + "/" + url.PathEscape(string(e.ID())),
			})
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Status).To(Equal(http.StatusBadRequest), "%s", answer.String())
			Expect(answer.Code()).To(Equal("M_INCOMPATIBLE_ROOM_VERSION"))
		})

	It("checks the create event of a room whose ID it is", Label("rooms:v12"),
		says(inviteV2, "servers SHOULD return M_INVALID_PARAM if: The m.room.create event is missing from invite_room_state … SHOULD apply to all other room versions [than 1 through 11]."), func(ctx SpecContext) {
			m, other := privateRoom(roomversion.V12), privateRoom(roomversion.V12)
			for name, state := range map[string][]json.RawMessage{"none": {}, "of another room": other.InviteState()} {
				e, err := m.Build(peer.StateDraft(m.user, "m.room.member", alice.ID, map[string]any{"membership": "invite"}))
				Expect(err).NotTo(HaveOccurred())
				_, err = m.peer.Client.Invite(ctx, sut.name, federation.InviteRequest{
					RoomID: m.ID, EventID: e.ID(), RoomVersion: roomversion.V12, Event: e.JSON(), InviteRoomState: state,
				})
				Expect(err).To(refused(), "invite_room_state: "+name)
			}
		})
})
