package directory

import (
	"context"
	"encoding/json"
	"sync"
	"unicode/utf8"

	"hanse/federation"
	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/node/store"
)

// Summary is what a room shows of itself in a list; M_NOT_FOUND for rooms we don't know. Whether the asker may see it
// is the caller's question.
func (d *Directory) Summary(ctx context.Context, room id.RoomID) (federation.RoomSummary, error) {
	info, err := d.known(ctx, room)
	if err != nil {
		return federation.RoomSummary{}, err
	}
	return d.summary(ctx, info)
}

// summary is kept until the room's next commit.
func (d *Directory) summary(ctx context.Context, info store.RoomInfo) (federation.RoomSummary, error) {
	if s, ok := d.summaries.find(info.RoomID, info.Position); ok {
		return s, nil
	}
	state, err := d.store.CurrentState(ctx, info.RoomID)
	if err != nil {
		return federation.RoomSummary{}, err
	}
	events, err := d.store.StateEvents(ctx, state,
		roomstate.Key{Type: "m.room.create"}, roomstate.Key{Type: "m.room.name"}, roomstate.Key{Type: "m.room.topic"},
		roomstate.Key{Type: "m.room.avatar"}, roomstate.Key{Type: "m.room.canonical_alias"},
		roomstate.Key{Type: "m.room.join_rules"}, roomstate.Key{Type: "m.room.history_visibility"},
		roomstate.Key{Type: "m.room.guest_access"}, roomstate.Key{Type: "m.room.encryption"})
	if err != nil {
		return federation.RoomSummary{}, err
	}
	s := federation.RoomSummary{
		PublicRoom:  federation.PublicRoom{RoomID: info.RoomID, NumJoinedMembers: info.Joined, JoinRule: "invite"},
		RoomVersion: string(info.Rules.Version),
	}
	for _, e := range events {
		show(&s, e)
	}
	d.summaries.add(info.RoomID, info.Position, s)
	return s, nil
}

// show adds what one state event says. Contents are whatever somebody sent: what has another form is left out.
func show(s *federation.RoomSummary, e *event.Event) {
	switch e.Type() {
	case "m.room.create":
		s.RoomType = text(e, "type")
	case "m.room.name":
		s.Name = text(e, "name")
	case "m.room.topic":
		s.Topic = text(e, "topic")
	case "m.room.avatar":
		s.AvatarURL = text(e, "url")
	case "m.room.canonical_alias":
		if alias, err := id.ParseRoomAlias(text(e, "alias")); err == nil {
			s.CanonicalAlias = alias
		}
	case "m.room.join_rules":
		s.JoinRule = text(e, "join_rule")
		if s.JoinRule == "restricted" || s.JoinRule == "knock_restricted" {
			s.AllowedRoomIDs = allowed(e)
		}
	case "m.room.encryption":
		s.Encryption = text(e, "algorithm")
	case "m.room.history_visibility":
		s.WorldReadable = text(e, "history_visibility") == "world_readable"
	case "m.room.guest_access":
		s.GuestCanJoin = text(e, "guest_access") == "can_join"
	}
}

// allowed are the rooms whose members may join a restricted room. spec:client-server-api#conditions
func allowed(e *event.Event) []id.RoomID {
	var rules struct {
		Allow []json.RawMessage `json:"allow"`
	}
	if exactjson.Unmarshal(e.Content(), &rules) != nil {
		return nil
	}
	var rooms []id.RoomID
	for _, raw := range rules.Allow[:min(len(rules.Allow), maxConditions)] {
		var condition struct {
			Type   string `json:"type"`
			RoomID string `json:"room_id"`
		}
		if exactjson.Unmarshal(raw, &condition) != nil || condition.Type != "m.room_membership" {
			continue
		}
		if room, err := id.ParseRoomID(condition.RoomID); err == nil {
			rooms = append(rooms, room)
		}
	}
	return rooms
}

func text(e *event.Event, key string) string {
	s, _ := canonicaljson.GetString(e.Content(), key)
	if len(s) > maxText {
		end := maxText
		for end > 0 && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end]
	}
	return s
}

// summaries keeps the summaries made last. Safe for concurrent use.
type summaries struct {
	mu    sync.Mutex
	rooms map[id.RoomID]keptSummary // guarded by mu
}

type keptSummary struct {
	at      store.Position
	summary federation.RoomSummary
}

func newSummaries() *summaries { return &summaries{rooms: make(map[id.RoomID]keptSummary)} }

func (s *summaries) find(room id.RoomID, at store.Position) (federation.RoomSummary, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept, ok := s.rooms[room]
	return kept.summary, ok && kept.at == at
}

func (s *summaries) add(room id.RoomID, at store.Position, summary federation.RoomSummary) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.rooms) >= maxSummaries {
		for other := range s.rooms { // any one
			delete(s.rooms, other)
			break
		}
	}
	s.rooms[room] = keptSummary{at, summary}
}
