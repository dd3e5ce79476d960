package peer

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
	"hanse/testnet/wholestate"
)

// serveKeys publishes the peer's key and its old ones.
//
// spec:server-server-api#publishing-keys
func (p *Peer) serveKeys(w http.ResponseWriter, _ Request) {
	document, err := p.KeyDocument(time.Now().Add(24 * time.Hour))
	if err != nil {
		answerError(w, http.StatusInternalServerError, federation.CodeUnknown, err.Error())
		return
	}
	answerJSON(w, document)
}

// KeyDocument is the peer's signed list of keys.
func (p *Peer) KeyDocument(validUntil time.Time) (json.RawMessage, error) {
	current := p.Key()
	p.mu.Lock()
	old := map[id.KeyID]any{}
	for keyID, key := range p.oldKeys {
		old[keyID] = map[string]any{"key": publicText(key.Key), "expired_ts": key.ExpiredTS}
	}
	p.mu.Unlock()
	return signedjson.Sign(encode(map[string]any{
		"server_name": p.Name, "valid_until_ts": validUntil.UnixMilli(), "old_verify_keys": old,
		"verify_keys": map[id.KeyID]any{current.ID: map[string]any{"key": publicText(current)}},
	}), string(p.Name), current)
}

func publicText(key signedjson.Key) string {
	return signedjson.EncodeBase64(key.Private[len(key.Private)/2:]) // the second half of an ed25519 key is the public one
}

// in finds the room of a request.
func (p *Peer) in(w http.ResponseWriter, r Request) *Room {
	room := p.Room(id.RoomID(r.path("room")))
	if room == nil {
		notFound(w)
	}
	return room
}

func (p *Peer) serveMakeJoin(w http.ResponseWriter, r Request) { p.serveMake(w, r, "join") }

func (p *Peer) serveMakeKnock(w http.ResponseWriter, r Request) { p.serveMake(w, r, "knock") }

// serveSendKnock takes a knock and tells what the room looks like.
//
// spec:server-server-api#knocking-rooms
func (p *Peer) serveSendKnock(w http.ResponseWriter, r Request) {
	if room, _ := p.take(w, r); room != nil {
		state := []map[string]any{}
		for _, raw := range room.InviteState() {
			var stripped struct {
				Type     string          `json:"type"`
				StateKey string          `json:"state_key"`
				Sender   string          `json:"sender"`
				Content  json.RawMessage `json:"content"`
			}
			if json.Unmarshal(raw, &stripped) == nil { // the peer's own events
				state = append(state, map[string]any{"type": stripped.Type, "state_key": stripped.StateKey, "sender": stripped.Sender, "content": stripped.Content})
			}
		}
		answerJSON(w, map[string]any{"knock_room_state": state})
	}
}

func (p *Peer) serveMakeLeave(w http.ResponseWriter, r Request) { p.serveMake(w, r, "leave") }

func (p *Peer) serveMake(w http.ResponseWriter, r Request, membership string) {
	room := p.in(w, r)
	if room == nil {
		return
	}
	content := map[string]any{"membership": membership}
	if via := room.authoriser(r.path("user")); via != "" && membership == "join" {
		content["join_authorised_via_users_server"] = via
	}
	draft := StateDraft(id.UserID(r.path("user")), "m.room.member", r.path("user"), content)
	room.mu.Lock()
	err := room.fill(&draft)
	room.mu.Unlock()
	if err != nil {
		answerError(w, http.StatusInternalServerError, federation.CodeUnknown, err.Error())
		return
	}
	template, err := draft.Template(room.Rules, p.Name)
	if err != nil {
		answerError(w, http.StatusBadRequest, federation.CodeBadJSON, err.Error())
		return
	}
	answerJSON(w, federation.MakeResponse{RoomVersion: room.Rules.Version, Event: template})
}

// take reads the event of a send_join or send_leave and adds it to its room, a join with the peer's signature.
func (p *Peer) take(w http.ResponseWriter, r Request) (*Room, *event.Event) {
	room := p.in(w, r)
	if room == nil {
		return nil, nil
	}
	e, err := event.Parse(room.Rules, r.Body)
	if err == nil && e.Membership() == "join" {
		e, err = e.CoSign(p.Name, p.Key())
	}
	if err == nil {
		err = room.Add(e)
	}
	if err != nil {
		answerError(w, http.StatusBadRequest, federation.CodeBadJSON, err.Error())
		return nil, nil
	}
	return room, e
}

func (p *Peer) serveSendJoin(w http.ResponseWriter, r Request) {
	room, join := p.take(w, r)
	if room == nil {
		return
	}
	room.mu.Lock()
	state, chain := room.stateBefore(join.ID())
	room.mu.Unlock()
	answerJSON(w, map[string]any{
		"origin": p.Name, "state": raws(state), "auth_chain": raws(chain), "members_omitted": false, "event": json.RawMessage(join.JSON()),
	})
}

func (p *Peer) serveSendLeave(w http.ResponseWriter, r Request) {
	if room, _ := p.take(w, r); room != nil {
		answerJSON(w, struct{}{})
	}
}

// stateBefore is the state before an event and its auth chain. It needs mu.
func (r *Room) stateBefore(eventID id.EventID) (state, chain []*event.Event) {
	var ids []id.EventID
	for _, stateID := range wholestate.All(r.before[eventID]) {
		ids = append(ids, stateID)
		state = append(state, r.events[stateID])
	}
	return state, r.chain(ids)
}

func raws(events []*event.Event) []json.RawMessage {
	list := make([]json.RawMessage, 0, len(events))
	for _, e := range events {
		list = append(list, e.JSON())
	}
	return list
}

func ids(events []*event.Event) []id.EventID {
	list := make([]id.EventID, 0, len(events))
	for _, e := range events {
		list = append(list, e.ID())
	}
	return list
}

// Invited is an invite that the peer got.
type Invited struct {
	Event       *event.Event
	RoomVersion roomversion.Version
	State       []json.RawMessage // as it came
}

func (p *Peer) serveInvite(w http.ResponseWriter, r Request) {
	var body federation.InviteRequestV2
	if err := json.Unmarshal(r.Body, &body); err != nil {
		answerError(w, http.StatusBadRequest, federation.CodeBadJSON, err.Error())
		return
	}
	if invite := p.sign(w, body); invite != nil {
		answerJSON(w, federation.InviteResponse{Event: invite.JSON()})
	}
}

// serveInviteV1 takes invites to rooms of version 1 and 2 in the older form.
func (p *Peer) serveInviteV1(w http.ResponseWriter, r Request) {
	var body federation.InviteRequestV1
	if err := json.Unmarshal(r.Body, &body); err != nil {
		answerError(w, http.StatusBadRequest, federation.CodeBadJSON, err.Error())
		return
	}
	v2 := federation.InviteRequestV2{RoomVersion: roomversion.V1, Event: body.Event, InviteRoomState: body.InviteRoomState}
	if invite := p.sign(w, v2); invite != nil {
		answerJSON(w, []any{http.StatusOK, federation.InviteResponse{Event: invite.JSON()}})
	}
}

// sign keeps an invite and gives it with the peer's signature; nil when it was answered with an error.
func (p *Peer) sign(w http.ResponseWriter, body federation.InviteRequestV2) *event.Event {
	rules, ok := roomversion.Lookup(body.RoomVersion)
	if !ok {
		answerError(w, http.StatusBadRequest, federation.CodeIncompatibleRoomVersion, "unknown version")
		return nil
	}
	invite, err := event.Parse(rules, body.Event)
	if err == nil {
		invite, err = invite.CoSign(p.Name, p.Key())
	}
	if err != nil {
		answerError(w, http.StatusBadRequest, federation.CodeBadJSON, err.Error())
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.invites = append(p.invites, Invited{Event: invite, RoomVersion: body.RoomVersion, State: body.InviteRoomState})
	return invite
}

// Invites are the invites that came, oldest first.
func (p *Peer) Invites() []Invited {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.invites)
}

func (p *Peer) serveEvent(w http.ResponseWriter, r Request) {
	p.mu.Lock()
	rooms := make([]*Room, 0, len(p.rooms))
	for _, room := range p.rooms {
		rooms = append(rooms, room)
	}
	p.mu.Unlock()
	for _, room := range rooms {
		if e := room.Event(id.EventID(r.path("event"))); e != nil {
			p.answerEvents(w, []*event.Event{e})
			return
		}
	}
	notFound(w)
}

func (p *Peer) answerEvents(w http.ResponseWriter, events []*event.Event) {
	answerJSON(w, federation.Transaction{Origin: p.Name, OriginServerTS: time.Now().UnixMilli(), PDUs: raws(events)})
}

func (p *Peer) serveState(w http.ResponseWriter, r Request) {
	p.serveStateAt(w, r, func(state, chain []*event.Event) any {
		return map[string]any{"pdus": raws(state), "auth_chain": raws(chain)}
	})
}

func (p *Peer) serveStateIDs(w http.ResponseWriter, r Request) {
	p.serveStateAt(w, r, func(state, chain []*event.Event) any {
		return map[string]any{"pdu_ids": ids(state), "auth_chain_ids": ids(chain)}
	})
}

func (p *Peer) serveStateAt(w http.ResponseWriter, r Request, form func(state, chain []*event.Event) any) {
	room := p.in(w, r)
	if room == nil {
		return
	}
	eventID := id.EventID(r.Query("event_id"))
	if !room.Has(eventID) {
		notFound(w)
		return
	}
	room.mu.Lock()
	state, chain := room.stateBefore(eventID)
	room.mu.Unlock()
	answerJSON(w, form(state, chain))
}

func (p *Peer) serveEventAuth(w http.ResponseWriter, r Request) {
	room := p.in(w, r)
	if room == nil {
		return
	}
	room.mu.Lock()
	chain := room.chain([]id.EventID{id.EventID(r.path("event"))})
	room.mu.Unlock()
	answerJSON(w, map[string]any{"auth_chain": raws(chain)})
}

func (p *Peer) serveBackfill(w http.ResponseWriter, r Request) {
	room := p.in(w, r)
	if room == nil {
		return
	}
	request, err := http.NewRequest(r.Method, r.URI, nil)
	if err != nil {
		notFound(w)
		return
	}
	limit, err := strconv.Atoi(r.Query("limit"))
	if err != nil {
		limit = maxMissing
	}
	var from []id.EventID
	for _, eventID := range request.URL.Query()["v"] {
		from = append(from, id.EventID(eventID))
	}
	p.answerEvents(w, room.walk(from, nil, min(limit, maxMissing)))
}

func (p *Peer) serveMissingEvents(w http.ResponseWriter, r Request) {
	room := p.in(w, r)
	if room == nil {
		return
	}
	var request federation.MissingEventsRequest
	if err := json.Unmarshal(r.Body, &request); err != nil {
		answerError(w, http.StatusBadRequest, federation.CodeBadJSON, err.Error())
		return
	}
	var from []id.EventID
	for _, latest := range request.LatestEvents {
		if e := room.Event(latest); e != nil {
			from = append(from, e.PrevEvents()...)
		}
	}
	events := room.walk(from, request.EarliestEvents, min(request.Limit, maxMissing))
	slices.Reverse(events)
	answerJSON(w, map[string]any{"events": raws(events)})
}

// walk is the events from some on, breadth first through the prev events, without those in stop and what is before
// them.
func (r *Room) walk(from, stop []id.EventID, limit int) []*event.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[id.EventID]bool{}
	for _, eventID := range stop {
		seen[eventID] = true
	}
	var events []*event.Event
	for queue := slices.Clone(from); len(queue) > 0 && len(events) < limit; queue = queue[1:] {
		e := r.events[queue[0]]
		if seen[queue[0]] || e == nil {
			continue
		}
		seen[queue[0]] = true
		events = append(events, e)
		queue = append(queue, e.PrevEvents()...)
	}
	return events
}

func (p *Peer) serveDirectory(w http.ResponseWriter, r Request) {
	p.mu.Lock()
	roomID, ok := p.aliases[id.RoomAlias(r.Query("room_alias"))]
	p.mu.Unlock()
	if !ok {
		notFound(w)
		return
	}
	answerJSON(w, federation.DirectoryResponse{RoomID: roomID, Servers: []id.ServerName{p.Name}})
}

func (p *Peer) serveProfile(w http.ResponseWriter, r Request) {
	p.mu.Lock()
	profile, ok := p.profiles[id.UserID(r.Query("user_id"))]
	p.mu.Unlock()
	if !ok {
		notFound(w)
		return
	}
	switch r.Query("field") {
	case "displayname":
		profile.AvatarURL = ""
	case "avatar_url":
		profile.DisplayName = ""
	}
	answerJSON(w, profile)
}

// RotateKey takes a new signing key: the one before is published as old from now on. Client goes on with the key that
// it was made with; requests by hand and new events use the new one.
func (p *Peer) RotateKey(key signedjson.Key) {
	p.AddOldKey(p.Key(), time.Now())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.key = key
}
