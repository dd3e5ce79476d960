package clientapi

import (
	"net/http"
	"time"
)

func (a *API) typingRoutes() []route {
	return []route{{http.MethodPut, "/rooms/{roomId}/typing/{userId}", stable, withUser, ordinary, a.setTyping}}
}

// spec:client-server-api#put_matrixclientv3roomsroomidtypinguserid
func (a *API) setTyping(r *request) (any, error) {
	if err := r.ownUser(); err != nil {
		return nil, err
	}
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	var req struct {
		Typing  *bool  `json:"typing"`
		Timeout *int64 `json:"timeout"`
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if req.Typing == nil {
		return nil, missingParam("typing")
	}
	timeout := defaultTypingTimeout
	if req.Timeout != nil {
		// Compared as milliseconds: a huge number must not wrap around.
		timeout = time.Duration(min(max(*req.Timeout, 0), maxTypingTimeout.Milliseconds())) * time.Millisecond
	}
	if err := a.config.Ephemeral.SetTyping(r.Context(), room, r.user, *req.Typing, timeout); err != nil {
		return nil, err
	}
	r.active()
	return nil, nil
}
