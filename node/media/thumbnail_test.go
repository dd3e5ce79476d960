package media

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
)

// quarters is a picture of four colours, so that tests see which way up it is.
func quarters(width, height int, alpha uint8) *image.NRGBA {
	picture := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			c := color.NRGBA{0, 0, 255, alpha} // top left
			switch {
			case x >= width/2 && y < height/2:
				c = color.NRGBA{255, 0, 0, alpha}
			case x < width/2 && y >= height/2:
				c = color.NRGBA{0, 255, 0, alpha}
			case x >= width/2:
				c = color.NRGBA{255, 255, 255, alpha}
			}
			picture.SetNRGBA(x, y, c)
		}
	}
	return picture
}

func asPNG(picture image.Image) []byte {
	var out bytes.Buffer
	if err := png.Encode(&out, picture); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// asJPEG makes one that is to be turned; 0: nothing is said of that.
func asJPEG(picture image.Image, turn byte) []byte {
	var out bytes.Buffer
	if err := jpeg.Encode(&out, picture, nil); err != nil {
		panic(err)
	}
	if turn == 0 {
		return out.Bytes()
	}
	exif := "Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x02" +
		"\x01\x00\x00\x03\x00\x00\x00\x01\x00\x05\x00\x00" + "\x01\x12\x00\x03\x00\x00\x00\x01\x00" + string(turn) + "\x00\x00" + "\x00\x00\x00\x00"
	segment := "\xff\xe1" + string(binary.BigEndian.AppendUint16(nil, uint16(len(exif)+2))) + exif
	return append([]byte("\xff\xd8"+segment), out.Bytes()[2:]...)
}

func asGIF(pictures ...image.Image) []byte {
	all := &gif.GIF{}
	for _, picture := range pictures {
		frame := image.NewPaletted(picture.Bounds(), color.Palette{color.White, color.NRGBA{0, 0, 255, 255}, color.NRGBA{255, 0, 0, 255}, color.NRGBA{0, 255, 0, 255}})
		for y := range frame.Rect.Dy() {
			for x := range frame.Rect.Dx() {
				frame.Set(x, y, picture.At(x, y))
			}
		}
		all.Image, all.Delay = append(all.Image, frame), append(all.Delay, 10)
	}
	var out bytes.Buffer
	if err := gif.EncodeAll(&out, all); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// chunk is a part of a PNG.
func chunk(name string, data []byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	out = append(out, name...)
	out = append(out, data...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[4:]))
}

// bomb is a PNG that says it is that large, and has no pixels.
func bomb(width, height uint32, depth byte) []byte {
	head := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, width), height)
	head = append(head, depth, 6, 0, 0, 0)
	return bytes.Join([][]byte{[]byte("\x89PNG\r\n\x1a\n"), chunk("IHDR", head), chunk("IDAT", []byte("\x78\x9c")), chunk("IEND", nil)}, nil)
}

// interlaced says that a PNG comes in passes.
func interlaced(still []byte) []byte {
	still[28] = 1
	copy(still[29:], binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(still[12:29])))
	return still
}

// animated adds the head of an animation to a PNG.
func animated(still []byte) []byte {
	const headEnd = 8 + 25
	return bytes.Join([][]byte{still[:headEnd], chunk("acTL", make([]byte, 8)), still[headEnd:]}, nil)
}

func fixture(name string) []byte {
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		panic(err)
	}
	return data
}

// shot is a thumbnail.
func shot(w *world, ctx SpecContext, q Request, size Size, animated bool) (image.Image, *Content) {
	GinkgoHelper()
	content, err := w.Thumbnail(ctx, q, size, animated)
	Expect(err).NotTo(HaveOccurred())
	defer content.Body.Close() //nolint:errcheck // a test
	data, err := io.ReadAll(content.Body)
	Expect(err).NotTo(HaveOccurred())
	Expect(content.Size).To(Equal(int64(len(data))))
	Expect(content.ContentType).To(Equal(http.DetectContentType(data)))
	p, err := inspect(bytes.NewReader(data))
	Expect(err).NotTo(HaveOccurred())
	picture, err := p.read(bytes.NewReader(data))
	Expect(err).NotTo(HaveOccurred())
	return picture, content
}

var _ = Describe("thumbnails", func() {
	scale := func(w, h int) Size { return Size{Width: w, Height: h} }
	crop := func(w, h int) Size { return Size{Width: w, Height: h, Crop: true} }

	DescribeTable("are as large as asked for, or the next larger size, never larger than the picture",
		func(ctx SpecContext, width, height int, size Size, want image.Point) {
			w := newWorld(nil)
			picture, _ := shot(w, ctx, w.upload(ctx, "image/png", asPNG(quarters(width, height, 255))), size, false)
			Expect(picture.Bounds().Size()).To(Equal(want))
		},
		Entry("scaled", 1000, 500, scale(320, 240), image.Pt(320, 160)),
		Entry("scaled, of a tall one", 500, 1000, scale(320, 240), image.Pt(120, 240)),
		Entry("the next size", 1000, 500, scale(100, 100), image.Pt(320, 160)),
		Entry("larger than all", 2000, 1000, scale(1700, 100), image.Pt(2000, 1000)),
		Entry("not larger than it is", 300, 200, scale(640, 480), image.Pt(300, 200)),
		Entry("cropped", 1000, 500, crop(96, 96), image.Pt(96, 96)),
		Entry("cropped, the next size", 1000, 500, crop(40, 20), image.Pt(96, 48)),
		Entry("cropped, not larger than it is", 100, 50, crop(96, 96), image.Pt(50, 50)),
		Entry("cropped, a strip", 1000, 500, crop(32, 1), image.Pt(32, 1)),
		Entry("cropped, much too large", 100, 50, crop(60000, 60000), image.Pt(50, 50)),
		Entry("of one pixel", 1, 1, scale(32, 32), image.Pt(1, 1)),
		Entry("of a line", 3000, 1, scale(320, 240), image.Pt(320, 1)),
	)

	DescribeTable("are made of", func(ctx SpecContext, data []byte, want string) {
		w := newWorld(nil)
		q := w.upload(ctx, "text/plain", data) // what it is said to be doesn't matter
		for range 2 {                          // made, and found made
			_, content := shot(w, ctx, q, crop(32, 32), false)
			Expect(content.ContentType).To(Equal(want))
			Expect(content.Filename).To(Equal("thumbnail." + want[len("image/"):]))
		}
		Expect(w.Stats().Thumbnails).To(Equal(int64(1)))
		Expect(w.files()).To(HaveLen(2))
	},
		Entry("PNG", asPNG(quarters(200, 200, 255)), "image/jpeg"),
		Entry("PNG that can be seen through", asPNG(quarters(200, 200, 100)), "image/png"),
		Entry("JPEG", asJPEG(quarters(200, 200, 255), 0), "image/jpeg"),
		Entry("GIF", asGIF(quarters(200, 200, 255), quarters(200, 200, 255)), "image/jpeg"),
		Entry("WebP without loss", fixture("gopher.webp"), "image/jpeg"),
		Entry("WebP that can be seen through", fixture("rose.webp"), "image/png"),
		Entry("an animated PNG", animated(asPNG(quarters(200, 200, 255))), "image/jpeg"),
	)

	It("stand upright, whichever way the camera was held", func(ctx SpecContext) {
		// As the orientations of Exif are defined: which quarter of the stored picture is seen top left, and top right.
		blue, red, green, white := color.NRGBA{0, 0, 255, 255}, color.NRGBA{255, 0, 0, 255}, color.NRGBA{0, 255, 0, 255}, color.NRGBA{255, 255, 255, 255}
		w := newWorld(nil)
		for turn, want := range map[byte][2]color.NRGBA{
			1: {blue, red}, 2: {red, blue}, 3: {white, green}, 4: {green, white}, 5: {blue, green}, 6: {green, blue}, 7: {white, red}, 8: {red, white}, 9: {blue, red},
		} {
			q := w.upload(ctx, "", asJPEG(quarters(800, 400, 255), turn))
			picture, _ := shot(w, ctx, q, scale(320, 240), false)
			size := image.Pt(320, 160)
			if turn >= 5 && turn <= 8 {
				size = image.Pt(120, 240)
			}
			Expect(picture.Bounds().Size()).To(Equal(size), "turn %d", turn)
			for i, at := range []image.Point{{size.X / 4, size.Y / 4}, {size.X * 3 / 4, size.Y / 4}} {
				r, g, b, _ := picture.At(at.X, at.Y).RGBA()
				for channel, got := range map[int]uint32{0: r, 1: g, 2: b} {
					wanted := []uint8{want[i].R, want[i].G, want[i].B}[channel]
					Expect(float64(got>>8)).To(BeNumerically("~", wanted, 12), "turn %d, corner %d", turn, i)
				}
			}
			tall, _ := shot(w, ctx, q, crop(32, 96), false)
			Expect(tall.Bounds().Size()).To(Equal(image.Pt(32, 96)))
		}
	})

	It("leave animations as they are only where they are welcome", func(ctx SpecContext) {
		w := newWorld(nil)
		for _, moving := range [][]byte{asGIF(quarters(50, 50, 255), quarters(50, 50, 255)), animated(asPNG(quarters(50, 50, 255)))} {
			q := w.upload(ctx, "", moving)
			_, content := shot(w, ctx, q, scale(96, 96), true)
			Expect(content.Size).To(Equal(int64(len(moving))))
			_, content = shot(w, ctx, q, scale(96, 96), false)
			Expect(content.ContentType).To(Equal("image/jpeg"))
		}
	})

	DescribeTable("are not made of what is too large, before any of it is decoded", func(ctx SpecContext, data []byte) {
		w := newWorld(nil)
		_, err := w.Thumbnail(ctx, w.upload(ctx, "image/png", data), scale(32, 32), false)
		Expect(err).To(refused(413, "M_TOO_LARGE"))
		w.remote = func(out http.ResponseWriter, in *http.Request) {
			if strings.Contains(in.URL.Path, "thumbnail") {
				refuse(400, "M_UNKNOWN")(out, in)
				return
			}
			_ = answerMedia(out, png1, bytes.NewReader(data))
		}
		_, err = w.Thumbnail(ctx, Request{Server: there, ID: "bomb"}, scale(32, 32), false)
		Expect(err).To(refused(502, "M_TOO_LARGE"))
		Expect(w.memory.TryAcquire(imageMemory)).To(BeTrue(), "nothing is held")
	},
		Entry("a square", bomb(50_000, 50_000, 8)),
		Entry("a line", bomb(1<<30, 1, 8)),
		Entry("of many bits", bomb(6000, 6000, 16)),
		Entry("in passes", interlaced(bomb(6000, 5000, 8))),
		Entry("a GIF", append([]byte("GIF89a\xff\xff\xff\xff\x80\x00\x00"), make([]byte, 100)...)),
	)

	DescribeTable("are not made of what is no picture", func(ctx SpecContext, data []byte) {
		w := newWorld(nil)
		_, err := w.Thumbnail(ctx, w.upload(ctx, "image/png", data), scale(32, 32), false)
		Expect(err).To(refused(400, "M_UNKNOWN"))
	},
		Entry("nothing", nil),
		Entry("a text", []byte("this is no picture")),
		Entry("a drawing", []byte(`<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"></svg>`)),
		Entry("half a picture", asPNG(quarters(500, 500, 255))[:600]),
		Entry("a picture without pixels", bomb(100, 100, 8)),
		Entry("an empty picture", bomb(0, 0, 8)),
		Entry("an animated WebP", append([]byte("RIFF\x20\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x02"), make([]byte, 30)...)),
	)

	It("are the server's own where only that one knows how to make them", func(ctx SpecContext) {
		w := newWorld(nil)
		small, query := asJPEG(quarters(320, 240, 255), 0), ""
		w.remote = func(out http.ResponseWriter, in *http.Request) {
			if strings.HasSuffix(in.URL.Path, "/media/thumbnail/film") {
				query = in.URL.RawQuery
				_ = answerMedia(out, federation.MediaPart{ContentType: "image/jpeg"}, bytes.NewReader(small))
				return
			}
			_ = answerMedia(out, federation.MediaPart{ContentType: "video/mp4"}, strings.NewReader("a film, in a format of its own"))
		}
		for range 2 {
			picture, content := shot(w, ctx, Request{Server: there, ID: "film"}, scale(300, 200), false)
			Expect(picture.Bounds().Size()).To(Equal(image.Pt(320, 240)))
			Expect(content.ContentType).To(Equal("image/jpeg"))
		}
		Expect(w.asked.Load()).To(Equal(int64(2)))
		Expect(query).To(Equal("height=240&method=scale&width=320"))
		small = []byte("<html>")
		_, err := w.Thumbnail(ctx, Request{Server: there, ID: "film"}, crop(300, 200), false)
		Expect(err).To(HaveOccurred())
	})

	It("of others' pictures count to what the cache takes, in bounded numbers", func(ctx SpecContext) {
		w := newWorld(nil)
		whole := asPNG(quarters(700, 700, 255))
		w.remote = func(out http.ResponseWriter, _ *http.Request) { _ = answerMedia(out, png1, bytes.NewReader(whole)) }
		q := Request{Server: there, ID: "a"}
		for i := range maxThumbnails + 5 {
			shot(w, ctx, q, crop(32, i+1), false)
		}
		var all int64
		for _, file := range w.files() {
			info, err := os.Stat(file)
			Expect(err).NotTo(HaveOccurred())
			all += info.Size()
		}
		Expect(w.files()).To(HaveLen(1 + maxThumbnails))
		_, used, err := w.store.MediaUsage(ctx, "")
		Expect(err).NotTo(HaveOccurred())
		Expect(used).To(Equal(all))
		Expect(w.asked.Load()).To(Equal(int64(1)))
		row, _, err := w.store.Media(ctx, there, "a")
		Expect(err).NotTo(HaveOccurred())
		Expect(w.folder.remove(row.File)).To(Succeed())
		Expect(w.files()).To(BeEmpty(), "thumbnails go with their picture")
	})

	It("of no size are refused", func(ctx SpecContext) {
		w := newWorld(nil)
		q := w.upload(ctx, "", asPNG(quarters(10, 10, 255)))
		for _, size := range []Size{{}, {Width: 1}, {Height: 1}, {Width: -1, Height: 1}} {
			_, err := w.Thumbnail(ctx, q, size, false)
			Expect(err).To(refused(400, "M_INVALID_PARAM"))
		}
	})
})

func FuzzThumbnail(f *testing.F) {
	for _, seed := range [][]byte{
		asPNG(quarters(9, 7, 100)), asJPEG(quarters(9, 7, 255), 6), asGIF(quarters(9, 7, 255)), fixture("gopher.webp"), bomb(9, 7, 16),
		animated(asPNG(quarters(3, 3, 255))),
	} {
		f.Add(seed, 4, 4, true)
	}
	f.Fuzz(func(t *testing.T, data []byte, width, height int, crop bool) {
		p, err := inspect(bytes.NewReader(data))
		if err != nil || p.memory > 8<<20 {
			return
		}
		size := Size{Width: 1 + abs(width)%2000, Height: 1 + abs(height)%2000, Crop: crop}.kept(p.shown())
		cut, target := size.plan(p.shown())
		if cut.Empty() || target.X < 1 || target.Y < 1 || target.X > p.shown().X || target.Y > p.shown().Y || !cut.In(image.Rectangle{Max: p.shown()}) {
			t.Fatalf("%v of %v is %v at %v", size, p.shown(), target, cut)
		}
		decoded, err := p.read(bytes.NewReader(data))
		if err != nil {
			return
		}
		if small := p.smaller(decoded, cut, target); small.Rect.Size() != target {
			t.Fatalf("%v became %v, not %v", p.shown(), small.Rect.Size(), target)
		}
	})
}

func abs(n int) int { return max(n, -(n + 1)) }
