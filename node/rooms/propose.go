package rooms

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"hanse/federation"
	"hanse/federation/authrules"
	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/node/store"
)

// Propose puts events of our users into a room, all or none, in order, and returns them once they are on disk. The
// room fills in what depends on its graph. A refusal by the authorisation rules is M_FORBIDDEN and names the reason.
func (r *Rooms) Propose(ctx context.Context, roomID id.RoomID, drafts ...event.Draft) ([]*event.Event, error) {
	result, err := r.propose(ctx, roomID, store.CommitOptions{}, nil, drafts...)
	if err != nil {
		return nil, err
	}
	events := make([]*event.Event, 0, len(drafts))
	for _, c := range result.Commit.Events {
		events = append(events, c.Event)
	}
	return events, nil
}

// propose is Propose with client transactions, and a check in the room's turn before the step.
func (r *Rooms) propose(ctx context.Context, roomID id.RoomID, opts store.CommitOptions,
	check func(*room.Machine, room.Source) error, drafts ...event.Draft) (room.Result, error) {
	for i := range drafts {
		drafts[i].RoomID = roomID
	}
	result, err := r.ask(ctx, roomID, &task{input: room.Propose{Drafts: drafts, Key: r.cfg.Key}, opts: opts,
		look: func(m *room.Machine, src room.Source) error {
			if check != nil {
				if err := check(m, src); err != nil {
					return err
				}
			}
			return unpoliced(m, src, drafts)
		}})
	if err == errPoliced {
		return r.proposePoliced(ctx, roomID, opts, drafts)
	}
	if err != nil {
		return result, err
	}
	for _, v := range result.Verdicts {
		switch {
		case v.Status == room.Accepted:
		case v.Reason == room.ReasonFull:
			return result, federation.LimitExceeded(fullPause)
		case v.Rejection == nil && len(drafts[v.Draft].Content) > largeContent:
			return result, federation.TooLarge(why(v))
		case v.Rejection == nil:
			return result, federation.BadJSON(why(v))
		default:
			return result, refusal(v)
		}
	}
	return result, nil
}

// largeContent is from how many bytes of content on an event that can't be made is taken for too large: an event has
// 65,536 at most, and what isn't content of it takes some thousand.
//
// spec:client-server-api#size-limits
const largeContent = 60_000

// Send sends one event of a user of ours and returns its ID once it is on disk. Membership events take the way of
// Join, Invite, Leave and the others, with the given content. State that the user has set to the same content already is
// left as it is, and its event's ID returned: bots that set it again and again don't make the room longer.
func (r *Rooms) Send(ctx context.Context, req SendRequest) (id.EventID, error) {
	check := checkContent
	if req.StateKey != nil {
		check = r.checkState
	}
	if err := check(req.Type, req.Content); err != nil {
		return "", err
	}
	if err := checkReplacement(req); err != nil {
		return "", err
	}
	if req.Type == typeMember && req.StateKey != nil {
		return r.sendMembership(ctx, req)
	}
	draft := event.Draft{
		Type: req.Type, StateKey: req.StateKey, Sender: req.Sender, Content: req.Content,
		Redacts: req.Redacts, OriginServerTS: req.TS,
	}
	var unchanged *event.Event
	mayPropose := func(m *room.Machine, src room.Source) (err error) {
		if req.StateKey != nil {
			if unchanged, err = sameState(m, src, draft); err == nil && unchanged != nil {
				err = errUnchanged
			}
			return err
		}
		if req.Type == typeRedaction && req.Redacts != "" {
			if err := mayAskRedaction(m, src, req.Sender, req.Redacts); err != nil {
				return err
			}
		}
		return r.mayRelate(ctx, req)
	}
	result, err := r.propose(ctx, req.Room, req.options(), mayPropose, draft)
	switch {
	case errors.Is(err, errUnchanged):
		return unchanged.ID(), nil
	case err != nil:
		return "", r.asOutsider(ctx, req.Room, err)
	}
	if req.Type == typeGuestAccess && req.StateKey != nil { // as with Synapse guests are gone when the answer comes
		r.tryGuestsLeave(ctx, req.Room)
	}
	return lastAccepted(result), nil
}

// asOutsider has a room that this server doesn't know be one that the user isn't in, as deployed servers do.
func (r *Rooms) asOutsider(ctx context.Context, roomID id.RoomID, err error) error {
	if wire := wireError(err); wire == nil || wire.Code != federation.CodeNotFound {
		return err
	}
	if _, known, failed := r.store.Room(ctx, roomID); known || failed != nil {
		return err
	}
	return notJoined()
}

// errUnchanged ends the proposal of state that is there already.
var errUnchanged = errors.New("the state is so already")

// sameState is the room's current event of a draft's type and state key, if it has the same sender, who is still in the
// room, and the same content; nil otherwise.
func sameState(m *room.Machine, src room.Source, draft event.Draft) (*event.Event, error) {
	now, err := stateOf{m.Current(), src}.StateEvent(draft.Type, *draft.StateKey)
	if err != nil || now == nil || now.Sender() != draft.Sender {
		return nil, err
	}
	content, err := canonicaljson.Append(nil, draft.Content, canonicaljson.Lenient)
	if err != nil || !bytes.Equal(content, now.Content()) {
		return nil, nil // what is wrong with it is found when the event is made
	}
	membership, err := membershipIn(m, src, draft.Sender)
	if err != nil || membership != join {
		return nil, err
	}
	return now, nil
}

// Sent is the event that Send has returned to a request with the same Device and TxnID; false if there was none.
func (r *Rooms) Sent(ctx context.Context, req SendRequest) (eventID id.EventID, found bool, err error) {
	for _, txn := range req.options().ClientTxns {
		return r.store.ClientTxn(ctx, txn.User, txn.Device, txn.Endpoint, txn.TxnID)
	}
	return "", false, nil
}

// options makes the request idempotent.
func (req SendRequest) options() store.CommitOptions {
	if req.Device == "" || req.TxnID == "" {
		return store.CommitOptions{}
	}
	endpoint := fmt.Sprintf("send/%s/%s", req.Room, req.Type)
	if req.Redacts != "" {
		endpoint = fmt.Sprintf("redact/%s/%s", req.Room, req.Redacts)
	}
	return store.CommitOptions{ClientTxns: []store.ClientTxn{
		{User: req.Sender, Device: req.Device, Endpoint: endpoint, TxnID: req.TxnID},
	}}
}

// mayAskRedaction refuses a redaction that would have no effect: of somebody else's event without the power for it. As by other deployed
// servers, what holds a room together isn't redacted either.
//
// spec:client-server-api#redactions
func mayAskRedaction(m *room.Machine, src room.Source, sender id.UserID, target id.EventID) error {
	found, err := src.Events([]id.EventID{target})
	if err != nil {
		return err
	}
	e := found[target].Event
	known := e != nil && e.RoomID() == m.RoomID()
	if e != nil && !known {
		return federation.InvalidParam("the event to redact is in another room")
	}
	if known && (e.Is(typeCreate, "") || e.Is(typeServerACL, "")) {
		return federation.Forbidden("events of type " + e.Type() + " can't be redacted: the room needs what they say")
	}
	if known && e.Sender() == sender {
		return nil
	}
	levels, err := authrules.LevelsOf(stateOf{m.Current(), src})
	switch {
	case err != nil || levels.User(sender) >= levels.Redact():
		return err
	case !known:
		return federation.NotFound("there is no such event in this room")
	}
	return federation.Forbidden("you may redact only your own events in this room")
}

// checkContent refuses what the rules of old room versions let pass but nobody should send any more.
func checkContent(typ string, content json.RawMessage) error {
	if typ != typePowerLevels && canonicaljson.IsObject(content) {
		return nil // whether what is in it is JSON is seen when the event is made
	}
	o, err := parseObject(content)
	if err != nil {
		return federation.BadJSON(fmt.Sprintf("the content of %s is not an object", typ))
	}
	if typ == typePowerLevels {
		return checkPowerLevels(o)
	}
	return nil
}

// checkState is checkContent for state: it also refuses a server ACL that would keep this server out.
func (r *Rooms) checkState(typ string, content json.RawMessage) error {
	if err := checkContent(typ, content); err != nil {
		return err
	}
	if typ == typeServerACL && !parseACL(content).allows(r.self) {
		return federation.InvalidParam("this server ACL would keep your own server out of the room")
	}
	return nil
}

// checkReplacement refuses a tombstone that leads back to its own room: clients would go in circles.
func checkReplacement(req SendRequest) error {
	var tombstone struct {
		Replacement id.RoomID `json:"replacement_room"`
	}
	if req.Type == typeTombstone && exactjson.Unmarshal(req.Content, &tombstone) == nil && tombstone.Replacement == req.Room {
		return federation.InvalidParam("a room can't be replaced by itself")
	}
	return nil
}

// checkPowerLevels wants integers, in every room version: "a homeserver should take reasonable precautions to prevent
// users from sending new power level events with string values".
//
// spec:server-server-api#definitions
func checkPowerLevels(content object) error {
	wrong := func(where string) error {
		return federation.BadJSON(fmt.Sprintf("power levels must be integers: %s is not", where))
	}
	integer := func(raw json.RawMessage) bool {
		var n int64
		return exactjson.Unmarshal(raw, &n) == nil && string(raw) != "null"
	}
	for _, key := range []string{"users_default", "events_default", "state_default", "ban", "kick", "redact", "invite"} {
		if raw, ok := content[key]; ok && !integer(raw) {
			return wrong(key)
		}
	}
	for _, key := range []string{"users", "events", "notifications"} {
		levels, err := parseObject(content[key])
		if err != nil {
			return federation.BadJSON(fmt.Sprintf("power levels: %s is not an object", key))
		}
		for name, raw := range levels {
			if !integer(raw) {
				return wrong(key + "." + name)
			}
		}
	}
	return nil
}

// refusal is the error for an event that was not accepted. What nobody may send, whatever their power, is malformed.
func refusal(v room.Verdict) error {
	if v.Rejection != nil {
		switch v.Rejection.Rule {
		case "create.prev_events", "power_levels.creator", "power_levels.users_malformed":
			return federation.BadJSON(why(v))
		}
	}
	return federation.Forbidden(why(v))
}

// why says in words why an event was not accepted.
func why(v room.Verdict) string {
	switch {
	case v.Rejection != nil && v.Rejection.Reason != "":
		return v.Rejection.Reason
	case v.Reason != "":
		return v.Reason
	}
	return "the event is " + v.Status.String()
}

// nothing is the source of a room that doesn't exist yet.
type nothing struct{}

func (nothing) Events([]id.EventID) (map[id.EventID]room.Stored, error) { return nil, nil }
func (nothing) StateAfter(id.EventID) (roomstate.Map, bool, error) {
	return roomstate.Map{}, false, nil
}
func (nothing) Referenced([]id.EventID) (map[id.EventID]bool, error) { return nil, nil }
