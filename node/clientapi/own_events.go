package clientapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"time"

	"hanse/federation/id"
	"hanse/federation/places"
)

// unanswered are the requests of devices that make events and aren't answered yet: a device's /sync tells of an event after the device was
// answered which event its request made. Otherwise it would nearly always be told by /sync first, by a fraction of a millisecond, which the
// specification allows, but which clients hardly ever see with other servers: matrix-js-sdk then takes a message in a thread for one that
// couldn't be sent. Safe for concurrent use.
type unanswered struct {
	mu   sync.Mutex
	done map[transaction]chan struct{} // closed when it is answered
}

// transaction is what a device calls one of its requests to a room.
type transaction struct {
	user   id.UserID
	device string
	room   id.RoomID
	txn    string
}

// begin notes a request. It is answered a moment after end is called, so that of two answers on two connections the first is read first.
func (u *unanswered) begin(t transaction) (end func()) {
	done := make(chan struct{})
	u.mu.Lock()
	defer u.mu.Unlock()
	u.done[t] = done
	return func() {
		time.AfterFunc(answerLead, func() {
			u.mu.Lock()
			defer u.mu.Unlock()
			if u.done[t] == done { // else the client asks again already
				delete(u.done, t)
			}
			close(done)
		})
	}
}

// wait returns when these are answered, but soon in any case.
func (u *unanswered) wait(ctx context.Context, own []transaction) {
	if len(own) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, maxAnswerWait)
	defer cancel()
	for _, t := range own {
		u.mu.Lock()
		done := u.done[t]
		u.mu.Unlock()
		if done == nil {
			continue
		}
		select {
		case <-done:
		case <-ctx.Done():
			return
		}
	}
}

// writeSent answers a request that made an event: when it returns the answer is on its way.
func (a *API) writeSent(w http.ResponseWriter, r *request, body any) int {
	encoded, err := marshal(body)
	if err != nil {
		return a.writeError(w, r, err)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(encoded))) // as it isn't counted when it goes out at once
	status := writeJSON(w, http.StatusOK, json.RawMessage(encoded))
	places.Paced(w, reading).End()
	_ = http.NewResponseController(w).Flush() // the client is gone: nothing to do
	return status
}
