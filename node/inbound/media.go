package inbound

import (
	"context"
	"errors"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/server"
	"hanse/node/media"
)

// files is server.MediaHandler.
type files struct {
	of   *media.Media
	self id.ServerName
}

// DownloadMedia hands out what our users have uploaded.
//
// spec:server-server-api#get_matrixfederationv1mediadownloadmediaid
func (h files) DownloadMedia(ctx context.Context, _ id.ServerName, q federation.MediaRequest) (server.MediaContent, error) {
	return sent(h.of.Open(ctx, h.request(q)))
}

// MediaThumbnail hands out a thumbnail of what our users have uploaded.
//
// spec:server-server-api#get_matrixfederationv1mediathumbnailmediaid
func (h files) MediaThumbnail(ctx context.Context, _ id.ServerName, q federation.ThumbnailRequest) (server.MediaContent, error) {
	size := media.Size{Width: q.Width, Height: q.Height, Crop: q.Method == "crop"}
	return sent(h.of.Thumbnail(ctx, h.request(q.MediaRequest), size, q.Animated))
}

func (h files) request(q federation.MediaRequest) media.Request {
	return media.Request{Server: h.self, ID: q.MediaID, Wait: q.Timeout}
}

// sent is media as it goes out.
func sent(content *media.Content, err error) (server.MediaContent, error) {
	if err != nil {
		return server.MediaContent{}, err
	}
	if content.Size < 0 {
		return server.MediaContent{}, errors.Join(errors.New("our own media is of unknown size"), content.Body.Close())
	}
	return server.MediaContent{
		Part: federation.MediaPart{
			ContentType: content.ContentType, Disposition: media.Disposition(content.ContentType, content.Filename),
		},
		Size: content.Size, Body: content.Body,
	}, nil
}
