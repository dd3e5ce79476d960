package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// seldomPause is how often the log has the same message of a common cause.
const seldomPause = time.Minute

// Seldom is a log handler that hands on the warnings and errors of a common cause, by which every request fails, once a minute
// and message; of tells whether an error has that cause. All else is handed on as it comes.
func Seldom(next slog.Handler, of func(error) bool) slog.Handler {
	return &seldom{next, of, &said{last: map[string]time.Time{}}}
}

type seldom struct {
	slog.Handler
	of   func(error) bool
	said *said
}

// said is when the messages were last handed on. Safe for concurrent use.
type said struct {
	mu   sync.Mutex
	last map[string]time.Time // guarded by mu; messages are constants, so they are few
}

// lately tells whether a message was handed on within seldomPause; else it is now.
func (s *said) lately(message string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, known := s.last[message]; known && now.Sub(last) < seldomPause {
		return true
	}
	s.last[message] = now
	return false
}

func (h *seldom) Handle(ctx context.Context, record slog.Record) error {
	common := false
	if record.Level >= slog.LevelWarn {
		record.Attrs(func(a slog.Attr) bool {
			err, isError := a.Value.Any().(error)
			common = isError && h.of(err)
			return !common
		})
	}
	if common && h.said.lately(record.Message, record.Time) {
		return nil
	}
	return h.Handler.Handle(ctx, record)
}

func (h *seldom) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &seldom{h.Handler.WithAttrs(attrs), h.of, h.said}
}

func (h *seldom) WithGroup(name string) slog.Handler {
	return &seldom{h.Handler.WithGroup(name), h.of, h.said}
}
