package node

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestADiskThatFills: the log says once that it is nearly full, and once that it isn't any more.
func TestADiskThatFills(t *testing.T) {
	const gib = 1 << 30
	line := regexp.MustCompile(`time=.* level=(.).* folder=here free_mib=.*\n`)
	for what, c := range map[string]struct {
		size  int64
		free  []int64 // look by look; negative: it isn't known
		wants string  // a point for a look, and what was said then: a warning or an information
	}{
		"enough":                        {100 * gib, []int64{2 * gib, gib}, ".."},
		"less than a GiB":               {100 * gib, []int64{gib, gib - 1, gib - 2, 0}, "..W.."},
		"a twentieth is less than that": {10 * gib, []int64{gib / 2, gib/2 - 1}, "..W"},
		"it comes and goes":             {100 * gib, []int64{gib - 1, gib + 1, gib - 1, gib + 1}, ".W..."},
		"room, and none again":          {100 * gib, []int64{gib - 1, 2 * gib, 2 * gib, gib - 1}, ".W.I..W"},
		"it isn't known for a while":    {100 * gib, []int64{gib - 1, -1, gib - 1}, ".W.."},
	} {
		synctest.Test(t, func(t *testing.T) {
			var said bytes.Buffer
			read := func(folder string) (free, size int64, known bool) {
				if folder == "elsewhere" {
					return gib, gib, true
				}
				said.WriteString(".")
				free, c.free = c.free[0], c.free[1:]
				return free, c.size, free >= 0
			}
			ctx, cancel := context.WithTimeout(t.Context(), lookPause*time.Duration(len(c.free))-time.Second)
			defer cancel()
			watchSpace(ctx, []storage{{"data", "here"}, {"media", "elsewhere"}}, read, slog.New(slog.NewTextHandler(&said, nil)))
			if got := line.ReplaceAllString(said.String(), "$1"); got != c.wants {
				t.Errorf("%s: %s, not %s", what, got, c.wants)
			}
		})
	}
}

// TestAnErrorOnAFullDisk: SQLite says "disk I/O error" at a start on one.
func TestAnErrorOnAFullDisk(t *testing.T) {
	failure := errors.New("disk I/O error (4874)")
	for free, want := range map[int64]string{0: "disk I/O error (4874); 0 MiB are free in here: make room", 1 << 30: "disk I/O error (4874)", -1: "disk I/O error (4874)"} {
		err := withoutSpace(failure, "here", func(string) (int64, int64, bool) { return free, 100 << 30, free >= 0 })
		if err.Error() != want || !errors.Is(err, failure) {
			t.Errorf("%d bytes are free: %v", free, err)
		}
	}
}

// TestWhatIsFree: the metrics say it, of the folder of media too if it is elsewhere.
func TestWhatIsFree(t *testing.T) {
	config := testConfig(t)
	if _, size, known := freeSpace(t.TempDir()); !known {
		t.Skip("this system doesn't say")
	} else if size <= 0 {
		t.Errorf("the disk has %d bytes", size)
	}
	for _, elsewhere := range []bool{false, true} {
		if elsewhere {
			config.Media.Folder = t.TempDir()
		}
		n, stop := start(t, config)
		_, metrics := fetch(t, "http://"+n.address("monitor.listen")+"/metrics")
		for folder, want := range map[string]bool{"data": true, "media": elsewhere} {
			name := `hanse_disk_free_bytes{folder="` + folder + `"} `
			if _, value, found := strings.Cut(metrics, name); found != want || found && (value[0] < '1' || value[0] > '9') {
				t.Errorf("elsewhere %t: %s is there: %t, %.10s", elsewhere, name, found, value)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}
