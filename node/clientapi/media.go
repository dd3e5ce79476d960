package clientapi

import (
	"io"
	"net/http"
	"strconv"
	"time"

	"hanse/federation/id"
	"hanse/node/media"
)

// mediaV3 are the paths of the content repository from before it asked for tokens; uploads are still there.
var mediaV3 = prefixes{"/_matrix/media/v3", "/_matrix/media/r0", "/_matrix/media/v1"}

// spec:client-server-api/modules/content_repo#content-repository
func (a *API) mediaRoutes() []route {
	if a.config.Media == nil {
		return nil
	}
	old := prefixes{"/_matrix/media/v1"}
	return []route{
		{http.MethodPost, "/upload", mediaV3, withUser, uploads, a.upload},
		{http.MethodPut, "/upload/{serverName}/{mediaId}", mediaV3, withUser, uploads, a.uploadTo},
		{http.MethodPost, "/create", old, withUser, ordinary, a.createMedia},
		{http.MethodGet, "/media/config", v1, withUser, ordinary, a.mediaConfig},
		{http.MethodGet, "/media/preview_url", v1, withUser, downloads, a.previewURL},
		{http.MethodGet, "/media/download/{serverName}/{mediaId}", v1, withUser, downloads, a.download},
		{http.MethodGet, "/media/download/{serverName}/{mediaId}/{fileName}", v1, withUser, downloads, a.download},
		{http.MethodGet, "/media/thumbnail/{serverName}/{mediaId}", v1, withUser, downloads, a.thumbnail},
		{http.MethodGet, "/config", mediaV3, withUser, ordinary, a.mediaConfig},
		{http.MethodGet, "/preview_url", mediaV3, withUser, downloads, a.previewURL},
		{http.MethodGet, "/download/{serverName}/{mediaId}", mediaV3, withoutUser, downloads, a.oldDownload},
		{http.MethodGet, "/download/{serverName}/{mediaId}/{fileName}", mediaV3, withoutUser, downloads, a.oldDownload},
		{http.MethodGet, "/thumbnail/{serverName}/{mediaId}", mediaV3, withoutUser, downloads, a.oldThumbnail},
	}
}

// spec:client-server-api#get_matrixclientv1mediaconfig
func (a *API) mediaConfig(*request) (any, error) {
	return map[string]any{"m.upload.size": a.config.Media.MaxSize()}, nil
}

// spec:client-server-api#get_matrixclientv1mediapreview_url
func (a *API) previewURL(r *request) (any, error) {
	address := r.URL.Query().Get("url")
	if address == "" {
		return nil, missingParam("url")
	}
	if ts := r.URL.Query().Get("ts"); ts != "" { // only now is offered
		if _, err := strconv.ParseInt(ts, 10, 64); err != nil {
			return nil, invalidParam("ts must be a whole number")
		}
	}
	leave, err := a.lanes.previews.enterFor(r.Context(), a.sharer(r))
	if err != nil {
		return nil, err
	}
	defer leave()
	return a.config.Media.Preview(r.Context(), address, r.Header.Get("Accept-Language"))
}

// spec:client-server-api#post_matrixmediav3upload
func (a *API) upload(r *request) (any, error) {
	leave, err := a.sending.enter(a.who(r))
	if err != nil {
		return nil, err
	}
	defer leave()
	body, sent, done := a.sentFile(r)
	defer done()
	mediaID, err := a.config.Media.Upload(r.Context(), sent)
	return map[string]any{"content_uri": a.config.Media.URI(mediaID)}, body.failed(err)
}

// spec:client-server-api#put_matrixmediav3uploadservernamemediaid
func (a *API) uploadTo(r *request) (any, error) {
	leave, err := a.sending.enter(a.who(r))
	if err != nil {
		return nil, err
	}
	defer leave()
	body, sent, done := a.sentFile(r)
	defer done()
	err = a.config.Media.Fill(r.Context(), id.ServerName(r.PathValue("serverName")), r.PathValue("mediaId"), sent)
	return nil, body.failed(err)
}

// spec:client-server-api#post_matrixmediav1create
func (a *API) createMedia(r *request) (any, error) {
	mediaID, until, err := a.config.Media.Create(r.Context(), r.user)
	if err != nil {
		return nil, err
	}
	return map[string]any{"content_uri": a.config.Media.URI(mediaID), "unused_expires_at": until.UnixMilli()}, nil
}

// sentFile is the file of a request. It may take its time as long as it keeps coming; done ends that.
func (a *API) sentFile(r *request) (body *patientBody, sent media.Upload, done func()) {
	control := http.NewResponseController(r.writer)
	body = &patientBody{
		from: r.Request.Body, control: control,
		until: time.Now().Add(reading.Time(a.config.Media.MaxSize())),
	}
	// The connection's next request must not be late by this one's deadline. Not every connection has them, in tests.
	done = func() { _ = control.SetReadDeadline(time.Time{}) }
	return body, media.Upload{
		User: r.user, ContentType: r.Header.Get("Content-Type"), Filename: r.URL.Query().Get("filename"), Size: r.ContentLength, Body: body,
	}, done
}

// patientBody reads a body that may come slowly, but must come.
type patientBody struct {
	from    io.Reader
	control *http.ResponseController
	until   time.Time
	err     error // why it could not be read to its end
}

// Read implements io.Reader.
func (b *patientBody) Read(p []byte) (int, error) {
	deadline := time.Now().Add(fileStall)
	if b.until.Before(deadline) {
		deadline = b.until
	}
	_ = b.control.SetReadDeadline(deadline) // as in sentFile
	n, err := b.from.Read(p)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// failed is the answer to an upload that failed with an error: it may be the body's.
func (b *patientBody) failed(err error) error {
	if err != nil && b.err != nil {
		return badRequest("M_UNKNOWN", "the file did not come to its end")
	}
	return err
}
