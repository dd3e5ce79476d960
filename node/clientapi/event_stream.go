package clientapi

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"hanse/federation/id"
	"hanse/node/clientsync"
	"hanse/node/ephemeral"
	"hanse/node/stream"
)

func (a *API) eventStreamRoutes() []route {
	return []route{
		{http.MethodGet, "/events", stable, withUser, ordinary, a.listen},
		{http.MethodGet, "/events/{eventId}", stable, withUser, ordinary, a.eventByID},
	}
}

// streamForm is an answer of /events.
type streamForm struct {
	Start string `json:"start"`
	End   string `json:"end"`
	Chunk []any  `json:"chunk"`
}

// listen is what /sync has in another form: all that is new in one list, of all the user's rooms, or of one, which may be one that they may
// read without being in it. Of many events in a room only the newest come, without a word of the gap; that is why it is deprecated.
//
// spec:client-server-api#get_matrixclientv3events
func (a *API) listen(r *request) (any, error) {
	timeout, err := r.queryInt("timeout", int(defaultListening.Milliseconds()), int(maxSyncTimeout.Milliseconds()))
	if err != nil {
		return nil, err
	}
	limit, err := r.queryInt("limit", maxListened, maxListened) // not in the specification; deployed servers take it
	if err != nil {
		return nil, err
	}
	defer a.config.Ephemeral.BeginSync(r.user, r.device, "")()
	req := clientsync.Request{
		User: r.user, Device: r.device, Timeout: time.Duration(timeout) * time.Millisecond, MessagesAside: true, Since: a.config.Sync.Now(),
	}
	req.Filter.Room.Timeline.Limit = &limit
	query := r.URL.Query()
	if from := query.Get("from"); from != "" {
		if req.Since, err = stream.ParseToken(from); err != nil {
			return nil, invalidParam("from: %v", err)
		}
	}
	if text := query.Get("room_id"); text != "" {
		room, err := id.ParseRoomID(text)
		if err != nil {
			return nil, invalidParam("room_id: %q is not a room ID", text)
		}
		membership, err := a.config.Users.MembershipIn(r.Context(), r.user, room)
		if err != nil {
			return nil, err
		}
		if membership != "join" {
			return a.peek(r, req, room)
		}
		none := clientsync.EventFilter{Types: []string{}}
		req.Filter.Room.Rooms, req.Filter.AccountData, req.Filter.Presence = []id.RoomID{room}, none, none
	}
	answer, err := a.news(r, req)
	if err != nil {
		return nil, err
	}
	l := listened{now: time.Now(), since: req.Since}
	if err := a.hear(r, &l, answer); err != nil {
		return nil, err
	}
	formatter := syncFormatter{request: req}
	l.beside = append(l.beside, formatter.accountData(answer.AccountData).Events...)
	return l.form(answer.Next), formatter.err
}

// hear puts what is new in rooms, and who is there, into one list.
func (a *API) hear(r *request, l *listened, answer *clientsync.Answer) error {
	for room, joined := range answer.Joined {
		if err := l.rest(r, joined.Rest); err != nil {
			return err
		}
		l.joined(room, joined)
	}
	for _, left := range answer.Left {
		if err := l.rest(r, left.Rest); err != nil {
			return err
		}
		l.rows(left.State, left.Timeline.Events)
	}
	for room, shown := range answer.Invited {
		if err := a.told(r, l, room, shown, nil); err != nil {
			return err
		}
	}
	for room, shown := range answer.Knocked {
		if err := a.told(r, l, room, nil, shown); err != nil {
			return err
		}
	}
	for _, p := range answer.Presence {
		l.beside = append(l.beside, presenceEvent(p))
	}
	return nil
}

// news waits for what is new to the user, or for the account to be locked.
func (a *API) news(r *request, req clientsync.Request) (*clientsync.Answer, error) {
	ctx, done := a.config.Users.UntilLocked(r.Context(), r.user)
	defer done()
	answer, err := a.config.Sync.Sync(ctx, req)
	return answer, whileUnlocked(ctx, err)
}

// peek is /events for one room that the user isn't in.
//
// spec:client-server-api#get_matrixclientv3events
func (a *API) peek(r *request, req clientsync.Request, room id.RoomID) (any, error) {
	ctx, done := a.config.Users.UntilLocked(r.Context(), r.user)
	defer done()
	found, next, err := a.config.Sync.Peek(ctx, clientsync.PeekRequest{
		User: r.user, Device: r.device, Room: room, Since: req.Since, Timeout: req.Timeout, Limit: *req.Filter.Room.Timeline.Limit,
	})
	switch err = whileUnlocked(ctx, err); {
	case errors.Is(err, clientsync.ErrUnreadable):
		return nil, forbidden("you are not in this room, and only those who are may read it")
	case err != nil:
		return nil, err
	}
	l := listened{now: time.Now(), since: req.Since}
	l.joined(room, found)
	return l.form(next), nil
}

// listened is a list of what is new.
type listened struct {
	now    time.Time
	since  stream.Token
	events []clientsync.Decorated
	beside []any // what is no event of a room's history
}

// rows adds events that have come since.
func (l *listened) rows(lists ...[]clientsync.Decorated) {
	for _, list := range lists {
		for _, d := range list {
			if d.Position > l.since.Position {
				l.events = append(l.events, d)
			}
		}
	}
}

// rest adds what of a large state has come since.
func (l *listened) rest(r *request, rest *clientsync.Rest) error {
	if rest == nil {
		return nil
	}
	since, err := rest.Since(r.Context(), l.since.Position)
	l.rows(since)
	return err
}

func (l *listened) joined(room id.RoomID, news *clientsync.JoinedRoom) {
	l.rows(news.State, news.Timeline.Events)
	if news.HasTyping {
		l.beside = append(l.beside, map[string]any{
			"type": "m.typing", "room_id": room, "content": map[string]any{"user_ids": append([]id.UserID{}, news.Typing...)},
		})
	}
	l.beside = append(l.beside, receiptEvents(room, news.Receipts)...)
	for _, entry := range news.AccountData {
		l.beside = append(l.beside, map[string]any{"type": entry.Type, "room_id": room, "content": entry.Content})
	}
}

// told is the invite to, or the knock on, a room, with what the user is shown of the room.
func (a *API) told(r *request, l *listened, room id.RoomID, invite, knock []json.RawMessage) error {
	row, known, err := a.config.Sync.OwnMembership(r.Context(), r.user, room)
	if err != nil || !known {
		return err
	}
	event := plainEvent(row.Event, l.now)
	event.Unsigned.InviteRoomState, event.Unsigned.KnockRoomState = invite, knock
	l.beside = append(l.beside, event)
	return nil
}

// form is the list in the order in which it came; what is no event of a room comes last.
func (l *listened) form(next stream.Token) streamForm {
	slices.SortStableFunc(l.events, func(a, b clientsync.Decorated) int { return cmp.Compare(a.Position, b.Position) })
	form := streamForm{Start: l.since.String(), End: next.String(), Chunk: make([]any, 0, len(l.events)+len(l.beside))}
	for _, d := range l.events {
		event := decoratedEvent(d, l.now)
		event.UserID = event.Sender
		form.Chunk = append(form.Chunk, event)
	}
	form.Chunk = append(form.Chunk, l.beside...)
	return form
}

// receiptEvents are a room's receipts as events of a list with other rooms.
func receiptEvents(room id.RoomID, receipts []clientsync.Receipt) []any {
	var list []any
	for _, content := range receiptContents(receipts) {
		list = append(list, map[string]any{"type": "m.receipt", "room_id": room, "content": content})
	}
	return list
}

// presenceEvent is somebody's presence for those who know no sender of it: they look into the content.
func presenceEvent(p ephemeral.Presence) map[string]any {
	content := maps.Clone(presenceForm(p))
	content["user_id"] = p.User
	return map[string]any{"type": "m.presence", "sender": p.User, "content": content}
}

// eventByID is an event by its ID alone.
//
// spec:client-server-api#get_matrixclientv3eventseventid
func (a *API) eventByID(r *request) (any, error) {
	eventID, err := r.eventID()
	if err != nil {
		return nil, err
	}
	row, err := a.config.Rooms.EventByID(r.Context(), r.user, eventID)
	if err != nil {
		return nil, err
	}
	return r.one(row)
}
