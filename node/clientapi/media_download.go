package clientapi

import (
	"io"
	"net/http"
	"sync"
	"time"

	"hanse/federation/id"
	"hanse/node/media"
)

// mediaPolicy keeps what browsers show of a file from doing anything.
//
// spec:client-server-api/modules/content_repo#content-repository
const mediaPolicy = "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; style-src 'unsafe-inline'; object-src 'self';"

// served is the answer of a handler that has written it.
type served struct{ status int }

// spec:client-server-api#get_matrixclientv1mediadownloadservernamemediaid
func (a *API) download(r *request) (any, error) {
	q, err := wantedMedia(r)
	if err != nil {
		return nil, err
	}
	return a.sendMedia(r, q)
}

// oldDownload is the way to get media without a token: only what is from before the freeze, by the configuration.
//
// spec:client-server-api/modules/content_repo#client-behaviour-idcontent-repo-client-behaviour
func (a *API) oldDownload(r *request) (any, error) {
	q, err := a.frozenMedia(r)
	if err != nil {
		return nil, err
	}
	return a.sendMedia(r, q)
}

// spec:client-server-api#get_matrixclientv1mediathumbnailservernamemediaid
func (a *API) thumbnail(r *request) (any, error) {
	q, err := wantedMedia(r)
	if err != nil {
		return nil, err
	}
	return a.sendThumbnail(r, q)
}

// oldThumbnail is to thumbnail what oldDownload is to download.
func (a *API) oldThumbnail(r *request) (any, error) {
	q, err := a.frozenMedia(r)
	if err != nil {
		return nil, err
	}
	return a.sendThumbnail(r, q)
}

// wantedMedia reads which media is asked for.
func wantedMedia(r *request) (media.Request, error) {
	wait, err := r.queryInt("timeout_ms", int(defaultMediaWait.Milliseconds()), int(maxMediaWait.Milliseconds()))
	return media.Request{
		Server: id.ServerName(r.PathValue("serverName")), ID: r.PathValue("mediaId"), Wait: time.Duration(wait) * time.Millisecond,
		OnlyHere: r.URL.Query().Get("allow_remote") == "false",
	}, err
}

// frozenMedia is wantedMedia for those who have no token. Where everything is frozen they learn only of media that was not
// uploaded yet.
func (a *API) frozenMedia(r *request) (media.Request, error) {
	q, err := wantedMedia(r)
	if q.Before = a.config.MediaFrozen; q.Before.IsZero() {
		q.Before, q.Wait = time.Unix(0, 0), 0
	}
	return q, err
}

func (a *API) sendMedia(r *request, q media.Request) (any, error) {
	leave, err := a.getting.enter(a.who(r))
	if err != nil {
		return nil, err
	}
	defer leave()
	content, err := a.config.Media.Open(r.Context(), q)
	if err != nil {
		return nil, err
	}
	if name := r.PathValue("fileName"); name != "" {
		content.Filename = name
	}
	return r.sendFile(content), nil
}

func (a *API) sendThumbnail(r *request, q media.Request) (any, error) {
	size := media.Size{}
	for name, field := range map[string]*int{"width": &size.Width, "height": &size.Height} {
		value, err := r.queryInt(name, 0, maxThumbnailSide)
		switch {
		case err != nil:
			return nil, err
		case r.URL.Query().Get(name) == "":
			return nil, missingParam(name)
		case value == 0:
			return nil, invalidParam("%s must be more than 0", name)
		}
		*field = value
	}
	switch method := r.URL.Query().Get("method"); method {
	case "", "scale":
	case "crop":
		size.Crop = true
	default:
		return nil, invalidParam("method is neither crop nor scale")
	}
	animated, err := r.queryBool("animated")
	if err != nil {
		return nil, err
	}
	leave, err := a.getting.enter(a.who(r))
	if err != nil {
		return nil, err
	}
	defer leave()
	content, err := a.config.Media.Thumbnail(r.Context(), q, size, animated)
	if err != nil {
		return nil, err
	}
	return r.sendFile(content), nil
}

// who is whose files and bodies are counted together: a user's, or those of an address.
func (a *API) who(r *request) string {
	if r.user != "" {
		return string(r.user)
	}
	return limitedPrefix(a.address(r.Request))
}

// sendFile writes media: of what is whole any part, of what is still coming each piece as it comes. Who reads too slowly is cut
// off.
func (r *request) sendFile(content *media.Content) served {
	defer func() { _ = content.Body.Close() }() // it was only read
	header := r.writer.Header()
	header.Set("Content-Type", content.ContentType)
	header.Set("Content-Disposition", media.Disposition(content.ContentType, content.Filename))
	header.Set("Content-Security-Policy", mediaPolicy)
	header.Set("Cache-Control", "private, max-age=86400, immutable") // an ID's media never changes
	control := http.NewResponseController(r.writer)
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }() // not every connection has them, in tests
	if file, whole := content.Body.(io.ReadSeeker); whole {
		_ = control.SetWriteDeadline(time.Now().Add(reading.Time(content.Size))) // as above
		noting := &statusWriter{ResponseWriter: r.writer, status: http.StatusOK}
		http.ServeContent(noting, r.Request, "", content.Stored, file)
		return served{noting.status}
	}
	r.writer.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return served{http.StatusOK}
	}
	chunk := make([]byte, fileChunk)
	for {
		n, err := content.Body.Read(chunk)
		_ = control.SetWriteDeadline(time.Now().Add(fileStall)) // as above
		if n > 0 {
			if _, failed := r.writer.Write(chunk[:n]); failed != nil {
				panic(http.ErrAbortHandler) // the client is gone
			}
			_ = control.Flush() // the next write tells
		}
		switch {
		case err == io.EOF:
			return served{http.StatusOK}
		case err != nil:
			r.api.log.Debug("media broke off", "route", r.route, "error", err)
			panic(http.ErrAbortHandler) // so that the client sees that it has not all
		}
	}
}

// statusWriter notes the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// fileCounter bounds how many files of each may be under way at once: they may wait for slow lines and for other servers, and
// must not take all places. Safe for concurrent use.
type fileCounter struct {
	most  int // immutable
	mu    sync.Mutex
	under map[string]int // guarded by mu; files under way, by user or address
}

func newFileCounter(most int) *fileCounter { return &fileCounter{most: most, under: map[string]int{}} }

// enter counts a file; leave must follow unless there is an error.
func (c *fileCounter) enter(who string) (leave func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.under[who] >= c.most {
		return nil, &limitedError{after: busyRetry}
	}
	c.under[who]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.under[who]--; c.under[who] == 0 {
			delete(c.under, who)
		}
	}, nil
}
