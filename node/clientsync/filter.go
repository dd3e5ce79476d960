package clientsync

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/store"
)

// Filter is what a client wants of /sync. spec:client-server-api#filtering
type Filter struct {
	EventFields []string    `json:"event_fields"`
	EventFormat string      `json:"event_format"` // "client" (also "") or "federation"
	Presence    EventFilter `json:"presence"`
	AccountData EventFilter `json:"account_data"`
	Room        RoomFilter  `json:"room"`
}

// RoomFilter is the part about rooms.
type RoomFilter struct {
	Rooms        []id.RoomID     `json:"rooms"` // nil: all
	NotRooms     []id.RoomID     `json:"not_rooms"`
	IncludeLeave bool            `json:"include_leave"`
	State        RoomEventFilter `json:"state"`
	Timeline     RoomEventFilter `json:"timeline"`
	Ephemeral    RoomEventFilter `json:"ephemeral"`
	AccountData  RoomEventFilter `json:"account_data"`
}

// EventFilter chooses events by type and sender. A nil list chooses all; an empty one chooses none.
type EventFilter struct {
	Limit      *int        `json:"limit,omitempty"` // nil: the default
	Types      []string    `json:"types"`           // `*` stands for any characters
	NotTypes   []string    `json:"not_types"`
	Senders    []id.UserID `json:"senders"`
	NotSenders []id.UserID `json:"not_senders"`
}

// RoomEventFilter chooses events of rooms; /messages, /context and /sync take it.
type RoomEventFilter struct {
	EventFilter
	Rooms             []id.RoomID `json:"rooms"`
	NotRooms          []id.RoomID `json:"not_rooms"`
	ContainsURL       *bool       `json:"contains_url"`
	RelatedBySenders  []id.UserID `json:"related_by_senders"`   // nil: whether related to or not
	RelatedByRelTypes []string    `json:"related_by_rel_types"` // likewise
	// RelTypes and NotRelTypes choose by what an event says of itself, where those above go by what others say of it. They are MSC3874's.
	RelTypes                []string `json:"org.matrix.msc3874.rel_types"` // nil: whether it relates to another or not
	NotRelTypes             []string `json:"org.matrix.msc3874.not_rel_types"`
	LazyLoadMembers         bool     `json:"lazy_load_members"`
	IncludeRedundantMembers bool     `json:"include_redundant_members"`
	// ThreadNotifications, of the timeline's filter, has what is unread counted by thread.
	ThreadNotifications bool `json:"unread_thread_notifications"`
}

// ParseFilter reads a filter that a client sent. The error says what is wrong with it. Lists of rooms and users that hold something
// else are wrong, as with Synapse: such a filter would never match, and whoever wrote it meant something.
func ParseFilter(raw []byte) (Filter, error) {
	var filter Filter
	if err := exactjson.Unmarshal(raw, &filter); err != nil {
		return filter, notAFilter(err)
	}
	if f := filter.EventFormat; f != "" && f != "client" && f != "federation" {
		return filter, fmt.Errorf("event_format %q is neither client nor federation", f)
	}
	for _, part := range []RoomEventFilter{
		{EventFilter: filter.Presence}, {EventFilter: filter.AccountData}, {Rooms: filter.Room.Rooms, NotRooms: filter.Room.NotRooms},
		filter.Room.State, filter.Room.Timeline, filter.Room.Ephemeral, filter.Room.AccountData,
	} {
		if err := part.check(); err != nil {
			return filter, err
		}
	}
	return filter, nil
}

func (f RoomEventFilter) check() error {
	if f.Limit != nil && *f.Limit < 0 {
		return fmt.Errorf("limit %d is negative", *f.Limit)
	}
	for _, room := range slices.Concat(f.Rooms, f.NotRooms) {
		if _, err := id.ParseRoomID(string(room)); err != nil {
			return fmt.Errorf("rooms and not_rooms must be room IDs: %q is none", room)
		}
	}
	for _, user := range slices.Concat(f.Senders, f.NotSenders, f.RelatedBySenders) {
		if _, err := id.ParseUserID(string(user)); err != nil {
			return fmt.Errorf("senders must be user IDs: %q is none", user)
		}
	}
	return nil
}

// notAFilter says to people what is wrong with a filter that can't be decoded.
func notAFilter(err error) error {
	var wrongType *json.UnmarshalTypeError
	if !errors.As(err, &wrongType) || wrongType.Field == "" {
		return errors.New("not a JSON object of a filter's form")
	}
	path := slices.DeleteFunc(strings.Split(wrongType.Field, "."), func(name string) bool { return name[0] < 'a' }) // of what is embedded
	return fmt.Errorf("%s has a value of a wrong kind, %s", strings.Join(path, "."), wrongType.Value)
}

// AtMost is the limit if there is one above 0, and no more than most; else fallback.
func (f EventFilter) AtMost(most, fallback int) int {
	if f.Limit == nil || *f.Limit == 0 {
		return fallback
	}
	return min(*f.Limit, most)
}

// wantsNothing tells that no event is asked for: a limit of 0 is for clients that want the state alone.
func (f EventFilter) wantsNothing() bool {
	return f.Types != nil && len(f.Types) == 0 || f.Limit != nil && *f.Limit == 0
}

// ParseRoomEventFilter reads the filter of /messages or /context.
func ParseRoomEventFilter(raw []byte) (RoomEventFilter, error) {
	var filter RoomEventFilter
	if err := exactjson.Unmarshal(raw, &filter); err != nil {
		return filter, notAFilter(err)
	}
	if filter.Limit != nil && *filter.Limit < 0 {
		return filter, fmt.Errorf("limit %d is negative", *filter.Limit)
	}
	return filter, nil
}

// Match tells whether something of a type, by a sender ("" if it has none), is wanted.
func (f EventFilter) Match(typ string, sender id.UserID) bool {
	switch {
	case f.Types != nil && !slices.ContainsFunc(f.Types, func(p string) bool { return glob(p, typ) }):
	case slices.ContainsFunc(f.NotTypes, func(p string) bool { return glob(p, typ) }):
	default:
		return sender == "" || f.matchSender(sender)
	}
	return false
}

func (f EventFilter) matchSender(sender id.UserID) bool {
	return (f.Senders == nil || slices.Contains(f.Senders, sender)) && !slices.Contains(f.NotSenders, sender)
}

// MatchRoom tells whether anything of a room is wanted.
func (f RoomEventFilter) MatchRoom(room id.RoomID) bool { return wantsRoom(f.Rooms, f.NotRooms, room) }

// MatchEvent tells whether an event is wanted, but for what relates to it: see Syncer.Related.
func (f RoomEventFilter) MatchEvent(e *event.Event) bool {
	if !f.MatchRoom(e.RoomID()) || !f.Match(e.Type(), e.Sender()) {
		return false
	}
	if f.RelTypes != nil || len(f.NotRelTypes) > 0 {
		relation, relates := store.RelationOf(e)
		if f.RelTypes != nil && !(relates && slices.Contains(f.RelTypes, relation.Type)) || relates && slices.Contains(f.NotRelTypes, relation.Type) {
			return false
		}
	}
	if f.ContainsURL == nil {
		return true
	}
	url, found := canonicaljson.Get(e.Content(), "url")
	return (found && bytes.HasPrefix(url, []byte(`"`))) == *f.ContainsURL
}

func wantsRoom(rooms, notRooms []id.RoomID, room id.RoomID) bool {
	return (rooms == nil || slices.Contains(rooms, room)) && !slices.Contains(notRooms, room)
}

// glob matches a text against a pattern in which `*` stands for any characters. Its time is bounded by
// len(pattern) × len(text).
func glob(pattern, text string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, head)
	if !ok {
		return false
	}
	for {
		middle, more, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(text, middle)
		}
		at := strings.Index(text, middle)
		if at < 0 {
			return false
		}
		text, rest = text[at+len(middle):], more
	}
}
