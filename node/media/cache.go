package media

import (
	"context"
	"sync/atomic"
)

// grown has the cache's size checked.
func (m *Media) grown() {
	select {
	case m.sweep <- struct{}{}:
	default: // it will be checked
	}
}

// shrink removes from the cache what was not asked for the longest, until it is in its bounds. Who is reading a file reads
// it to its end.
func (m *Media) shrink(ctx context.Context) error {
	for {
		_, bytes, err := m.store.MediaUsage(ctx, "")
		if err != nil || bytes <= m.config.CacheSize {
			return err
		}
		oldest, err := m.store.OldestMedia(ctx, sweepBatch)
		if err != nil || len(oldest) == 0 {
			return err
		}
		n := 0
		for n < len(oldest) && bytes > m.config.CacheSize {
			if err := m.folder.remove(oldest[n].File); err != nil {
				return err
			}
			bytes -= oldest[n].Disk
			n++
		}
		if err := m.store.DeleteMedia(ctx, oldest[:n]); err != nil {
			return err
		}
		m.counters.swept.Add(int64(n))
	}
}

// Stats counts since the start.
type Stats struct {
	Uploads, UploadedBytes int64
	Fetches, FetchedBytes  int64 // from other servers
	FetchesFailed          int64
	CacheHits              int64 // asked for and not fetched: it was here
	Thumbnails             int64 // made
	Swept                  int64 // files removed from the cache
	Transfers              int   // under way or waiting now, and what has failed just now
}

type counters struct {
	uploads, uploadedBytes, fetches, fetchedBytes, fetchesFailed, hits, thumbnails, swept atomic.Int64
}

func (c *counters) uploaded(bytes int64) {
	c.uploads.Add(1)
	c.uploadedBytes.Add(bytes)
}

func (c *counters) fetched(bytes int64) {
	c.fetches.Add(1)
	c.fetchedBytes.Add(bytes)
}

// Stats tells what has been done.
func (m *Media) Stats() Stats {
	m.mu.Lock()
	transfers := len(m.transfers)
	m.mu.Unlock()
	c := &m.counters
	return Stats{
		Uploads: c.uploads.Load(), UploadedBytes: c.uploadedBytes.Load(), Fetches: c.fetches.Load(), FetchedBytes: c.fetchedBytes.Load(),
		FetchesFailed: c.fetchesFailed.Load(), CacheHits: c.hits.Load(),
		Thumbnails: c.thumbnails.Load(), Swept: c.swept.Load(), Transfers: transfers,
	}
}
