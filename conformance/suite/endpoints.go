package suite

import (
	"bytes"
	"image"
	"image/png"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/testnet/peer"
)

var _ = Describe("Further endpoints", Label("s2s:queries"), func() {
	It("a query of an unknown type is refused",
		says("server-server-api#get_matrixfederationv1queryquerytype", "Performs a single query request on the receiving homeserver. The query string arguments are dependent on which type of query is being made."), func(ctx SpecContext) {
			answer, err := newPeer().Do(ctx, sut.name, peer.ByHand{Method: http.MethodGet, URI: "/_matrix/federation/v1/query/org.example.nothing?x=y"})
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Status).To(And(BeNumerically(">=", 400), BeNumerically("<", 500)), "%s", answer.String())
			Expect(answer.Code()).NotTo(BeEmpty())
		})

	It("a thumbnail is given to other servers", Label("s2s:media"),
		says("server-server-api#get_matrixfederationv1mediathumbnailmediaid", "Download a thumbnail of content from the content repository."), func(ctx SpecContext) {
			var picture bytes.Buffer
			Expect(png.Encode(&picture, image.NewRGBA(image.Rect(0, 0, 1000, 500)))).To(Succeed())
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
			Expect(small.Bounds().Dx()).To(BeNumerically("<", 1000), "a thumbnail is smaller")
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
