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
// M_LIMIT_EXCEEDED for one who reports more in a day than anybody would read. While as many are kept as may be, who has fewer than another
// makes room among those of whoever has most, of which the newest goes: so nobody clears away what others reported, and who fills the list
// keeps nobody else out of it. Who has as many is refused. Those who report at once may be a few more.
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
		if made, err := u.roomForReport(ctx, reporter); err != nil {
			return err
		} else if !made {
			return federation.NewError(http.StatusTooManyRequests, "M_LIMIT_EXCEEDED", "the administrators have too many reports to read; tell them in another way")
		}
		kept--
	}
	err = u.store.AddReport(ctx, store.Report{Received: now, Reporter: reporter, RoomID: room, EventID: event, UserID: user, Reason: reason})
	if err != nil {
		return err
	}
	u.log.Info("a user reports something; `hanse reports` shows why", "reporter", reporter, "room", room, "event", event, "user", user)
	if kept+1 >= u.maxReportsKept {
		u.log.Warn("no more reports are taken of those who made the most until some are deleted with `hanse reports delete`", "reports", kept+1)
	}
	return nil
}

// roomForReport drops the newest report of whoever has most of them, unless that is the reporter, or would be with one more.
func (u *Users) roomForReport(ctx context.Context, reporter id.UserID) (made bool, err error) {
	own, err := u.store.ReportsOf(ctx, reporter, time.UnixMilli(0))
	if err != nil {
		return false, err
	}
	who, most, err := u.store.MostReports(ctx)
	if err != nil || own+1 >= most {
		return false, err
	}
	u.log.Warn("the newest report of the user who has made the most makes room for another user's; `hanse reports delete --by` deletes them all", "user", who, "reports", most)
	return true, u.store.DropNewestReport(ctx, who)
}

// Exists tells whether there is, or was, an account.
func (u *Users) Exists(ctx context.Context, user id.UserID) (bool, error) {
	_, found, err := u.store.User(ctx, user)
	return found, err
}
