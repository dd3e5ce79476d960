package media

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing/iotest"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/store"
)

var _ = Describe("uploads", func() {
	It("are what was uploaded, over a restart", func(ctx SpecContext) {
		w := newWorld(nil)
		for _, data := range [][]byte{{}, []byte("x"), random(3 << 20)} {
			q := w.upload(ctx, "text/plain; charset=utf-8", data)
			w.stop()
			w.start()
			content, got, err := w.read(ctx, q)
			Expect(err).NotTo(HaveOccurred())
			Expect(bytes.Equal(got, data)).To(BeTrue())
			Expect(content.ContentType).To(Equal("text/plain; charset=utf-8"))
			Expect(content.Filename).To(Equal("file"))
			Expect(content.Size).To(Equal(int64(len(data))))
			Expect(content.Body).To(BeAssignableToTypeOf(&os.File{}))
		}
		Expect(w.files()).To(HaveLen(3))
		Expect(w.Stats().UploadedBytes).To(BeZero(), "since the start")
	})

	It("of no type, or none that is one, are of an unknown type", func(ctx SpecContext) {
		w := newWorld(nil)
		for _, contentType := range []string{"", "nonsense/", strings.Repeat("a/b", 100), "text/html\r\nX-Evil: 1", "a/b\xff"} {
			content, _, err := w.read(ctx, w.upload(ctx, contentType, []byte("x")))
			Expect(err).NotTo(HaveOccurred())
			Expect(content.ContentType).To(Equal("application/octet-stream"), contentType)
		}
	})

	It("that are too large are refused, whatever is said of their size", func(ctx SpecContext) {
		w := newWorld(func(c *Config) { c.MaxSize = 1000 })
		w.upload(ctx, "", random(1000))
		for _, size := range []int64{1001, -1, 1} {
			_, err := w.Upload(ctx, Upload{User: alice, Size: size, Body: bytes.NewReader(random(1001))})
			Expect(err).To(refused(413, "M_TOO_LARGE"))
		}
		Expect(w.files()).To(HaveLen(1))
	})

	It("that break off leave nothing", func(ctx SpecContext) {
		w := newWorld(nil)
		broken := errors.New("the line is dead")
		_, err := w.Upload(ctx, Upload{User: alice, Size: -1, Body: io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken))})
		Expect(err).To(MatchError(broken))
		Expect(w.files()).To(BeEmpty())
	})

	It("end at the user's quota", func(ctx SpecContext) {
		w := newWorld(func(c *Config) { c.UserQuota = 1000 })
		w.upload(ctx, "", random(600))
		for _, size := range []int64{500, -1} {
			_, err := w.Upload(ctx, Upload{User: alice, Size: size, Body: bytes.NewReader(random(500))})
			Expect(err).To(refused(403, "M_FORBIDDEN"))
		}
		w.upload(ctx, "", random(400))
		_, err := w.Upload(ctx, Upload{User: dora, Size: 1000, Body: bytes.NewReader(random(1000))})
		Expect(err).NotTo(HaveOccurred(), "each has a quota of their own")
		Expect(w.files()).To(HaveLen(3))
	})

	It("fail on a full disk and leave nothing; the next one may succeed", func(ctx SpecContext) {
		w := newWorld(nil)
		create := w.folder.create
		fullDisk(w.folder, 100<<10)
		_, err := w.Upload(ctx, Upload{User: alice, Size: -1, Body: bytes.NewReader(random(200 << 10))})
		Expect(err).To(refused(507, "M_UNKNOWN"))
		Expect(w.files()).To(BeEmpty())
		_, used, err := w.store.MediaUsage(ctx, alice)
		Expect(err).NotTo(HaveOccurred())
		Expect(used).To(BeZero())
		w.folder.create = create
		w.upload(ctx, "", random(200<<10))
	})

	It("that can't be moved to their folder are there, and are moved at the next start", func(ctx SpecContext) {
		w := newWorld(nil)
		const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" // of random names
		var inTheWay []string
		for _, first := range letters {
			for _, second := range letters {
				inTheWay = append(inTheWay, filepath.Join(w.config.Folder, string(first)+string(second)))
				Expect(os.WriteFile(inTheWay[len(inTheWay)-1], nil, 0o600)).To(Succeed())
			}
		}
		data := random(1000)
		q := w.upload(ctx, "", data)
		_, got, err := w.read(ctx, q)
		Expect(err).NotTo(HaveOccurred())
		Expect(bytes.Equal(got, data)).To(BeTrue())
		w.stop()
		for _, path := range inTheWay {
			Expect(os.Remove(path)).To(Succeed())
		}
		w.start()
		row, _, err := w.store.Media(ctx, self, q.ID)
		Expect(err).NotTo(HaveOccurred())
		Expect(w.files()).To(Equal([]string{w.folder.path(row.File)}))
	})

	It("of which nobody knows whether the database has them are kept until the next start", func(ctx SpecContext) {
		w := newWorld(nil)
		for _, noted := range []bool{true, false} {
			written, err := w.folder.newFile()
			Expect(err).NotTo(HaveOccurred())
			Expect(written.keep(func() error { return store.ErrUnanswered })).To(MatchError(store.ErrUnanswered))
			Expect(w.files()).To(HaveLen(1))
			Expect(w.folder.recover(ctx, func(context.Context, string) (bool, error) { return noted, nil })).To(Succeed())
			if noted {
				Expect(w.files()).To(Equal([]string{w.folder.path(written.name)}))
				Expect(w.folder.remove(written.name)).To(Succeed())
			}
			Expect(w.files()).To(BeEmpty())
		}
	})

	It("of a server whose database fails are refused for now, and the disk is not blamed", func(ctx SpecContext) {
		var log bytes.Buffer
		w := newWorld(func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		failed := fmt.Errorf("storing it: %w", federation.NewError(http.StatusServiceUnavailable, federation.CodeUnknown, "this server can't use its database"))
		Expect(w.refused(failed)).To(refused(503, "M_UNKNOWN"))
		Expect(log.String()).To(BeEmpty())
	})

	It("that a crash interrupted are finished or forgotten", func(ctx SpecContext) {
		w := newWorld(nil)
		data := random(1000)
		q := w.upload(ctx, "", data)
		row, _, err := w.store.Media(ctx, self, q.ID)
		Expect(err).NotTo(HaveOccurred())
		// As it is between the commit and the move, and before the commit.
		Expect(os.Rename(w.folder.path(row.File), w.folder.incoming(row.File))).To(Succeed())
		Expect(os.WriteFile(w.folder.incoming(newID()), data, 0o600)).To(Succeed())
		_, got, err := w.read(ctx, q)
		Expect(err).NotTo(HaveOccurred())
		Expect(bytes.Equal(got, data)).To(BeTrue(), "readers find it where it is")
		w.stop()
		w.start()
		Expect(w.files()).To(Equal([]string{w.folder.path(row.File)}))
		_, got, err = w.read(ctx, q)
		Expect(err).NotTo(HaveOccurred())
		Expect(bytes.Equal(got, data)).To(BeTrue())
	})

	It("whose file is lost are not found", func(ctx SpecContext) {
		w := newWorld(nil)
		q := w.upload(ctx, "", random(10))
		for _, name := range w.files() {
			Expect(os.Remove(name)).To(Succeed())
		}
		_, err := w.Open(ctx, q)
		Expect(err).To(refused(404, "M_NOT_FOUND"))
	})

	It("are found by their ID only", func(ctx SpecContext) {
		w := newWorld(nil)
		q := w.upload(ctx, "", random(10))
		row, _, err := w.store.Media(ctx, self, q.ID)
		Expect(err).NotTo(HaveOccurred())
		Expect(os.WriteFile(filepath.Join(filepath.Dir(w.config.Folder), "secret"), []byte("x"), 0o600)).To(Succeed())
		for _, mediaID := range []string{"", "nothing", "../secret", "..", ".", "a/b", "%2e%2e", "a\x00b", strings.Repeat("a", 256), row.File + ".", "é"} {
			_, err := w.Open(ctx, Request{Server: self, ID: mediaID})
			Expect(err).To(refused(404, "M_NOT_FOUND"), mediaID)
		}
		for _, server := range []string{"", "here.example/..", "[::1", "here example"} {
			_, err := w.Open(ctx, Request{Server: id.ServerName(server), ID: q.ID})
			Expect(err).To(refused(404, "M_NOT_FOUND"), server)
		}
	})
})

var _ = Describe("media that is created first and uploaded later", func() {
	It("is waited for", func(ctx SpecContext) {
		w := newWorld(nil)
		mediaID, until, err := w.Create(ctx, alice)
		Expect(err).NotTo(HaveOccurred())
		Expect(until).To(BeTemporally("~", time.Now().Add(24*time.Hour), time.Minute))
		q := Request{Server: self, ID: mediaID}
		_, err = w.Open(ctx, q)
		Expect(err).To(refused(504, "M_NOT_YET_UPLOADED"))
		q.Wait = time.Millisecond
		_, err = w.Thumbnail(ctx, q, Size{Width: 1, Height: 1}, false)
		Expect(err).To(refused(504, "M_NOT_YET_UPLOADED"))
		Expect(w.Media.uploads).To(BeEmpty(), "nobody waits any more")

		q.Wait = time.Minute
		data := random(1000)
		read := make(chan []byte, 2)
		for range 2 {
			go func() {
				defer GinkgoRecover()
				_, got, err := w.read(ctx, q)
				Expect(err).NotTo(HaveOccurred())
				read <- got
			}()
		}
		waiting := func() int {
			w.mu.Lock()
			defer w.mu.Unlock()
			if u := w.Media.uploads[mediaID]; u != nil {
				return u.waiting
			}
			return 0
		}
		Eventually(waiting).Should(Equal(2))
		Expect(w.Fill(ctx, self, mediaID, Upload{User: alice, ContentType: "image/png", Size: -1, Body: bytes.NewReader(data)})).To(Succeed())
		Expect(<-read).To(Equal(data))
		Expect(<-read).To(Equal(data))
	})

	It("is uploaded once, by who created it, in time", func(ctx SpecContext) {
		w := newWorld(nil)
		mediaID, _, err := w.Create(ctx, alice)
		Expect(err).NotTo(HaveOccurred())
		fill := func(mediaID string, upload Upload) error {
			upload.Size, upload.Body = -1, strings.NewReader("a file")
			return w.Fill(ctx, self, mediaID, upload)
		}
		Expect(fill(mediaID, Upload{User: dora})).To(refused(403, "M_FORBIDDEN"))
		Expect(fill("unknown", Upload{User: alice})).To(refused(404, "M_NOT_FOUND"))
		Expect(fill("../x", Upload{User: alice})).To(refused(404, "M_NOT_FOUND"))
		Expect(w.Fill(ctx, there, mediaID, Upload{User: alice, Body: strings.NewReader("")})).To(refused(404, "M_NOT_FOUND"))
		Expect(fill(mediaID, Upload{User: alice})).To(Succeed())
		Expect(fill(mediaID, Upload{User: alice})).To(refused(409, "M_CANNOT_OVERWRITE_MEDIA"))
		Expect(fill(w.upload(ctx, "", nil).ID, Upload{User: alice})).To(refused(409, "M_CANNOT_OVERWRITE_MEDIA"))

		yesterday := time.Now().Add(-25 * time.Hour)
		late := store.Media{Server: self, ID: "late", File: newID(), User: alice, Created: yesterday, Expires: yesterday.Add(pendingLife)}
		Expect(w.store.CreateMedia(ctx, late, store.MediaQuota{})).To(Succeed())
		Expect(fill("late", Upload{User: alice})).To(refused(404, "M_NOT_FOUND"))
		_, err = w.Open(ctx, Request{Server: self, ID: "late", Wait: time.Minute})
		Expect(err).To(refused(404, "M_NOT_FOUND"), "nobody waits for what can't come")
	})

	It("is uploaded once also by two at a time", func(ctx SpecContext) {
		w := newWorld(nil)
		mediaID, _, err := w.Create(ctx, alice)
		Expect(err).NotTo(HaveOccurred())
		// Both are let in before either has sent all of its file.
		files := []string{"the first", "the second"}
		errs := make(chan error, len(files))
		var pipes []*io.PipeWriter
		for range files {
			from, to := io.Pipe()
			pipes = append(pipes, to)
			go func() {
				errs <- w.Fill(context.WithoutCancel(ctx), self, mediaID, Upload{User: alice, Size: -1, Body: from})
			}()
		}
		for i, to := range pipes {
			_, err := to.Write([]byte(files[i]))
			Expect(err).NotTo(HaveOccurred())
		}
		for _, to := range pipes {
			Expect(to.Close()).To(Succeed())
		}
		results := []error{<-errs, <-errs}
		Expect(results).To(ConsistOf(Succeed(), refused(409, "M_CANNOT_OVERWRITE_MEDIA")))
		_, got, err := w.read(ctx, Request{Server: self, ID: mediaID})
		Expect(err).NotTo(HaveOccurred())
		Expect(files).To(ContainElement(string(got)))
		Expect(w.files()).To(HaveLen(1))
	})

	It("is not created without end", func(ctx SpecContext) {
		w := newWorld(nil)
		for range maxPending {
			_, _, err := w.Create(ctx, alice)
			Expect(err).NotTo(HaveOccurred())
		}
		_, _, err := w.Create(ctx, alice)
		Expect(err).To(refused(429, "M_LIMIT_EXCEEDED"))
		_, _, err = w.Create(ctx, dora)
		Expect(err).NotTo(HaveOccurred())
	})
})
