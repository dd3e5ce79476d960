package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hanse/node/media"
	"hanse/resolver"
)

// openMedia opens the folder of files.
func (n *Node) openMedia(ctx context.Context) (*media.Media, error) {
	settings := n.config.Media
	config := media.Config{
		Self: n.name, Store: n.store, Folder: settings.Folder, Client: n.client, MaxSize: int64(settings.MaxSize) << 20,
		UserQuota: int64(settings.UserQuota) << 20, CacheSize: int64(settings.CacheSize) << 20, UserAgent: "Hanse/" + Version(), Log: n.log,
	}
	if settings.URLPreviews {
		roots, err := n.config.trustedCAs()
		if err != nil {
			return nil, fmt.Errorf("federation.trusted_cas: %w", err)
		}
		allowed, err := readPrefixes(settings.URLPreviewAddresses)
		if err != nil {
			return nil, fmt.Errorf("media.url_preview_addresses: %w", err)
		}
		// A resolver of its own, as federation.allow_addresses is for servers: users must not reach what it opens.
		outside := resolver.New(resolver.Config{DNSServer: n.config.Federation.DNSServer, Allow: allowed, Network: n.network, Log: n.log})
		config.Dial, config.Trust = outside.DialContext, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	files, err := media.New(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("media.folder: %w", err)
	}
	return files, nil
}

// mediaFrozen is the time before which media is handed out without a token; zero: none is.
func (c Config) mediaFrozen() (time.Time, error) {
	text := c.Media.UnauthenticatedUntil
	if text == "" {
		return time.Time{}, nil
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day, nil
	}
	frozen, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return frozen, fmt.Errorf("%q is neither a day such as 2026-07-01 nor a time such as 2026-07-01T12:00:00Z", text)
	}
	return frozen, nil
}

// registerMediaStats makes metrics of what the media counts.
func (n *Node) registerMediaStats() {
	for _, m := range []struct {
		name, help string
		value      func(media.Stats) int64
	}{
		{"uploads_total", "Files uploaded.", func(s media.Stats) int64 { return s.Uploads }},
		{"uploaded_bytes_total", "Bytes of files uploaded.", func(s media.Stats) int64 { return s.UploadedBytes }},
		{"fetches_total", "Files fetched from other servers.", func(s media.Stats) int64 { return s.Fetches }},
		{"fetched_bytes_total", "Bytes of files fetched from other servers.", func(s media.Stats) int64 { return s.FetchedBytes }},
		{"fetches_failed_total", "Files that other servers did not hand out.", func(s media.Stats) int64 { return s.FetchesFailed }},
		{"cache_hits_total", "Other servers' files that were here when they were asked for.", func(s media.Stats) int64 { return s.CacheHits }},
		{"swept_total", "Other servers' files that made way for newer ones.", func(s media.Stats) int64 { return s.Swept }},
		{"thumbnails_total", "Thumbnails made.", func(s media.Stats) int64 { return s.Thumbnails }},
	} {
		n.telemetry.Registry.MustRegister(prometheus.NewCounterFunc(
			prometheus.CounterOpts{Name: "hanse_media_" + m.name, Help: m.help}, func() float64 { return float64(m.value(n.media.Stats())) }))
	}
	n.telemetry.Registry.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: "hanse_media_transfers", Help: "Files on their way from other servers, and those that failed just now."},
		func() float64 { return float64(n.media.Stats().Transfers) }))
}

// withOldMedia lets servers from before Matrix 1.11 ask for media where they ask for everything: by the paths of the content
// repository, which clients share.
func withOldMedia(clients, servers http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		if reads && strings.HasPrefix(r.URL.Path, "/_matrix/media/") {
			clients.ServeHTTP(w, r)
			return
		}
		servers.ServeHTTP(w, r)
	})
}
