package node

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
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

// TestAStopEnds: a database that answers no more doesn't hold up the stop for ever; one that is slow is waited for.
func TestAStopEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := errors.New("slow")
		if err := ended(func() error { time.Sleep(stopTimeout - time.Second); return slow }); !errors.Is(err, slow) {
			t.Errorf("one that is slow: %v", err)
		}
		began, answer := time.Now(), make(chan struct{})
		err := ended(func() error { <-answer; return nil })
		if took := time.Since(began); took != stopTimeout || err == nil || !strings.Contains(err.Error(), "nothing that was acknowledged is lost") {
			t.Errorf("one that hangs: %v after %s", err, took)
		}
		close(answer)
	})
}
