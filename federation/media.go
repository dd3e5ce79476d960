package federation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strings"
	"time"

	"hanse/federation/exactjson"
)

// MediaRequest asks for media of the server that is asked.
//
// spec:server-server-api#get_matrixfederationv1mediadownloadmediaid
type MediaRequest struct {
	MediaID string
	// Timeout is how long to wait for media that is created and not yet uploaded; 0: not said.
	Timeout time.Duration
}

// ThumbnailRequest asks for a thumbnail of media of the server that is asked.
//
// spec:server-server-api#get_matrixfederationv1mediathumbnailmediaid
type ThumbnailRequest struct {
	MediaRequest
	Width, Height int    // pixels, more than 0
	Method        string // "crop" or "scale"
	Animated      bool   // an animated one is preferred
}

// MediaPart is the head of the second part of an answer with media: what the bytes are, or where they can be had.
type MediaPart struct {
	ContentType string // as the server says; "" if it doesn't
	Disposition string // the Content-Disposition header; "" without one
	// Location is the URL from which to fetch the bytes; there are none in the answer then. "" otherwise.
	Location string
}

// ReadMedia reads an answer with media up to the bytes of the media, which it leaves in the reader: that ends with io.EOF only
// at the boundary that must follow them. contentType is the answer's. What stands before the bytes is bounded by
// MaxMediaHead, the bytes are not.
//
// spec:server-server-api#get_matrixfederationv1mediadownloadmediaid
func ReadMedia(contentType string, body io.Reader) (MediaPart, io.Reader, error) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "multipart/mixed" {
		return MediaPart{}, nil, fmt.Errorf("the answer is %.100q, not multipart/mixed", contentType)
	}
	boundary := params["boundary"]
	if boundary == "" || len(boundary) > maxBoundary {
		return MediaPart{}, nil, errors.New("the answer has no usable boundary")
	}
	head := &headReader{from: body, left: MaxMediaHead}
	parts := multipart.NewReader(head, boundary)
	metadata, err := parts.NextRawPart()
	if err != nil {
		return MediaPart{}, nil, fmt.Errorf("the answer's first part: %w", incomplete(err))
	}
	raw, err := io.ReadAll(metadata)
	if err != nil {
		return MediaPart{}, nil, fmt.Errorf("the answer's first part: %w", incomplete(err))
	}
	var object map[string]json.RawMessage
	if err := exactjson.Unmarshal(raw, &object); err != nil {
		return MediaPart{}, nil, errors.New("the answer's first part is not a JSON object")
	}
	content, err := parts.NextRawPart()
	if err != nil {
		return MediaPart{}, nil, fmt.Errorf("the answer's second part: %w", incomplete(err))
	}
	head.over = true
	return MediaPart{
		ContentType: content.Header.Get("Content-Type"), Disposition: content.Header.Get("Content-Disposition"),
		Location: content.Header.Get("Location"),
	}, content, nil
}

// incomplete is an error for the end of an answer that had to go on.
func incomplete(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// headReader bounds what is read until over.
type headReader struct {
	from io.Reader
	left int
	over bool
}

// Read implements io.Reader.
func (h *headReader) Read(p []byte) (int, error) {
	if h.over {
		return h.from.Read(p)
	}
	if h.left <= 0 {
		return 0, fmt.Errorf("more than %d bytes stand before the media", MaxMediaHead)
	}
	if len(p) > h.left {
		p = p[:h.left]
	}
	n, err := h.from.Read(p)
	h.left -= n
	return n, err
}

// MediaContentType is the Content-Type of what WriteMedia writes.
func MediaContentType(boundary string) string {
	return mime.FormatMediaType("multipart/mixed", map[string]string{"boundary": boundary})
}

// WriteMedia writes an answer with media; the boundary must not occur in it: make it random. content may be nil with a
// Location.
//
// spec:server-server-api#get_matrixfederationv1mediadownloadmediaid
func WriteMedia(to io.Writer, boundary string, part MediaPart, content io.Reader) error {
	if err := multipart.NewWriter(io.Discard).SetBoundary(boundary); err != nil {
		return err
	}
	var head strings.Builder
	fmt.Fprintf(&head, "--%s\r\nContent-Type: application/json\r\n\r\n{}\r\n--%s\r\n", boundary, boundary)
	// In this order: Synapse loses a Content-Disposition that stands before the Content-Type.
	for _, field := range [...]struct{ name, value string }{
		{"Content-Type", part.ContentType}, {"Content-Disposition", part.Disposition}, {"Location", part.Location},
	} {
		if strings.ContainsAny(field.value, "\r\n") {
			return fmt.Errorf("%.100q is no value of %s", field.value, field.name)
		}
		if field.value != "" {
			fmt.Fprintf(&head, "%s: %s\r\n", field.name, field.value)
		}
	}
	head.WriteString("\r\n")
	if _, err := io.WriteString(to, head.String()); err != nil {
		return err
	}
	if content != nil {
		if _, err := io.Copy(to, content); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(to, "\r\n--%s--\r\n", boundary)
	return err
}
