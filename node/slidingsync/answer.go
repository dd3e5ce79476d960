package slidingsync

import (
	"encoding/json"

	"hanse/federation/id"
	"hanse/node/clientsync"
	"hanse/node/store"
)

// Answer is what is new on a connection. node/clientapi gives it the form of the API.
type Answer struct {
	Pos   string
	Lists map[string]List
	Rooms map[id.RoomID]*Room
	// What follows is nil where the client doesn't ask for it.
	ToDevice    *ToDevice
	Encryption  *Encryption
	AccountData *AccountData
	Receipts    map[id.RoomID][]store.Receipt
	Typing      map[id.RoomID][]id.UserID
}

// List is what is in the windows of a list.
type List struct {
	Count   int
	Windows []Window
}

// Window is the rooms of a range, the one where something happened last first.
type Window struct {
	Range [2]int
	Rooms []id.RoomID
}

// Room is what is new of a room.
type Room struct {
	Initial    bool // it takes the place of what the client has of the room
	Expanded   bool // the timeline has events from before those that the client has
	Membership string
	Name       *string // nil: unchanged, or there is none; "": there is none any more
	Avatar     *string // likewise
	Heroes     []Hero  // nil: unchanged, or there is a name
	Direct     *bool   // nil: it isn't a direct chat, and wasn't one
	State      []clientsync.Decorated
	Rest       *clientsync.Rest     // of the state; nil: nothing
	Timeline   *clientsync.Timeline // nil: not asked for
	Live       int                  // how many of the timeline's last events have come since the answer that this one follows on
	Members    *clientsync.Summary  // nil: unchanged
	Unread     clientsync.Unread
	Bump       store.Position // of the newest event that is activity; 0: unchanged
	Stripped   []json.RawMessage
}

// Hero is a member who helps to name a room.
type Hero struct {
	User                id.UserID
	DisplayName, Avatar *string // nil: none
}

// ToDevice are messages to the device.
type ToDevice struct {
	Next     string
	Messages []store.ToDevice
}

// Encryption is what is new for the device's encryption.
type Encryption struct {
	Lists       *clientsync.DeviceLists // nil: the connection begins, and the client asks for all devices that it wants to know
	OneTimeKeys map[string]int
	Unused      []string
}

// AccountData is the user's.
type AccountData struct {
	Global []store.AccountData
	Whole  bool // Global is all there is
	Rooms  map[id.RoomID][]store.AccountData
}
