package suite

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"image"
	"image/png"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/conformance/literal"
	"hanse/federation/id"
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
})

var _ = Describe("Further endpoints", Label("s2s:queries"), func() {
	It("a query of an unknown type is refused",
		says("server-server-api#get_matrixfederationv1queryquerytype", "Performs a single query request on the receiving homeserver. The query string arguments are dependent on which type of query is being made."), func(ctx SpecContext) {
			answer, err := newPeer().Do(ctx, sut.name, peer.ByHand{Method: http.MethodGet, URI: "/_matrix/federation/v1/query/org.example.nothing?x=y"})
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Status).To(And(BeNumerically(">=", 400), BeNumerically("<", 500)), answer.String())
			Expect(answer.Code()).NotTo(BeEmpty())
		})

	It("a thumbnail is given to other servers", Label("s2s:media"),
		says("server-server-api#get_matrixfederationv1mediathumbnailmediaid", "Download a thumbnail of content from the content repository."), func(ctx SpecContext) {
			var picture bytes.Buffer
			Expect(png.Encode(&picture, image.NewRGBA(image.Rect(0, 0, 200, 100)))).To(Succeed())
			status, _, answer := clientRequest(ctx, alice, http.MethodPost, "/_matrix/media/v3/upload", "image/png", picture.String())
			Expect(status).To(Equal(http.StatusOK), answer)
			_, rest, _ := strings.Cut(answer, "mxc://"+string(home)+"/")
			mediaID, _, _ := strings.Cut(rest, `"`)
			thumbnail, err := newPeer().Do(ctx, sut.name, peer.ByHand{Method: http.MethodGet, URI: "/_matrix/federation/v1/media/thumbnail/" + url.PathEscape(mediaID) + "?width=32&height=32&method=scale"})
			Expect(err).NotTo(HaveOccurred())
			Expect(thumbnail.Status).To(Equal(http.StatusOK))
			kind, parameters, err := mime.ParseMediaType(thumbnail.Header.Get("Content-Type"))
			Expect(err).NotTo(HaveOccurred())
			Expect(kind).To(Equal("multipart/mixed"))
			parts := multipart.NewReader(bytes.NewReader(thumbnail.Body), parameters["boundary"])
			_, err = parts.NextPart()
			Expect(err).NotTo(HaveOccurred())
			second, err := parts.NextPart()
			Expect(err).NotTo(HaveOccurred())
			small, _, err := image.Decode(second)
			Expect(err).NotTo(HaveOccurred())
			Expect(small.Bounds().Dx()).To(BeNumerically("<", 200))
		})
})

var _ = Describe("Rooms that do not federate", Label("s2s:joins", "s2s:authorisation"), func() {
	It("let nobody of another server in",
		says(rulesSection, "If the content of the m.room.create event in the room state has the property m.federate set to false, and the sender domain of the event does not match the sender domain of the create event, reject."), func(ctx SpecContext) {
			p := newPeer()
			roomID := roomOfAlice(ctx, mainVersion, map[string]any{"creation_content": map[string]any{"m.federate": false}})
			_, err := p.Client.MakeJoin(ctx, sut.name, roomID, p.User("bob"), peer.Versions())
			Expect(err).To(refused())
			Expect(membership(ctx, roomID, id.UserID(alice.ID))()).To(Equal("join"))
		})
})
