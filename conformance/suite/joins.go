package suite

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ed25519"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
	"hanse/testnet/peer"
)

const joinSection = "server-server-api#joining-rooms"

// completeState checks the answer of send_join: every event is valid, hashed and signed, and every auth event of an
// event is there.
func completeState(ctx context.Context, p *peer.Peer, joined peer.Joined) {
	GinkgoHelper()
	keys := ownKeys(ctx, p)
	known := map[id.EventID]*event.Event{}
	var all []*event.Event
	for _, raw := range append(joined.Answer.State, joined.Answer.AuthChain...) {
		e, err := event.Parse(joined.Room.Rules, raw)
		Expect(err).NotTo(HaveOccurred(), string(raw))
		Expect(e.ContentHashMatches()).To(BeTrue(), "the content hash is wrong: %s", raw)
		if e.Sender().Server() == sut.name {
			verify(e, keys)
		}
		known[e.ID()] = e
		all = append(all, e)
	}
	for _, e := range append(all, joined.Join) {
		for _, auth := range e.AuthEvents() {
			Expect(known).To(HaveKey(auth), "%s needs an auth event that did not come: %s", e.JSON(), auth)
		}
	}
}

// verify checks the server under test's signature on an event.
func verify(e *event.Event, keys keyDocument) {
	GinkgoHelper()
	for keyID, signature := range e.SignaturesOf(sut.name) {
		public, err := signedjson.DecodeBase64(keys.VerifyKeys[keyID].Key)
		Expect(err).NotTo(HaveOccurred())
		Expect(ed25519.Verify(public, e.SignedBytes(), signature)).To(BeTrue(), "the signature is wrong: %s", e.JSON())
		return
	}
	Fail("not signed by " + string(sut.name) + ": " + string(e.JSON()))
}

var _ = Describe("Joins", Label("s2s:joins"), func() {
	DescribeTable("another server joins a room here",
		says(joinSection, "The joining server receives the full set of state for the newly-joined room as well as the freshly signed membership event."), func(ctx SpecContext, version roomversion.Version) {
			p := newPeer()
			roomID := roomOfAlice(ctx, version, map[string]any{"name": "Harbour", "topic": "ships"})
			joined, err := p.Join(ctx, sut.name, roomID, p.User("bob"))
			Expect(err).NotTo(HaveOccurred())

			Expect(joined.Template.RoomVersion).To(Equal(version))
			template, err := event.ParseDraft(joined.Room.Rules, joined.Template.Event)
			Expect(err).NotTo(HaveOccurred())
			Expect(template.Type).To(Equal("m.room.member"))
			Expect(template.Sender).To(Equal(p.User("bob")))
			Expect(*template.StateKey).To(Equal(string(p.User("bob"))))
			Expect(template.RoomID).To(Equal(roomID))
			Expect(template.Content).To(MatchJSON(`{"membership":"join"}`))

			completeState(ctx, p, joined)
			for _, eventType := range []string{"m.room.create", "m.room.power_levels", "m.room.join_rules", "m.room.history_visibility", "m.room.name", "m.room.topic"} {
				Expect(joined.Room.State(eventType, "")).NotTo(BeNil(), "the state lacks "+eventType)
			}
			Expect(joined.Room.Membership(id.UserID(alice.ID))).To(Equal("join"))
			Expect(joined.Room.Check(joined.Join)).To(Succeed())
			Eventually(membership(ctx, roomID, p.User("bob"))).Should(Equal("join"))

			m := meeting{Room: joined.Room, peer: p, user: p.User("bob")}
			m.marker(ctx)
			Expect(m.fromAlice(ctx, "welcome").PrevEvents()).To(HaveLen(1))
		}, eachVersion())

	DescribeTable("a user here joins a room on another server",
		says(joinSection, "It uses this information to construct an m.room.member event which it finally sends to a resident server."), func(ctx SpecContext, version roomversion.Version) {
			m := host(ctx, version, peer.RoomOptions{})
			Expect(m.Membership(id.UserID(alice.ID))).To(Equal("join"))
			join := m.State("m.room.member", alice.ID)
			verify(join, ownKeys(ctx, m.peer))
			Expect(join.ContentHashMatches()).To(BeTrue())
			Expect(m.Check(join)).To(Succeed())
			Expect(m.peer.Requests("make_join")[0].URI).To(ContainSubstring("ver="+url.QueryEscape(string(version))), "ver: The room versions the sending server has support for")
			Expect(stateContent(ctx, alice, m.ID, "m.room.history_visibility", "")()).To(HaveKeyWithValue("history_visibility", "shared"))
			Expect(membership(ctx, m.ID, m.user)()).To(Equal("join"))

			m.fromAlice(ctx, "here I am")
			m.marker(ctx)
			_, err := alice.SetState(ctx, string(m.ID), "m.room.member", alice.ID, map[string]any{"membership": "join", "displayname": "Captain"})
			Expect(err).NotTo(HaveOccurred())
			Eventually(func() string { return string(m.State("m.room.member", alice.ID).Content()) }).Should(ContainSubstring("Captain"))
		}, eachVersion())

	DescribeTable("make_join is refused",
		says("server-server-api#get_matrixfederationv1make_joinroomiduserid", "Asks the receiving server to return information that the sending server will need to prepare a join event to get into the room."), func(ctx SpecContext, version string, status int, code string, prepare func(ctx context.Context, p *peer.Peer) (id.RoomID, id.UserID)) {
			p := newPeer()
			roomID, user := prepare(ctx, p)
			versions := []roomversion.Version{roomversion.Version(version)}
			if version == "" {
				versions = peer.Versions()
			}
			_, err := p.Client.MakeJoin(ctx, sut.name, roomID, user, versions)
			Expect(err).To(refusedWith(status, code))
		},
		Entry("for a version that the joining server doesn't support", "1", http.StatusBadRequest, "M_INCOMPATIBLE_ROOM_VERSION", func(ctx context.Context, p *peer.Peer) (id.RoomID, id.UserID) {
			return roomOfAlice(ctx, mainVersion, nil), p.User("bob")
		}),
		Entry("to a room that is for invited users", "", http.StatusForbidden, "M_FORBIDDEN", func(ctx context.Context, p *peer.Peer) (id.RoomID, id.UserID) {
			return roomOfAlice(ctx, mainVersion, map[string]any{"preset": "private_chat"}), p.User("bob")
		}),
		Entry("to a room that isn't there", "", http.StatusNotFound, "M_NOT_FOUND", func(_ context.Context, p *peer.Peer) (id.RoomID, id.UserID) {
			return id.RoomID("!nothing:" + string(home)), p.User("bob")
		}),
		Entry("for a user of another server", "", http.StatusForbidden, "M_FORBIDDEN", func(ctx context.Context, _ *peer.Peer) (id.RoomID, id.UserID) {
			return roomOfAlice(ctx, mainVersion, nil), "@bob:elsewhere.test"
		}),
		Entry("for a banned user", "", http.StatusForbidden, "M_FORBIDDEN", func(ctx context.Context, p *peer.Peer) (id.RoomID, id.UserID) {
			roomID := roomOfAlice(ctx, mainVersion, nil)
			Expect(alice.Call(ctx, http.MethodPost, "/_matrix/client/v3/rooms/"+string(roomID)+"/ban", nil, map[string]any{"user_id": p.User("bob")}, nil)).To(Succeed())
			return roomID, p.User("bob")
		}),
	)

	It("without ver the joining server supports version 1",
		says("server-server-api#get_matrixfederationv1make_joinroomiduserid", "ver: The room versions the sending server has support for. Defaults to [1]."), func(ctx SpecContext) {
			p := newPeer()
			for version, want := range map[roomversion.Version]int{roomversion.V1: http.StatusOK, roomversion.V10: http.StatusBadRequest} {
				roomID := roomOfAlice(ctx, version, nil)
				answer, err := p.Do(ctx, sut.name, peer.ByHand{Method: http.MethodGet, URI: "/_matrix/federation/v1/make_join/" + url.PathEscape(string(roomID)) + "/" + url.PathEscape(string(p.User("bob")))})
				Expect(err).NotTo(HaveOccurred())
				Expect(answer.Status).To(Equal(want), "room version %s: %s", version, answer)
				if want != http.StatusOK {
					Expect(answer.Code()).To(Equal("M_INCOMPATIBLE_ROOM_VERSION"))
					Expect(answer.Body).To(ContainSubstring(`"room_version":"10"`))
				}
			}
		})

	DescribeTable("send_join is refused",
		says("server-server-api#put_matrixfederationv2send_joinroomideventid", "Submits a signed join event to the resident server for it to accept it into the room's graph."), func(ctx SpecContext, forge func(p *peer.Peer, draft event.Draft, rules *roomversion.Rules) json.RawMessage) {
			p := newPeer()
			roomID := roomOfAlice(ctx, mainVersion, nil)
			template, err := p.Client.MakeJoin(ctx, sut.name, roomID, p.User("bob"), peer.Versions())
			Expect(err).NotTo(HaveOccurred())
			rules, _ := roomversion.Lookup(mainVersion)
			draft, err := event.ParseDraft(rules, template.Event)
			Expect(err).NotTo(HaveOccurred())
			draft.OriginServerTS = time.Now().UnixMilli()
			raw := forge(p, draft, rules)
			eventID := id.EventID("$" + strings.Repeat("x", 43))
			if e, err := event.Parse(rules, raw); err == nil {
				eventID = e.ID()
			}
			_, err = p.Client.SendJoin(ctx, sut.name, roomID, eventID, raw, false)
			Expect(err).To(refused())
			Expect(membership(ctx, roomID, p.User("bob"))()).To(BeEmpty())
		},
		Entry("with a bad signature", func(p *peer.Peer, draft event.Draft, rules *roomversion.Rules) json.RawMessage {
			return sign(draft, rules, p.Name, peer.NewKey("ed25519:peer"))
		}),
		Entry("with a message", func(p *peer.Peer, draft event.Draft, rules *roomversion.Rules) json.RawMessage {
			draft.Type, draft.StateKey = "m.room.message", nil
			return sign(draft, rules, p.Name, p.Key())
		}),
		Entry("with a leave", func(p *peer.Peer, draft event.Draft, rules *roomversion.Rules) json.RawMessage {
			draft.Content = json.RawMessage(`{"membership":"leave"}`)
			return sign(draft, rules, p.Name, p.Key())
		}),
		Entry("for somebody else", func(p *peer.Peer, draft event.Draft, rules *roomversion.Rules) json.RawMessage {
			other := string(p.User("other"))
			draft.StateKey = &other
			return sign(draft, rules, p.Name, p.Key())
		}),
		Entry("for another room", func(p *peer.Peer, draft event.Draft, rules *roomversion.Rules) json.RawMessage {
			draft.RoomID = id.RoomID("!other:" + string(home))
			return sign(draft, rules, p.Name, p.Key())
		}),
		Entry("with something that is no event", func(*peer.Peer, event.Draft, *roomversion.Rules) json.RawMessage { return json.RawMessage(`{}`) }),
	)

	It("checks that the event is the one in the path",
		says("server-server-api#put_matrixfederationv2send_joinroomideventid", "eventId: The event ID for the join event."), func(ctx SpecContext) {
			p := newPeer()
			roomID := roomOfAlice(ctx, mainVersion, nil)
			template, err := p.Client.MakeJoin(ctx, sut.name, roomID, p.User("bob"), peer.Versions())
			Expect(err).NotTo(HaveOccurred())
			rules, _ := roomversion.Lookup(mainVersion)
			draft, err := event.ParseDraft(rules, template.Event)
			Expect(err).NotTo(HaveOccurred())
			_, err = p.Client.SendJoin(ctx, sut.name, roomID, id.EventID("$"+strings.Repeat("x", 43)), sign(draft, rules, p.Name, p.Key()), false)
			Expect(err).To(refused())
		})

	It("does not join a room of a version that it doesn't know",
		follows(joinSection, "who does not know a room's version can't take part in it"), func(ctx SpecContext) {
			p := newPeer()
			room, err := p.CreateRoom(mainVersion, p.User("bob"), peer.RoomOptions{})
			Expect(err).NotTo(HaveOccurred())
			p.On("make_join", peer.Lie(func(answer map[string]any) { answer["room_version"] = "org.example.unheard-of" }))
			_, err = alice.Join(ctx, string(room.ID), string(p.Name))
			Expect(status(err)).To(BeNumerically(">=", 400), "%s", errorText(err))
			Expect(p.Requests("send_join")).To(BeEmpty())
		})

	DescribeTable("a template that is not what was asked for is not signed",
		says(joinSection, "The joining server MUST also verify that the type, room_id, sender, state_key and content.membership fields have the expected values."), func(ctx SpecContext, alter func(template map[string]any)) {
			p := newPeer()
			room, err := p.CreateRoom(mainVersion, p.User("bob"), peer.RoomOptions{})
			Expect(err).NotTo(HaveOccurred())
			p.On("make_join", peer.Lie(func(answer map[string]any) { alter(answer["event"].(map[string]any)) }))
			_, joinErr := alice.Join(ctx, string(room.ID), string(p.Name))
			// What counts is that nothing was signed in alice's name that she did not want.
			for _, request := range p.Requests("send_join") {
				e, err := event.Parse(room.Rules, request.Body)
				Expect(err).NotTo(HaveOccurred())
				Expect(e.Is("m.room.member", alice.ID)).To(BeTrue(), "signed: %s", request.Body)
				Expect(e.RoomID()).To(Equal(room.ID), "signed: %s", request.Body)
				Expect(e.Membership()).To(Equal("join"), "signed: %s", request.Body)
				Expect(string(e.Sender())).To(Equal(alice.ID), "signed: %s", request.Body)
			}
			if joinErr == nil {
				Expect(room.Membership(id.UserID(alice.ID))).To(Equal("join"))
			}
		},
		Entry("another type", set("type", "m.room.power_levels")),
		Entry("another user's state", set("state_key", "@other:"+string(home))),
		Entry("another sender", set("sender", "@other:"+string(home))),
		Entry("another room", set("room_id", "!other:"+string(home))),
		Entry("a ban", set("content", map[string]any{"membership": "ban"})),
	)

	DescribeTable("a resident server that lies about the room is not believed",
		follows(joinSection, "the events of the answer are events from a remote server, on which the checks on receipt are performed; the join must be allowed by them"), func(ctx SpecContext, lie func(room *peer.Room, answer map[string]any)) {
			p := newPeer()
			room, err := p.CreateRoom(mainVersion, p.User("bob"), peer.RoomOptions{})
			Expect(err).NotTo(HaveOccurred())
			p.On("send_join", peer.Lie(func(answer map[string]any) { lie(room, answer) }))
			_, err = alice.Join(ctx, string(room.ID), string(p.Name))
			Expect(status(err)).To(BeNumerically(">=", 400), "%s", errorText(err))
			var rooms struct {
				Joined []string `json:"joined_rooms"`
			}
			Expect(alice.Call(ctx, http.MethodGet, "/_matrix/client/v3/joined_rooms", nil, nil, &rooms)).To(Succeed())
			Expect(rooms.Joined).NotTo(ContainElement(string(room.ID)))
		},
		Entry("no create event", func(_ *peer.Room, answer map[string]any) {
			answer["state"] = filter(answer["state"], func(e map[string]any) bool { return e["type"] != "m.room.create" })
			answer["auth_chain"] = filter(answer["auth_chain"], func(e map[string]any) bool { return e["type"] != "m.room.create" })
		}),
		Entry("a create event with a bad signature", func(_ *peer.Room, answer map[string]any) {
			spoil(answer["state"], "m.room.create")
			spoil(answer["auth_chain"], "m.room.create")
		}),
		Entry("a state in which the room is for invited users", func(room *peer.Room, answer map[string]any) {
			rules, err := room.Put(peer.StateDraft("@bob:"+id.UserID(room.State("m.room.create", "").Sender().Server()), "m.room.join_rules", "", map[string]any{"join_rule": "invite"}))
			Expect(err).NotTo(HaveOccurred())
			answer["state"] = append(filter(answer["state"], func(e map[string]any) bool { return e["type"] != "m.room.join_rules" }), json.RawMessage(rules.JSON()))
		}),
		Entry("a room of another version", func(_ *peer.Room, answer map[string]any) { answer["state"], answer["auth_chain"] = []any{}, []any{} }),
	)

	It("leaves out of the state what is not signed, and joins all the same",
		says(checksSection, "2. Passes signature checks, otherwise it is dropped."), func(ctx SpecContext) {
			p := newPeer()
			room, err := p.CreateRoom(mainVersion, p.User("bob"), peer.RoomOptions{})
			Expect(err).NotTo(HaveOccurred())
			_, err = room.Put(peer.StateDraft(p.User("bob"), "m.room.topic", "", map[string]any{"topic": "not signed"}))
			Expect(err).NotTo(HaveOccurred())
			p.On("send_join", peer.Lie(func(answer map[string]any) { spoil(answer["state"], "m.room.topic") }))
			if _, err = alice.Join(ctx, string(room.ID), string(p.Name)); err != nil {
				return // refusing the whole answer is as good
			}
			_, err = stateContent(ctx, alice, room.ID, "m.room.topic", "")()
			Expect(status(err)).To(Equal(http.StatusNotFound), "an unsigned event is in the state")
		})

	It("tries the next server when one is of no use",
		says(joinSection, "though in principle any valid candidate may be used at each time"), func(ctx SpecContext) {
			dead, m := newPeer(), newPeer()
			dead.Close()
			room, err := m.CreateRoom(mainVersion, m.User("bob"), peer.RoomOptions{})
			Expect(err).NotTo(HaveOccurred())
			broken := newPeer()
			broken.On("make_join", peer.Fail(http.StatusInternalServerError, "M_UNKNOWN"))
			joined, err := alice.Join(ctx, string(room.ID), string(dead.Name), string(broken.Name), string(m.Name))
			Expect(err).NotTo(HaveOccurred())
			Expect(joined).To(Equal(string(room.ID)))
		})

	It("leads to the room that replaces one, where another server has made it",
		follows("client-server-api/modules/room_upgrades#server-behaviour", "Each server moves its own aliases of a room: the one that upgrades it can't."), func(ctx SpecContext) {
			old, p := roomOfAlice(ctx, mainVersion, nil), newPeer()
			alias := fmt.Sprintf("#%s:%s", strings.ToLower(rand.Text()), sut.name)
			aliasPath := "/_matrix/client/v3/directory/room/" + url.PathEscape(alias)
			leadsTo := func() (any, error) {
				var answer map[string]any
				err := alice.Call(ctx, http.MethodGet, aliasPath, nil, nil, &answer)
				return answer["room_id"], err
			}
			Expect(alice.Call(ctx, http.MethodPut, aliasPath, nil, map[string]any{"room_id": old}, nil)).To(Succeed())
			replacement := func() *peer.Room {
				GinkgoHelper()
				content := map[string]any{"predecessor": map[string]any{"room_id": old, "event_id": "$tombstone"}}
				room, err := p.CreateRoom(mainVersion, p.User("bob"), peer.RoomOptions{CreateContent: content})
				Expect(err).NotTo(HaveOccurred())
				return room
			}
			pretender, room := replacement(), replacement()
			tombstone := "/_matrix/client/v3/rooms/" + url.PathEscape(string(old)) + "/state/m.room.tombstone"
			Expect(alice.Call(ctx, http.MethodPut, tombstone, nil, map[string]any{"body": "moved", "replacement_room": room.ID}, nil)).To(Succeed())
			_, err := alice.Join(ctx, string(pretender.ID), string(p.Name))
			Expect(err).NotTo(HaveOccurred())
			Consistently(leadsTo).Should(BeEquivalentTo(old))
			_, err = alice.Join(ctx, string(room.ID), string(p.Name))
			Expect(err).NotTo(HaveOccurred())
			Eventually(leadsTo).Should(BeEquivalentTo(room.ID))
		})

	It("leaves a room on another server",
		says("server-server-api#leaving-rooms-rejecting-invites", "Normally homeservers can send appropriate m.room.member events to have users leave the room"), func(ctx SpecContext) {
			m := host(ctx, mainVersion, peer.RoomOptions{})
			Expect(alice.Leave(ctx, string(m.ID))).To(Succeed())
			Eventually(func() string { return m.Membership(id.UserID(alice.ID)) }).Should(Equal("leave"))
		})

	It("lets another server's user leave",
		says("server-server-api#leaving-rooms-rejecting-invites", "the server which wishes to leave the room starts with sending a /make_leave request to a resident server."), func(ctx SpecContext) {
			m := meet(ctx, mainVersion)
			_, err := m.peer.Leave(ctx, sut.name, m.Rules, m.ID, m.user)
			Expect(err).NotTo(HaveOccurred())
			Eventually(membership(ctx, m.ID, m.user)).Should(Equal("leave"))
		})

	It("tells the other servers in the room of a join",
		says(joinSection, "The resident server must also send the event to other servers participating in the room."), func(ctx SpecContext) {
			m := meet(ctx, mainVersion)
			newcomer := newPeer()
			joined, err := newcomer.Join(ctx, sut.name, m.ID, newcomer.User("carol"))
			Expect(err).NotTo(HaveOccurred())
			m.arrives(joined.Join.ID())
			Expect(m.Membership(newcomer.User("carol"))).To(Equal("join"))
		})

	DescribeTable("a restricted room",
		says("server-server-api#restricted-rooms", "A resident server processing a request to join a restricted room must ensure that the joining server satisfies at least one of the conditions specified by m.room.join_rules."), func(ctx SpecContext, version roomversion.Version) {
			p := newPeer()
			space := roomOfAlice(ctx, version, nil)
			roomID := roomOfAlice(ctx, version, map[string]any{"initial_state": []any{map[string]any{
				"type": "m.room.join_rules", "state_key": "", "content": map[string]any{
					"join_rule": "restricted", "allow": []any{map[string]any{"type": "m.room_membership", "room_id": space}},
				},
			}}})
			_, err := p.Join(ctx, sut.name, roomID, p.User("bob"))
			Expect(err).To(refused(), "bob is not in the room that lets him in")
			visit(ctx, p, space)
			joined, err := p.Join(ctx, sut.name, roomID, p.User("bob"))
			Expect(err).NotTo(HaveOccurred())
			Expect(string(joined.Join.Content())).To(ContainSubstring(`"join_authorised_via_users_server":"` + alice.ID + `"`))
			verify(joined.Join, ownKeys(ctx, p))
			Expect(joined.Room.Check(joined.Join)).To(Succeed())
		}, Entry("version 8", Label("rooms:v8"), roomversion.V8), Entry("version 10", Label("rooms:v10"), roomversion.V10), Entry("version 12", Label("rooms:v12"), roomversion.V12))
})

func sign(draft event.Draft, rules *roomversion.Rules, server id.ServerName, key signedjson.Key) json.RawMessage {
	GinkgoHelper()
	e, err := draft.Sign(rules, server, key)
	Expect(err).NotTo(HaveOccurred())
	return e.JSON()
}

func filter(list any, keep func(map[string]any) bool) []any {
	kept := []any{}
	for _, e := range list.([]any) {
		if keep(e.(map[string]any)) {
			kept = append(kept, e)
		}
	}
	return kept
}

// spoil makes the signatures of events of a type wrong.
func spoil(list any, eventType string) {
	for _, e := range list.([]any) {
		if fields := e.(map[string]any); fields["type"] == eventType {
			for _, keys := range fields["signatures"].(map[string]any) {
				for keyID := range keys.(map[string]any) {
					keys.(map[string]any)[keyID] = signedjson.EncodeBase64(make([]byte, ed25519.SignatureSize))
				}
			}
		}
	}
}
