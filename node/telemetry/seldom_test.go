package telemetry

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestACommonCauseIsToldOnceAMinuteAndMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("no disk")
		var out strings.Builder
		log := slog.New(Seldom(slog.NewTextHandler(&out, nil), func(err error) bool { return errors.Is(err, cause) }))
		part := log.With("part", "x").WithGroup("g")
		for range 3 {
			log.Error("one", "error", fmt.Errorf("writing: %w", cause))
			part.Error("one", "error", cause)
			part.Warn("two", "room", "!x", "err", cause)
			log.Info("three", "error", cause)
			log.Error("four", "error", errors.New("another"))
			log.Error("five")
		}
		time.Sleep(time.Minute)
		log.Error("one", "error", cause)
		for message, want := range map[string]int{"one": 2, "two": 1, "three": 3, "four": 3, "five": 3} {
			if got := strings.Count(out.String(), "msg="+message); got != want {
				t.Errorf("%q is there %d times, not %d:\n%s", message, got, want, &out)
			}
		}
	})
}
