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
	"hanse/node/slidingsync"
)

// slidingSyncFeature is the name under which MSC4186 is served while it is no part of the specification.
const slidingSyncFeature = "org.matrix.simplified_msc3575"

const slidingSyncPath = "/" + slidingSyncFeature + "/sync"

func (a *API) slidingSyncRoutes() []route {
	if a.config.SlidingSync == nil {
		return nil
	}
	unstable := prefixes{"/_matrix/client/unstable"}
	return []route{{http.MethodPost, slidingSyncPath, unstable, withUser, ordinary, a.slidingSync}}
}

// slidingSync is in no version of the specification yet: see node/slidingsync.
func (a *API) slidingSync(r *request) (any, error) {
	timeout, err := r.queryInt("timeout", 0, int(maxSyncTimeout.Milliseconds()))
	if err != nil {
		return nil, err
	}
	state := r.URL.Query().Get("set_presence")
	if state != "" && !isPresence(state) {
		return nil, invalidParam("set_presence must be online, offline or unavailable")
	}
	body, err := r.object()
	if err != nil {
		return nil, err
	}
	req, err := slidingsync.Parse(body, r.user)
	if wrong := (*slidingsync.Invalid)(nil); errors.As(err, &wrong) {
		return nil, invalidParam("%v", err)
	} else if err != nil {
		return nil, err
	}
	if req.MessagesAside, err = a.messagesAside(r); err != nil {
		return nil, err
	}
	req.Device, req.Pos, req.Timeout = r.device, r.URL.Query().Get("pos"), time.Duration(timeout)*time.Millisecond
	defer a.config.Ephemeral.BeginSync(r.user, r.device, state)()
	ctx, done := a.config.Users.UntilLocked(r.Context(), r.user)
	defer done()
	answer, err := a.config.SlidingSync.Sync(ctx, req)
	err = whileUnlocked(ctx, err)
	if errors.Is(err, slidingsync.ErrUnknownPos) {
		return nil, badRequest("M_UNKNOWN_POS", "this pos is not known (any more): begin anew without one")
	}
	if err != nil {
		return nil, err
	}
	f := &syncFormatter{from: r, request: clientsync.Request{User: r.user}, now: time.Now()}
	form := slidingForm{Pos: answer.Pos, Lists: slidingLists(answer.Lists), Rooms: make(map[id.RoomID]slidingRoom, len(answer.Rooms))}
	for room, news := range answer.Rooms {
		form.Rooms[room] = f.slidingRoom(news)
	}
	form.Extensions = f.slidingExtensions(answer)
	f.waitForOwn()
	return form, f.err
}

type (
	slidingForm struct {
		Pos        string                    `json:"pos"`
		Lists      map[string]slidingList    `json:"lists,omitempty"`
		Rooms      map[id.RoomID]slidingRoom `json:"rooms"`
		Extensions map[string]any            `json:"extensions"`
	}
	slidingList struct {
		Count int         `json:"count"`
		Ops   []slidingOp `json:"ops"`
	}
	slidingOp struct {
		Op    string      `json:"op"` // SYNC
		Range [2]int      `json:"range"`
		Rooms []id.RoomID `json:"room_ids"`
	}
	slidingRoom struct {
		Initial           bool              `json:"initial,omitempty"`
		Expanded          bool              `json:"expanded_timeline,omitempty"`
		UnstableExpanded  bool              `json:"unstable_expanded_timeline,omitempty"`
		Membership        string            `json:"membership"`
		Name              json.RawMessage   `json:"name,omitempty"`
		Avatar            json.RawMessage   `json:"avatar,omitempty"`
		Heroes            []slidingHero     `json:"heroes,omitempty"`
		IsDM              *bool             `json:"is_dm,omitempty"`
		RequiredState     any               `json:"required_state,omitempty"` // of json.RawMessage, or later
		Timeline          []json.RawMessage `json:"timeline,omitempty"`
		PrevBatch         string            `json:"prev_batch,omitempty"`
		Limited           *bool             `json:"limited,omitempty"`
		NumLive           *int              `json:"num_live,omitempty"`
		JoinedCount       *int              `json:"joined_count,omitempty"`
		InvitedCount      *int              `json:"invited_count,omitempty"`
		NotificationCount int               `json:"notification_count"`
		HighlightCount    int               `json:"highlight_count"`
		BumpStamp         int64             `json:"bump_stamp,omitempty"`
		InviteState       []json.RawMessage `json:"invite_state,omitempty"` // a knock's too, as Synapse has it
	}
	slidingHero struct {
		UserID      id.UserID `json:"user_id"`
		DisplayName *string   `json:"displayname,omitempty"`
		Avatar      *string   `json:"avatar_url,omitempty"`
	}
)

func slidingLists(lists map[string]slidingsync.List) map[string]slidingList {
	forms := make(map[string]slidingList, len(lists))
	for name, list := range lists {
		form := slidingList{Count: list.Count, Ops: []slidingOp{}}
		for _, window := range list.Windows {
			form.Ops = append(form.Ops, slidingOp{"SYNC", window.Range, window.Rooms})
		}
		forms[name] = form
	}
	return forms
}

func (f *syncFormatter) slidingRoom(room *slidingsync.Room) slidingRoom {
	form := slidingRoom{
		Initial: room.Initial, Expanded: room.Expanded, UnstableExpanded: room.Expanded, Membership: room.Membership,
		Name: f.text(room.Name), Avatar: f.text(room.Avatar), IsDM: room.Direct,
		NotificationCount: room.Unread.Notifications, HighlightCount: room.Unread.Highlights,
		BumpStamp: int64(room.Bump), InviteState: room.Stripped,
	}
	if len(room.State)+room.Rest.Len() > 0 {
		form.RequiredState = f.stateEvents(room.State, room.Rest, f.event)
	}
	for _, hero := range room.Heroes {
		form.Heroes = append(form.Heroes, slidingHero{hero.User, hero.DisplayName, hero.Avatar})
	}
	if t := room.Timeline; t != nil {
		form.Timeline, form.PrevBatch, form.Limited, form.NumLive = f.events(t.Events), t.PrevBatch.String(), &t.Limited, &room.Live
	}
	if s := room.Members; s != nil {
		form.JoinedCount, form.InvitedCount = &s.Joined, &s.Invited
	}
	return form
}

// text is a text that may have been taken away: then it is null.
func (f *syncFormatter) text(t *string) json.RawMessage {
	switch {
	case t == nil:
		return nil
	case *t == "":
		return json.RawMessage("null")
	}
	raw, err := json.Marshal(t)
	if err != nil {
		f.err = err
	}
	return raw
}

// slidingExtensions has those that the client has asked for.
func (f *syncFormatter) slidingExtensions(answer *slidingsync.Answer) map[string]any {
	forms := map[string]any{}
	if a := answer.ToDevice; a != nil {
		messages := make([]json.RawMessage, 0, len(a.Messages))
		for _, m := range a.Messages {
			messages = append(messages, m.Message)
		}
		forms["to_device"] = map[string]any{"next_batch": a.Next, "events": messages}
	}
	if a := answer.Encryption; a != nil {
		counts := map[string]int{"signed_curve25519": 0}
		maps.Copy(counts, a.OneTimeKeys)
		form := map[string]any{"device_one_time_keys_count": counts, "device_unused_fallback_key_types": append([]string{}, a.Unused...)}
		if a.Lists != nil {
			form["device_lists"] = deviceListsForm(*a.Lists)
		}
		forms["e2ee"] = form
	}
	if a := answer.AccountData; a != nil {
		global := f.accountData(a.Global)
		if a.Whole && !f.rulesTold {
			global.Events = append(global.Events, f.pushRules(nil))
		}
		rooms := make(map[id.RoomID][]any, len(a.Rooms))
		for room, entries := range a.Rooms {
			rooms[room] = f.accountData(entries).Events
		}
		forms["account_data"] = map[string]any{"global": global.Events, "rooms": rooms}
	}
	if answer.Receipts != nil {
		rooms := make(map[id.RoomID]any, len(answer.Receipts))
		for room, receipts := range answer.Receipts {
			// There is one event a room. Where a user has read several threads up to the same event, it tells of all threads if that was
			// said, else of the newest.
			slices.SortStableFunc(receipts, func(a, b clientsync.Receipt) int {
				return cmp.Or(cmp.Compare(min(len(a.Thread), 1), min(len(b.Thread), 1)), cmp.Compare(b.Position, a.Position))
			})
			rooms[room] = map[string]any{"type": "m.receipt", "content": receiptContents(receipts)[0]}
		}
		forms["receipts"] = map[string]any{"rooms": rooms}
	}
	if answer.Typing != nil {
		rooms := make(map[id.RoomID]any, len(answer.Typing))
		for room, users := range answer.Typing {
			rooms[room] = map[string]any{"type": "m.typing", "content": map[string]any{"user_ids": append([]id.UserID{}, users...)}}
		}
		forms["typing"] = map[string]any{"rooms": rooms}
	}
	return forms
}
