package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	// seldomPause is how often the log has the same message of a common cause.
	seldomPause = time.Minute
	// mostProblems and mostNews are how many lines it has within seldomPause of the same warning or error, and of the same news: more than
	// that tell nobody anything, and who has others' requests logged, with a stack of calls each, must not fill the disk.
	mostProblems = 20
	mostNews     = 300
	// mostOfOne is how many of those are of one room or server, so that a loud one doesn't hide what is wrong with another.
	mostOfOne = 5
	// longestValue bounds each value of a line, in bytes: a peer's words may be in it. A stack of calls has room.
	longestValue = 8 << 10
	// longestWho bounds what is remembered of a room's or server's name, in bytes: such names are no longer.
	longestWho = 255
)

// Seldom is a log handler that hands on the warnings and errors of a common cause, by which every request fails, once a minute
// and message; of tells whether an error has that cause. All else is handed on as it comes, within bounds: mostProblems, mostOfOne, mostNews,
// longestValue. The next line says how many were left out.
func Seldom(next slog.Handler, of func(error) bool) slog.Handler {
	return &seldom{next, of, &said{lately: map[string]*lines{}}}
}

type seldom struct {
	slog.Handler
	of   func(error) bool
	said *said
}

// said is what was handed on. Safe for concurrent use.
type said struct {
	mu     sync.Mutex
	lately map[string]*lines // guarded by mu; by message: these are constants, so they are few
}

// lines are those of a message.
type lines struct {
	since   time.Time      // of the first within seldomPause
	count   int            // that were handed on since then
	leftOut int            // that were not, since the last that was
	of      map[string]int // by room or server: of those handed on
}

// next tells whether a line is handed on, of which there may be so many, and how many before it were left out. who is the room or server
// that it is a problem of; "": of none.
func (s *said) next(message, who string, most int, now time.Time) (leftOut int, hand bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lately[message]
	if l == nil {
		l = &lines{}
		s.lately[message] = l
	}
	if now.Sub(l.since) >= seldomPause {
		l.since, l.count, l.of = now, 0, nil
	}
	if l.count >= most || who != "" && l.of[who] >= mostOfOne {
		l.leftOut++
		return 0, false
	}
	l.count++
	if who != "" {
		if l.of == nil {
			l.of = map[string]int{}
		}
		l.of[who]++
	}
	leftOut, l.leftOut = l.leftOut, 0
	return leftOut, true
}

func (h *seldom) Handle(ctx context.Context, record slog.Record) error {
	if record.Level < slog.LevelInfo {
		return h.Handler.Handle(ctx, record)
	}
	most, who := mostNews, ""
	if record.Level >= slog.LevelWarn {
		most, who = mostProblems, about(record)
		record.Attrs(func(a slog.Attr) bool {
			if err, isError := a.Value.Any().(error); isError && h.of(err) {
				most = 1
			}
			return most > 1
		})
	}
	leftOut, hand := h.said.next(record.Message, who, most, record.Time)
	if !hand {
		return nil
	}
	bounded := slog.NewRecord(record.Time, record.Level, record.Message, record.PC)
	record.Attrs(func(a slog.Attr) bool {
		bounded.AddAttrs(cut(a))
		return true
	})
	if leftOut > 0 {
		bounded.AddAttrs(slog.Int("left_out", leftOut))
	}
	return h.Handler.Handle(ctx, bounded)
}

// about is the room, or else the server, that a line is about; "": it names none.
func about(record slog.Record) (who string) {
	record.Attrs(func(a slog.Attr) bool {
		if a.Key == "room" || a.Key == "server" && who == "" {
			who = a.Value.String()
		}
		return a.Key != "room"
	})
	return strings.Clone(who[:min(len(who), longestWho)]) // the rest isn't kept with it
}

// cut shortens a value that is too long as text: a text, an error, an ID, a list of them.
func cut(a slog.Attr) slog.Attr {
	if kind := a.Value.Kind(); kind != slog.KindString && kind != slog.KindAny {
		return a
	}
	text := a.Value.String()
	if len(text) <= longestValue {
		return a
	}
	return slog.String(a.Key, fmt.Sprintf("%s… (%d bytes more)", strings.ToValidUTF8(text[:longestValue], ""), len(text)-longestValue))
}

func (h *seldom) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &seldom{h.Handler.WithAttrs(attrs), h.of, h.said}
}

func (h *seldom) WithGroup(name string) slog.Handler {
	return &seldom{h.Handler.WithGroup(name), h.of, h.said}
}
