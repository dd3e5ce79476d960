package media

import (
	"image"

	"golang.org/x/image/draw"
)

// Size is how large a thumbnail is to be at least.
type Size struct {
	Width, Height int  // in pixels, more than 0
	Crop          bool // exactly that form, cut out of the middle; else as much as fits in
}

// The sizes that thumbnails are made in: who asks for others gets the next larger one, so that few are made and kept.
//
// spec:client-server-api#thumbnails
var (
	boxes = [...]image.Point{{96, 96}, {320, 240}, {640, 480}, {800, 600}, {1600, 1200}}
	sides = [...]int{32, 96, 320, 640, 800, 1600}
)

// kept is the size that is made for who asks for s: what is larger than all is as large as the picture is.
func (s Size) kept(picture image.Point) Size {
	if s.Crop {
		longer := max(s.Width, s.Height)
		for _, side := range sides {
			if longer <= side {
				up := func(n int) int { return (n*side + longer - 1) / longer }
				return Size{up(s.Width), up(s.Height), true}
			}
		}
		return s
	}
	for _, box := range boxes {
		if s.Width <= box.X && s.Height <= box.Y {
			return Size{box.X, box.Y, false}
		}
	}
	return Size{picture.X, picture.Y, false}
}

// plan says what to cut out of a picture and how large to make it; never larger than it is.
func (s Size) plan(picture image.Point) (cut image.Rectangle, target image.Point) {
	if !s.Crop {
		across, down := float64(s.Width)/float64(picture.X), float64(s.Height)/float64(picture.Y)
		ratio := min(across, down, 1)
		return image.Rectangle{Max: picture}, image.Pt(scaled(picture.X, ratio), scaled(picture.Y, ratio))
	}
	// The largest part of the form that is asked for, in the middle.
	part := image.Pt(picture.X, scaled(picture.X, float64(s.Height)/float64(s.Width)))
	if part.Y > picture.Y {
		part = image.Pt(min(scaled(picture.Y, float64(s.Width)/float64(s.Height)), picture.X), picture.Y)
	}
	corner := image.Pt((picture.X-part.X)/2, (picture.Y-part.Y)/2)
	return image.Rectangle{corner, corner.Add(part)}, image.Pt(min(s.Width, part.X), min(s.Height, part.Y))
}

func scaled(n int, ratio float64) int { return max(1, int(float64(n)*ratio+0.5)) }

// shrink makes a part of a picture smaller, by halves as long as it is more than twice as large: each step is the mean of
// what it replaces, and needs no memory but for what it makes.
func shrink(from image.Image, cut image.Rectangle, target image.Point) *image.RGBA {
	for {
		next := image.Pt((cut.Dx()+1)/2, (cut.Dy()+1)/2)
		if next.X < target.X || next.Y < target.Y {
			next = target
		}
		to := image.NewRGBA(image.Rectangle{Max: next})
		draw.ApproxBiLinear.Scale(to, to.Rect, from, cut, draw.Src, nil)
		if next == target {
			return to
		}
		from, cut = to, to.Rect
	}
}

// upright turns a picture as its Exif orientation says. 1 is upright, even ones are mirrored, from 5 on they lie.
func upright(from *image.RGBA, turn int) *image.RGBA {
	if turn <= 1 || turn > 8 {
		return from
	}
	size := from.Rect.Size()
	to := image.NewRGBA(image.Rectangle{Max: lying(size, turn)})
	for y := range size.Y {
		for x := range size.X {
			at := image.Pt(x, y)
			switch turn {
			case 2:
				at = image.Pt(size.X-1-x, y)
			case 3:
				at = image.Pt(size.X-1-x, size.Y-1-y)
			case 4:
				at = image.Pt(x, size.Y-1-y)
			case 5:
				at = image.Pt(y, x)
			case 6:
				at = image.Pt(size.Y-1-y, x)
			case 7:
				at = image.Pt(size.Y-1-y, size.X-1-x)
			case 8:
				at = image.Pt(y, size.X-1-x)
			}
			to.SetRGBA(at.X, at.Y, from.RGBAAt(x, y))
		}
	}
	return to
}

// lying swaps the sides of what is stored lying on its side.
func lying(size image.Point, turn int) image.Point {
	if turn >= 5 {
		return image.Pt(size.Y, size.X)
	}
	return size
}
