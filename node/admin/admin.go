// Package admin answers an operator's questions about a running node: what became of an event, how it stands with other
// servers, with rooms, with application services and with users, and what users reported. It answers on a socket in the node's data
// folder, which only those can open who may read that folder; the commands `hanse explain`, `hanse peers`, `hanse rooms`,
// `hanse services`, `hanse users`, `hanse reports` and `hanse trace` ask there.
//
// Of what it tells about it changes two things: accounts, which it makes, locks, suspends and ends, and gives new passwords; and reports,
// which it deletes. It is no part of any Matrix API.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/sender"
	"hanse/node/appservice"
	"hanse/node/rooms"
	"hanse/node/store"
	"hanse/node/telemetry"
	"hanse/node/users"
)

// Config is what an Admin is made of. All must be set.
type Config struct {
	Self    id.ServerName
	Version string
	Store   *store.Store
	Rooms   *rooms.Rooms
	Sender  *sender.Sender
	Users   *users.Users
	// LoggedOut is told that all devices of a user were logged out; AccountGone, that an account has ended.
	LoggedOut, AccountGone func(id.UserID)
	// Log is told who was changed, and how; never a password.
	Log *slog.Logger
	// Services tells application services what happens.
	Services *appservice.Delivery
	Journal  *telemetry.Journal
	Traces   *telemetry.Traces
	// Monitor is served besides: health, metrics and profiles.
	Monitor http.Handler
}

// Admin answers. Safe for concurrent use.
type Admin struct {
	Config
	started time.Time
}

// questionTime bounds an answer: some read much of a room.
const questionTime = 2 * time.Minute

// New makes the handler of an operator's questions.
func New(cfg Config) http.Handler {
	a := &Admin{Config: cfg, started: time.Now()}
	mux := http.NewServeMux()
	mux.Handle("GET /explain", answer(func(ctx context.Context, q *http.Request) (any, error) {
		event, err := id.ParseEventID(q.FormValue("event"))
		if err != nil {
			return nil, &problem{http.StatusBadRequest, "event: " + err.Error()}
		}
		user := id.UserID("")
		if text := q.FormValue("user"); text != "" {
			if user, err = id.ParseUserID(text); err != nil {
				return nil, &problem{http.StatusBadRequest, "user: " + err.Error()}
			}
		}
		return a.Explain(ctx, event, user)
	}))
	mux.Handle("GET /peers", answer(func(ctx context.Context, q *http.Request) (any, error) {
		if text := q.FormValue("name"); text != "" {
			name, err := id.ParseServerName(text)
			if err != nil {
				return nil, &problem{http.StatusBadRequest, err.Error()}
			}
			return a.Peer(ctx, name)
		}
		return a.Peers(ctx)
	}))
	mux.Handle("GET /rooms", answer(func(ctx context.Context, q *http.Request) (any, error) {
		if text := q.FormValue("id"); text != "" {
			room, err := id.ParseRoomID(text)
			if err != nil {
				return nil, &problem{http.StatusBadRequest, err.Error()}
			}
			return a.Room(ctx, room)
		}
		return a.RoomList(ctx)
	}))
	mux.Handle("GET /services", answer(func(ctx context.Context, _ *http.Request) (any, error) {
		return a.Services.Status(ctx)
	}))
	mux.Handle("GET /users", answer(a.users))
	mux.Handle("POST /users", answer(a.changeUser))
	mux.Handle("GET /reports", answer(a.reports))
	mux.Handle("POST /reports", answer(a.deleteReports))
	mux.Handle("GET /trace", answer(func(_ context.Context, q *http.Request) (any, error) {
		return a.trace(q.FormValue("event")), nil
	}))
	mux.Handle("POST /trace", answer(func(_ context.Context, q *http.Request) (any, error) {
		on, err := time.ParseDuration(q.FormValue("for"))
		if err != nil || on < 0 || on > telemetry.MaxTracing {
			return nil, &problem{http.StatusBadRequest, "for: give a time from 0s to 24h, such as 10m"}
		}
		a.Traces.Switch(on)
		return a.trace(""), nil
	}))
	mux.Handle("/", cfg.Monitor)
	return mux
}

// problem is an answer to a question that can't be answered.
type problem struct {
	status int
	text   string
}

func (p *problem) Error() string { return p.text }

// answer makes an endpoint of a question.
func answer(ask func(context.Context, *http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		ctx, cancel := context.WithTimeout(q.Context(), questionTime)
		defer cancel()
		value, err := ask(ctx, q)
		status := http.StatusOK
		if err != nil {
			status = http.StatusInternalServerError
			if p, ok := errors.AsType[*problem](err); ok {
				status = p.status
			} else if wire, ok := errors.AsType[*federation.Error](err); ok {
				status = wire.Status
			}
			value = map[string]string{"error": err.Error()} // whoever asks may know all
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(value) // who asked has gone
	})
}

// Trace is whether events are traced, and one event's way.
type Trace struct {
	On    bool             `json:"on"`
	Until *time.Time       `json:"until,omitempty"`
	Way   []telemetry.Mark `json:"way,omitempty"`
}

func (a *Admin) trace(event string) Trace {
	t := Trace{Way: a.Traces.Of(event)}
	if until, on := a.Traces.Until(); on {
		t.On, t.Until = true, &until
	}
	return t
}
