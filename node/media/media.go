// Package media keeps files: what this server's users upload, and a cache of what they look at of other servers. It makes
// thumbnails of pictures and previews of web pages.
//
// It is not HTTP: who may ask, headers and answers are node/clientapi's and node/inbound's. What a file holds is of no
// concern to it, except where a picture is made smaller.
package media

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"    // pictures by the memory they take
	"golang.org/x/sync/singleflight" // a thumbnail that many ask for is made once

	"hanse/federation"
	"hanse/federation/client"
	"hanse/federation/id"
	"hanse/node/store"
)

// Client fetches other servers' media; federation/client's Client is one.
type Client interface {
	DownloadMedia(ctx context.Context, server id.ServerName, q federation.MediaRequest, limit int64, take client.TakeMedia) error
	MediaThumbnail(ctx context.Context, server id.ServerName, q federation.ThumbnailRequest, limit int64, take client.TakeMedia) error
}

// Config is what a Media is made of. Self, Store and Folder must be set.
type Config struct {
	Self   id.ServerName
	Store  *store.Store
	Folder string // where the files are; made if it is not there
	Client Client // nil: other servers' media is not found
	// MaxSize is the largest file that is taken, of users and of other servers, in bytes.
	MaxSize int64
	// UserQuota is how much one user may upload in all, in bytes; 0: any amount.
	UserQuota int64
	// CacheSize is how much of other servers' media is kept, in bytes; what was not asked for the longest goes first.
	CacheSize int64
	// Dial connects to what previews of web pages are made of; nil: there are none.
	Dial      DialFunc
	Trust     *tls.Config  // for those connections; nil: the system's authorities
	UserAgent string       // on them
	Log       *slog.Logger // nil: silent
}

// Media keeps files. Safe for concurrent use. Errors that are the asker's are *federation.Error.
type Media struct {
	config   Config
	store    *store.Store
	log      *slog.Logger
	folder   *folder
	counters counters
	previews *previews

	life    context.Context // of the transfers; ends when Run does
	end     context.CancelFunc
	running sync.WaitGroup // transfers and other work that outlives who asked for it
	slots   chan struct{}  // a value for each transfer under way
	sweep   chan struct{}  // has a value when the cache has grown

	memory     *semaphore.Weighted // of pictures, in bytes
	thumbnails singleflight.Group  // being made, by file and size

	mu        sync.Mutex
	transfers map[name]*transfer           // guarded by mu
	servers   map[id.ServerName]*waitingAt // guarded by mu
	uploads   map[string]*upload           // guarded by mu: who waits for our media that is to be uploaded, by its ID
}

// name is what media is called: mxc://server/id.
type name struct {
	server id.ServerName
	id     string
}

func (n name) String() string { return "mxc://" + string(n.server) + "/" + n.id }

// URI is the address of this server's media.
func (m *Media) URI(mediaID string) string { return name{m.config.Self, mediaID}.String() }

// MaxSize is the largest file that is taken, in bytes.
func (m *Media) MaxSize() int64 { return m.config.MaxSize }

// New opens the folder and finishes what a crash left there. Nothing must use the folder besides. Run keeps the cache in
// its bounds.
func New(ctx context.Context, config Config) (*Media, error) {
	if config.Self == "" || config.Store == nil || config.Folder == "" || config.MaxSize <= 0 || config.CacheSize <= 0 {
		return nil, errors.New("media: Self, Store, Folder, MaxSize and CacheSize are needed")
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	log := config.Log.With("part", "media")
	files, err := openFolder(config.Folder, log)
	if err != nil {
		return nil, err
	}
	if err := files.recover(ctx, config.Store.MediaOfFile); err != nil {
		return nil, fmt.Errorf("media: after the last stop: %w", err)
	}
	m := &Media{
		config: config, store: config.Store, log: log, folder: files,
		slots: make(chan struct{}, maxRunning), sweep: make(chan struct{}, 1), memory: semaphore.NewWeighted(imageMemory),
		transfers: map[name]*transfer{}, servers: map[id.ServerName]*waitingAt{}, uploads: map[string]*upload{},
	}
	m.life, m.end = context.WithCancel(context.WithoutCancel(ctx))
	m.previews = newPreviews(m)
	return m, nil
}

// Run keeps the cache in its bounds and removes what has expired, until ctx ends. Transfers end with it.
func (m *Media) Run(ctx context.Context) error {
	defer func() {
		m.mu.Lock() // so that no transfer begins any more
		m.end()
		m.mu.Unlock()
		m.running.Wait()
	}()
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.sweep:
		case now := <-ticker.C:
			if err := m.store.DeleteExpiredMedia(ctx, now); err != nil && ctx.Err() == nil {
				m.log.Error("media IDs under which nothing was uploaded can't be removed; it is tried again", "error", err)
			}
			m.forgetFailures(now)
		}
		if err := m.shrink(ctx); err != nil && ctx.Err() == nil {
			m.log.Error("the cache of other servers' media grows beyond its bounds, as what was least used can't be removed; it is tried again", "error", err)
		}
	}
}

// newID makes a media ID, or the name of a file: random, so that nobody guesses what others uploaded.
func newID() string { return rand.Text() }

// checkID tells whether a media ID can be one: only these characters can't leave a folder or a path.
//
// spec:client-server-api/modules/content_repo#security-considerations-idcontent-repo-security-considerations
func checkID(mediaID string) error {
	if mediaID == "" || len(mediaID) > maxIDBytes {
		return errNone()
	}
	for i := range len(mediaID) {
		c := mediaID[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '_' && c != '-' {
			return errNone()
		}
	}
	return nil
}
