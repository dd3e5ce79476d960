package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/testnet/user"
)

var _ = Describe("files of Hanse and "+peerTitle, func() {
	for _, d := range both("uploaded to %s") {
		Context(d.name, func() {
			It("are seen by a user of the other", func(ctx SpecContext) { pictures(ctx, d.direction) }, SpecTimeout(time.Minute))
			It("are larger than most", func(ctx SpecContext) { largeFile(ctx, d.direction) }, SpecTimeout(2*time.Minute))
			It("are waited for", func(ctx SpecContext) { uploadedLater(ctx, d.direction) }, SpecTimeout(time.Minute))
			It("are not found where they are not", func(ctx SpecContext) { noFile(ctx, d.direction) }, SpecTimeout(time.Minute))
		})
	}
})

// call makes a request whose body, or answer, is a file.
func call(ctx context.Context, u *user.User, home *server, method, path, contentType string, body []byte) (*http.Response, []byte) {
	GinkgoHelper()
	request, err := http.NewRequestWithContext(ctx, method, home.orders.ClientURL()+path, bytes.NewReader(body))
	Expect(err).NotTo(HaveOccurred())
	request.Header.Set("Authorization", "Bearer "+u.Token)
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := http.DefaultClient.Do(request)
	Expect(err).NotTo(HaveOccurred())
	defer func() { _ = response.Body.Close() }() // it was only read
	answer, err := io.ReadAll(response.Body)
	Expect(err).NotTo(HaveOccurred())
	return response, answer
}

// uploaded stores a file of alice's and gives its address without the scheme.
func uploaded(ctx context.Context, u *user.User, home *server, contentType string, file []byte) string {
	GinkgoHelper()
	response, raw := call(ctx, u, home, "POST", "/_matrix/media/v3/upload?filename=gr%C3%B6%C3%9Fe.png", contentType, file)
	Expect(response.StatusCode).To(Equal(200), string(raw))
	var answer struct {
		URI string `json:"content_uri"`
	}
	Expect(json.Unmarshal(raw, &answer)).To(Succeed())
	return strings.TrimPrefix(answer.URI, "mxc://")
}

const filePath = "/_matrix/client/v1/media/"

func pictures(ctx context.Context, d direction) {
	alice, bob := (*d.resident).newUser(ctx), (*d.visitor).newUser(ctx)
	drawn := image.NewNRGBA(image.Rect(0, 0, 1000, 500))
	for x := range 1000 {
		for y := range 500 {
			drawn.SetNRGBA(x, y, color.NRGBA{uint8(x), uint8(y), 0, 255})
		}
	}
	var asPNG, asJPEG bytes.Buffer
	Expect(png.Encode(&asPNG, drawn)).To(Succeed())
	Expect(jpeg.Encode(&asJPEG, drawn, nil)).To(Succeed())
	for contentType, file := range map[string][]byte{"image/png": asPNG.Bytes(), "image/jpeg": asJPEG.Bytes()} {
		where := uploaded(ctx, alice, *d.resident, contentType, file)
		for range 2 { // fetched, and cached
			response, got := call(ctx, bob, *d.visitor, "GET", filePath+"download/"+where, "", nil)
			Expect(response.StatusCode).To(Equal(200), string(got[:min(len(got), 300)]))
			Expect(bytes.Equal(got, file)).To(BeTrue())
			Expect(response.Header.Get("Content-Type")).To(Equal(contentType))
			Expect(response.Header.Get("Content-Disposition")).To(HavePrefix("inline"))
			Expect(response.Header.Get("Content-Disposition")).To(ContainSubstring("gr%C3%B6%C3%9Fe.png"))
		}
		for query, want := range map[string]image.Point{
			"width=320&height=240&method=scale": {320, 160}, "width=96&height=96&method=crop": {96, 96},
		} {
			response, got := call(ctx, bob, *d.visitor, "GET", filePath+"thumbnail/"+where+"?"+query, "", nil)
			Expect(response.StatusCode).To(Equal(200), string(got[:min(len(got), 300)]))
			config, _, err := image.DecodeConfig(bytes.NewReader(got))
			Expect(err).NotTo(HaveOccurred())
			Expect(image.Pt(config.Width, config.Height)).To(Equal(want), query)
		}
	}
}

func largeFile(ctx context.Context, d direction) {
	alice, bob := (*d.resident).newUser(ctx), (*d.visitor).newUser(ctx)
	file := bytes.Repeat([]byte("0123456789abcdef\r\n--"), 1<<20) // 20 MiB, with what looks like boundaries
	where := uploaded(ctx, alice, *d.resident, "application/zip", file)
	response, got := call(ctx, bob, *d.visitor, "GET", filePath+"download/"+where+"/other.zip", "", nil)
	Expect(response.StatusCode).To(Equal(200))
	Expect(bytes.Equal(got, file)).To(BeTrue())
	Expect(response.Header.Get("Content-Disposition")).To(And(HavePrefix("attachment"), ContainSubstring("other.zip")))
}

func uploadedLater(ctx context.Context, d direction) {
	alice, bob := (*d.resident).newUser(ctx), (*d.visitor).newUser(ctx)
	var created struct {
		URI string `json:"content_uri"`
	}
	Expect(alice.Call(ctx, "POST", "/_matrix/media/v1/create", nil, map[string]any{}, &created)).To(Succeed())
	where := strings.TrimPrefix(created.URI, "mxc://")
	answers := make(chan []byte, 1)
	go func() {
		defer GinkgoRecover()
		_, got := call(ctx, bob, *d.visitor, "GET", filePath+"download/"+where+"?timeout_ms=20000", "", nil)
		answers <- got
	}()
	Consistently(answers).WithTimeout(time.Second).ShouldNot(Receive())
	response, raw := call(ctx, alice, *d.resident, "PUT", "/_matrix/media/v3/upload/"+where, "text/plain", []byte("at last"))
	Expect(response.StatusCode).To(Equal(200), string(raw))
	Eventually(answers).WithTimeout(patience).Should(Receive(BeEquivalentTo("at last")))
}

func noFile(ctx context.Context, d direction) {
	bob := (*d.visitor).newUser(ctx)
	response, got := call(ctx, bob, *d.visitor, "GET", filePath+"download/"+d.home()+"/nothing", "", nil)
	Expect(response.StatusCode).To(Equal(404))
	Expect(string(got)).To(ContainSubstring("M_NOT_FOUND"))
}
