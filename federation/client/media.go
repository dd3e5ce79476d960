package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"hanse/federation"
	"hanse/federation/id"
)

// TakeMedia gets an answer with media: what it is, and its bytes as they come. The reader ends with io.EOF only when all
// have come. An error it returns ends the call.
type TakeMedia func(part federation.MediaPart, content io.Reader) error

// DownloadMedia asks a server for its media, of at most limit bytes, and follows where it says that the media is elsewhere.
// Servers that don't know the endpoint are asked by the old, unsigned one.
//
// spec:server-server-api#content-repository
func (c *Client) DownloadMedia(ctx context.Context, server id.ServerName, q federation.MediaRequest, limit int64, take TakeMedia) error {
	return c.media(ctx, server, "download", q, url.Values{}, limit, take)
}

// MediaThumbnail is DownloadMedia for a thumbnail of the media.
//
// spec:server-server-api#content-repository
func (c *Client) MediaThumbnail(ctx context.Context, server id.ServerName, q federation.ThumbnailRequest, limit int64, take TakeMedia) error {
	query := url.Values{"width": {strconv.Itoa(q.Width)}, "height": {strconv.Itoa(q.Height)}, "method": {q.Method}}
	if q.Animated {
		query.Set("animated", "true")
	}
	return c.media(ctx, server, "thumbnail", q.MediaRequest, query, limit, take)
}

// media asks for media by one endpoint and then, of servers that don't know it, by the old one of the same name.
func (c *Client) media(ctx context.Context, server id.ServerName, name string, q federation.MediaRequest, query url.Values,
	limit int64, take TakeMedia) error {
	if q.Timeout > 0 {
		query.Set("timeout_ms", strconv.FormatInt(q.Timeout.Milliseconds(), 10))
	}
	err := c.newMedia(ctx, server, call{
		endpoint: "media/" + name, method: http.MethodGet, path: path(federationV1, "media/"+name, q.MediaID), query: query,
		timeout: c.timeouts.Short + q.Timeout,
	}, limit, take)
	if !lacksEndpoint(err) {
		return err
	}
	query.Set("allow_remote", "false")
	return c.oldMedia(ctx, server, call{
		endpoint: "media/v3/" + name, path: path(mediaV3, name, string(server), q.MediaID), query: query,
		timeout: c.timeouts.Short + q.Timeout, limit: limit,
	}, take)
}

// newMedia makes a call whose answer is multipart.
func (c *Client) newMedia(ctx context.Context, server id.ServerName, q call, limit int64, take TakeMedia) error {
	q.accept = "multipart/mixed"
	q.limit = limit + federation.MaxMediaHead + maxDrain
	var answer http.Header
	elsewhere := ""
	q.header = func(header http.Header) { answer = header }
	err := c.do(ctx, server, q, func(body io.Reader) error {
		part, content, err := federation.ReadMedia(answer.Get("Content-Type"), body)
		if err != nil {
			return err
		}
		if part.Location != "" {
			elsewhere = part.Location
			return nil
		}
		if part.Disposition == "" { // Dendrite has it among the headers of the answer
			part.Disposition = answer.Get("Content-Disposition")
		}
		return take(part, &bounded{from: content, left: limit, limit: limit})
	})
	if err == nil && elsewhere != "" {
		return c.elsewhere(ctx, server, q.endpoint, elsewhere, limit, take)
	}
	return err
}

// oldMedia makes a call of the content repository's API from before Matrix 1.11.
func (c *Client) oldMedia(ctx context.Context, server id.ServerName, q call, take TakeMedia) error {
	q.method, q.unsigned, q.accept = http.MethodGet, true, "*/*"
	var part federation.MediaPart
	q.header = func(header http.Header) {
		part.ContentType, part.Disposition = header.Get("Content-Type"), header.Get("Content-Disposition")
	}
	return c.do(ctx, server, q, func(body io.Reader) error { return take(part, body) })
}

// elsewhere fetches media from where its server says that it is: any address on the public internet, as the dialer allows.
// Nothing of ours goes along.
func (c *Client) elsewhere(ctx context.Context, server id.ServerName, endpoint, location string, limit int64, take TakeMedia) error {
	fail := &Error{Server: server, Endpoint: endpoint + " elsewhere", Stage: StageRequest}
	target, err := url.Parse(location)
	if err == nil {
		err = webURL(target)
	}
	if err != nil {
		fail.Err = err
		return fail
	}
	attempt := newAttempt(ctx, server, nil, c.timeouts.Connecting, c.timeouts.Short, c.timeouts.Stall)
	defer attempt.end()
	request, err := http.NewRequestWithContext(attempt.ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		fail.Err = err
		return fail
	}
	request.Header.Set("User-Agent", c.http.Header.Get("User-Agent"))
	response, err := c.web.Do(request)
	if err != nil {
		attempt.failed(fail, err, nil)
		return fail
	}
	attempt.gotHeader()
	body := attempt.body(response, limit)
	defer body.finish()
	if response.StatusCode != http.StatusOK {
		fail.Stage, fail.Status, fail.Temporary = StageResponse, response.StatusCode, temporary(response.StatusCode)
		fail.Err = errors.New("the media is not there: " + response.Status)
		return fail
	}
	part := federation.MediaPart{
		ContentType: response.Header.Get("Content-Type"), Disposition: response.Header.Get("Content-Disposition"),
	}
	if err := take(part, body); err != nil {
		fail.Status = response.StatusCode
		attempt.failed(fail, err, body)
		return fail
	}
	return nil
}

// bounded reads at most left bytes and says so when there are more.
type bounded struct {
	from        io.Reader
	left, limit int64
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.from.Read(p)
	if int64(n) > b.left {
		return int(b.left), errTooLarge{b.limit}
	}
	b.left -= int64(n)
	return n, err
}

// TooLarge tells whether a call failed because the answer is larger than its limit.
func TooLarge(err error) bool {
	var large errTooLarge
	return errors.As(err, &large)
}
