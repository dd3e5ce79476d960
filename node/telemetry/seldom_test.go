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

// TestALogIsBounded: whoever has found out how to have something logged doesn't fill the disk.
func TestALogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("no disk")
		var out strings.Builder
		log := slog.New(Seldom(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}), func(err error) bool { return errors.Is(err, cause) }))
		part := log.With("part", "x")
		for range 10 {
			for range 1000 {
				part.Error("it panicked")
				log.Warn("refused", "error", errors.New("another"))
				log.Info("somebody came")
				log.Debug("all")
			}
			log.Error("rare")
			time.Sleep(time.Minute)
		}
		log.Warn("refused", "error", cause)
		for message, want := range map[string]int{`"it panicked"`: 10 * mostProblems, "refused": 10*mostProblems + 1, `"somebody came"`: 10 * mostNews, "all": 10_000, "rare": 10} {
			if got := strings.Count(out.String(), "msg="+message); got != want {
				t.Errorf("%s is there %d times, not %d", message, got, want)
			}
		}
		if want := fmt.Sprintf("left_out=%d", 1000-mostProblems); strings.Count(out.String(), "msg=refused error=another "+want) != 9 || !strings.Contains(out.String(), `error="no disk" `+want) {
			t.Errorf("it isn't told how many were left out:\n%s", &out)
		}
	})
}

// TestALoudRoomHidesNoOther: each room, and each server, has a part of the lines of a message.
func TestALoudRoomHidesNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type roomID string // as IDs are
		var out strings.Builder
		log := slog.New(Seldom(slog.NewTextHandler(&out, nil), func(error) bool { return false })).With("part", "rooms")
		for range 2 {
			for range 1000 {
				log.Warn("lost", "server", "loud.example", "room", roomID("!loud"))
				log.Warn("refused", "server", "loud.example")
			}
			log.Warn("lost", "server", "loud.example", "room", roomID("!quiet"))
			log.Warn("refused", "server", "quiet.example")
			time.Sleep(time.Minute)
		}
		for text, want := range map[string]int{"!loud": 2 * mostOfOne, "!quiet": 2, "msg=refused part=rooms server=loud": 2 * mostOfOne, "server=quiet": 2} {
			if got := strings.Count(out.String(), text); got != want {
				t.Errorf("%s is there %d times, not %d", text, got, want)
			}
		}
	})
}

func TestALogsLinesAreBounded(t *testing.T) {
	var out strings.Builder
	log := slog.New(Seldom(slog.NewTextHandler(&out, nil), func(error) bool { return false }))
	long := strings.Repeat("é", 1<<20)
	type name string // as IDs are
	log.Warn("refused", "server", name(long), "servers", []name{name(long)}, "text", long, "error", fmt.Errorf("it says: %s", long), "last", "x")
	if got := out.String(); len(got) > 5*longestValue || !strings.Contains(got, "bytes more") || !strings.Contains(got, "last=x") || !strings.Contains(got, "it says") {
		t.Errorf("a line of %d bytes: %.100s", len(got), got)
	}
}
