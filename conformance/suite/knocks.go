package suite

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/testnet/peer"
	"hanse/testnet/user"
)

const knockSection = "server-server-api#knocking-rooms"

// roomToKnockAt is a room of alice's that takes knocks.
func roomToKnockAt(ctx context.Context, version roomversion.Version) id.RoomID {
	GinkgoHelper()
	return roomOfAlice(ctx, version, map[string]any{"preset": "private_chat", "name": "The den", "initial_state": []any{map[string]any{
		"type": "m.room.join_rules", "state_key": "", "content": map[string]any{"join_rule": "knock"},
	}}})
}

// knock lets a peer's user knock at a room here.
func knock(ctx context.Context, p *peer.Peer, roomID id.RoomID) (template, state json.RawMessage, knocked *event.Event) {
	GinkgoHelper()
	made, err := p.Client.MakeKnock(ctx, sut.name, roomID, p.User("bob"), peer.Versions())
	Expect(err).NotTo(HaveOccurred())
	rules, _ := roomversion.Lookup(made.RoomVersion)
	draft, err := event.ParseDraft(rules, made.Event)
	Expect(err).NotTo(HaveOccurred())
	knocked, err = draft.Sign(rules, p.Name, p.Key())
	Expect(err).NotTo(HaveOccurred())
	answer, err := p.Client.SendKnock(ctx, sut.name, roomID, knocked.ID(), knocked.JSON())
	Expect(err).NotTo(HaveOccurred())
	return made.Event, encode(answer.KnockRoomState), knocked
}

var _ = Describe("Knocks", Label("s2s:knocks"), func() {
	for _, version := range peer.Versions() {
		if numberOf(version) < 7 {
			continue
		}
		It("another server's user knocks here, and is let in, in room version "+string(version), Label(labelVersion+string(version)),
			says(knockSection, "Rooms can permit knocking through the join rules, and if permitted this gives users a way to request to join (be invited) to the room."),
			says("server-server-api#put_matrixfederationv1send_knockroomideventid", "knock_room_state: A list of stripped state events to help the initiator of the knock identify the room."), func(ctx SpecContext) {
				p := newPeer()
				roomID := roomToKnockAt(ctx, version)
				template, state, _ := knock(ctx, p, roomID)
				Expect(string(template)).To(And(ContainSubstring(`"membership":"knock"`), ContainSubstring(string(p.User("bob")))))
				Expect(string(state)).To(And(ContainSubstring("m.room.create"), ContainSubstring("The den")))
				Eventually(membership(ctx, roomID, p.User("bob"))).Should(Equal("knock"))
				Expect(alice.Invite(ctx, string(roomID), string(p.User("bob")))).To(Succeed())
				Expect(p.Invites()).To(HaveLen(1))
				m := visit(ctx, p, roomID)
				m.marker(ctx)
			})

		It("a user here knocks at another server's room, in room version "+string(version), Label(labelVersion+string(version)),
			says("server-server-api#get_matrixfederationv1make_knockroomiduserid", "Asks the receiving server to return information that the sending server will need to prepare a knock event for the room."), func(ctx SpecContext) {
				p := newPeer()
				room, err := p.CreateRoom(version, p.User("bob"), peer.RoomOptions{JoinRule: "knock"})
				Expect(err).NotTo(HaveOccurred())
				_, err = room.Put(peer.StateDraft(p.User("bob"), "m.room.name", "", map[string]any{"name": "The den"}))
				Expect(err).NotTo(HaveOccurred())
				carol := sut.newUser(ctx)
				Expect(knockAs(ctx, carol, room.ID, p)).To(Succeed())
				Expect(room.Membership(id.UserID(carol.ID))).To(Equal("knock"))
				Expect(room.Check(room.State("m.room.member", carol.ID))).To(Succeed())
				verify(room.State("m.room.member", carol.ID), ownKeys(ctx, p))
				Eventually(knocking(ctx, carol, room.ID)).Should(ContainSubstring("The den"))
				m := meeting{Room: room, peer: p, user: p.User("bob")}
				_, err = m.Invite(ctx, m.user, id.UserID(carol.ID))
				Expect(err).NotTo(HaveOccurred())
				Eventually(invitation(ctx, carol, room.ID)).ShouldNot(BeEmpty())
				_, err = carol.Join(ctx, string(room.ID), string(p.Name))
				Expect(err).NotTo(HaveOccurred())
			})
	}

	DescribeTable("make_knock is refused",
		says("server-server-api#get_matrixfederationv1make_knockroomiduserid", "403: The room that the server is attempting to knock upon isn't permitting knocks."), func(ctx SpecContext, prepare func(ctx context.Context, p *peer.Peer) (id.RoomID, string), want int, code string) {
			p := newPeer()
			roomID, versions := prepare(ctx, p)
			answer, err := p.Do(ctx, sut.name, peer.ByHand{Method: http.MethodGet, URI: "/_matrix/federation/v1/make_knock/" + url.PathEscape(string(roomID)) + "/" + url.PathEscape(string(p.User("bob"))) + "?" + versions})
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Status).To(Equal(want), "%s", answer.String())
			Expect(answer.Code()).To(Equal(code))
		},
		Entry("where nobody may knock", func(ctx context.Context, _ *peer.Peer) (id.RoomID, string) {
			return roomOfAlice(ctx, mainVersion, nil), "ver=10"
		}, http.StatusForbidden, "M_FORBIDDEN"),
		Entry("for a version that the other server doesn't support", func(ctx context.Context, _ *peer.Peer) (id.RoomID, string) {
			return roomToKnockAt(ctx, mainVersion), "ver=1&ver=9"
		}, http.StatusBadRequest, "M_INCOMPATIBLE_ROOM_VERSION"),
		Entry("at a room that isn't there", func(context.Context, *peer.Peer) (id.RoomID, string) {
			return id.RoomID("!nothing:" + string(home)), "ver=10"
		}, http.StatusNotFound, "M_NOT_FOUND"),
		Entry("for who is banned", func(ctx context.Context, p *peer.Peer) (id.RoomID, string) {
			roomID := roomToKnockAt(ctx, mainVersion)
			Expect(alice.Call(ctx, http.MethodPost, "/_matrix/client/v3/rooms/"+url.PathEscape(string(roomID))+"/ban", nil, map[string]any{"user_id": p.User("bob")}, nil)).To(Succeed())
			return roomID, "ver=10"
		}, http.StatusForbidden, "M_FORBIDDEN"),
	)

	DescribeTable("a template that is no knock is not signed",
		says("server-server-api#get_matrixfederationv1make_knockroomiduserid", "Before signing the returned template and calling /send_knock, the sending server MUST verify that: the room_id is equal to the roomId path parameter; both the sender and state_key are equal to the userId path parameter; the type of the event is m.room.member; the membership field inside content is knock."), func(ctx SpecContext, alter func(map[string]any)) {
			p := newPeer()
			room, err := p.CreateRoom(mainVersion, p.User("bob"), peer.RoomOptions{JoinRule: "knock"})
			Expect(err).NotTo(HaveOccurred())
			p.On("make_knock", peer.Lie(func(answer map[string]any) { alter(answer["event"].(map[string]any)) }))
			carol := sut.newUser(ctx)
			_ = knockAs(ctx, carol, room.ID, p) // what counts is what was signed
			for _, request := range p.Requests("send_knock") {
				e, err := event.Parse(room.Rules, request.Body)
				Expect(err).NotTo(HaveOccurred())
				Expect(e.Is("m.room.member", carol.ID)).To(BeTrue(), "signed: %s", request.Body)
				Expect(e.Membership()).To(Equal("knock"), "signed: %s", request.Body)
				Expect(e.RoomID()).To(Equal(room.ID), "signed: %s", request.Body)
			}
		},
		Entry("a join", set("content", map[string]any{"membership": "join"})),
		Entry("another type", set("type", "m.room.power_levels")),
		Entry("another room", set("room_id", "!other:elsewhere.test")),
		Entry("another user", set("state_key", "@other:elsewhere.test")),
	)
})

func knockAs(ctx context.Context, u *user.User, roomID id.RoomID, p *peer.Peer) error {
	return u.Call(ctx, http.MethodPost, "/_matrix/client/v3/knock/"+url.PathEscape(string(roomID)), url.Values{"via": {string(p.Name)}, "server_name": {string(p.Name)}}, map[string]any{}, nil)
}

// knocking is what a user's sync shows of a knock, as text.
func knocking(ctx context.Context, u *user.User, roomID id.RoomID) func() (string, error) {
	return func() (string, error) {
		var answer struct {
			Rooms struct {
				Knock map[string]json.RawMessage `json:"knock"`
			} `json:"rooms"`
		}
		err := u.Call(ctx, http.MethodGet, "/_matrix/client/v3/sync", query("timeout", "0", "filter", freshFilter("")), nil, &answer)
		return string(answer.Rooms.Knock[string(roomID)]), err
	}
}

var _ = Describe("Leaves", Label("s2s:leaves"), func() {
	const section = "server-server-api#leaving-rooms-rejecting-invites"

	DescribeTable("another server's user leaves by way of this one", says(section, "the leaving server signs the event … This is then sent to the resident server via /send_leave."), func(ctx SpecContext, version roomversion.Version) {
		m := meet(ctx, version)
		_, err := m.peer.Leave(ctx, sut.name, m.Rules, m.ID, m.user)
		Expect(err).NotTo(HaveOccurred())
		Eventually(membership(ctx, m.ID, m.user)).Should(Equal("leave"))
	}, eachVersion())

	DescribeTable("a user here leaves, and the others are told", says(section, "Homeservers wishing to leave a room need to send a leave event"), func(ctx SpecContext, version roomversion.Version) {
		carol := sut.newUser(ctx)
		p := newPeer()
		room, err := p.CreateRoom(version, p.User("bob"), peer.RoomOptions{})
		Expect(err).NotTo(HaveOccurred())
		_, err = carol.Join(ctx, string(room.ID), string(p.Name))
		Expect(err).NotTo(HaveOccurred())
		Expect(carol.Leave(ctx, string(room.ID))).To(Succeed())
		Eventually(func() string { return room.Membership(id.UserID(carol.ID)) }).Should(Equal("leave"))
		Expect(room.Check(room.State("m.room.member", carol.ID))).To(Succeed())
	}, eachVersion())

	DescribeTable("send_leave is refused",
		says("server-server-api#put_matrixfederationv2send_leaveroomideventid", "Submits a signed leave event to the resident server for it to accept it into the room's graph."), func(ctx SpecContext, draft func(m meeting) event.Draft, forgery peer.Forgery) {
			m := meet(ctx, mainVersion)
			e, err := m.Build(draft(m))
			Expect(err).NotTo(HaveOccurred())
			raw, eventID := m.Forge(e, asIs, forgery)
			answer, err := m.peer.Do(ctx, sut.name, peer.ByHand{Method: http.MethodPut, Body: raw, URI: "/_matrix/federation/v2/send_leave/" + url.PathEscape(string(m.ID)) + "/" + url.PathEscape(string(eventID))})
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Status).To(And(BeNumerically(">=", 400), BeNumerically("<", 500)), "%s", answer.String())
			Expect(membership(ctx, m.ID, m.user)()).To(Equal("join"))
		},
		Entry("with a bad signature", func(m meeting) event.Draft {
			return peer.StateDraft(m.user, "m.room.member", string(m.user), map[string]any{"membership": "leave"})
		}, peer.Forgery{Key: peer.NewKey("ed25519:peer")}),
		Entry("with a join", func(m meeting) event.Draft {
			return peer.StateDraft(m.user, "m.room.member", string(m.user), map[string]any{"membership": "join"})
		}, peer.Forgery{}),
		Entry("with a message", func(m meeting) event.Draft { return peer.MessageDraft(m.user, "not leaving") }, peer.Forgery{}),
		Entry("for somebody else", func(m meeting) event.Draft {
			return peer.StateDraft(m.user, "m.room.member", alice.ID, map[string]any{"membership": "leave"})
		}, peer.Forgery{}),
	)
})
