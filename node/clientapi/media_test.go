package clientapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/client"
	"hanse/federation/id"
	"hanse/node/media"
)

// farFiles is another server's media: what it sends, and when.
type farFiles func(q federation.MediaRequest, take client.TakeMedia) error

func (f farFiles) DownloadMedia(_ context.Context, _ id.ServerName, q federation.MediaRequest, _ int64, take client.TakeMedia) error {
	return f(q, take)
}

func (f farFiles) MediaThumbnail(context.Context, id.ServerName, federation.ThumbnailRequest, int64, client.TakeMedia) error {
	return errors.New("no thumbnails")
}

// newMediaWorld is a world with media; far is how other servers answer.
func newMediaWorld(far farFiles, change func(*media.Config, *Config)) *world {
	GinkgoHelper()
	w := newWorld(nil)
	files := media.Config{
		Self: self, Store: w.store, Folder: filepath.Join(GinkgoT().TempDir(), "media"), MaxSize: 1 << 20, CacheSize: 10 << 20,
	}
	if far != nil {
		files.Client = far
	}
	if change != nil {
		change(&files, &w.config)
	}
	var err error
	w.config.Media, err = media.New(context.Background(), files)
	Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.config.Media.Run(ctx) }()
	DeferCleanup(func() {
		cancel()
		Expect(<-ended).To(Succeed())
	})
	w.api, err = New(w.config)
	Expect(err).NotTo(HaveOccurred())
	w.server.Config.Handler = w.api
	return w
}

// ask makes a request whose answer may be anything. A path begins with /_matrix.
func (p *person) ask(method, path string, body io.Reader, header ...string) (*http.Response, string) {
	GinkgoHelper()
	r, err := http.NewRequest(method, p.w.server.URL+path, body)
	Expect(err).NotTo(HaveOccurred())
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if p.token != "" {
		r.Header.Set("Authorization", "Bearer "+p.token)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	Expect(err).NotTo(HaveOccurred())
	noteAnswer(method, r.URL.EscapedPath(), response.StatusCode)
	return response, string(data)
}

// upload stores a file and returns its mxc:// as the rest of a path: server/id.
func (p *person) upload(contentType, filename, data string) string {
	GinkgoHelper()
	path := "/_matrix/media/v3/upload"
	if filename != "" {
		path += "?" + url.Values{"filename": {filename}}.Encode()
	}
	response, raw := p.ask("POST", path, strings.NewReader(data), "Content-Type", contentType)
	Expect(response.StatusCode).To(Equal(200), raw)
	var answer struct {
		URI string `json:"content_uri"`
	}
	Expect(json.Unmarshal([]byte(raw), &answer)).To(Succeed())
	Expect(answer.URI).To(HavePrefix("mxc://" + string(self) + "/"))
	return strings.TrimPrefix(answer.URI, "mxc://")
}

const (
	newDownload = "/_matrix/client/v1/media/download/"
	oldDownload = "/_matrix/media/v3/download/"
)

var _ = Describe("media", func() {
	DescribeTable("is handed out with the name it came with, shown only if it can do no harm",
		func(contentType, filename, wantType, wantDisposition string) {
			w := newMediaWorld(nil, nil)
			alice := w.register("alice")
			where := alice.upload(contentType, filename, "the file")
			for _, method := range []string{"GET", "HEAD"} {
				response, body := alice.ask(method, newDownload+where, nil)
				Expect(response.StatusCode).To(Equal(200))
				if method == "GET" {
					Expect(body).To(Equal("the file"))
				}
				header := response.Header
				Expect(header.Get("Content-Type")).To(Equal(wantType))
				Expect(header.Get("Content-Disposition")).To(Equal(wantDisposition))
				Expect(header.Get("Content-Length")).To(Equal("8"))
				Expect(header.Get("Content-Security-Policy")).To(HavePrefix("sandbox; default-src 'none'; script-src 'none';"))
				Expect(header.Get("Cross-Origin-Resource-Policy")).To(Equal("cross-origin"))
				Expect(header.Get("X-Content-Type-Options")).To(Equal("nosniff"))
				Expect(header.Get("Access-Control-Allow-Origin")).To(Equal("*"))
				Expect(header.Get("Cache-Control")).To(ContainSubstring("private"))
			}
			response, _ := alice.ask("GET", newDownload+where+"/other%20name.txt", nil)
			Expect(response.Header.Get("Content-Disposition")).To(HaveSuffix(`; filename="other name.txt"`))
		},
		Entry(nil, "image/png", "a.png", "image/png", "inline; filename=a.png"),
		Entry(nil, "text/plain; charset=utf-8", "a b;c\".txt", "text/plain; charset=utf-8", `inline; filename="a b;c\".txt"`),
		Entry(nil, "image/gif", "größe ☕.gif", "image/gif", "inline; filename*=utf-8''gr%C3%B6%C3%9Fe%20%E2%98%95.gif"),
		Entry(nil, "text/html", "a.html", "text/html", "attachment; filename=a.html"),
		Entry(nil, "image/svg+xml", "", "image/svg+xml", "attachment"),
		Entry(nil, "application/pdf", "a\r\nb.pdf", "application/pdf", "attachment; filename=ab.pdf"),
		Entry(nil, "", "", "application/octet-stream", "attachment"),
		Entry(nil, "no type", "", "application/octet-stream", "attachment"),
		Entry(nil, "text/x; a=b; a=c", "", "application/octet-stream", "attachment"),
	)

	It("is handed out in parts", func() {
		w := newMediaWorld(nil, nil)
		alice := w.register("alice")
		where := alice.upload("video/mp4", "", "0123456789")
		response, body := alice.ask("GET", newDownload+where, nil, "Range", "bytes=2-4")
		Expect([]any{response.StatusCode, body, response.Header.Get("Content-Range")}).To(Equal([]any{206, "234", "bytes 2-4/10"}))
		exposed := response.Header.Get("Access-Control-Expose-Headers")
		Expect(exposed).To(And(ContainSubstring("Content-Range"), ContainSubstring("Accept-Ranges")))
		Expect(response.Header.Get("Accept-Ranges")).To(Equal("bytes"))
		// Browsers ask before they send this one from another site.
		asked, _ := alice.ask("OPTIONS", newDownload+where, nil, "Access-Control-Request-Headers", "authorization,range")
		Expect(asked.Header.Get("Access-Control-Allow-Headers")).To(ContainSubstring("Range"))
		response, body = alice.ask("GET", newDownload+where, nil, "Range", "bytes=-3")
		Expect([]any{response.StatusCode, body, response.Header.Get("Content-Range")}).To(Equal([]any{206, "789", "bytes 7-9/10"}))
		response, _ = alice.ask("GET", newDownload+where, nil, "Range", "bytes=20-")
		Expect(response.StatusCode).To(Equal(416))
		response, body = alice.ask("GET", newDownload+where, nil, "If-Modified-Since", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
		Expect([]any{response.StatusCode, body}).To(Equal([]any{304, ""}))
	})

	It("needs a token, but for what is from before the freeze", func() {
		w := newMediaWorld(nil, nil)
		alice := w.register("alice")
		where := alice.upload("image/png", "", aPicture(10, 10))
		created := strings.TrimPrefix(fine(alice.post("/_matrix/media/v1/create", nil)).text("content_uri"), "mxc://")
		for _, path := range []string{newDownload + where, "/_matrix/client/v1/media/thumbnail/" + where + "?width=1&height=1", "/_matrix/client/v1/media/config",
			"/_matrix/client/v1/media/preview_url?url=x", "/_matrix/media/v3/config", "/_matrix/media/v3/preview_url?url=x"} {
			refused(w.nobody().get(path), 401, "M_MISSING_TOKEN")
		}
		refused(w.nobody().post("/_matrix/media/v3/upload", "x"), 401, "M_MISSING_TOKEN")
		refused(w.nobody().post("/_matrix/media/v1/create", nil), 401, "M_MISSING_TOKEN")
		refused(w.nobody().put("/_matrix/media/v3/upload/"+where, "x"), 401, "M_MISSING_TOKEN")
		for _, p := range []*person{w.nobody(), alice} {
			refused(p.get(oldDownload+where), 404, "M_NOT_FOUND")
			refused(p.get("/_matrix/media/v3/thumbnail/"+where+"?width=1&height=1"), 404, "M_NOT_FOUND")
			refused(p.get(oldDownload+created), 504, "M_NOT_YET_UPLOADED")
			refused(p.get(oldDownload+"far.example/a"), 404, "M_NOT_FOUND")
			Expect(p.get(oldDownload+"hanse.test/none").body).To(Equal(p.get(oldDownload+where).body), "what isn't there can't be told from what is")
		}
		for frozen, status := range map[time.Duration]int{-time.Hour: 404, time.Hour: 200} {
			w := newMediaWorld(func(_ federation.MediaRequest, take client.TakeMedia) error {
				return take(federation.MediaPart{}, strings.NewReader("far"))
			}, func(_ *media.Config, c *Config) { c.MediaFrozen = time.Now().Add(frozen) })
			where := w.register("alice").upload("image/png", "", aPicture(10, 10))
			for _, path := range []string{oldDownload + where, oldDownload + where + "/name", "/_matrix/media/r0/download/" + where,
				"/_matrix/media/v3/thumbnail/" + where + "?width=1&height=1", oldDownload + "far.example/a"} {
				response, _ := w.nobody().ask("GET", path, nil)
				Expect(response.StatusCode).To(Equal(status), path)
			}
		}
	})

	It("is not there where it can't be", func() {
		w := newMediaWorld(func(federation.MediaRequest, client.TakeMedia) error {
			return &client.Error{Server: "far.example", Status: 404, Matrix: federation.NotFound("no"), Stage: client.StageResponse}
		}, nil)
		alice := w.register("alice")
		for _, where := range []string{"hanse.test/none", "hanse.test/..%2f..%2fhanse.db", "far.example/none", "far.example/a%00b", "not%20a%20server/x", "%2e%2e/x"} {
			refused(alice.get(newDownload+where), 404, "M_NOT_FOUND")
			refused(alice.get("/_matrix/client/v1/media/thumbnail/"+where+"?width=1&height=1"), 404, "M_NOT_FOUND")
		}
		refused(alice.get(newDownload+"far.example/a?allow_remote=false"), 404, "M_NOT_FOUND")
		refused(alice.get(newDownload+"hanse.test/none?timeout_ms=x"), 400, "M_INVALID_PARAM")
	})

	It("of other servers comes as they send it", func() {
		more := make(chan bool)
		w := newMediaWorld(func(q federation.MediaRequest, take client.TakeMedia) error {
			Expect(q.Timeout).To(Equal(7 * time.Second))
			return take(federation.MediaPart{ContentType: "image/webp", Disposition: "attachment; filename=far.webp"},
				io.MultiReader(strings.NewReader("first"), gate[bool](more), strings.NewReader("second")))
		}, nil)
		alice := w.register("alice")
		r, err := http.NewRequest("GET", w.server.URL+newDownload+"far.example/a?timeout_ms=7000", nil)
		Expect(err).NotTo(HaveOccurred())
		r.Header.Set("Authorization", "Bearer "+alice.token)
		response, err := http.DefaultTransport.RoundTrip(r)
		Expect(err).NotTo(HaveOccurred())
		defer response.Body.Close()
		Expect(response.Header.Get("Content-Type")).To(Equal("image/webp"))
		Expect(response.Header.Get("Content-Disposition")).To(Equal("inline; filename=far.webp"))
		head, _ := alice.ask("HEAD", newDownload+"far.example/a", nil)
		Expect(head.StatusCode).To(Equal(200))
		first := make([]byte, 5)
		_, err = io.ReadFull(response.Body, first)
		Expect(err).NotTo(HaveOccurred())
		Expect(string(first)).To(Equal("first"), "and the rest is not there yet")
		close(more)
		rest, err := io.ReadAll(response.Body)
		Expect(err).NotTo(HaveOccurred())
		Expect(string(rest)).To(Equal("second"))
	})

	It("that breaks off on its way breaks off for the client too", func() {
		more := make(chan bool)
		w := newMediaWorld(func(_ federation.MediaRequest, take client.TakeMedia) error {
			return take(federation.MediaPart{}, io.MultiReader(strings.NewReader(strings.Repeat("x", 100_000)), gate[bool](more), failing{}))
		}, nil)
		alice := w.register("alice")
		r, err := http.NewRequest("GET", w.server.URL+newDownload+"far.example/a", nil)
		Expect(err).NotTo(HaveOccurred())
		r.Header.Set("Authorization", "Bearer "+alice.token)
		response, err := http.DefaultTransport.RoundTrip(r)
		Expect(err).NotTo(HaveOccurred())
		defer response.Body.Close()
		Expect(response.StatusCode).To(Equal(200))
		close(more)
		_, err = io.ReadAll(response.Body)
		Expect(err).To(HaveOccurred())
	})

	It("that another server has no time for, or too much of, is a bad gateway's", func() {
		for _, c := range []struct {
			err    error
			status int
			code   string
		}{
			{&client.Error{Server: "far.example", Status: 504, Matrix: federation.NewError(504, "M_NOT_YET_UPLOADED", ""), Stage: client.StageResponse}, 504, "M_NOT_YET_UPLOADED"},
			{&client.Error{Server: "far.example", Status: 502, Matrix: federation.NewError(502, "M_TOO_LARGE", ""), Stage: client.StageResponse}, 502, "M_TOO_LARGE"},
			{unreachable("far.example"), 502, "M_UNKNOWN"},
		} {
			w := newMediaWorld(func(federation.MediaRequest, client.TakeMedia) error { return c.err }, nil)
			refused(w.register("alice").get(newDownload+"far.example/a"), c.status, c.code)
		}
	})

	It("has a largest size, which is told", func() {
		w := newMediaWorld(nil, nil)
		alice := w.register("alice")
		for _, path := range []string{"/_matrix/client/v1/media/config", "/_matrix/media/v3/config"} {
			Expect(fine(alice.get(path)).body).To(HaveKeyWithValue("m.upload.size", float64(1<<20)))
		}
		alice.upload("", "", strings.Repeat("x", 1<<20))
		refused(alice.post("/_matrix/media/v3/upload", strings.Repeat("x", 1<<20+1)), 413, "M_TOO_LARGE")
		response, _ := alice.ask("POST", "/_matrix/media/v3/upload", io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20)), strings.NewReader("y")))
		Expect(response.StatusCode).To(Equal(413), "of a size that was not told")
	})

	It("is larger than any other request may be", func() {
		w := newMediaWorld(nil, func(c *media.Config, _ *Config) { c.MaxSize = 10 << 20 })
		alice := w.register("alice")
		data := strings.Repeat("0123456789", 500_000)
		_, body := alice.ask("GET", newDownload+alice.upload("", "", data), nil)
		Expect(body == data).To(BeTrue())
		Expect(w.api.bodies.total()).To(BeZero())
	})

	It("is limited for each user", func() {
		w := newMediaWorld(nil, func(c *media.Config, _ *Config) { c.UserQuota = 1000 })
		alice := w.register("alice")
		alice.upload("", "", strings.Repeat("x", 900))
		refused(alice.post("/_matrix/media/v3/upload", strings.Repeat("x", 200)), 403, "M_FORBIDDEN")
	})

	It("is created first and uploaded later", func() {
		w := newMediaWorld(nil, nil)
		alice, bob := w.register("alice"), w.register("bob")
		created := fine(alice.post("/_matrix/media/v1/create", nil), "content_uri", "unused_expires_at")
		Expect(created.body["unused_expires_at"]).To(BeNumerically(">", float64(time.Now().UnixMilli())))
		where := strings.TrimPrefix(created.text("content_uri"), "mxc://")
		for _, path := range []string{newDownload + where + "?timeout_ms=0", "/_matrix/client/v1/media/thumbnail/" + where + "?width=1&height=1&timeout_ms=1"} {
			refused(bob.get(path), 504, "M_NOT_YET_UPLOADED")
		}
		refused(bob.put("/_matrix/media/v3/upload/"+where, "his"), 403, "M_FORBIDDEN")
		refused(alice.put("/_matrix/media/v3/upload/hanse.test/none", "x"), 404, "M_NOT_FOUND")
		waiting := make(chan string)
		go func() {
			defer GinkgoRecover()
			_, body := bob.ask("GET", newDownload+where, nil)
			waiting <- body
		}()
		Expect(fine(alice.put("/_matrix/media/v3/upload/"+where, "hers")).body).To(BeEmpty())
		Expect(<-waiting).To(Equal("hers"))
		refused(alice.put("/_matrix/media/v3/upload/"+where, "another"), 409, "M_CANNOT_OVERWRITE_MEDIA")
	})

	It("has thumbnails", func() {
		w := newMediaWorld(nil, nil)
		alice := w.register("alice")
		path := "/_matrix/client/v1/media/thumbnail/" + alice.upload("image/png", "photo.png", aPicture(400, 200))
		for query, want := range map[string]image.Point{
			"width=100&height=100":                         {320, 160},
			"width=32&height=32&method=crop":               {32, 32},
			"width=32&height=32&method=crop&animated=true": {32, 32},
			"width=2000&height=2000&method=scale":          {400, 200},
			"width=99999999999999&height=9&animated=false": {400, 200},
		} {
			response, body := alice.ask("GET", path+"?"+query, nil)
			Expect(response.StatusCode).To(Equal(200), query)
			Expect(response.Header.Get("Content-Disposition")).To(HavePrefix("inline; filename="))
			config, _, err := image.DecodeConfig(strings.NewReader(body))
			Expect(err).NotTo(HaveOccurred())
			Expect(image.Pt(config.Width, config.Height)).To(Equal(want), query)
		}
		refused(alice.get(path), 400, "M_MISSING_PARAM")
		for _, query := range []string{"width=0&height=1", "width=-1&height=1", "width=1.5&height=1", "width=99999999999999999999&height=1", "width=1&height=1&method=stretch", "width=1&height=1&animated=x"} {
			refused(alice.get(path+"?"+query), 400, "M_INVALID_PARAM")
		}
		refused(alice.get("/_matrix/client/v1/media/thumbnail/"+alice.upload("image/png", "", "no picture")+"?width=1&height=1"), 400, "M_UNKNOWN")
	})

	It("has previews of pages only where they are on", func() {
		w := newMediaWorld(nil, nil)
		alice := w.register("alice")
		refused(alice.get("/_matrix/client/v1/media/preview_url?url=https://example.org/"), 404, "M_UNRECOGNIZED")
		refused(alice.get("/_matrix/client/v1/media/preview_url"), 400, "M_MISSING_PARAM")
		refused(alice.get("/_matrix/client/v1/media/preview_url?url=x&ts=now"), 400, "M_INVALID_PARAM")
	})

	It("has previews of pages for others, too, while one user's take their time", func() {
		var slow, most atomic.Int64
		ended := make(chan struct{})
		end := sync.OnceFunc(func() { close(ended) })
		w := newMediaWorld(nil, func(c *media.Config, _ *Config) {
			c.Dial = func(_ context.Context, _, address string) (net.Conn, error) {
				if strings.HasPrefix(address, "slow") {
					now := slow.Add(1)
					defer slow.Add(-1)
					for before := most.Load(); now > before && !most.CompareAndSwap(before, now); before = most.Load() {
					}
					<-ended
				}
				return nil, errors.New("nobody is there")
			}
		})
		alice, bob := w.register("alice"), w.register("bob")
		var asking sync.WaitGroup
		for i := range 12 {
			asking.Go(func() {
				defer GinkgoRecover()
				alice.get(fmt.Sprintf("/_matrix/client/v1/media/preview_url?url=https://slow%d.test/", i))
			})
		}
		DeferCleanup(end)
		Eventually(most.Load).Should(BeNumerically(">=", maxPreviewsEach))
		refused(bob.get("/_matrix/client/v1/media/preview_url?url=https://quick.test/"), 502, "M_UNKNOWN")
		Expect(most.Load()).To(BeEquivalentTo(maxPreviewsEach))
		end()
		asking.Wait()
	})

	It("is not sent by one user in all places", func() {
		w := newMediaWorld(nil, nil)
		alice, bob := w.register("alice"), w.register("bob")
		answers := make(chan int, maxUploadsEach+1)
		var lines []*io.PipeWriter
		for range maxUploadsEach + 1 {
			from, to := io.Pipe()
			lines = append(lines, to)
			go func() {
				defer GinkgoRecover()
				response, _ := alice.ask("POST", "/_matrix/media/v3/upload", from)
				answers <- response.StatusCode
			}()
		}
		Expect(<-answers).To(Equal(429))
		bob.upload("", "", "his")
		for _, to := range lines {
			Expect(to.Close()).To(Succeed())
		}
		for range maxUploadsEach {
			Expect(<-answers).To(Equal(200))
		}
		alice.upload("", "", "one more")
	})

	It("is not waited for by one user in all places", func() {
		more := make(chan bool)
		w := newMediaWorld(func(_ federation.MediaRequest, take client.TakeMedia) error {
			<-more
			return take(federation.MediaPart{}, strings.NewReader("far"))
		}, nil)
		alice, bob := w.register("alice"), w.register("bob")
		ours := bob.upload("", "", "ours")
		answers := make(chan int, maxFilesEach+1)
		for range maxFilesEach + 1 {
			go func() {
				defer GinkgoRecover()
				response, _ := alice.ask("GET", newDownload+"far.example/a", nil)
				answers <- response.StatusCode
			}()
		}
		Expect(<-answers).To(Equal(429))
		_, body := bob.ask("GET", newDownload+ours, nil)
		Expect(body).To(Equal("ours"))
		close(more)
		for range maxFilesEach {
			Expect(<-answers).To(Equal(200))
		}
	})
})

// aPicture is a PNG.
func aPicture(width, height int) string {
	picture := image.NewGray(image.Rect(0, 0, width, height))
	for x := range width {
		picture.SetGray(x, height/2, color.Gray{uint8(x)})
	}
	var out bytes.Buffer
	Expect(png.Encode(&out, picture)).To(Succeed())
	return out.String()
}

// gate is a reader that ends when its channel is closed.
type gate[T any] <-chan T

func (g gate[T]) Read([]byte) (int, error) {
	<-g
	return 0, io.EOF
}

// failing is a line that is cut.
type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("cut off") }
