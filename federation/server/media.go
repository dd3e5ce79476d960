package server

import (
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"strconv"
	"time"

	"hanse/federation"
	"hanse/federation/id"
)

// MediaHandler hands out this server's own media; what other servers have is not its business.
type MediaHandler interface {
	// DownloadMedia may wait for as long as the request says, and as the handler likes. The caller closes the content.
	DownloadMedia(ctx context.Context, origin id.ServerName, q federation.MediaRequest) (MediaContent, error)
	// MediaThumbnail is DownloadMedia for a thumbnail.
	MediaThumbnail(ctx context.Context, origin id.ServerName, q federation.ThumbnailRequest) (MediaContent, error)
}

// MediaContent is media that is to be sent.
type MediaContent struct {
	Part federation.MediaPart
	Size int64 // bytes, for how long sending may take
	Body io.ReadCloser
}

// media is GET /media/download/{mediaID}.
//
// spec:server-server-api#get_matrixfederationv1mediadownloadmediaid
func (a *api) media(q *request) (any, error) {
	wanted, err := q.media()
	if err != nil {
		return nil, err
	}
	content, err := a.Handlers.Media.DownloadMedia(q.ctx(), q.origin, wanted)
	if err != nil {
		return nil, err
	}
	return content, nil
}

// thumbnail is GET /media/thumbnail/{mediaID}.
//
// spec:server-server-api#get_matrixfederationv1mediathumbnailmediaid
func (a *api) thumbnail(q *request) (any, error) {
	media, err := q.media()
	if err != nil {
		return nil, err
	}
	wanted := federation.ThumbnailRequest{MediaRequest: media, Method: "scale"}
	for name, field := range map[string]*int{"width": &wanted.Width, "height": &wanted.Height} {
		value, _, err := q.number(name)
		if err != nil {
			return nil, err
		}
		if value == 0 {
			return nil, federation.InvalidParam(name + " is missing or 0")
		}
		*field = int(min(value, maxPixels))
	}
	switch method := q.URL.Query().Get("method"); method {
	case "", "scale":
	case "crop":
		wanted.Method = method
	default:
		return nil, federation.InvalidParam("method is neither crop nor scale")
	}
	if wanted.Animated, err = q.truth("animated"); err != nil {
		return nil, err
	}
	content, err := a.Handlers.Media.MediaThumbnail(q.ctx(), q.origin, wanted)
	if err != nil {
		return nil, err
	}
	return content, nil
}

// media reads what both endpoints are asked. Whether it can be an ID is for the handler to say.
func (q *request) media() (federation.MediaRequest, error) {
	wanted := federation.MediaRequest{MediaID: q.PathValue("mediaID"), Timeout: defaultMediaWait}
	if len(wanted.MediaID) > maxParameter {
		return wanted, federation.NotFound("there is no such media")
	}
	ms, given, err := q.number("timeout_ms")
	if given {
		wanted.Timeout = time.Duration(min(ms, maxMediaWait.Milliseconds())) * time.Millisecond
	}
	return wanted, err
}

// sendMedia writes media as it is read: nothing of it is held. A peer that reads it too slowly is cut off.
func (a *api) sendMedia(w http.ResponseWriter, r *http.Request, name string, content MediaContent) {
	defer func() { _ = content.Body.Close() }() // it was only read
	boundary := rand.Text() + rand.Text()
	header := w.Header()
	header.Set("Content-Type", federation.MediaContentType(boundary))
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	a.observe(name, http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	read := paced(w)
	defer read.End()
	if err := federation.WriteMedia(read, boundary, content.Part, content.Body); err != nil {
		a.log.Debug("an answer broke off", "endpoint", name, "size", strconv.FormatInt(content.Size, 10), "reason", err)
		panic(http.ErrAbortHandler)
	}
}
