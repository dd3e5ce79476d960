package suite

import (
	"context"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/testnet/peer"
	"hanse/testnet/user"
)

// clientRequest makes a request whose body or answer is no JSON.
func clientRequest(ctx context.Context, u *user.User, method, path, contentType, body string) (int, http.Header, string) {
	GinkgoHelper()
	request, err := http.NewRequestWithContext(ctx, method, sut.clientURL+path, strings.NewReader(body))
	Expect(err).NotTo(HaveOccurred())
	request.Header.Set("Authorization", "Bearer "+u.Token)
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	client := &http.Client{}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 8<<20))
	Expect(err).NotTo(HaveOccurred())
	calls.note("%s asked %s %s\n  got  %d %s", u.ID, method, path, response.StatusCode, peer.Brief(answer))
	return response.StatusCode, response.Header, string(answer)
}

// uploaded is the media ID of a text that alice uploads.
func uploaded(ctx context.Context, text string) string {
	GinkgoHelper()
	status, _, answer := clientRequest(ctx, alice, http.MethodPost, "/_matrix/media/v3/upload?filename=note.txt", "text/plain", text)
	Expect(status).To(Equal(http.StatusOK), answer)
	_, rest, ok := strings.Cut(answer, "mxc://"+string(home)+"/")
	Expect(ok).To(BeTrue(), answer)
	mediaID, _, _ := strings.Cut(rest, `"`)
	return mediaID
}

// mediaParts is an answer of the other servers' media endpoints, as a script of a peer gives it.
func mediaParts(contentType, data string) peer.Hook {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "multipart/mixed; boundary=parts")
		_, _ = io.WriteString(w, "--parts\r\nContent-Type: application/json\r\n\r\n{}\r\n--parts\r\nContent-Type: "+contentType+"\r\n\r\n"+data+"\r\n--parts--\r\n")
	}
}

var _ = Describe("Media", Label("s2s:media"), func() {
	const section = "server-server-api#content-repository"

	It("is given to other servers",
		says("server-server-api#get_matrixfederationv1mediadownloadmediaid", "The response is multipart/mixed: a JSON object, then the content."), func(ctx SpecContext) {
			mediaID := uploaded(ctx, "a note")
			answer, err := newPeer().Do(ctx, sut.name, peer.ByHand{Method: http.MethodGet, URI: "/_matrix/federation/v1/media/download/" + url.PathEscape(mediaID)})
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Status).To(Equal(http.StatusOK), "%s", answer.String())
			kind, parameters, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
			Expect(err).NotTo(HaveOccurred())
			Expect(kind).To(Equal("multipart/mixed"))
			parts := multipart.NewReader(strings.NewReader(string(answer.Body)), parameters["boundary"])
			first, err := parts.NextPart()
			Expect(err).NotTo(HaveOccurred())
			Expect(first.Header.Get("Content-Type")).To(HavePrefix("application/json"))
			Expect(io.ReadAll(first)).To(MatchJSON(`{}`))
			second, err := parts.NextPart()
			Expect(err).NotTo(HaveOccurred())
			Expect(second.Header.Get("Content-Type")).To(HavePrefix("text/plain"))
			Expect(io.ReadAll(second)).To(Equal([]byte("a note")))
			_, err = parts.NextPart()
			Expect(err).To(Equal(io.EOF), "two parts")
		})

	It("is not given where there is none, nor without a signature",
		says(section, "Attachments to events (images, files, etc) are uploaded to a homeserver via the Content Repository module of the Client-Server API."), func(ctx SpecContext) {
			p := newPeer()
			for _, endpoint := range []string{"download/nothing", "thumbnail/nothing?width=10&height=10"} {
				answer, err := p.Do(ctx, sut.name, peer.ByHand{Method: http.MethodGet, URI: "/_matrix/federation/v1/media/" + endpoint})
				Expect(err).NotTo(HaveOccurred())
				Expect(answer.Status).To(Equal(http.StatusNotFound), "%s", answer.String())
			}
			answer, err := p.Do(ctx, sut.name, peer.ByHand{Method: http.MethodGet, URI: "/_matrix/federation/v1/media/download/" + uploaded(ctx, "secret"), Authorization: []string{}})
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Status).To(Equal(http.StatusUnauthorized), "%s", answer.String())
		})

	It("of other servers is fetched for users here",
		says(section, "Servers MUST use the server described in the Matrix Content URI."), func(ctx SpecContext) {
			p := newPeer()
			p.On("media_download", mediaParts("text/plain", "from afar"))
			path := "/_matrix/client/v1/media/download/" + url.PathEscape(string(p.Name)) + "/far"
			status, header, text := clientRequest(ctx, alice, http.MethodGet, path, "", "")
			Expect(status).To(Equal(http.StatusOK), text)
			Expect(text).To(Equal("from afar"))
			Expect(header.Get("Content-Type")).To(HavePrefix("text/plain"))
			Expect(p.Requests("media_download")[0].AuthErr).NotTo(HaveOccurred())
			p.On("media_download", peer.Fail(http.StatusNotFound, "M_NOT_FOUND"))
			status, _, text = clientRequest(ctx, alice, http.MethodGet, strings.Replace(path, "/far", "/nothing", 1), "", "")
			Expect(status).To(Equal(http.StatusNotFound), text)
		})

	DescribeTable("an answer that is no media is not passed on",
		follows("server-server-api#get_matrixfederationv1mediadownloadmediaid", "the client gets media or an error"), func(ctx SpecContext, hook peer.Hook) {
			p := newPeer()
			p.On("media_download", hook)
			status, _, text := clientRequest(ctx, alice, http.MethodGet, "/_matrix/client/v1/media/download/"+url.PathEscape(string(p.Name))+"/odd", "", "")
			Expect(status).To(BeNumerically(">=", 400), text)
		},
		Entry("plain JSON", peer.Answer(http.StatusOK, `{}`)),
		Entry("no second part", peer.Hook(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", "multipart/mixed; boundary=parts")
			_, _ = io.WriteString(w, "--parts\r\nContent-Type: application/json\r\n\r\n{}\r\n--parts--\r\n")
		})),
		Entry("an error", peer.Fail(http.StatusInternalServerError, "M_UNKNOWN")),
	)
})
