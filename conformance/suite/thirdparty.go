package suite

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/conformance/literal"
	"hanse/testnet/peer"
)

var _ = Describe("Third-party invites", Label("s2s:invites", "s2s:third-party"), func() {
	const exchange = "server-server-api#put_matrixfederationv1exchange_third_party_inviteroomid"

	DescribeTable("are exchanged for invites",
		says(exchange, "The receiving server will verify the partial m.room.member event given in the request body. If valid, the receiving server will issue an invite as per the Inviting to a room section before returning a response to this request."),
		says("server-server-api#verifying-the-invite", "it must verify that the association between the third-party identifier initially invited to the room and the Matrix ID that claims to be bound to it has been verified without having to rely on a third-party server."),
		func(ctx SpecContext, good bool, change func(signed map[string]any), forged bool) {
			public, private, err := ed25519.GenerateKey(nil)
			Expect(err).NotTo(HaveOccurred())
			key := base64.RawStdEncoding.EncodeToString(public)
			p := newPeer()
			roomID := roomOfAlice(ctx, mainVersion, map[string]any{"preset": "private_chat"})
			_, err = alice.SetState(ctx, string(roomID), "m.room.third_party_invite", "token1", map[string]any{
				"display_name": "b…@e…", "key_validity_url": "https://id.test/valid", "public_key": key, "public_keys": []any{map[string]any{"public_key": key}},
			})
			Expect(err).NotTo(HaveOccurred())
			signed := map[string]any{"mxid": string(p.User("bob")), "token": "token1"}
			change(signed)
			if forged {
				_, private, err = ed25519.GenerateKey(nil)
				Expect(err).NotTo(HaveOccurred())
			}
			signed["signatures"] = map[string]any{"id.test": map[string]any{"ed25519:0": base64.RawStdEncoding.EncodeToString(ed25519.Sign(private, literal.Canonical(signed)))}}
			body := map[string]any{
				"type": "m.room.member", "room_id": roomID, "sender": alice.ID, "state_key": p.User("bob"),
				"content": map[string]any{"membership": "invite", "third_party_invite": map[string]any{"display_name": "b…@e…", "signed": signed}},
			}
			status := askBy(ctx, p, http.MethodPut, "exchange_third_party_invite/"+url.PathEscape(string(roomID)), body, nil)
			if !good {
				Expect(status).To(And(BeNumerically(">=", 400), BeNumerically("<", 500)))
				Expect(p.Invites()).To(BeEmpty())
				Expect(membership(ctx, roomID, p.User("bob"))()).To(BeEmpty())
				return
			}
			Expect(status).To(Equal(http.StatusOK))
			Eventually(membership(ctx, roomID, p.User("bob"))).Should(Equal("invite"))
			Expect(p.Invites()).To(HaveLen(1))
			visit(ctx, p, roomID)
		},
		Entry("a right one", true, asIs, false),
		Entry("with another key", false, asIs, true),
		Entry("for another user", false, func(signed map[string]any) { signed["mxid"] = "@other:elsewhere.test" }, false),
		Entry("with an unknown token", false, func(signed map[string]any) { signed["token"] = "token2" }, false),
	)

	It("are asked for once an identity server tells that an address is a user's",
		says("server-server-api#cases-where-an-association-doesnt-exist-for-a-third-party-identifier", "However, if the invited homeserver isn't in the room the invite came from, it will need to request the inviting homeserver to auth the event at the /exchange_third_party_invite endpoint."),
		says("server-server-api#put_matrixfederationv13pidonbind", "Used by identity servers to notify the homeserver that one of its users has bound a third-party identifier successfully, including any pending room invites the identity server has been made aware of."),
		func(ctx SpecContext) {
			p := newPeer()
			room, err := p.CreateRoom(mainVersion, p.User("bob"), peer.RoomOptions{})
			Expect(err).NotTo(HaveOccurred())
			p.On("exchange_third_party_invite", peer.Answer(http.StatusOK, `{}`))
			invite := map[string]any{
				"medium": "email", "address": "alice@example.org", "mxid": alice.ID, "room_id": room.ID, "sender": p.User("bob"),
				"signed": map[string]any{"mxid": alice.ID, "token": "token1", "signatures": map[string]any{"id.test": map[string]any{"ed25519:0": forgedSignature}}},
			}
			answer, err := p.Do(ctx, sut.name, peer.ByHand{Method: http.MethodPut, URI: "/_matrix/federation/v1/3pid/onbind", Authorization: []string{},
				Body: encode(map[string]any{"medium": "email", "address": "alice@example.org", "mxid": alice.ID, "invites": []any{invite}})})
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Status).To(Equal(http.StatusOK), "%s", answer.String())
			Eventually(func() []peer.Request { return p.Requests("exchange_third_party_invite") }).Should(HaveLen(1))
			request := p.Requests("exchange_third_party_invite")[0]
			Expect(request.AuthErr).NotTo(HaveOccurred())
			var asked struct {
				Type     string `json:"type"`
				RoomID   string `json:"room_id"`
				Sender   string `json:"sender"`
				StateKey string `json:"state_key"`
				Content  struct {
					Membership string `json:"membership"`
					ThirdParty struct {
						Signed map[string]any `json:"signed"`
					} `json:"third_party_invite"`
				} `json:"content"`
			}
			Expect(json.Unmarshal(request.Body, &asked)).To(Succeed())
			Expect(asked.Type).To(Equal("m.room.member"))
			Expect(asked.RoomID).To(BeEquivalentTo(room.ID))
			Expect(asked.Sender).To(BeEquivalentTo(p.User("bob")))
			Expect(asked.StateKey).To(Equal(alice.ID))
			Expect(asked.Content.Membership).To(Equal("invite"))
			Expect(asked.Content.ThirdParty.Signed).To(HaveKeyWithValue("token", "token1"))
		})
})
