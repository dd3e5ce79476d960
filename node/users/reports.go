package users

import (
	"context"
	"net/http"
	"time"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/store"
)

// Report keeps what a user tells the administrators of, and says so in the log. M_LIMIT_EXCEEDED for one who reports more
// in a day than anybody would read.
//
// spec:client-server-api/modules/report_content#client-behaviour
func (u *Users) Report(ctx context.Context, reporter id.UserID, room id.RoomID, event id.EventID, user id.UserID, reason string) error {
	if len(reason) > maxReportBytes {
		return federation.InvalidParam("the reason is too long")
	}
	now := time.Now()
	today, err := u.store.ReportsOf(ctx, reporter, now.Add(-24*time.Hour))
	if err != nil {
		return err
	}
	if today >= maxReports {
		return federation.NewError(http.StatusTooManyRequests, "M_LIMIT_EXCEEDED", "you have reported too much today")
	}
	err = u.store.AddReport(ctx, store.Report{Received: now, Reporter: reporter, RoomID: room, EventID: event, UserID: user, Reason: reason})
	if err == nil {
		u.log.Info("a user reports something", "reporter", reporter, "room", room, "event", event, "user", user, "reason", clip(reason, 200))
	}
	return err
}

// Exists tells whether there is, or was, an account.
func (u *Users) Exists(ctx context.Context, user id.UserID) (bool, error) {
	_, found, err := u.store.User(ctx, user)
	return found, err
}
