package media

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight" // a page that many ask for is fetched once

	"hanse/federation"
	"hanse/node/store"
)

// previews makes previews of web pages and remembers them for a while. Safe for concurrent use.
type previews struct {
	media     *Media
	web       *http.Client
	userAgent string
	slots     chan struct{} // a value for each that is being made
	flights   singleflight.Group

	mu   sync.Mutex
	kept map[string]keptPreview // guarded by mu; by language and URL
}

type keptPreview struct {
	answer json.RawMessage // nil: there is none
	until  time.Time
}

// newPreviews is nil where there are none.
func newPreviews(m *Media) *previews {
	if m.config.Dial == nil {
		return nil
	}
	return &previews{
		media: m, web: newWeb(m.config.Dial, m.config.Trust), userAgent: m.config.UserAgent, slots: make(chan struct{}, maxPreviews),
		kept: map[string]keptPreview{},
	}
}

// Preview tells what a web page says of itself, in the words of OpenGraph; a picture it names is stored as media. language is
// an Accept-Language header. Where previews are off, the endpoint is not there.
//
// spec:client-server-api#get_matrixclientv1mediapreview_url
func (m *Media) Preview(ctx context.Context, address, language string) (json.RawMessage, error) {
	p := m.previews
	if p == nil {
		return nil, federation.NewError(http.StatusNotFound, federation.CodeUnrecognized, "this server makes no previews of web pages")
	}
	target, err := parseURL(address, nil)
	if err != nil {
		return nil, federation.InvalidParam(err.Error())
	}
	if len(language) > maxFieldName {
		language = ""
	}
	key := language + " " + target.String()
	if answer, known := p.find(key); known {
		return answer, noPreview(answer)
	}
	made, err, _ := p.flights.Do(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), previewTime)
		defer cancel()
		select {
		case p.slots <- struct{}{}:
			defer func() { <-p.slots }()
		case <-ctx.Done():
			return json.RawMessage(nil), errBusy()
		}
		answer, err := p.make(ctx, target, language)
		if err != nil { // what is at an address is none of the asker's business, so nobody learns more than that
			m.log.Debug("no preview of a page", "host", target.Host, "error", err)
		}
		p.keep(key, answer)
		return answer, nil
	})
	if err != nil {
		return nil, err
	}
	answer := made.(json.RawMessage)
	return answer, noPreview(answer)
}

func noPreview(answer json.RawMessage) error {
	if answer == nil {
		return federation.NewError(http.StatusBadGateway, federation.CodeUnknown, "this page could not be fetched")
	}
	return nil
}

func (p *previews) find(key string) (json.RawMessage, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept, known := p.kept[key]
	return kept.answer, known && time.Now().Before(kept.until)
}

func (p *previews) keep(key string, answer json.RawMessage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if len(p.kept) >= maxPreviewsKept {
		for old, kept := range p.kept {
			if !now.Before(kept.until) {
				delete(p.kept, old)
			}
		}
	}
	for old := range p.kept {
		if len(p.kept) < maxPreviewsKept {
			break
		}
		delete(p.kept, old) // any: it is made again
	}
	life := previewLife
	if answer == nil {
		life = previewFailureLife
	}
	p.kept[key] = keptPreview{answer: answer, until: now.Add(life)}
}

// make fetches a page, or a picture that is its own preview.
func (p *previews) make(ctx context.Context, target *url.URL, language string) (json.RawMessage, error) {
	fields := map[string]string{}
	image := (*storedImage)(nil)
	err := p.get(ctx, target, "text/html, application/xhtml+xml, image/*;q=0.5", language, func(response *http.Response) error {
		contentType := response.Header.Get("Content-Type")
		kind, _, _ := mime.ParseMediaType(contentType) // what is none is no page
		var err error
		switch {
		case kind == "text/html", kind == "application/xhtml+xml":
			fields = describe(response.Body, contentType)
			target = response.Request.URL
		case strings.HasPrefix(kind, "image/"):
			image, err = p.store(ctx, response.Body)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if address := fields["og:image"]; address != "" {
		if picture, err := parseURL(address, target); err == nil {
			image, err = p.image(ctx, picture)
			if err != nil {
				p.media.log.Debug("no picture of a page", "host", picture.Host, "error", err)
			}
		}
	}
	answer := map[string]any{}
	for name, value := range fields {
		if name != "og:image" && !strings.HasPrefix(name, "og:image:") || name == "og:image:alt" && image != nil {
			answer[name] = value
		}
	}
	if image != nil {
		answer["og:image"], answer["og:image:type"], answer["matrix:image:size"] = image.uri, image.contentType, image.bytes
		answer["og:image:width"], answer["og:image:height"] = image.width, image.height
	}
	return json.Marshal(answer)
}

// storedImage is a page's picture as it was stored.
type storedImage struct {
	uri, contentType string
	bytes            int64
	width, height    int
}

// image fetches the picture that a page names.
func (p *previews) image(ctx context.Context, target *url.URL) (image *storedImage, err error) {
	err = p.get(ctx, target, "image/*", "", func(response *http.Response) error {
		image, err = p.store(ctx, response.Body)
		return err
	})
	return image, err
}

// store keeps a picture among what is cached of others: it is ours, and makes way when the cache is full.
func (p *previews) store(ctx context.Context, body io.Reader) (*storedImage, error) {
	m := p.media
	written, err := m.folder.newFile()
	if err != nil {
		return nil, m.diskFailed(err)
	}
	picture, err := p.receive(written, body)
	if err != nil {
		written.discard()
		return nil, err
	}
	now := time.Now()
	row := store.Media{
		Server: m.config.Self, ID: newID(), File: written.name, ContentType: picture.contentType, Size: written.size, Disk: written.size,
		Created: now, Used: now,
	}
	if err := written.keep(func() error { return m.store.AddMedia(ctx, row, store.MediaQuota{}) }); err != nil {
		return nil, m.diskFailed(err)
	}
	m.grown()
	size := picture.shown()
	return &storedImage{uri: m.URI(row.ID), contentType: row.ContentType, bytes: row.Size, width: size.X, height: size.Y}, nil
}

// receive writes what must be a picture.
func (p *previews) receive(to *writing, body io.Reader) (picture, error) {
	if _, err := io.Copy(to, &atMost{from: body, left: min(maxPreviewImage, p.media.config.MaxSize)}); err != nil {
		return picture{}, err
	}
	file, err := p.media.folder.open(to.name)
	if err != nil {
		return picture{}, err
	}
	defer func() { _ = file.Close() }() // it was only read
	found, err := inspect(file)
	if errors.Is(err, errPictureTooLarge) { // clients may be able to show it
		err = nil
	}
	return found, err
}
