package clientapi

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/node/clientsync"
	"hanse/node/ephemeral"
	"hanse/node/push"
	"hanse/node/stream"
)

func (a *API) syncRoutes() []route {
	return []route{{http.MethodGet, "/sync", stable, withUser, ordinary, a.sync}}
}

// spec:client-server-api#get_matrixclientv3sync
func (a *API) sync(r *request) (any, error) {
	query := r.URL.Query()
	timeout, err := r.queryInt("timeout", 0, int(maxSyncTimeout.Milliseconds()))
	if err != nil {
		return nil, err
	}
	req := clientsync.Request{User: r.user, Device: r.device, Timeout: time.Duration(timeout) * time.Millisecond}
	if req.FullState, err = r.queryBool("full_state"); err != nil {
		return nil, err
	}
	if req.StateAfter, err = r.queryBool("use_state_after"); err != nil {
		return nil, err
	}
	unstableAfter, err := r.queryBool(stateAfterFeature + ".use_state_after")
	if err != nil {
		return nil, err
	}
	unstableAfter = unstableAfter && !req.StateAfter
	req.StateAfter = req.StateAfter || unstableAfter
	if since := query.Get("since"); since == "" {
		req.Initial = true
	} else if req.Since, err = stream.ParseToken(since); err != nil {
		return nil, invalidParam("since: %v", err)
	}
	if req.Filter, err = r.syncFilter(query.Get("filter")); err != nil {
		return nil, err
	}
	if req.MessagesAside, err = a.messagesAside(r); err != nil {
		return nil, err
	}
	state := query.Get("set_presence")
	if state != "" && !isPresence(state) {
		return nil, invalidParam("set_presence must be online, offline or unavailable")
	}
	req.PresenceAside = state == ephemeral.Offline
	defer a.config.Ephemeral.BeginSync(r.user, r.device, state)()
	ctx, done := a.config.Users.UntilLocked(r.Context(), r.user)
	defer done()
	answer, err := a.config.Sync.Sync(ctx, req)
	if err := whileUnlocked(ctx, err); err != nil {
		return nil, err
	}
	form, err := formatSync(r, req, answer, time.Now())
	if unstableAfter {
		for id, room := range form.Rooms.Join {
			room.UnstableAfter, room.StateAfter = room.StateAfter, nil
			form.Rooms.Join[id] = room
		}
		for id, room := range form.Rooms.Leave {
			room.UnstableAfter, room.StateAfter = room.StateAfter, nil
			form.Rooms.Leave[id] = room
		}
	}
	return form, err
}

// stateAfterFeature is MSC4222, by which deployed clients ask for the state after the timeline, in the specification since 1.16.
const stateAfterFeature = "org.matrix.msc4222"

// syncFilter reads the filter parameter: a filter itself, or the ID of a stored one.
func (r *request) syncFilter(text string) (clientsync.Filter, error) {
	raw := []byte(text)
	if text == "" {
		return clientsync.Filter{}, nil
	}
	if !strings.HasPrefix(text, "{") {
		stored, err := r.api.config.Users.Filter(r.Context(), r.user, text)
		if err != nil {
			return clientsync.Filter{}, err
		}
		raw = stored
	}
	filter, err := clientsync.ParseFilter(raw)
	if err != nil {
		return filter, invalidParam("filter: %v", err)
	}
	return filter, nil
}

// The form of the answer. Lists that strict clients expect are there even if they are empty.
type (
	syncForm struct {
		NextBatch              string         `json:"next_batch"`
		AccountData            events         `json:"account_data"`
		Presence               events         `json:"presence"`
		Rooms                  roomsForm      `json:"rooms"`
		ToDevice               *events        `json:"to_device,omitempty"` // left out where there is nothing, as deployed servers do
		DeviceLists            deviceLists    `json:"device_lists"`
		OneTimeKeysCount       map[string]int `json:"device_one_time_keys_count"`
		UnusedFallbackKeyTypes []string       `json:"device_unused_fallback_key_types"`
	}
	deviceLists struct {
		Changed []id.UserID `json:"changed"`
		Left    []id.UserID `json:"left"`
	}
	roomsForm struct {
		Join   map[id.RoomID]joinedForm        `json:"join"`
		Invite map[id.RoomID]map[string]events `json:"invite"`
		Knock  map[id.RoomID]map[string]events `json:"knock"`
		Leave  map[id.RoomID]leftForm          `json:"leave"`
	}
	joinedForm struct {
		Summary             map[string]any `json:"summary"`
		State               *eventList     `json:"state,omitempty"`
		StateAfter          *eventList     `json:"state_after,omitempty"`
		UnstableAfter       *eventList     `json:"org.matrix.msc4222.state_after,omitempty"`
		Timeline            timelineForm   `json:"timeline"`
		Ephemeral           events         `json:"ephemeral"`
		AccountData         events         `json:"account_data"`
		UnreadNotifications unreadForm     `json:"unread_notifications"`

		UnreadThreads map[string]unreadForm `json:"unread_thread_notifications,omitempty"`
	}
	leftForm struct {
		State      *eventList `json:"state,omitempty"`
		StateAfter *eventList `json:"state_after,omitempty"`

		UnstableAfter *eventList   `json:"org.matrix.msc4222.state_after,omitempty"`
		Timeline      timelineForm `json:"timeline"`
		AccountData   events       `json:"account_data"`
	}
	timelineForm struct {
		Events    []json.RawMessage `json:"events"`
		Limited   bool              `json:"limited"`
		PrevBatch string            `json:"prev_batch"`
	}
	unreadForm struct {
		HighlightCount    int `json:"highlight_count"`
		NotificationCount int `json:"notification_count"`
	}
	events struct {
		Events []any `json:"events"`
	}
	eventList struct {
		Events any `json:"events"` // of json.RawMessage, or later
	}
)

func newEvents() events { return events{Events: []any{}} }

// syncFormatter gives an answer the form of the API.
type syncFormatter struct {
	from    *request
	request clientsync.Request
	now     time.Time
	fields  [][]string    // nil: all
	err     error         // the first that happened
	own     []transaction // those of the device that made events in it

	rulesTold bool // the push rules are in the account data
}

func formatSync(r *request, req clientsync.Request, answer *clientsync.Answer, now time.Time) (syncForm, error) {
	f := &syncFormatter{from: r, request: req, now: now}
	if req.Filter.EventFields != nil {
		f.fields = fieldPaths(req.Filter.EventFields)
	}
	form := syncForm{
		NextBatch: answer.Next.String(), AccountData: f.accountData(answer.AccountData), Presence: newEvents(),
		DeviceLists:      deviceListsForm(answer.Devices.Lists),
		OneTimeKeysCount: map[string]int{"signed_curve25519": 0}, UnusedFallbackKeyTypes: append([]string{}, answer.Devices.Unused...),
		Rooms: roomsForm{
			Join: map[id.RoomID]joinedForm{}, Leave: map[id.RoomID]leftForm{},
			Invite: map[id.RoomID]map[string]events{}, Knock: map[id.RoomID]map[string]events{},
		},
	}
	if req.Initial && req.Filter.AccountData.Match(push.AccountDataType, "") && !f.rulesTold {
		form.AccountData.Events = append(form.AccountData.Events, f.pushRules(nil))
	}
	for _, p := range answer.Presence {
		form.Presence.Events = append(form.Presence.Events, map[string]any{"type": "m.presence", "sender": p.User, "content": presenceForm(p)})
	}
	maps.Copy(form.OneTimeKeysCount, answer.Devices.OneTimeKeys)
	if len(answer.Devices.ToDevice) > 0 {
		form.ToDevice = &events{}
	}
	for _, m := range answer.Devices.ToDevice {
		form.ToDevice.Events = append(form.ToDevice.Events, m.Message)
	}
	for room, joined := range answer.Joined {
		form.Rooms.Join[room] = f.joined(joined)
	}
	for room, left := range answer.Left {
		form.Rooms.Leave[room] = f.left(left)
	}
	for room, stripped := range answer.Invited {
		form.Rooms.Invite[room] = map[string]events{"invite_state": raws(stripped)}
	}
	for room, stripped := range answer.Knocked {
		form.Rooms.Knock[room] = map[string]events{"knock_state": raws(stripped)}
	}
	f.waitForOwn()
	return form, f.err
}

// deviceListsForm has both lists, also where they are empty.
func deviceListsForm(lists clientsync.DeviceLists) deviceLists {
	return deviceLists{Changed: append([]id.UserID{}, lists.Changed...), Left: append([]id.UserID{}, lists.Left...)}
}

func raws(list []json.RawMessage) events {
	all := newEvents()
	for _, raw := range list {
		all.Events = append(all.Events, raw)
	}
	return all
}

func (f *syncFormatter) joined(room *clientsync.JoinedRoom) joinedForm {
	form := joinedForm{
		Summary: map[string]any{}, Timeline: f.timeline(room.Timeline),
		Ephemeral: newEvents(), AccountData: f.accountData(room.AccountData),
	}
	form.State, form.StateAfter = f.state(room.State, room.Rest)
	if s := room.Summary; s != nil {
		form.Summary["m.joined_member_count"] = s.Joined
		form.Summary["m.invited_member_count"] = s.Invited
		if s.Heroes != nil {
			form.Summary["m.heroes"] = s.Heroes
		}
	}
	if room.HasTyping {
		form.Ephemeral.Events = append(form.Ephemeral.Events, map[string]any{
			"type": "m.typing", "content": map[string]any{"user_ids": append([]id.UserID{}, room.Typing...)},
		})
	}
	form.UnreadNotifications, form.UnreadThreads = f.unread(room.Unread)
	for _, content := range receiptContents(room.Receipts) {
		form.Ephemeral.Events = append(form.Ephemeral.Events, map[string]any{"type": "m.receipt", "content": content})
	}
	return form
}

// unread is what is unread of the whole room, or, where the client asks for that, of the main timeline and each thread.
//
// spec:client-server-api#get_matrixclientv3sync
func (f *syncFormatter) unread(counts map[string]clientsync.Unread) (whole unreadForm, threads map[string]unreadForm) {
	apart := f.request.Filter.Room.Timeline.ThreadNotifications
	for thread, c := range counts {
		if apart && thread != clientsync.MainThread {
			if threads == nil {
				threads = map[string]unreadForm{}
			}
			threads[thread] = unreadForm{NotificationCount: c.Notifications, HighlightCount: c.Highlights}
			continue
		}
		whole.NotificationCount += c.Notifications
		whole.HighlightCount += c.Highlights
	}
	return whole, threads
}

func (f *syncFormatter) left(room *clientsync.LeftRoom) leftForm {
	form := leftForm{Timeline: f.timeline(room.Timeline), AccountData: f.accountData(room.AccountData)}
	form.State, form.StateAfter = f.state(room.State, room.Rest)
	return form
}

// state goes under one of two names: as the client asked.
func (f *syncFormatter) state(rows []clientsync.Decorated, rest *clientsync.Rest) (before, after *eventList) {
	all := &eventList{Events: f.stateEvents(rows, rest, f.event)}
	if f.request.StateAfter {
		return nil, all
	}
	return all, nil
}

func (f *syncFormatter) timeline(t clientsync.Timeline) timelineForm {
	return timelineForm{Events: f.events(t.Events), Limited: t.Limited, PrevBatch: t.PrevBatch.String()}
}

// events are events in the format that the filter asks for.
func (f *syncFormatter) events(rows []clientsync.Decorated) []json.RawMessage {
	return f.formatted(rows, f.event)
}

func (f *syncFormatter) formatted(rows []clientsync.Decorated, format func(clientsync.Decorated) (json.RawMessage, error)) []json.RawMessage {
	list := make([]json.RawMessage, 0, len(rows))
	for _, d := range rows {
		raw, err := format(d)
		if err != nil {
			f.err = err
			break
		}
		list = append(list, raw)
	}
	return list
}

// waitForOwn returns when the device has been answered which events it made, of those that it is told of.
func (f *syncFormatter) waitForOwn() {
	f.from.api.unanswered.wait(f.from.Context(), f.own)
}

func (f *syncFormatter) event(d clientsync.Decorated) (json.RawMessage, error) {
	if d.TransactionID != "" {
		f.own = append(f.own, transaction{f.from.user, f.from.device, d.Event.RoomID(), d.TransactionID})
	}
	if f.request.Filter.EventFormat == "federation" {
		return withEventID(d.Event), nil
	}
	raw, err := syncEvent(d, f.now)
	if err == nil && f.fields != nil {
		raw, err = selectFields(raw, f.fields)
	}
	return raw, err
}

// stateEvents are the events of a state, each as format has it, which come later if they are many.
func (f *syncFormatter) stateEvents(rows []clientsync.Decorated, rest *clientsync.Rest, format func(clientsync.Decorated) (json.RawMessage, error)) any {
	if rest != nil {
		return f.from.later('[', rest.Len(), func(add addLater) error {
			return rest.Each(f.from.Context(), func(d clientsync.Decorated) error {
				return add(func(dst []byte) ([]byte, error) {
					raw, err := format(d)
					return append(dst, raw...), err
				})
			})
		})
	}
	return f.formatted(rows, format)
}

// withEventID is an event as it goes between servers, which leave out its ID where it is a hash; clients get it all the
// same, as from other deployed servers.
func withEventID(e *event.Event) json.RawMessage {
	raw := e.JSON()
	if _, there := canonicaljson.Get(raw, "event_id"); there || len(raw) < len(`{}`) {
		return raw
	}
	quoted, err := json.Marshal(e.ID())
	if err != nil {
		return raw
	}
	return slices.Concat([]byte(`{"event_id":`), quoted, []byte(`,`), raw[1:])
}

func (f *syncFormatter) accountData(entries []clientsync.AccountData) events {
	all := newEvents()
	for _, entry := range entries {
		if entry.Type == push.AccountDataType && entry.Room == "" {
			all.Events = append(all.Events, f.pushRules(entry.Content))
			continue
		}
		all.Events = append(all.Events, map[string]any{"type": entry.Type, "content": entry.Content})
	}
	return all
}

// pushRules are the user's push rules, those of the server among them; stored is what is the user's own.
//
// spec:client-server-api/modules/push#push-rules-events
func (f *syncFormatter) pushRules(stored json.RawMessage) map[string]any {
	f.rulesTold = true
	return map[string]any{"type": push.AccountDataType, "content": push.Content{Global: push.Read(f.request.User, stored)}}
}

// receiptContent is the content of m.receipt: by event, type and user. spec:client-server-api/modules/receipts#client-behaviour
type receiptContent map[id.EventID]map[string]map[id.UserID]map[string]any

// receiptContents are the contents of as many m.receipt as are needed to tell of all receipts: a user may have some of
// different threads at the same event, which one can't hold.
func receiptContents(receipts []clientsync.Receipt) []receiptContent {
	var contents []receiptContent
	for len(receipts) > 0 {
		content, rest := receiptContent{}, receipts[:0:0]
		for _, r := range receipts {
			if content[r.Event] == nil {
				content[r.Event] = map[string]map[id.UserID]map[string]any{}
			}
			if content[r.Event][r.Type] == nil {
				content[r.Event][r.Type] = map[id.UserID]map[string]any{}
			}
			if _, taken := content[r.Event][r.Type][r.User]; taken {
				rest = append(rest, r)
				continue
			}
			data := map[string]any{"ts": r.TS}
			if r.Thread != "" {
				data["thread_id"] = r.Thread
			}
			content[r.Event][r.Type][r.User] = data
		}
		contents, receipts = append(contents, content), rest
	}
	return contents
}
