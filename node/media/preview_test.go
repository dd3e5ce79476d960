package media

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("previews of web pages", func() {
	// site is a web server; pages are what it has, by path. A text that starts with "Location: " is a redirect.
	site := func(w *world, pages map[string]string) (address string) {
		server := w.serve("127.0.0.1", func(out http.ResponseWriter, in *http.Request) {
			w.asked.Add(1)
			page, known := pages[in.URL.Path]
			switch {
			case !known:
				http.NotFound(out, in)
			case strings.HasPrefix(page, "Location: "):
				http.Redirect(out, in, page[len("Location: "):], http.StatusFound)
			default:
				kind, text, found := strings.Cut(page, "\n\n")
				if !found {
					kind, text = "text/html; charset=utf-8", page
				}
				out.Header().Set("Content-Type", kind)
				_, _ = io.WriteString(out, text)
			}
		})
		return server.URL
	}
	withPreviews := func() *world {
		var w *world
		w = newWorld(func(c *Config) {
			c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				return w.dial(ctx, network, address)
			}
		})
		return w
	}
	fields := func(ctx SpecContext, w *world, address string) map[string]any {
		GinkgoHelper()
		raw, err := w.Preview(ctx, address, "de")
		Expect(err).NotTo(HaveOccurred())
		answer := map[string]any{}
		Expect(json.Unmarshal(raw, &answer)).To(Succeed())
		return answer
	}

	It("are not there where they are off", func(ctx SpecContext) {
		w := newWorld(nil)
		_, err := w.Preview(ctx, "https://example.org/", "")
		Expect(err).To(refused(404, "M_UNRECOGNIZED"))
	})

	It("say what a page says of itself, with its picture as media, and are remembered", func(ctx SpecContext) {
		w := withPreviews()
		picture := string(asPNG(quarters(40, 20, 255)))
		home := site(w, map[string]string{
			"/page": "Location: /moved/page",
			"/moved/page": `<html><head><title>a title</title>
				<meta property="og:title" content="The &quot;Title&quot;"><meta content="article" property="og:type"/>
				<meta name="description" content="  what it  is
				about "><meta property="og:image" content="../picture.png"><meta property="og:image:width" content="9999">`,
			"/picture.png": "image/x-lie\n\n" + picture,
		})
		answer := fields(ctx, w, home+"/page#fragment")
		uri := fmt.Sprint(answer["og:image"])
		Expect(uri).To(HavePrefix("mxc://here.example/"))
		Expect(answer).To(Equal(map[string]any{
			"og:title": `The "Title"`, "og:type": "article", "og:description": "what it is about", "og:image": uri,
			"og:image:type": "image/png", "og:image:width": 40.0, "og:image:height": 20.0, "matrix:image:size": float64(len(picture)),
		}))
		content, got, err := w.read(ctx, Request{Server: self, ID: strings.TrimPrefix(uri, "mxc://here.example/")})
		Expect(err).NotTo(HaveOccurred())
		Expect(string(got)).To(Equal(picture))
		Expect(content.ContentType).To(Equal("image/png"))
		asked := w.asked.Load()
		Expect(fields(ctx, w, home+"/page")).To(Equal(answer))
		Expect(w.asked.Load()).To(Equal(asked))
		_, used, err := w.store.MediaUsage(ctx, "")
		Expect(err).NotTo(HaveOccurred())
		Expect(used).To(Equal(int64(len(picture))), "it is cached, not uploaded")
	})

	It("take a picture for itself, and of other files say nothing", func(ctx SpecContext) {
		w := withPreviews()
		home := site(w, map[string]string{
			"/picture": "image/png\n\n" + string(asPNG(quarters(40, 20, 255))), "/film": "video/mp4\n\nfilm",
			"/strange": "text/html; charset=windows-1252\n\n<title>caf\xe9</title>", "/empty": "text/html\n\n",
		})
		Expect(fields(ctx, w, home+"/picture")).To(HaveKeyWithValue("og:image:width", 40.0))
		Expect(fields(ctx, w, home+"/film")).To(BeEmpty())
		Expect(fields(ctx, w, home+"/empty")).To(BeEmpty())
		Expect(fields(ctx, w, home+"/strange")).To(Equal(map[string]any{"og:title": "café"}))
	})

	It("never reach inside, by whatever way", func(ctx SpecContext) {
		w := withPreviews()
		inside := w.serve("127.0.0.1", func(http.ResponseWriter, *http.Request) { w.asked.Add(1000) })
		w.allowed.Delete(inside.Listener.Addr().String())
		home := site(w, map[string]string{
			"/redirect": "Location: " + inside.URL, "/circle": "Location: /circle", "/file": "Location: file:///etc/passwd",
			"/picture": `<title>x</title><meta property="og:image" content="` + inside.URL + `/secret.png">`,
		})
		port := inside.Listener.Addr().String()[len("127.0.0.1"):]
		for _, address := range []string{
			inside.URL, "http://127.0.0.1" + port, "http://localhost" + port, "http://[::1]" + port, "http://[::ffff:127.0.0.1]" + port, "http://0.0.0.0" + port,
			"http://2130706433" + port, "http://127.1" + port, "http://169.254.169.254/latest/meta-data", home + "/redirect", home + "/circle",
			home + "/file", home + "/nothing",
		} {
			_, err := w.Preview(ctx, address, "")
			Expect(err).To(refused(502, "M_UNKNOWN"), address)
			Expect(err.Error()).To(ContainSubstring("this page could not be fetched"), "nobody learns what is there")
		}
		Expect(fields(ctx, w, home+"/picture")).To(Equal(map[string]any{"og:title": "x"}))
		Expect(w.asked.Load()).To(BeNumerically("<", 1000))
		for _, address := range []string{"", "nothing", "file:///etc/passwd", "gopher://x/", "https://user@example.org/", "https:///x", "http://x/" + strings.Repeat("a", 3000), "http://[::1", "//x/"} {
			_, err := w.Preview(ctx, address, "")
			Expect(err).To(refused(400, "M_INVALID_PARAM"), address)
		}
	})

	It("read only so much", func(ctx SpecContext) {
		w := withPreviews()
		endlessPicture := w.serve("127.0.0.1", func(out http.ResponseWriter, in *http.Request) {
			if in.URL.Path == "/page" {
				out.Header().Set("Content-Type", "text/html")
				_, _ = io.WriteString(out, `<title>endless</title><meta property="og:image" content="/picture">`)
				_, _ = io.Copy(out, endless("<p>and more</p>"))
				return
			}
			out.Header().Set("Content-Type", "image/png")
			_, _ = out.Write(asPNG(quarters(40, 20, 255)))
			_, _ = io.Copy(out, endless("x"))
		})
		Expect(fields(ctx, w, endlessPicture.URL+"/page")).To(Equal(map[string]any{"og:title": "endless"}))
		Expect(w.files()).To(BeEmpty())
	})

	It("are forgotten, the old ones and the many", func(SpecContext) {
		w := withPreviews()
		for i := range maxPreviewsKept + 10 {
			w.previews.keep(fmt.Sprint(i), nil)
		}
		Expect(len(w.previews.kept)).To(BeNumerically("<=", maxPreviewsKept))
	})
})

func TestPagesDescribeThemselves(t *testing.T) {
	for page, want := range map[string]string{
		``:                                     `{}`,
		`<title>one</title><title>two</title>`: `{"og:title":"one"}`,
		`<TITLE>a &amp; b</TITLE><META NAME="Description" CONTENT="c">`:                                           `{"og:description":"c","og:title":"a \u0026 b"}`,
		`<meta property=og:title content=x><title>y</title>`:                                                      `{"og:title":"x"}`,
		`<meta name="twitter:title" content="x"><meta name="twitter:image" content="y">`:                          `{"og:image":"y","og:title":"x"}`,
		`<meta property="og:image:secure_url" content="https://x/">`:                                              `{"og:image":"https://x/"}`,
		`<meta property="og:title" content=" "><meta property="og:` + strings.Repeat("x", 99) + `" content="y">`:  `{}`,
		`<meta property="og:title" content="first"><meta property="og:title" content="second">`:                   `{"og:title":"first"}`,
		`<script>"<title>no</title>"</script><!-- <title>no</title> --><title>yes</title>`:                        `{"og:title":"yes"}`,
		`<meta property="og:title" content="` + strings.Repeat("ä", 2000) + `">`:                                  `{"og:title":"` + strings.Repeat("ä", 1000) + `…"}`,
		strings.Repeat(`<meta property="og:title" content="x">`, 1) + strings.Repeat("<br>", maxPageBytes) + `<p`: `{"og:title":"x"}`,
	} {
		got, err := json.Marshal(describe(strings.NewReader(page), "text/html; charset=utf-8"))
		if err != nil || string(got) != want {
			t.Errorf("%.100s: %.200s, %v; want %.200s", page, got, err, want)
		}
	}
}

func FuzzDescribe(f *testing.F) {
	f.Add(`<title>a</title><meta property="og:title" content="b">`, "text/html")
	f.Add("<meta charset=utf-16><\x00t", "text/html; charset=utf-16")
	f.Fuzz(func(t *testing.T, page, contentType string) {
		fields := describe(strings.NewReader(page), contentType)
		if len(fields) > maxFields+4 {
			t.Fatalf("%d fields", len(fields))
		}
		for name, value := range fields {
			if len(name) > maxFieldName || len(value) > maxFieldBytes+len("…") || value == "" {
				t.Fatalf("%q: %q", name, value)
			}
		}
	})
}
