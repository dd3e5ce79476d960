package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/client"
	"hanse/federation/id"
	"hanse/federation/server"
)

// shelf hands out media: it notes what it was asked and answers with what its ID says.
type shelf struct{ asked []any }

func (s *shelf) DownloadMedia(_ context.Context, origin id.ServerName, q federation.MediaRequest) (server.MediaContent, error) {
	s.asked = []any{origin, q}
	return s.answer(q.MediaID)
}

func (s *shelf) MediaThumbnail(_ context.Context, origin id.ServerName, q federation.ThumbnailRequest) (server.MediaContent, error) {
	s.asked = []any{origin, q}
	return s.answer(q.MediaID)
}

func (s *shelf) OpenIDUser(_ context.Context, token string) (id.UserID, error) {
	return id.UserID(token), nil
}

func (s *shelf) answer(mediaID string) (server.MediaContent, error) {
	part := federation.MediaPart{ContentType: "image/png", Disposition: "inline; filename=a.png"}
	switch {
	case mediaID == "none":
		return server.MediaContent{}, federation.NotFound("no such media")
	case strings.HasPrefix(mediaID, "http"):
		part = federation.MediaPart{Location: mediaID}
	}
	return server.MediaContent{Part: part, Size: 10, Body: io.NopCloser(strings.NewReader("0123456789"))}, nil
}

// taken is what came.
type taken struct {
	part    federation.MediaPart
	content string
	calls   int
}

func (t *taken) take(part federation.MediaPart, content io.Reader) error {
	data, err := io.ReadAll(content)
	t.part, t.content = part, string(data)
	t.calls++
	return err
}

var _ = Describe("media", func() {
	const most = 1000
	var (
		w   *world
		s   *shelf
		c   *client.Client
		got *taken
		ctx context.Context
	)
	BeforeEach(func() {
		w, s, got, ctx = newWorld(), &shelf{}, &taken{}, context.Background()
		w.peer(server.New(server.Config{Self: peer, Verifier: w.ring, Handlers: server.Handlers{Media: s, OpenID: s}}))
		c = w.client()
	})

	It("comes from our server as it was asked for", func() {
		q := federation.MediaRequest{MediaID: "abc", Timeout: 7 * time.Second}
		Expect(c.DownloadMedia(ctx, peer, q, most, got.take)).To(Succeed())
		Expect(s.asked).To(Equal([]any{self, q}))
		Expect(*got).To(Equal(taken{federation.MediaPart{ContentType: "image/png", Disposition: "inline; filename=a.png"}, "0123456789", 1}))
		thumbnail := federation.ThumbnailRequest{MediaRequest: q, Width: 3, Height: 4, Method: "crop", Animated: true}
		Expect(c.MediaThumbnail(ctx, peer, thumbnail, most, got.take)).To(Succeed())
		Expect(s.asked).To(Equal([]any{self, thumbnail}))
		Expect(got.calls).To(Equal(2))
	})

	It("may be as large as its limit", func() {
		Expect(c.DownloadMedia(ctx, peer, federation.MediaRequest{MediaID: "a"}, 10, got.take)).To(Succeed())
		err := c.DownloadMedia(ctx, peer, federation.MediaRequest{MediaID: "a"}, 9, got.take)
		Expect(client.TooLarge(err)).To(BeTrue(), "%v", err)
		Expect(failure(err).Temporary).To(BeFalse())
		Expect(got.content).To(Equal("012345678"))
	})

	It("has the name that its server gives beside the parts, where the part has none", func() {
		w.peer(http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
			out.Header().Set("Content-Type", federation.MediaContentType("b"))
			out.Header().Set("Content-Disposition", "inline; filename=beside.png")
			part := federation.MediaPart{ContentType: "image/png"}
			if strings.HasSuffix(in.URL.Path, "/named") {
				part.Disposition = "inline; filename=within.png"
			}
			_ = federation.WriteMedia(out, "b", part, strings.NewReader("0123456789")) // who asks sees what is missing
		}))
		for mediaID, want := range map[string]string{"nameless": "inline; filename=beside.png", "named": "inline; filename=within.png"} {
			Expect(c.DownloadMedia(ctx, peer, federation.MediaRequest{MediaID: mediaID}, most, got.take)).To(Succeed())
			Expect(got.part).To(Equal(federation.MediaPart{ContentType: "image/png", Disposition: want}))
		}
	})

	It("that is not there is refused", func() {
		e := failure(c.DownloadMedia(ctx, peer, federation.MediaRequest{MediaID: "none"}, most, got.take))
		Expect([]any{e.Status, e.Matrix.Code}).To(Equal([]any{404, "M_NOT_FOUND"}))
		Expect(got.calls).To(BeZero())
	})

	It("ends when who takes it has enough of it", func() {
		enough := errors.New("enough")
		err := c.DownloadMedia(ctx, peer, federation.MediaRequest{MediaID: "a"}, most, func(federation.MediaPart, io.Reader) error { return enough })
		Expect(err).To(MatchError(enough))
	})

	It("is fetched from elsewhere without anything of ours, within the same bounds", func() {
		var seen http.Header
		elsewhere := w.serve(http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
			seen = in.Header
			switch in.URL.Path {
			case "/gone":
				http.NotFound(out, in)
			case "/circle":
				http.Redirect(out, in, "/circle", http.StatusFound)
			default:
				out.Header().Set("Content-Type", "image/gif")
				_, _ = out.Write([]byte("0123456789"))
			}
		}), true, "127.0.0.1")
		get := func(location string, limit int64) error {
			return c.DownloadMedia(ctx, peer, federation.MediaRequest{MediaID: location}, limit, got.take)
		}
		Expect(get(elsewhere.URL+"/a", most)).To(Succeed())
		Expect(*got).To(Equal(taken{federation.MediaPart{ContentType: "image/gif"}, "0123456789", 1}))
		Expect(seen).NotTo(HaveKey("Authorization"))
		Expect(client.TooLarge(get(elsewhere.URL+"/a", 9))).To(BeTrue())
		Expect(failure(get(elsewhere.URL+"/gone", most)).Status).To(Equal(404))
		Expect(get(elsewhere.URL+"/circle", most)).To(MatchError(ContainSubstring("redirects")))
		Expect(get("http:nowhere", most)).To(MatchError(ContainSubstring("no host")))
		Expect(get("http://user@127.0.0.1/", most)).To(MatchError(ContainSubstring("a user")))
	})

	It("comes from servers of before Matrix 1.11 by their own way, unsigned", func() {
		var asked []string
		w.peer(http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
			if strings.HasPrefix(in.URL.Path, "/_matrix/federation/") {
				out.WriteHeader(http.StatusNotFound)
				fmt.Fprint(out, `{"errcode":"M_UNRECOGNIZED","error":"?"}`)
				return
			}
			asked = append(asked, in.URL.String()+in.Header.Get("Authorization"))
			out.Header().Set("Content-Type", "text/plain")
			out.Header().Set("Content-Disposition", "attachment; filename=b")
			_, _ = out.Write(bytes.Repeat([]byte("x"), most))
		}))
		want := taken{federation.MediaPart{ContentType: "text/plain", Disposition: "attachment; filename=b"}, strings.Repeat("x", most), 1}
		Expect(c.DownloadMedia(ctx, peer, federation.MediaRequest{MediaID: "a", Timeout: time.Second}, most, got.take)).To(Succeed())
		Expect(*got).To(Equal(want))
		Expect(client.TooLarge(c.DownloadMedia(ctx, peer, federation.MediaRequest{MediaID: "a"}, most-1, got.take))).To(BeTrue())
		Expect(c.MediaThumbnail(ctx, peer, federation.ThumbnailRequest{
			MediaRequest: federation.MediaRequest{MediaID: "a"}, Width: 3, Height: 4, Method: "scale"}, most, got.take)).To(Succeed())
		Expect(asked).To(Equal([]string{
			"/_matrix/media/v3/download/peer.example/a?allow_remote=false&timeout_ms=1000", "/_matrix/media/v3/download/peer.example/a?allow_remote=false",
			"/_matrix/media/v3/thumbnail/peer.example/a?allow_remote=false&height=4&method=scale&width=3",
		}))
	})
})

var _ = Describe("OpenID tokens", func() {
	It("are answered for a server's own users only", func() {
		w, s := newWorld(), &shelf{}
		w.peer(server.New(server.Config{Self: peer, Verifier: w.ring, Handlers: server.Handlers{OpenID: s}}))
		Expect(w.client().OpenIDUser(context.Background(), peer, "@alice:peer.example")).To(Equal(id.UserID("@alice:peer.example")))
		for _, other := range []string{"@alice:other.example", "alice", "@alice"} {
			Expect(second(w.client().OpenIDUser(context.Background(), peer, other))).To(MatchError(ContainSubstring("none of its users")))
		}
	})
})
