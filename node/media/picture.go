package media

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"

	"golang.org/x/image/draw"
	"golang.org/x/image/webp"
)

// picture is what the head of a file tells about the picture in it, before any of its pixels is read.
type picture struct {
	contentType string
	size        image.Point // as it is stored, before it is turned
	memory      int64       // bytes that decoding takes, at most and about
	turn        int         // the Exif orientation, 1 to 8
	animated    bool
	decode      func(io.Reader) (image.Image, error)
}

var (
	errNoPicture       = errors.New("this is no picture of a known kind")
	errPictureTooLarge = errors.New("the picture is too large")
)

// inspect reads the head of a file. What the file is said to be doesn't count.
func inspect(file io.ReadSeeker) (picture, error) {
	magic := make([]byte, 12)
	if _, err := io.ReadFull(file, magic); err != nil {
		return picture{}, errNoPicture
	}
	var p picture
	var config image.Config
	var err error
	switch {
	case bytes.HasPrefix(magic, []byte("\x89PNG\r\n\x1a\n")):
		p.contentType, p.decode = "image/png", png.Decode
		config, err = head(file, png.DecodeConfig)
		p.animated = err == nil && animatedPNG(file)
		p.memory = depth(config.ColorModel)
		if err == nil && interlacedPNG(file) {
			p.memory = 5 * p.memory / 2 // it is put together from pictures of its passes
		}
	case bytes.HasPrefix(magic, []byte("\xff\xd8\xff")):
		p.contentType, p.decode = "image/jpeg", jpeg.Decode
		config, err = head(file, jpeg.DecodeConfig)
		var samples int64
		samples, p.turn = walkJPEG(file)
		p.memory = samples
	case bytes.HasPrefix(magic, []byte("GIF8")):
		p.contentType, p.decode, p.animated = "image/gif", gif.Decode, true // perhaps
		config, err = head(file, gif.DecodeConfig)
		p.memory = 5 // a first frame that is smaller is put where it belongs
	case bytes.HasPrefix(magic, []byte("RIFF")) && string(magic[8:]) == "WEBP":
		p.contentType, p.decode = "image/webp", webp.Decode
		p.animated = animatedWebP(file)
		if p.animated {
			return p, errNoPicture // the library does not read them
		}
		config, err = head(file, webp.DecodeConfig)
		p.memory = 9
	default:
		return picture{}, errNoPicture
	}
	if err != nil || config.Width <= 0 || config.Height <= 0 {
		return picture{}, errNoPicture
	}
	pixels := int64(config.Width) * int64(config.Height)
	p.size = image.Pt(config.Width, config.Height)
	if config.Width > maxPixels || config.Height > maxPixels || pixels > maxPixels {
		return p, errPictureTooLarge
	}
	// A quarter of the pixels is there a second time once it was made smaller, with 4 bytes each.
	if p.memory = (p.memory+1)*pixels + 1<<20; p.memory > imageMemory {
		return p, errPictureTooLarge
	}
	return p, nil
}

// head reads the head of a picture from the start of the file.
func head(file io.ReadSeeker, decode func(io.Reader) (image.Config, error)) (image.Config, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return image.Config{}, err
	}
	return decode(bufio.NewReader(file))
}

// depth is how many bytes a pixel takes.
func depth(model color.Model) int64 {
	switch model {
	case color.GrayModel:
		return 1
	case color.Gray16Model:
		return 2
	case color.RGBA64Model, color.NRGBA64Model:
		return 8
	case color.RGBAModel, color.NRGBAModel:
		return 4
	}
	return 1 // a palette
}

// read decodes the picture; the caller has made room for its memory.
func (p picture) read(file io.ReadSeeker) (image.Image, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	decoded, err := p.decode(bufio.NewReaderSize(file, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoPicture, err)
	}
	if decoded.Bounds().Size() != p.size { // a GIF's first frame may be smaller
		whole := image.NewNRGBA(image.Rectangle{Max: p.size})
		draw.Draw(whole, decoded.Bounds(), decoded, decoded.Bounds().Min, draw.Src)
		decoded = whole
	}
	return decoded, nil
}

// shown is the picture's size as it is shown.
func (p picture) shown() image.Point {
	if p.turn >= 5 {
		return image.Pt(p.size.Y, p.size.X)
	}
	return p.size
}

// smaller is a part of the decoded picture, upright and of the target's size. Both are of the picture as it is shown.
func (p picture) smaller(decoded image.Image, cut image.Rectangle, target image.Point) *image.RGBA {
	if p.turn >= 5 {
		cut = image.Rect(cut.Min.Y, cut.Min.X, cut.Max.Y, cut.Max.X)
		target = lying(target, p.turn)
	}
	return upright(shrink(decoded, cut.Add(decoded.Bounds().Min), target), p.turn)
}
