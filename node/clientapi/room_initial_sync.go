package clientapi

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"hanse/federation/id"
	"hanse/node/clientsync"
	"hanse/node/rooms"
)

func (a *API) initialSyncRoutes() []route {
	return []route{
		{http.MethodGet, "/initialSync", stable, withUser, ordinary, a.initialSync},
		{http.MethodGet, "/rooms/{roomId}/initialSync", stable, withUser, ordinary, a.roomInitialSync},
	}
}

// What of these forms is not in the specification is told by deployed servers, and old clients look for it.
type (
	roomInfo struct {
		RoomID      id.RoomID     `json:"room_id"`
		Membership  string        `json:"membership,omitempty"`
		Visibility  string        `json:"visibility"`
		Inviter     id.UserID     `json:"inviter,omitempty"` // not in the specification
		Invite      *clientEvent  `json:"invite,omitempty"`
		Messages    *messagesForm `json:"messages,omitempty"`
		State       any           `json:"state,omitempty"` // of *clientEvent, or later
		AccountData []any         `json:"account_data"`
	}
	// roomLook is the room's with what else is told of it.
	roomLook struct {
		roomInfo
		Receipts []any `json:"receipts"` // not in the specification
		Presence []any `json:"presence"` // likewise
	}
	messagesForm struct {
		Chunk []*clientEvent `json:"chunk"`
		Start string         `json:"start"`
		End   string         `json:"end"`
	}
)

// shownAs is how the specification calls whether a room is published.
func (r *request) shownAs(room id.RoomID) (string, error) {
	published, err := r.api.config.Directory.Published(r.Context(), room)
	if published {
		return "public", err
	}
	return "private", err
}

// initialSync is a first /sync in another form, with the state as it is at the end.
//
// spec:client-server-api#get_matrixclientv3initialsync
func (a *API) initialSync(r *request) (any, error) {
	limit, err := r.queryInt("limit", previewMessages, maxPage)
	if err != nil {
		return nil, err
	}
	archived, err := r.queryBool("archived")
	if err != nil {
		return nil, err
	}
	req := clientsync.Request{User: r.user, Device: r.device, Initial: true, StateAfter: true, MessagesAside: true}
	req.Filter.Room.Timeline.Limit, req.Filter.Room.IncludeLeave = &limit, archived
	defer a.config.Ephemeral.BeginSync(r.user, r.device, "")()
	answer, err := a.news(r, req)
	if err != nil {
		return nil, err
	}
	f := &syncFormatter{from: r, request: req, now: time.Now()}
	end := answer.Next.String()
	all, receipts, presence := []roomInfo{}, []any{}, []any{}
	for room, joined := range answer.Joined {
		info := roomInfo{RoomID: room, Membership: "join", AccountData: f.accountData(joined.AccountData).Events}
		info.Messages, info.State = messagesOf(joined.Timeline, end, f.now), f.plainState(joined.State, joined.Rest)
		all, receipts = append(all, info), append(receipts, receiptEvents(room, joined.Receipts)...)
	}
	for room, left := range answer.Left {
		info := roomInfo{RoomID: room, AccountData: f.accountData(left.AccountData).Events}
		info.Messages, info.State = messagesOf(left.Timeline, end, f.now), f.plainState(left.State, left.Rest)
		if info.Membership, err = a.config.Users.MembershipIn(r.Context(), r.user, room); err != nil {
			return nil, err
		}
		all = append(all, info)
	}
	for room := range answer.Invited {
		row, known, err := a.config.Sync.OwnMembership(r.Context(), r.user, room)
		if err != nil {
			return nil, err
		}
		if known {
			invite := plainEvent(row.Event, f.now)
			all = append(all, roomInfo{RoomID: room, Membership: "invite", Inviter: invite.Sender, Invite: invite, AccountData: []any{}})
		}
	}
	for i := range all {
		if all[i].Visibility, err = r.shownAs(all[i].RoomID); err != nil {
			return nil, err
		}
	}
	for _, p := range answer.Presence {
		presence = append(presence, presenceEvent(p))
	}
	data := f.accountData(answer.AccountData).Events
	if !f.rulesTold {
		data = append(data, f.pushRules(nil))
	}
	return map[string]any{
		"end": end, "rooms": all, "presence": presence, "account_data": data,
		"receipts": receipts, // not in the specification
	}, f.err
}

// plainState is a state as deployed servers tell it here.
func (f *syncFormatter) plainState(rows []clientsync.Decorated, rest *clientsync.Rest) any {
	if len(rows)+rest.Len() == 0 {
		return nil
	}
	return f.stateEvents(rows, rest, func(d clientsync.Decorated) (json.RawMessage, error) { return marshal(decoratedEvent(d, f.now)) })
}

func messagesOf(t clientsync.Timeline, end string, now time.Time) *messagesForm {
	return &messagesForm{Chunk: decoratedEvents(t.Events, now), Start: t.PrevBatch.String(), End: end}
}

// roomInitialSync is a look into a room that the user is in, was in, or may read without.
//
// spec:client-server-api#get_matrixclientv3roomsroomidinitialsync
func (a *API) roomInitialSync(r *request) (any, error) {
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	limit, err := r.queryInt("limit", previewMessages, maxPage) // not in the specification; deployed servers take it
	if err != nil {
		return nil, err
	}
	end := a.config.Sync.Now() // what comes from now on is told by /events, some of it perhaps here too
	state, err := a.config.Rooms.StateMap(r.Context(), r.user, room)
	if err != nil {
		return nil, err
	}
	info := roomLook{roomInfo: roomInfo{
		RoomID: room, State: r.laterState(room, state), Messages: &messagesForm{Chunk: []*clientEvent{}, Start: end.String(), End: end.String()},
	}}
	if limit > 0 {
		page, err := a.config.Rooms.Messages(r.Context(), rooms.MessagesRequest{User: r.user, Room: room, Backwards: true, Limit: limit})
		if err != nil {
			return nil, err
		}
		slices.Reverse(page.Events)
		if info.Messages.Chunk, err = r.decorated(page.Events); err != nil {
			return nil, err
		}
		info.Messages.Start = formatPoint(page.End)
	}
	if info.Visibility, err = r.shownAs(room); err != nil {
		return nil, err
	}
	if info.Membership, err = a.config.Users.MembershipIn(r.Context(), r.user, room); err != nil {
		return nil, err
	}
	err = a.beside(r, &info)
	return info, err
}

// beside adds what those who are in a room are told of it beside its events: others find empty lists.
func (a *API) beside(r *request, info *roomLook) error {
	info.AccountData, info.Receipts, info.Presence = []any{}, []any{}, []any{}
	if info.Membership != "join" {
		return nil
	}
	req := clientsync.Request{User: r.user, Device: r.device, Initial: true, MessagesAside: true}
	req.Filter.Room.Rooms = []id.RoomID{info.RoomID}
	req.Filter.Room.Timeline.Types, req.Filter.Room.State.Types = []string{}, []string{}
	answer, err := a.news(r, req)
	if err != nil {
		return err
	}
	if joined := answer.Joined[info.RoomID]; joined != nil {
		f := syncFormatter{request: req}
		info.AccountData = f.accountData(joined.AccountData).Events
		info.Receipts = append(info.Receipts, receiptEvents(info.RoomID, joined.Receipts)...)
	}
	for _, p := range answer.Presence {
		membership, err := a.config.Users.MembershipIn(r.Context(), p.User, info.RoomID)
		if err != nil {
			return err
		}
		if membership == "join" {
			info.Presence = append(info.Presence, presenceEvent(p))
		}
	}
	return nil
}
