package media

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"hanse/federation"
	"hanse/federation/client"
)

// The errors that askers are told; each call makes a new one, as callers may fill them in.

func errNone() *federation.Error { return federation.NotFound("there is no such media") }

// errFrozen is for those who ask without a token.
func errFrozen() *federation.Error {
	return federation.NotFound("media is handed out with an access token only, by /_matrix/client/v1/media")
}

func errNotYet() *federation.Error {
	return federation.NewError(http.StatusGatewayTimeout, federation.CodeNotYetUploaded, "this media has not been uploaded yet")
}

func errOverwrite() *federation.Error {
	return federation.NewError(http.StatusConflict, federation.CodeCannotOverwriteMedia, "this media has been uploaded already")
}

func errQuota() *federation.Error {
	return federation.NewError(http.StatusForbidden, federation.CodeForbidden, "you have uploaded as much as this server lets a user upload")
}

func errOthers() *federation.Error {
	return federation.Forbidden("this media was created by somebody else")
}

func errUploadTooLarge(most int64) *federation.Error {
	return federation.NewError(http.StatusRequestEntityTooLarge, federation.CodeTooLarge,
		fmt.Sprintf("files of more than %d bytes are not taken", most))
}

func errBusy() *federation.Error { return federation.LimitExceeded(busyRetry) }

func errNoThumbnail() *federation.Error {
	return federation.NewError(http.StatusBadRequest, federation.CodeUnknown, "no thumbnail can be made of this media")
}

// errTooLargeToShrink is for a picture of ours or of another server's.
func errTooLargeToShrink(ours bool) *federation.Error {
	status := http.StatusBadGateway
	if ours {
		status = http.StatusRequestEntityTooLarge
	}
	return federation.NewError(status, federation.CodeTooLarge, "this picture is too large for a thumbnail to be made of it")
}

// diskFailed is what the asker is told when a file can't be written; the operator is told why. Where it is the database that fails, or this
// server that stops, the error says what is to be told.
func (m *Media) diskFailed(err error) error {
	if _, told := errors.AsType[*federation.Error](err); told || errors.Is(err, context.Canceled) {
		return err
	}
	m.log.Error("a file of media can't be stored: check the disk", "folder", m.config.Folder, "error", err)
	return federation.NewError(http.StatusInsufficientStorage, federation.CodeUnknown, "this server can't store files at the moment")
}

// remoteError is what the asker is told when another server's media can't be had.
func remoteError(err error) error {
	var remote *client.Error
	var ours *federation.Error
	switch {
	case errors.As(err, &ours): // it came, and couldn't be kept
		return ours
	case client.TooLarge(err):
		return federation.NewError(http.StatusBadGateway, federation.CodeTooLarge, "the other server's file is too large for this one")
	case !errors.As(err, &remote):
		return err
	case remote.Matrix == nil:
		return federation.NewError(http.StatusBadGateway, federation.CodeUnknown, fmt.Sprintf("%s did not hand out this media", remote.Server))
	case remote.Matrix.Code == federation.CodeNotYetUploaded:
		return errNotYet()
	case remote.Matrix.Code == federation.CodeTooLarge:
		return federation.NewError(http.StatusBadGateway, federation.CodeTooLarge, fmt.Sprintf("the file is too large for %s to hand out", remote.Server))
	case remote.Status == http.StatusNotFound:
		return errNone()
	}
	return federation.NewError(http.StatusBadGateway, federation.CodeUnknown, fmt.Sprintf("%s did not hand out this media", remote.Server))
}
