package suite

import (
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"net/url"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/conformance/literal"
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
})
