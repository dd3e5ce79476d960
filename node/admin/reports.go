package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"hanse/federation/id"
	"hanse/node/store"
)

const (
	// MaxReports is how many reports an answer lists at most.
	MaxReports = 1000
	// shortText is how many characters of a reported event, and of a reason in a table, are shown.
	shortText = 120
)

// Report is something that a user of this server reported: an event, a room or a user.
type Report struct {
	Number   int64      `json:"number"`
	Received time.Time  `json:"received"`
	Reporter id.UserID  `json:"reporter"`
	Room     id.RoomID  `json:"room_id,omitempty"`
	Event    id.EventID `json:"event_id,omitempty"`
	User     id.UserID  `json:"user_id,omitempty"`
	Reason   string     `json:"reason"`

	// Only of an event, if it is here:
	Sender   id.UserID `json:"sender,omitempty"`
	Type     string    `json:"type,omitempty"`
	Text     string    `json:"text,omitempty"` // the beginning of what it says
	Redacted bool      `json:"redacted,omitempty"`
}

// DeletedReports is how many reports were deleted.
type DeletedReports struct {
	Deleted int `json:"deleted"`
}

// reports answers with the newest reports.
func (a *Admin) reports(ctx context.Context, q *http.Request) (any, error) {
	limit, err := strconv.Atoi(q.FormValue("limit"))
	if err != nil || limit < 1 || limit > MaxReports {
		return nil, &problem{http.StatusBadRequest, fmt.Sprintf("limit: give a number from 1 to %d", MaxReports)}
	}
	kept, err := a.Store.Reports(ctx, limit)
	list := make([]Report, 0, len(kept))
	for _, r := range kept {
		shown := Report{Number: r.Number, Received: r.Received.UTC(), Reporter: r.Reporter, Room: r.RoomID, Event: r.EventID, User: r.UserID, Reason: r.Reason}
		if r.EventID != "" {
			row, there, err := a.Store.Event(ctx, r.EventID)
			if err != nil {
				return nil, err
			}
			if there {
				shown.Sender, shown.Type, shown.Redacted = row.Event.Sender(), row.Event.Type(), row.RedactedBy != ""
				shown.Text = shortened(member(row.Event.Content(), "body"))
			}
		}
		list = append(list, shown)
	}
	return list, err
}

// deleteReports deletes the reports with the numbers that are given; of those that aren't there it tells the first, when the others are
// deleted. Or all reports by a user.
func (a *Admin) deleteReports(ctx context.Context, q *http.Request) (any, error) {
	if err := q.ParseForm(); err != nil {
		return nil, &problem{http.StatusBadRequest, err.Error()}
	}
	var numbers []int64
	for _, text := range q.Form["number"] {
		number, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, &problem{http.StatusBadRequest, fmt.Sprintf("%q is not the number of a report; `hanse reports` shows them", text)}
		}
		numbers = append(numbers, number)
	}
	var answer DeletedReports
	if by := q.Form.Get("by"); by != "" {
		user, err := a.userID(by)
		if err != nil {
			return nil, err
		}
		answer.Deleted, err = a.Store.DeleteReportsOf(ctx, user)
		if err == nil {
			a.Log.Info("an operator deleted all reports of a user", "user", user, "reports", answer.Deleted)
		}
		return answer, err
	}
	var missing error
	for _, number := range numbers {
		switch err := a.Store.DeleteReport(ctx, number); {
		case err == nil:
			answer.Deleted++
			a.Log.Info("an operator deleted a report", "number", number)
		case !errors.Is(err, store.ErrNotFound):
			return nil, err
		case missing == nil:
			missing = &problem{http.StatusNotFound, fmt.Sprintf("there is no report %d; `hanse reports` shows which there are", number)}
		}
	}
	return answer, missing
}

// shortened is the beginning of a text.
func shortened(text string) string {
	if characters := []rune(text); len(characters) > shortText {
		return string(characters[:shortText]) + "…"
	}
	return text
}

// Reports writes a line a report. limit is how many were asked for.
func (t Text) Reports(list []Report, limit int) {
	if len(list) == 0 {
		t.line(plain, "Nobody has reported anything, or all of it is deleted.")
		return
	}
	rows := []row{{bold, []string{"NUMBER", "REPORTED", "BY", "ROOM", "EVENT", "USER", "REASON", "WHAT IT SAYS"}}}
	for _, r := range list {
		rows = append(rows, row{plain, []string{
			strconv.FormatInt(r.Number, 10), t.age(r.Received), string(r.Reporter), orDash(string(r.Room)), orDash(string(r.Event)),
			orDash(string(r.User + r.Sender)), orDash(shortened(r.Reason)), r.says(),
		}})
	}
	t.table("", rows)
	if len(list) == limit {
		t.line(faint, "There may be older ones; --limit shows more, up to %d.", MaxReports)
	}
}

// says is what a reported event says, in a few words.
func (r Report) says() string {
	switch {
	case r.Event == "":
		return "-"
	case r.Type == "":
		return "(it is not here)"
	case r.Redacted:
		return "(" + r.Type + ", redacted)"
	case r.Text == "":
		return "(" + r.Type + ")"
	}
	return r.Text
}

// DeletedReports writes how many reports were deleted.
func (t Text) DeletedReports(d DeletedReports) {
	t.line(plain, "Deleted: %d.", d.Deleted)
}
