package media

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/store"
)

// Thumbnail gives a picture in about the size asked for, or the picture itself where that is no larger: a PNG where it can
// be seen through, else a JPEG. It is a still; where an animation is welcome and the picture is no larger than the
// thumbnail, the animation is handed out as it is. Its body must be read before ctx ends.
//
// spec:client-server-api#thumbnails
func (m *Media) Thumbnail(ctx context.Context, q Request, size Size, animated bool) (*Content, error) {
	n, err := q.name()
	if err != nil {
		return nil, err
	}
	if size.Width <= 0 || size.Height <= 0 {
		return nil, federation.InvalidParam("width and height must be more than 0")
	}
	row, file, err := m.whole(ctx, n, q)
	if err != nil {
		return nil, err
	}
	content, err := m.thumbnail(ctx, row, file, size, animated)
	if err == nil && content.Body == file {
		return content, nil
	}
	_ = file.Close() // it was only read
	switch {
	case err == nil:
		return content, nil
	case m.remote(n.server) && (errors.Is(err, errNoPicture) || errors.Is(err, errPictureTooLarge)):
		if content, asked := m.remoteThumbnail(ctx, row, size); asked == nil {
			return content, nil
		}
	}
	switch {
	case errors.Is(err, errPictureTooLarge):
		return nil, errTooLargeToShrink(!m.remote(n.server))
	case errors.Is(err, errNoPicture):
		return nil, errNoThumbnail()
	}
	return nil, err
}

// thumbnail makes one of a file, or finds it made. The content's body may be the file.
func (m *Media) thumbnail(ctx context.Context, row store.Media, file *os.File, size Size, animated bool) (*Content, error) {
	p, err := inspect(file)
	if err != nil {
		return nil, err
	}
	kept := size.kept(p.shown())
	cut, target := kept.plan(p.shown())
	if target == p.shown() && (animated || !p.animated) {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		return &Content{ContentType: p.contentType, Filename: row.Filename, Size: row.Size, Stored: row.Created, Body: file}, nil
	}
	label := fmt.Sprintf("%dx%d", kept.Width, kept.Height)
	if kept.Crop {
		label += "-crop"
	}
	path := m.folder.thumbnail(row.File, label)
	if content, err := openThumbnail(path, row); !errors.Is(err, fs.ErrNotExist) {
		return content, err
	}
	made, err, _ := m.thumbnails.Do(path, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), thumbnailTime)
		defer cancel()
		return m.make(ctx, p, file, cut, target)
	})
	if err != nil {
		return nil, err
	}
	return m.keepThumbnail(ctx, row, path, made.([]byte))
}

// make makes a thumbnail when there is memory for it.
func (m *Media) make(ctx context.Context, p picture, file io.ReadSeeker, cut image.Rectangle, target image.Point) ([]byte, error) {
	memory := p.memory + 8*int64(target.X)*int64(target.Y) // made, and turned
	if memory > imageMemory {
		return nil, errPictureTooLarge
	}
	if err := m.memory.Acquire(ctx, memory); err != nil {
		return nil, errBusy()
	}
	defer m.memory.Release(memory)
	decoded, err := p.read(file)
	if err != nil {
		return nil, err
	}
	small := p.smaller(decoded, cut, target)
	m.counters.thumbnails.Add(1)
	var out bytes.Buffer
	if small.Opaque() {
		err = jpeg.Encode(&out, small, &jpeg.Options{Quality: jpegQuality})
	} else {
		err = png.Encode(&out, small)
	}
	return out.Bytes(), err
}

// keepThumbnail stores a thumbnail beside its picture, if there are not too many already, and gives it.
func (m *Media) keepThumbnail(ctx context.Context, row store.Media, path string, made []byte) (*Content, error) {
	others, err := os.ReadDir(filepath.Dir(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if len(others) < maxThumbnails {
		if err := m.storeThumbnail(ctx, row, path, made); err != nil {
			m.log.Error("a thumbnail can't be stored: check the disk", "folder", m.config.Folder, "error", err)
		}
	}
	return thumbnailContent(row, made[:min(len(made), 512)], int64(len(made)), memoryFile{bytes.NewReader(made)}), nil
}

func (m *Media) storeThumbnail(ctx context.Context, row store.Media, path string, made []byte) error {
	if _, err := os.Stat(path); err == nil {
		return nil // who asked for it at the same time has stored it
	}
	written, err := m.folder.newFile()
	if err != nil {
		return err
	}
	if _, err := written.Write(made); err != nil {
		written.discard()
		return err
	}
	if err := written.placeAt(path); err != nil {
		return err
	}
	m.grown()
	return m.store.AddThumbnail(context.WithoutCancel(ctx), row, int64(len(made)))
}

// memoryFile is a file in memory.
type memoryFile struct{ *bytes.Reader }

// Close implements io.Closer.
func (memoryFile) Close() error { return nil }

// openThumbnail opens a thumbnail that was made before.
func openThumbnail(path string, row store.Media) (*Content, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	head := make([]byte, 512)
	n, err := io.ReadFull(file, head)
	if err == io.ErrUnexpectedEOF {
		err = nil
	}
	var info fs.FileInfo
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err == nil {
		info, err = file.Stat()
	}
	if err != nil {
		_ = file.Close() // it was only read
		return nil, err
	}
	return thumbnailContent(row, head[:n], info.Size(), file), nil
}

func thumbnailContent(row store.Media, head []byte, size int64, body io.ReadCloser) *Content {
	kind := pictureType(head)
	return &Content{
		ContentType: kind, Filename: "thumbnail." + kind[len("image/"):], Size: size, Stored: row.Created, Body: body,
	}
}

// pictureType is the type of a picture by its first bytes; a PNG if they are of none.
func pictureType(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte("\xff\xd8\xff")):
		return "image/jpeg"
	case bytes.HasPrefix(head, []byte("GIF8")):
		return "image/gif"
	case len(head) >= 12 && bytes.HasPrefix(head, []byte("RIFF")) && string(head[8:12]) == "WEBP":
		return "image/webp"
	}
	return "image/png"
}

// remoteThumbnail has the other server make the thumbnail of what no thumbnail can be made of here: it may know formats that
// this one does not.
//
// spec:server-server-api#get_matrixfederationv1mediathumbnailmediaid
func (m *Media) remoteThumbnail(ctx context.Context, row store.Media, size Size) (*Content, error) {
	if m.config.Client == nil {
		return nil, errNoThumbnail()
	}
	size = size.kept(image.Pt(size.Width, size.Height))
	q := federation.ThumbnailRequest{MediaRequest: federation.MediaRequest{MediaID: row.ID}, Width: size.Width, Height: size.Height, Method: "scale"}
	if size.Crop {
		q.Method = "crop"
	}
	path := m.folder.thumbnail(row.File, fmt.Sprintf("%dx%d-%s-of-its-server", q.Width, q.Height, q.Method))
	if content, err := openThumbnail(path, row); !errors.Is(err, fs.ErrNotExist) {
		return content, err
	}
	made, err, _ := m.thumbnails.Do(path, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), thumbnailTime)
		defer cancel()
		return m.askForThumbnail(ctx, row.Server, q)
	})
	if err != nil {
		return nil, err
	}
	return m.keepThumbnail(ctx, row, path, made.([]byte))
}

func (m *Media) askForThumbnail(ctx context.Context, server id.ServerName, q federation.ThumbnailRequest) ([]byte, error) {
	if err := m.memory.Acquire(ctx, maxRemoteThumbnail); err != nil {
		return nil, errBusy()
	}
	defer m.memory.Release(maxRemoteThumbnail)
	var made []byte
	err := m.config.Client.MediaThumbnail(ctx, server, q, maxRemoteThumbnail, func(_ federation.MediaPart, content io.Reader) error {
		all, err := io.ReadAll(content)
		made = all
		return err
	})
	if err == nil && pictureType(made) == "image/png" && !bytes.HasPrefix(made, []byte("\x89PNG")) {
		err = errNoPicture
	}
	return made, err
}
