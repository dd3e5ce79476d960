package users

import (
	"context"
	"net/http"
	"time"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/store"
)

// Report keeps what a user tells the administrators of, and says in the log that there is something, but not why: that is private.
// M_LIMIT_EXCEEDED for one who reports more in a day than anybody would read, and for all while as many are kept as may be: none is
// dropped for a newer one, which would let anybody clear away what others reported. Those who report at once may be a few more.
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
	if today >= u.maxReports {
		return federation.NewError(http.StatusTooManyRequests, "M_LIMIT_EXCEEDED", "you have reported too much today")
	}
	kept, err := u.store.ReportsKept(ctx)
	if err != nil {
		return err
	}
	if kept >= u.maxReportsKept {
		return federation.NewError(http.StatusTooManyRequests, "M_LIMIT_EXCEEDED", "the administrators have too many reports to read; tell them in another way")
	}
	err = u.store.AddReport(ctx, store.Report{Received: now, Reporter: reporter, RoomID: room, EventID: event, UserID: user, Reason: reason})
	if err != nil {
		return err
	}
	u.log.Info("a user reports something; `hanse reports` shows why", "reporter", reporter, "room", room, "event", event, "user", user)
	if kept+1 >= u.maxReportsKept {
		u.log.Warn("no more reports are taken until some are deleted with `hanse reports delete`", "reports", kept+1)
	}
	return nil
}

// Exists tells whether there is, or was, an account.
func (u *Users) Exists(ctx context.Context, user id.UserID) (bool, error) {
	_, found, err := u.store.User(ctx, user)
	return found, err
}
