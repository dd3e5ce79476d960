package node

import (
	"bytes"
	"context"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"
)

// TestAStopIsNoFault: whenever a node is told to stop, it complains of nothing.
func TestAStopIsNoFault(t *testing.T) {
	config := testConfig(t)
	for range 20 {
		var log bytes.Buffer // the handler writes a line at a time
		n, err := New(t.Context(), config, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})))
		if err != nil {
			t.Fatal(err)
		}
		after := time.Duration(rand.Int64N(int64(5 * time.Millisecond)))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(after, cancel)
		err = n.Run(ctx)
		if err != nil || log.Len() > 0 {
			t.Fatalf("stopped after %s: %v\n%s", after, err, log.String())
		}
	}
}
