package server_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing/iotest"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/server"
)

// files hands out media as a test says, and notes what was asked for.
type files struct {
	content func() (server.MediaContent, error)
	asked   federation.ThumbnailRequest
}

func (f *files) DownloadMedia(_ context.Context, _ id.ServerName, q federation.MediaRequest) (server.MediaContent, error) {
	f.asked = federation.ThumbnailRequest{MediaRequest: q}
	return f.content()
}

func (f *files) MediaThumbnail(_ context.Context, _ id.ServerName, q federation.ThumbnailRequest) (server.MediaContent, error) {
	f.asked = q
	return f.content()
}

func (f *files) OpenIDUser(_ context.Context, token string) (id.UserID, error) {
	if token == "good" {
		return "@alice:me.example", nil
	}
	return "", federation.NewError(401, federation.CodeUnknownToken, "no")
}

var _ = Describe("media", func() {
	const download, thumbnail = "/_matrix/federation/v1/media/download/", "/_matrix/federation/v1/media/thumbnail/"
	var w *world
	var f *files
	var closed atomic.Int64
	BeforeEach(func() {
		closed.Store(0)
		w, f = newWorld(), &files{}
		f.content = func() (server.MediaContent, error) {
			return server.MediaContent{
				Part: federation.MediaPart{ContentType: "image/png", Disposition: "inline; filename=a.png"}, Size: 9,
				Body: closing{strings.NewReader("the bytes"), &closed},
			}, nil
		}
		w.config.Handlers.Media, w.config.Handlers.OpenID = f, f
		w.start()
	})

	It("is handed out to servers that sign", func() {
		for _, uri := range []string{download + "abc", thumbnail + "abc?width=1&height=1"} {
			Expect(w.do("GET", uri, "").status).To(Equal(401))
			got := w.call("GET", uri, "")
			Expect(got.status).To(Equal(200), got.body)
			part, content, err := federation.ReadMedia(got.header.Get("Content-Type"), strings.NewReader(got.body))
			Expect(err).NotTo(HaveOccurred())
			Expect(part).To(Equal(federation.MediaPart{ContentType: "image/png", Disposition: "inline; filename=a.png"}))
			Expect(io.ReadAll(content)).To(BeEquivalentTo("the bytes"))
			Expect(f.asked.MediaID).To(Equal("abc"))
			Expect(w.call("HEAD", uri, "").status).To(Equal(200))
		}
		Expect(closed.Load()).To(Equal(int64(4)))
	})

	It("has each boundary once", func() {
		Expect(w.call("GET", download+"a", "").header.Get("Content-Type")).NotTo(Equal(w.call("GET", download+"a", "").header.Get("Content-Type")))
	})

	DescribeTable("is asked for with", func(uri string, want federation.ThumbnailRequest) {
		Expect(w.call("GET", uri, "").status).To(Equal(200))
		Expect(f.asked).To(Equal(want))
	},
		Entry("no patience said", download+"a", federation.ThumbnailRequest{MediaRequest: federation.MediaRequest{MediaID: "a", Timeout: 20 * time.Second}}),
		Entry("no patience", download+"a?timeout_ms=0", federation.ThumbnailRequest{MediaRequest: federation.MediaRequest{MediaID: "a"}}),
		Entry("too much patience", download+"a?timeout_ms=99999999999", federation.ThumbnailRequest{MediaRequest: federation.MediaRequest{MediaID: "a", Timeout: time.Minute}}),
		Entry("an ID that is none", download+"..%2fa", federation.ThumbnailRequest{MediaRequest: federation.MediaRequest{MediaID: "../a", Timeout: 20 * time.Second}}),
		Entry("a size", thumbnail+"a?width=3&height=4&timeout_ms=7", federation.ThumbnailRequest{
			MediaRequest: federation.MediaRequest{MediaID: "a", Timeout: 7 * time.Millisecond}, Width: 3, Height: 4, Method: "scale"}),
		Entry("a method", thumbnail+"a?width=99999999999&height=4&method=crop&animated=true&timeout_ms=0", federation.ThumbnailRequest{
			MediaRequest: federation.MediaRequest{MediaID: "a"}, Width: 1 << 16, Height: 4, Method: "crop", Animated: true}),
	)

	DescribeTable("is refused where the question is wrong", func(uri string, status int, code string) {
		got := w.call("GET", uri, "")
		Expect([]any{got.status, got.code()}).To(Equal([]any{status, code}))
		Expect(f.asked.MediaID).To(BeEmpty())
	},
		Entry(nil, thumbnail+"a", 400, "M_INVALID_PARAM"),
		Entry(nil, thumbnail+"a?width=1", 400, "M_INVALID_PARAM"),
		Entry(nil, thumbnail+"a?width=0&height=1", 400, "M_INVALID_PARAM"),
		Entry(nil, thumbnail+"a?width=-1&height=1", 400, "M_INVALID_PARAM"),
		Entry(nil, thumbnail+"a?width=1&height=1&method=stretch", 400, "M_INVALID_PARAM"),
		Entry(nil, download+"a?timeout_ms=soon", 400, "M_INVALID_PARAM"),
		Entry(nil, download+strings.Repeat("a", 2000), 404, "M_NOT_FOUND"),
		Entry(nil, download, 404, "M_UNRECOGNIZED"),
	)

	It("that can't be had is an error as others", func() {
		f.content = func() (server.MediaContent, error) {
			return server.MediaContent{}, federation.NewError(504, federation.CodeNotYetUploaded, "not yet")
		}
		got := w.call("GET", download+"a", "")
		Expect([]any{got.status, got.code()}).To(Equal([]any{504, "M_NOT_YET_UPLOADED"}))
	})

	It("that breaks off is not taken for whole", func() {
		f.content = func() (server.MediaContent, error) {
			broken := io.MultiReader(strings.NewReader(strings.Repeat("x", 100_000)), iotest.ErrReader(errors.New("the disk is gone")))
			return server.MediaContent{Size: 200_000, Body: closing{broken, &closed}}, nil
		}
		q, err := http.NewRequest("GET", w.url+download+"a", nil)
		Expect(err).NotTo(HaveOccurred())
		q.Header.Set("Authorization", w.sign(0, "GET", download+"a", "").String())
		answer, err := http.DefaultClient.Do(q)
		Expect(err).NotTo(HaveOccurred())
		defer answer.Body.Close()
		_, err = io.ReadAll(answer.Body)
		Expect(err).To(HaveOccurred())
		Eventually(closed.Load).Should(Equal(int64(1)))
	})
})

// closing counts how often it was closed.
type closing struct {
	io.Reader
	times *atomic.Int64
}

func (c closing) Close() error {
	c.times.Add(1)
	return nil
}

var _ = Describe("OpenID tokens", func() {
	It("say whose they are to whoever has them", func() {
		w := newWorld()
		w.config.Handlers.OpenID = &files{}
		w.start()
		const uri = "/_matrix/federation/v1/openid/userinfo"
		got := w.do("GET", uri+"?access_token=good", "")
		Expect([]any{got.status, got.body}).To(Equal([]any{200, `{"sub":"@alice:me.example"}`}))
		for query, code := range map[string]string{"": "M_MISSING_TOKEN", "?access_token=": "M_MISSING_TOKEN", "?access_token=bad": "M_UNKNOWN_TOKEN"} {
			got := w.do("GET", uri+query, "")
			Expect([]any{got.status, got.code()}).To(Equal([]any{401, code}))
		}
	})
})
