package store

import (
	"context"
	"encoding/json"
	"time"

	"hanse/federation/dag"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/keys"
)

type (
	reader     struct{}
	committer  struct{}
	roomIndex  struct{}
	eventCache struct{}
	stateCache struct{}
	outbox     struct{}
)

func (*reader) ping(context.Context) error { return nil }

// Feed hands notices to subscribers.
type Feed struct{}

// Subscription is one reader of the feed.
type Subscription struct{ C <-chan Notice }

// Subscribe gives a channel of the given buffer; a full one loses notices and sets Lagged.
func (f *Feed) Subscribe(buffer int) *Subscription { return nil }

// Lagged says whether notices were lost since the last call.
func (s *Subscription) Lagged() bool { return false }

// Close ends the subscription and closes C.
func (s *Subscription) Close() {}

// Open opens the database, applies migrations, checks the server name.
func Open(ctx context.Context, dialect Dialect, opts Options) (*Store, error) { return nil, nil }

// Run runs the committer until ctx ends; then what is queued is committed, later writes get ErrClosed.
func (s *Store) Run(ctx context.Context) error { return nil }

// Close closes the database; after Run has returned.
func (s *Store) Close() error { return nil }

// ---- rooms.go

func (s *Store) Commit(ctx context.Context, c room.Commit, opts CommitOptions) (Position, error) {
	return 0, nil
}
func (s *Store) Room(ctx context.Context, r id.RoomID) (RoomInfo, bool, error) {
	return RoomInfo{}, false, nil
}

// LoadRoom: false when we don't have the room's state.
func (s *Store) LoadRoom(ctx context.Context, r id.RoomID) (room.Snapshot, bool, error) {
	return room.Snapshot{}, false, nil
}

// Rooms lists rooms with state, in order of their IDs, after the given one.
func (s *Store) Rooms(ctx context.Context, after id.RoomID, limit int) ([]RoomInfo, error) {
	return nil, nil
}
func (s *Store) ApplyRedactions(ctx context.Context, r []Redaction) error { return nil }

// PendingRedactions are accepted redaction events in the room that name the target, applied or not.
func (s *Store) PendingRedactions(ctx context.Context, target id.EventID) ([]id.EventID, error) {
	return nil, nil
}

// ---- events.go

func (s *Store) Source(ctx context.Context, rules *roomversion.Rules) room.Source    { return nil }
func (s *Store) AuthSource(ctx context.Context, rules *roomversion.Rules) dag.Source { return nil }
func (s *Store) Event(ctx context.Context, e id.EventID) (EventRow, bool, error) {
	return EventRow{}, false, nil
}
func (s *Store) Events(ctx context.Context, ids []id.EventID) (map[id.EventID]EventRow, error) {
	return nil, nil
}

// Known tells which of the events are stored (outliers and rejected ones too).
func (s *Store) Known(ctx context.Context, ids []id.EventID) (map[id.EventID]bool, error) {
	return nil, nil
}
func (s *Store) Timeline(ctx context.Context, r id.RoomID, after, upto Position, limit int, newestFirst bool) ([]EventRow, bool, error) {
	return nil, false, nil
}

// Page: events strictly beyond from, up to and including to (zero = no end).
func (s *Store) Page(ctx context.Context, r id.RoomID, from Topological, dir Direction, limit int, to Topological) ([]EventRow, Topological, error) {
	return nil, Topological{}, nil
}

// TopologicalAt is the place just after the newest event at or before the position.
func (s *Store) TopologicalAt(ctx context.Context, r id.RoomID, at Position) (Topological, error) {
	return Topological{}, nil
}

// RoomsWithEvents tells which of the rooms have live events in (after, upto].
func (s *Store) RoomsWithEvents(ctx context.Context, rooms []id.RoomID, after, upto Position) ([]id.RoomID, error) {
	return nil, nil
}
func (s *Store) BackwardExtremities(ctx context.Context, r id.RoomID, limit int) ([]Gap, error) {
	return nil, nil
}

// History walks prev events back from the given events (which are included), newest first.
func (s *Store) History(ctx context.Context, r id.RoomID, from []id.EventID, limit int) ([]EventRow, error) {
	return nil, nil
}

// MissingEvents answers get_missing_events: walks back from latest (excluded), stops at earliest (excluded); oldest first.
func (s *Store) MissingEvents(ctx context.Context, r id.RoomID, latest, earliest []id.EventID, minDepth int64, limit int) ([]EventRow, error) {
	return nil, nil
}

// ---- state.go

func (s *Store) StateBefore(ctx context.Context, e id.EventID) (roomstate.Map, bool, error) {
	return roomstate.Map{}, false, nil
}
func (s *Store) StateAfter(ctx context.Context, e id.EventID) (roomstate.Map, bool, error) {
	return roomstate.Map{}, false, nil
}
func (s *Store) CurrentState(ctx context.Context, r id.RoomID) (roomstate.Map, error) {
	return roomstate.Map{}, nil
}
func (s *Store) CurrentStateAt(ctx context.Context, r id.RoomID, at Position) (roomstate.Map, error) {
	return roomstate.Map{}, nil
}

// StateEvents reads the events of a state map (those of the keys asked for; none = all).
func (s *Store) StateEvents(ctx context.Context, m roomstate.Map, keys ...roomstate.Key) ([]*event.Event, error) {
	return nil, nil
}

// ---- members.go

func (s *Store) Memberships(ctx context.Context, user id.UserID) ([]Membership, error) {
	return nil, nil
}
func (s *Store) Membership(ctx context.Context, r id.RoomID, user id.UserID) (Membership, bool, error) {
	return Membership{}, false, nil
}

// MembershipsAt: a local user's memberships as they were at a position.
func (s *Store) MembershipsAt(ctx context.Context, user id.UserID, at Position) ([]Membership, error) {
	return nil, nil
}

// MembershipChanges: a local user's membership changes in (after, upto], in order.
func (s *Store) MembershipChanges(ctx context.Context, user id.UserID, after, upto Position) ([]Membership, error) {
	return nil, nil
}
func (s *Store) Members(ctx context.Context, r id.RoomID, f MemberFilter) ([]Membership, error) {
	return nil, nil
}
func (s *Store) JoinedServers(ctx context.Context, r id.RoomID) (map[id.ServerName]int, error) {
	return nil, nil
}
func (s *Store) LocalJoined(ctx context.Context, r id.RoomID) ([]id.UserID, error) { return nil, nil }

// JoinedRooms are the rooms a user (any server's) is joined to, as far as we know.
func (s *Store) JoinedRooms(ctx context.Context, user id.UserID) ([]id.RoomID, error) {
	return nil, nil
}
func (s *Store) SharedRooms(ctx context.Context, a, b id.UserID) ([]id.RoomID, error) {
	return nil, nil
}
func (s *Store) SaveOutOfRoom(ctx context.Context, m OutOfRoom) (Position, error) { return 0, nil }

// RemoveOutOfRoom turns an out-of-room invite or knock into a leave without an event (rejected where no server answered).
func (s *Store) RemoveOutOfRoom(ctx context.Context, r id.RoomID, user id.UserID) (Position, error) {
	return 0, nil
}
func (s *Store) Forget(ctx context.Context, user id.UserID, r id.RoomID) (Position, error) {
	return 0, nil
}

// ---- users.go

// CreateUser: ErrExists; token "" = none, else ErrTokenSpent.
func (s *Store) CreateUser(ctx context.Context, u User, registrationToken string) error { return nil }
func (s *Store) User(ctx context.Context, u id.UserID) (User, bool, error)              { return User{}, false, nil }
func (s *Store) Users(ctx context.Context, after id.UserID, limit int) ([]User, error) {
	return nil, nil
}
func (s *Store) SetPassword(ctx context.Context, u id.UserID, hash string) error { return nil }
func (s *Store) SetAdmin(ctx context.Context, u id.UserID, admin bool) error     { return nil }

// Deactivate: no password, no devices, no tokens, no profile; the name stays taken.
func (s *Store) Deactivate(ctx context.Context, u id.UserID) error { return nil }

// ---- devices.go

// Login stores the device (made or updated: display name kept when empty) and its new token, in place of the device's older tokens.
func (s *Store) Login(ctx context.Context, d Device, token TokenHash) error { return nil }
func (s *Store) Access(ctx context.Context, token TokenHash) (Access, bool, error) {
	return Access{}, false, nil
}
func (s *Store) Device(ctx context.Context, user id.UserID, device string) (Device, bool, error) {
	return Device{}, false, nil
}
func (s *Store) Devices(ctx context.Context, user id.UserID) ([]Device, error) { return nil, nil }
func (s *Store) RenameDevice(ctx context.Context, user id.UserID, device, name string) error {
	return nil
}

// DeleteDevices removes devices with their tokens; none named = all but keep.
func (s *Store) DeleteDevices(ctx context.Context, user id.UserID, devices ...string) error {
	return nil
}
func (s *Store) DeleteOtherDevices(ctx context.Context, user id.UserID, keep string) error {
	return nil
}

// SeenDevices updates last seen (User, ID, LastSeen, LastSeenIP, UserAgent of each).
func (s *Store) SeenDevices(ctx context.Context, seen []Device) error { return nil }

// ---- profiles.go

func (s *Store) Profile(ctx context.Context, user id.UserID) (map[string]json.RawMessage, error) {
	return nil, nil
}

// SetProfileField: nil deletes.
func (s *Store) SetProfileField(ctx context.Context, user id.UserID, field string, value json.RawMessage) error {
	return nil
}

// ---- accountdata.go

func (s *Store) AccountData(ctx context.Context, user id.UserID, r id.RoomID, typ string) (AccountData, bool, error) {
	return AccountData{}, false, nil
}

// AccountDataChanges: all entries whose position is in (after, upto], in order of position. after 0 leaves out deleted ones.
func (s *Store) AccountDataChanges(ctx context.Context, user id.UserID, after, upto Position) ([]AccountData, error) {
	return nil, nil
}
func (s *Store) SetAccountData(ctx context.Context, user id.UserID, r id.RoomID, typ string, content json.RawMessage) (Position, error) {
	return 0, nil
}

// UpdateAccountData reads, changes and writes in one transaction. old is nil when there is none; an error from change ends it; nil new content deletes.
func (s *Store) UpdateAccountData(ctx context.Context, user id.UserID, r id.RoomID, typ string, change func(old json.RawMessage) (json.RawMessage, error)) (Position, error) {
	return 0, nil
}

// ---- receipts.go

// SaveReceipts stores receipts (each in place of the user's earlier one of type and thread) and queues EDUs in the same transaction.
func (s *Store) SaveReceipts(ctx context.Context, receipts []Receipt, edus ...QueuedEDU) (Position, error) {
	return 0, nil
}
func (s *Store) Receipts(ctx context.Context, r id.RoomID, after, upto Position) ([]Receipt, error) {
	return nil, nil
}
func (s *Store) UserReceipts(ctx context.Context, r id.RoomID, user id.UserID) ([]Receipt, error) {
	return nil, nil
}

// RoomsWithReceipts tells which of the rooms have receipts in (after, upto].
func (s *Store) RoomsWithReceipts(ctx context.Context, rooms []id.RoomID, after, upto Position) ([]id.RoomID, error) {
	return nil, nil
}

// ---- filters.go

func (s *Store) SaveFilter(ctx context.Context, user id.UserID, filter json.RawMessage) (string, error) {
	return "", nil
}
func (s *Store) Filter(ctx context.Context, user id.UserID, filterID string) (json.RawMessage, bool, error) {
	return nil, false, nil
}

// ---- aliases.go, directory.go

func (s *Store) CreateAlias(ctx context.Context, a Alias) error { return nil }
func (s *Store) Alias(ctx context.Context, a id.RoomAlias) (Alias, bool, error) {
	return Alias{}, false, nil
}
func (s *Store) Aliases(ctx context.Context, r id.RoomID) ([]Alias, error) { return nil, nil }

// DeleteAlias: ErrNotFound.
func (s *Store) DeleteAlias(ctx context.Context, a id.RoomAlias) error       { return nil }
func (s *Store) Publish(ctx context.Context, r id.RoomID, public bool) error { return nil }

// PublishedRooms in order of joined members, most first.
func (s *Store) PublishedRooms(ctx context.Context) ([]PublishedRoom, error) { return nil, nil }

// ---- clienttxn.go

func (s *Store) ClientTxn(ctx context.Context, user id.UserID, device, endpoint, txnID string) (id.EventID, bool, error) {
	return "", false, nil
}

// ClientTxnIDs: which of the events did this device send, under which transaction IDs.
func (s *Store) ClientTxnIDs(ctx context.Context, user id.UserID, device string, events []id.EventID) (map[id.EventID]string, error) {
	return nil, nil
}

// ---- registrationtokens.go

func (s *Store) CreateRegistrationToken(ctx context.Context, t RegistrationToken) error { return nil }
func (s *Store) RegistrationToken(ctx context.Context, token string) (RegistrationToken, bool, error) {
	return RegistrationToken{}, false, nil
}
func (s *Store) RegistrationTokens(ctx context.Context) ([]RegistrationToken, error) { return nil, nil }
func (s *Store) DeleteRegistrationToken(ctx context.Context, token string) error     { return nil }

// ---- keys.go

func (s *Store) Keys(ctx context.Context, servers []id.ServerName) ([]keys.ServerKeys, error) {
	return nil, nil
}
func (s *Store) SaveKeys(ctx context.Context, k []keys.ServerKeys) error { return nil }

// OwnKeyUsed tells whether this server has published keys before (the key file must not go missing later).
func (s *Store) OwnKeyUsed(ctx context.Context) (id.KeyID, bool, error) { return "", false, nil }
func (s *Store) SetOwnKeyUsed(ctx context.Context, k id.KeyID) error    { return nil }

// ---- transactions.go

func (s *Store) Transaction(ctx context.Context, origin id.ServerName, txnID string) (json.RawMessage, bool, error) {
	return nil, false, nil
}
func (s *Store) SaveTransaction(ctx context.Context, origin id.ServerName, txnID string, response json.RawMessage) error {
	return nil
}

// ---- outbox.go

// QueuedEDU is a durable EDU for some servers. Keep: must not be dropped while a destination is away (to-device messages).
type QueuedEDU struct {
	Type         string
	Content      json.RawMessage
	Destinations []id.ServerName
	Keep         bool
}

func (s *Store) QueueEDUs(ctx context.Context, edus ...QueuedEDU) error { return nil }

var _ = time.Time{}
