package media

import (
	"io"
	"mime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Content is media that is to be read.
type Content struct {
	ContentType string
	Filename    string // "" if there is none
	Size        int64  // in bytes; negative while it is not known
	Stored      time.Time
	// Body must be closed. It is an io.ReadSeeker too where the whole file is there; else it ends with io.EOF only when all
	// has come.
	Body io.ReadCloser
}

// unknownType is the type of what nobody has told the type of.
const unknownType = "application/octet-stream"

// cleanType is a Content-Type as it is kept: what is none is unknown.
func cleanType(contentType string) string {
	if _, _, err := mime.ParseMediaType(contentType); err != nil || len(contentType) > maxTypeBytes || !utf8.ValidString(contentType) {
		return unknownType
	}
	return contentType
}

// cleanName is a file's name as it is kept: without what can't be in a name. Folders stay in it: the same name must be
// handed out, and browsers leave them out.
func cleanName(filename string) string {
	filename = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return -1
		}
		return r
	}, filename)
	if len(filename) > maxNameBytes {
		cut := maxNameBytes
		for !utf8.RuneStart(filename[cut]) {
			cut--
		}
		filename = filename[:cut]
	}
	return filename
}

// dispositionName is the file's name that another server's Content-Disposition gives.
func dispositionName(disposition string) string {
	_, params, err := mime.ParseMediaType(disposition)
	if err != nil && err != mime.ErrInvalidMediaParameter {
		return ""
	}
	return cleanName(params["filename"])
}

// inline are the types that browsers only ever show as what they are.
//
// spec:client-server-api/modules/content_repo#serving-inline-content
var inline = [...]string{
	"text/css", "text/plain", "text/csv", "application/json", "application/ld+json", "image/jpeg", "image/gif", "image/png",
	"image/apng", "image/webp", "image/avif", "video/mp4", "video/webm", "video/ogg", "video/quicktime", "audio/mp4",
	"audio/webm", "audio/aac", "audio/mpeg", "audio/ogg", "audio/wave", "audio/wav", "audio/x-wav", "audio/x-pn-wav",
	"audio/flac", "audio/x-flac",
}

// Disposition is the Content-Disposition of media of a type, with a file's name unless that is "".
func Disposition(contentType, filename string) string {
	disposition := "attachment"
	if kind, _, err := mime.ParseMediaType(contentType); err == nil && slices.Contains(inline[:], kind) {
		disposition = "inline"
	}
	if filename == "" {
		return disposition
	}
	return mime.FormatMediaType(disposition, map[string]string{"filename": filename})
}
