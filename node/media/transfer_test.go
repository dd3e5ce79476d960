package media

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
)

var png1 = federation.MediaPart{ContentType: "image/png", Disposition: `inline; filename="größe.png"; filename*=utf-8''gr%C3%B6%C3%9Fe.png`}

var _ = Describe("other servers' media", func() {
	It("reaches who asks for it as it comes, and the cache once it is whole", func(ctx SpecContext) {
		w := newWorld(nil)
		first, second := random(200<<10), random(200<<10)
		more := make(chan bool)
		w.remote = func(out http.ResponseWriter, in *http.Request) {
			Expect(in.URL.Path).To(Equal("/_matrix/federation/v1/media/download/picture"))
			Expect(in.Header.Get("Authorization")).To(ContainSubstring("X-Matrix"))
			_ = answerMedia(out, png1, io.MultiReader(bytes.NewReader(first), waitFor(out, more), bytes.NewReader(second)))
		}
		q := Request{Server: there, ID: "picture"}
		var readers []*Content
		for range 3 {
			content, err := w.Open(ctx, q)
			Expect(err).NotTo(HaveOccurred())
			Expect(content.ContentType).To(Equal("image/png"))
			Expect(content.Filename).To(Equal("größe.png"))
			Expect(content.Size).To(BeNumerically("<", 0))
			start := make([]byte, 64<<10)
			_, err = io.ReadFull(content.Body, start)
			Expect(err).NotTo(HaveOccurred(), "the rest has not been sent yet")
			Expect(bytes.Equal(start, first[:len(start)])).To(BeTrue())
			readers = append(readers, content)
		}
		_, found, err := w.store.Media(ctx, there, "picture")
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())
		close(more)
		for _, content := range readers {
			rest, err := io.ReadAll(content.Body)
			Expect(err).NotTo(HaveOccurred())
			Expect(bytes.Equal(rest, append(first[64<<10:], second...))).To(BeTrue())
			Expect(content.Body.Close()).To(Succeed())
		}
		Expect(w.asked.Load()).To(Equal(int64(1)), "one fetch is enough for all")

		content, got, err := w.read(ctx, q)
		Expect(err).NotTo(HaveOccurred())
		Expect(got).To(HaveLen(400 << 10))
		Expect(content.Size).To(Equal(int64(400 << 10)))
		Expect(content.Filename).To(Equal("größe.png"))
		w.stop()
		w.start()
		_, _, err = w.read(ctx, Request{Server: there, ID: "picture", OnlyHere: true})
		Expect(err).NotTo(HaveOccurred())
		Expect(w.asked.Load()).To(Equal(int64(1)))
		Expect(w.Stats().CacheHits).To(Equal(int64(1)))
	})

	It("that breaks off is not taken for whole, nor kept, nor asked for again at once", func(ctx SpecContext) {
		w := newWorld(nil)
		w.remote = func(out http.ResponseWriter, _ *http.Request) {
			_ = answerMedia(out, png1, io.MultiReader(bytes.NewReader(random(100<<10)), breakOff{}))
		}
		for range 3 {
			_, got, err := w.read(ctx, Request{Server: there, ID: "a"})
			Expect(err).To(HaveOccurred())
			Expect(len(got)).To(BeNumerically("<=", 100<<10))
		}
		Expect(w.asked.Load()).To(Equal(int64(1)))
		Expect(w.files()).To(BeEmpty())
		_, found, err := w.store.Media(ctx, there, "a")
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())

		w.remote = func(out http.ResponseWriter, _ *http.Request) { _ = answerMedia(out, png1, strings.NewReader("whole")) }
		w.mu.Lock()
		w.transfers[name{there, "a"}].failed = time.Now().Add(-failureLife)
		w.mu.Unlock()
		_, got, err := w.read(ctx, Request{Server: there, ID: "a"})
		Expect(err).NotTo(HaveOccurred())
		Expect(string(got)).To(Equal("whole"))
		Expect(w.Stats().Transfers).To(BeZero())
	})

	DescribeTable("is refused if the answer is hostile", func(ctx SpecContext, answer http.HandlerFunc, want OmegaMatcher) {
		w := newWorld(func(c *Config) { c.MaxSize = 1 << 20 })
		w.remote = answer
		_, got, err := w.read(ctx, Request{Server: there, ID: "a"})
		Expect(err).To(want)
		Expect(len(got)).To(BeNumerically("<=", 1<<20))
		w.stop()
		Expect(w.files()).To(BeEmpty())
		w.start()
	},
		Entry("a file without end", multipart("--b\r\n\r\n{}\r\n--b\r\n\r\n", endless("x")), refused(502, "M_TOO_LARGE")),
		Entry("a file too large", multipart("--b\r\n\r\n{}\r\n--b\r\n\r\n", io.LimitReader(endless("x"), 1<<20+1), "\r\n--b--\r\n"), refused(502, "M_TOO_LARGE")),
		Entry("a file without its last boundary", multipart("--b\r\n\r\n{}\r\n--b\r\n\r\nhalf a file"), HaveOccurred()),
		Entry("heads without end", multipart("--b\r\n", endless("X-Nothing: 1\r\n")), refused(502, "M_UNKNOWN")),
		Entry("a head's line without end", multipart("--b\r\n\r\n{}\r\n--b\r\nX-Nothing: ", endless("x")), refused(502, "M_UNKNOWN")),
		Entry("metadata without end", multipart("--b\r\n\r\n", endless("{}")), refused(502, "M_UNKNOWN")),
		Entry("another boundary", multipart("--c\r\n\r\n{}\r\n--c\r\n\r\nx\r\n--c--\r\n"), refused(502, "M_UNKNOWN")),
		Entry("one part", multipart("--b\r\n\r\n{}\r\n--b--\r\n"), refused(502, "M_UNKNOWN")),
		Entry("no multipart at all", http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) { _, _ = out.Write([]byte("{}")) }), refused(502, "M_UNKNOWN")),
		Entry("a length that is not kept to", http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
			out.Header().Set("Content-Length", "100000")
			multipart("--b\r\n\r\n{}\r\n--b\r\n\r\nhalf a file")(out, nil)
		}), HaveOccurred()),
		Entry("a length that is less than what comes", http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
			out.Header().Set("Content-Length", "30")
			multipart("--b\r\n\r\n{}\r\n--b\r\n\r\n", strings.NewReader(strings.Repeat("x", 100)), "\r\n--b--\r\n")(out, nil)
		}), HaveOccurred()),
		Entry("a picture elsewhere, at an address inside", multipart("--b\r\n\r\n{}\r\n--b\r\nLocation: http://127.0.0.1:1/secret\r\n\r\n\r\n--b--\r\n"), refused(502, "M_UNKNOWN")),
		Entry("a picture elsewhere, by no scheme of the web", multipart("--b\r\n\r\n{}\r\n--b\r\nLocation: file:///etc/passwd\r\n\r\n\r\n--b--\r\n"), refused(502, "M_UNKNOWN")),
		Entry("an error", refuse(403, "M_FORBIDDEN"), refused(502, "M_UNKNOWN")),
		Entry("nothing there", refuse(404, "M_NOT_FOUND"), refused(404, "M_NOT_FOUND")),
		Entry("nothing there yet", refuse(504, "M_NOT_YET_UPLOADED"), refused(504, "M_NOT_YET_UPLOADED")),
		Entry("too large for the server itself", refuse(502, "M_TOO_LARGE"), refused(502, "M_TOO_LARGE")),
		Entry("no time", refuse(429, "M_LIMIT_EXCEEDED"), refused(502, "M_UNKNOWN")),
		Entry("no such endpoint, old or new", refuse(404, "M_UNRECOGNIZED"), refused(404, "M_NOT_FOUND")),
	)

	It("is fetched from where its server says that it is, but not from inside", func(ctx SpecContext) {
		w := newWorld(nil)
		elsewhere := w.serve("127.0.0.1", func(out http.ResponseWriter, in *http.Request) {
			switch in.URL.Path {
			case "/inside":
				http.Redirect(out, in, "http://127.0.0.1:1/", http.StatusFound)
			case "/around":
				http.Redirect(out, in, "/around", http.StatusFound)
			case "/moved":
				http.Redirect(out, in, "/picture", http.StatusFound)
			default:
				Expect(in.Header.Get("Authorization")).To(BeEmpty(), "nothing of ours goes along")
				out.Header().Set("Content-Type", "image/gif")
				out.Header().Set("Content-Disposition", "attachment; filename=a.gif")
				_, _ = out.Write([]byte("GIF"))
			}
		})
		w.remote = func(out http.ResponseWriter, in *http.Request) {
			mediaID := in.URL.Path[strings.LastIndexByte(in.URL.Path, '/'):]
			_ = answerMedia(out, federation.MediaPart{Location: elsewhere.URL + mediaID}, nil)
		}
		for _, mediaID := range []string{"picture", "moved"} {
			content, got, err := w.read(ctx, Request{Server: there, ID: mediaID})
			Expect(err).NotTo(HaveOccurred())
			Expect([]string{string(got), content.ContentType, content.Filename}).To(Equal([]string{"GIF", "image/gif", "a.gif"}))
		}
		for _, mediaID := range []string{"inside", "around"} {
			_, err := w.Open(ctx, Request{Server: there, ID: mediaID})
			Expect(err).To(refused(502, "M_UNKNOWN"))
		}
	})

	It("comes from servers of before Matrix 1.11 too", func(ctx SpecContext) {
		w := newWorld(nil)
		w.remote = func(out http.ResponseWriter, in *http.Request) {
			if in.URL.Path != "/_matrix/media/v3/download/there.example/old" {
				refuse(404, "M_UNRECOGNIZED")(out, in)
				return
			}
			Expect(in.URL.Query().Get("allow_remote")).To(Equal("false"))
			out.Header().Set("Content-Type", "text/plain")
			out.Header().Set("Content-Disposition", "inline; filename=old.txt")
			_, _ = out.Write([]byte("from long ago"))
		}
		content, got, err := w.read(ctx, Request{Server: there, ID: "old"})
		Expect(err).NotTo(HaveOccurred())
		Expect([]string{string(got), content.ContentType, content.Filename}).To(Equal([]string{"from long ago", "text/plain", "old.txt"}))
	})

	It("is not asked for where the asker doesn't want that, or could not have it", func(ctx SpecContext) {
		w := newWorld(nil)
		w.remote = func(out http.ResponseWriter, _ *http.Request) { _ = answerMedia(out, png1, strings.NewReader("x")) }
		for _, q := range []Request{
			{Server: there, ID: "a", OnlyHere: true}, {Server: there, ID: "a", Before: time.Now().Add(-time.Hour)}, {Server: there, ID: "../a"},
		} {
			_, err := w.Open(ctx, q)
			Expect(err).To(refused(404, "M_NOT_FOUND"))
		}
		Expect(w.asked.Load()).To(BeZero())
		_, _, err := w.read(ctx, Request{Server: there, ID: "a", Before: time.Now().Add(time.Hour)})
		Expect(err).NotTo(HaveOccurred())
		ours := w.upload(ctx, "", []byte("x"))
		for _, q := range []Request{{Server: there, ID: "a"}, ours} {
			q.Before = time.Now().Add(-time.Hour)
			_, err := w.Open(ctx, q)
			Expect(err).To(refused(404, "M_NOT_FOUND"), "it came after the freeze")
			q.Before = time.Now().Add(time.Hour)
			_, _, err = w.read(ctx, q)
			Expect(err).NotTo(HaveOccurred())
		}
	})

	It("that can't be written is not held in memory instead", func(ctx SpecContext) {
		w := newWorld(nil)
		w.remote = func(out http.ResponseWriter, _ *http.Request) {
			_ = answerMedia(out, png1, bytes.NewReader(random(300<<10)))
		}
		fullDisk(w.folder, 100<<10)
		_, _, err := w.read(ctx, Request{Server: there, ID: "a"})
		Expect(err).To(refused(507, "M_UNKNOWN"))
		w.stop()
		Expect(w.files()).To(BeEmpty())
		w.start()
	})

	It("makes way in the order in which it was last asked for; ours stays", func(ctx SpecContext) {
		w := newWorld(func(c *Config) { c.CacheSize = 30_000 })
		w.remote = func(out http.ResponseWriter, _ *http.Request) {
			_ = answerMedia(out, png1, bytes.NewReader(random(10_000)))
		}
		ours := w.upload(ctx, "", random(100_000))
		long := time.Now().Add(-2 * usedPrecision)
		get := func(mediaID string) {
			GinkgoHelper()
			_, got, err := w.read(ctx, Request{Server: there, ID: mediaID})
			Expect(err).NotTo(HaveOccurred())
			Expect(got).To(HaveLen(10_000))
		}
		for i := range 3 {
			get(fmt.Sprint(i))
			Expect(w.store.TouchMedia(ctx, there, fmt.Sprint(i), long.Add(time.Duration(i)*time.Second))).To(Succeed())
		}
		get("0") // used now
		asked := w.asked.Load()
		reading, err := w.Open(ctx, Request{Server: there, ID: "1"})
		Expect(err).NotTo(HaveOccurred())
		Expect(w.store.TouchMedia(ctx, there, "1", long)).To(Succeed())
		get("3")
		Eventually(func() int64 { return w.Stats().Swept }).Should(Equal(int64(1)))
		Expect(io.ReadAll(reading.Body)).To(HaveLen(10_000), "who reads it reads it to its end")
		Expect(reading.Body.Close()).To(Succeed())
		get("0")
		get("2")
		get("3")
		Expect(w.asked.Load()).To(Equal(asked + 1))
		get("1")
		Expect(w.asked.Load()).To(Equal(asked+2), "that one had made way")
		_, _, err = w.read(ctx, ours)
		Expect(err).NotTo(HaveOccurred())
	})

	It("whose file somebody removed is fetched again", func(ctx SpecContext) {
		w := newWorld(nil)
		w.remote = func(out http.ResponseWriter, _ *http.Request) { _ = answerMedia(out, png1, strings.NewReader("x")) }
		for range 2 {
			_, _, err := w.read(ctx, Request{Server: there, ID: "a"})
			Expect(err).NotTo(HaveOccurred())
			row, _, err := w.store.Media(ctx, there, "a")
			Expect(err).NotTo(HaveOccurred())
			Expect(w.folder.remove(row.File)).To(Succeed())
		}
		Expect(w.asked.Load()).To(Equal(int64(2)))
	})

	It("that could not be had makes room for other media", func(ctx SpecContext) {
		w := newWorld(nil)
		w.remote = func(out http.ResponseWriter, _ *http.Request) { _ = answerMedia(out, png1, strings.NewReader("x")) }
		w.mu.Lock()
		for i := range maxTransfers {
			w.transfers[name{there, fmt.Sprint("failed", i)}] = &transfer{failed: time.Now(), changed: make(chan struct{})}
		}
		w.mu.Unlock()
		_, _, err := w.read(ctx, Request{Server: there, ID: "a"})
		Expect(err).NotTo(HaveOccurred())
		w.mu.Lock()
		defer w.mu.Unlock()
		Expect(w.transfers).To(BeEmpty())
	})

	It("is not waited for one by one where the server is down", func(ctx SpecContext) {
		w := newWorld(nil)
		const many = 5 * maxPerServer
		w.resolving = make(chan bool)
		errs := make(chan error, many)
		for i := range many {
			go func() {
				_, err := w.Open(ctx, Request{Server: "down.example", ID: fmt.Sprint(i)})
				errs <- err
			}()
		}
		Eventually(func() int { return w.Stats().Transfers }).Should(Equal(many))
		for range maxPerServer { // the first ones try
			w.resolving <- true
		}
		for range many {
			Expect(<-errs).To(refused(502, "M_UNKNOWN"))
		}
	})

	It("ends with the server", func(ctx SpecContext) {
		w := newWorld(nil)
		w.remote = func(out http.ResponseWriter, in *http.Request) {
			_ = answerMedia(out, png1, io.MultiReader(bytes.NewReader(random(100<<10)), waitFor(out, in.Context().Done())))
		}
		content, err := w.Open(ctx, Request{Server: there, ID: "a"})
		Expect(err).NotTo(HaveOccurred())
		w.stop()
		_, err = io.ReadAll(content.Body)
		Expect(err).To(HaveOccurred())
		Expect(content.Body.Close()).To(Succeed())
		_, err = w.Open(ctx, Request{Server: there, ID: "b"})
		Expect(err).To(HaveOccurred())
		Expect(w.files()).To(BeEmpty())
		w.start()
	})
})

// waitFor is a reader that sends what was written so far, waits, and is at its end.
func waitFor[T any](out http.ResponseWriter, more <-chan T) io.Reader {
	return readerFunc(func([]byte) (int, error) {
		out.(http.Flusher).Flush()
		<-more
		return 0, io.EOF
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// breakOff ends an answer half-way.
type breakOff struct{}

func (breakOff) Read([]byte) (int, error) { panic(http.ErrAbortHandler) }

// endless repeats a text for ever.
type endless string

func (e endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		n += copy(p[n:], e)
	}
	return n, nil
}

// multipart answers with texts and readers, one after the other.
func multipart(parts ...any) http.HandlerFunc {
	return func(out http.ResponseWriter, _ *http.Request) {
		out.Header().Set("Content-Type", `multipart/mixed; boundary="b"`)
		for _, part := range parts {
			var err error
			switch part := part.(type) {
			case string:
				_, err = io.WriteString(out, part)
			case io.Reader:
				_, err = io.Copy(out, part)
			}
			if err != nil {
				return
			}
		}
	}
}

// refuse answers with an error.
func refuse(status int, code string) http.HandlerFunc {
	return func(out http.ResponseWriter, _ *http.Request) {
		out.Header().Set("Content-Type", "application/json")
		out.WriteHeader(status)
		fmt.Fprintf(out, `{"errcode":%q,"error":"no"}`, code)
	}
}
