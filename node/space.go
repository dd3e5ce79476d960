package node

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// littleSpace is how many free bytes of a disk of so many are few: a warning is due.
func littleSpace(size int64) int64 { return min(size/20, 1<<30) }

// withoutSpace says of an error that nearly nothing is free where a folder is, if so: SQLite's own words may not.
func withoutSpace(err error, folder string, freeSpace func(folder string) (free, size int64, known bool)) error {
	if free, size, known := freeSpace(folder); known && free < min(noSpace, littleSpace(size)) {
		return fmt.Errorf("%w; %d MiB are free in %s: make room", err, free>>20, folder)
	}
	return err
}

// lookPause is how often a running node looks how much is free.
const lookPause = time.Minute

// storage is a folder that what users say and send goes to.
type storage struct{ name, path string }

// storages are the data folder and, if it is elsewhere, that of media. c has its defaults.
func (c Config) storages() []storage {
	all := []storage{{"data", c.DataDir}}
	if media := c.Media.Folder; filepath.Dir(media) != filepath.Clean(c.DataDir) {
		all = append(all, storage{"media", media})
	}
	return all
}

// registerSpace makes gauges of what is free, where the system says it.
func (n *Node) registerSpace() {
	for _, s := range n.config.storages() {
		if _, _, known := freeSpace(s.path); !known {
			continue
		}
		n.telemetry.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "hanse_disk_free_bytes", Help: "Bytes that may still be written where a folder is.", ConstLabels: prometheus.Labels{"folder": s.name},
		}, func() float64 {
			free, _, known := freeSpace(s.path)
			if !known {
				return math.NaN()
			}
			return float64(free)
		}))
	}
}

// watchSpace warns, until ctx ends, of folders whose disks are nearly full: once each, until there is a good deal more room.
func (n *Node) watchSpace(ctx context.Context) error {
	watchSpace(ctx, n.config.storages(), freeSpace, n.log)
	return nil
}

func watchSpace(ctx context.Context, folders []storage, freeSpace func(folder string) (free, size int64, known bool), log *slog.Logger) {
	tick := time.NewTicker(lookPause)
	defer tick.Stop()
	little := make(map[string]bool)
	for {
		for _, s := range folders {
			free, size, known := freeSpace(s.path)
			switch few := littleSpace(size); {
			case !known:
			case free < few && !little[s.path]:
				little[s.path] = true
				log.Warn("the disk is nearly full: make room, else nothing can be stored soon", "folder", s.path, "free_mib", free>>20)
			case free > few+few/4 && little[s.path]:
				little[s.path] = false
				log.Info("the disk has room again", "folder", s.path, "free_mib", free>>20)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
