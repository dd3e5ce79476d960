package event

import (
	"encoding/json"

	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
)

type Event struct{}

func Parse(rules *roomversion.Rules, raw []byte) (*Event, error) { panic("unfinished") }
func Load(rules *roomversion.Rules, eventID id.EventID, canonical []byte) (*Event, error) {
	panic("unfinished")
}
func (e *Event) Rules() *roomversion.Rules                               { panic("unfinished") }
func (e *Event) ID() id.EventID                                          { panic("unfinished") }
func (e *Event) RoomID() id.RoomID                                       { panic("unfinished") }
func (e *Event) Type() string                                            { panic("unfinished") }
func (e *Event) StateKey() (string, bool)                                { panic("unfinished") }
func (e *Event) IsState() bool                                           { panic("unfinished") }
func (e *Event) Is(typ, stateKey string) bool                            { panic("unfinished") }
func (e *Event) Sender() id.UserID                                       { panic("unfinished") }
func (e *Event) Depth() int64                                            { panic("unfinished") }
func (e *Event) OriginServerTS() int64                                   { panic("unfinished") }
func (e *Event) PrevEvents() []id.EventID                                { panic("unfinished") }
func (e *Event) AuthEvents() []id.EventID                                { panic("unfinished") }
func (e *Event) Content() []byte                                         { panic("unfinished") }
func (e *Event) Redacts() (id.EventID, bool)                             { panic("unfinished") }
func (e *Event) JSON() []byte                                            { panic("unfinished") }
func (e *Event) Membership() string                                      { panic("unfinished") }
func (e *Event) ContentHashMatches() bool                                { panic("unfinished") }
func (e *Event) Redacted() *Event                                        { panic("unfinished") }
func (e *Event) IsRedacted() bool                                        { panic("unfinished") }
func (e *Event) ReferenceHash() [32]byte                                 { panic("unfinished") }
func (e *Event) SignedBytes() []byte                                     { panic("unfinished") }
func (e *Event) Signatures() map[id.ServerName]map[id.KeyID][]byte       { panic("unfinished") }
func (e *Event) RequiredSigners() []id.ServerName                        { panic("unfinished") }
func (e *Event) CoSign(server id.ServerName, key signedjson.Key) (*Event, error) { panic("unfinished") }
func (e *Event) Size() int                                               { panic("unfinished") }

// HasRoomID tells whether the event carries a room_id (create events of v12 must not).
func (e *Event) HasRoomID() bool { panic("unfinished") }

type Draft struct {
	RoomID                 id.RoomID
	Type                   string
	StateKey               *string
	Sender                 id.UserID
	Content                json.RawMessage
	Redacts                id.EventID
	PrevEvents, AuthEvents []id.EventID
	ReferenceHashes        map[id.EventID][]byte
	Depth                  int64
	OriginServerTS         int64
}

func (d Draft) Sign(rules *roomversion.Rules, server id.ServerName, key signedjson.Key) (*Event, error) {
	panic("unfinished")
}
func (d Draft) Template(rules *roomversion.Rules, origin id.ServerName) ([]byte, error) {
	panic("unfinished")
}
func ParseDraft(rules *roomversion.Rules, raw []byte) (Draft, error) { panic("unfinished") }
func Stripped(e *Event) json.RawMessage                             { panic("unfinished") }
